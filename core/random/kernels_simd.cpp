// Note [Bits do not depend on contraction]: the values must equal PyTorch's, so every fused
// multiply-add is written out and the compiler may add none.
#if defined(__clang__)
#pragma clang fp contract(off)
#else
#pragma GCC optimize("fp-contract=off")
#endif

#include "random/kernels.h"

namespace flambeau::FLAMBEAU_ISA {

namespace {

constexpr float kTwoPi = 6.2831853071795864769;

#if defined(__FP_FAST_FMAF) || defined(__FMA__)
inline float fused(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
#else
// No hardware fma: the product is exact in double, and the sum is rounded to odd there, which
// makes the second rounding to float right (Boldo and Melquiond, "When double rounding is odd",
// 2005). For finite values.
inline float fused(float a, float b, float c) {
  double product = static_cast<double>(a) * b;
  double sum = product + c;
  double shifted = sum - product;
  double error = (product - (sum - shifted)) + (c - shifted);
  int64_t bits = __builtin_bit_cast(int64_t, sum);
  int64_t away = (error > 0) == (sum > 0) ? 1 : -1;
  bool to_odd = error != 0 && (bits & 1) == 0;
  return static_cast<float>(__builtin_bit_cast(double, to_odd ? bits + away : bits));
}
#endif

// Natural logarithm of a positive normal number.
inline float logarithm(float x) {
  uint32_t bits = __builtin_bit_cast(uint32_t, x);
  int32_t exponent = static_cast<int32_t>(bits >> 23) - 126;
  float m = __builtin_bit_cast(float, (bits & 0x007FFFFF) | 0x3F000000);  // in [0.5, 1)
  bool small = m < 0.707106781186547524f;
  float e = static_cast<float>(small ? exponent - 1 : exponent);
  m = (m - 1.0f) + (small ? m : 0.0f);
  float square = m * m;
  float y = 7.0376836292e-2f;
  y = fused(y, m, -1.1514610310e-1f);
  y = fused(y, m, 1.1676998740e-1f);
  y = fused(y, m, -1.2420140846e-1f);
  y = fused(y, m, 1.4249322787e-1f);
  y = fused(y, m, -1.6668057665e-1f);
  y = fused(y, m, 2.0000714765e-1f);
  y = fused(y, m, -2.4999993993e-1f);
  y = fused(y, m, 3.3333331174e-1f);
  y = y * m;
  y = fused(y, square, e * -2.12194440e-4f);
  y = fused(square, -0.5f, y);
  return fused(e, 0.693359375f, m + y);
}

// Sine and cosine of an angle in [0, 2 pi).
inline void sine_cosine(float angle, float& sine, float& cosine) {
  int32_t octant = static_cast<int32_t>(angle * 1.27323954473516f);
  octant = (octant + 1) & ~1;
  float turns = static_cast<float>(octant);
  float x = fused(turns, -0.78515625f, angle);
  x = fused(turns, -2.4187564849853515625e-4f, x);
  x = fused(turns, -3.77489497744594108e-8f, x);
  float z = x * x;
  float c = 2.443315711809948e-5f;
  c = fused(c, z, -1.388731625493765e-3f);
  c = fused(c, z, 4.166664568298827e-2f);
  c = c * z;
  c = fused(c, z, -(z * 0.5f)) + 1.0f;
  float s = -1.9515295891e-4f;
  s = fused(s, z, 8.3321608736e-3f);
  s = fused(s, z, -1.6666654611e-1f);
  s = s * z;
  s = fused(s, x, x);
  bool swap = (octant & 2) != 0;
  float sine_size = swap ? c : s, cosine_size = swap ? s : c;
  sine = (octant & 4) != 0 ? -sine_size : sine_size;
  cosine = ((octant + 2) & 4) != 0 ? -cosine_size : cosine_size;
}

// Little-endian pairs of words: the first drawn is the high half, of which 21 bits are used.
inline int64_t bits53(const uint32_t* pair) {
  uint64_t both;
  __builtin_memcpy(&both, pair, 8);
  return static_cast<int64_t>((both & 0x1FFFFF) << 32 | both >> 32);
}

inline uint32_t twisted(uint32_t word, uint32_t next, uint32_t far) {
  uint32_t mixed = (word & 0x80000000) | (next & 0x7FFFFFFF);
  return far ^ (mixed >> 1) ^ (-(next & 1) & 0x9908B0DF);
}

}  // namespace

// Split where a word would depend on one made in the same loop, so that each loop vectorises.
void twist(uint32_t* words) {
#pragma GCC ivdep
  for (int i = 0; i < 227; ++i) words[i] = twisted(words[i], words[i + 1], words[i + 397]);
#pragma GCC ivdep
  for (int i = 227; i < 454; ++i) words[i] = twisted(words[i], words[i + 1], words[i - 227]);
#pragma GCC ivdep
  for (int i = 454; i < 623; ++i) words[i] = twisted(words[i], words[i + 1], words[i - 227]);
  words[623] = twisted(words[623], words[0], words[396]);
}

void temper(const uint32_t* __restrict words, uint32_t* __restrict out, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    uint32_t y = words[i];
    y ^= y >> 11;
    y ^= y << 7 & 0x9D2C5680;
    y ^= y << 15 & 0xEFC60000;
    out[i] = y ^ y >> 18;
  }
}

void unit_floats(const uint32_t* __restrict bits, float* __restrict out, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    out[i] = static_cast<float>(static_cast<int32_t>(bits[i] & 0xFFFFFF)) * 0x1p-24f;
  }
}

void scaled_floats(const uint32_t* __restrict bits, float* __restrict out, int64_t count, float low,
                   float high) {
  double range = high - low;
  for (int64_t i = 0; i < count; ++i) {
    double unit = static_cast<double>(static_cast<int32_t>(bits[i] & 0xFFFFFF)) * 0x1p-24;
    float value = static_cast<float>(__builtin_fma(unit, range, static_cast<double>(low)));
    out[i] = value >= high ? low : value;
  }
}

void scaled_doubles(const uint32_t* __restrict bits, double* __restrict out, int64_t count,
                    double low, double high) {
  double range = high - low;
  for (int64_t i = 0; i < count; ++i) {
    double value = __builtin_fma(static_cast<double>(bits53(bits + 2 * i)) * 0x1p-53, range, low);
    out[i] = value >= high ? low : value;
  }
}

void below(const uint32_t* __restrict bits, bool* __restrict out, int64_t count,
           double probability) {
  // k * 2^-53 < p is k < ceil(p * 2^53) for whole k, and the scaling is exact.
  int64_t limit = static_cast<int64_t>(__builtin_ceil(probability * 0x1p53));
  for (int64_t i = 0; i < count; ++i) out[i] = bits53(bits + 2 * i) < limit;
}

void normal_blocks(float* data, int64_t blocks, float mean, float std) {
  constexpr int kGroup = 8;  // blocks at a time: enough lanes for every vector width
  float first[8 * kGroup], second[8 * kGroup];
  for (int64_t begin = 0; begin < blocks; begin += kGroup) {
    int group = static_cast<int>(blocks - begin < kGroup ? blocks - begin : kGroup);
    float* base = data + 16 * begin;
    for (int b = 0; b < group; ++b) {
      for (int j = 0; j < 8; ++j) first[8 * b + j] = base[16 * b + j];
      for (int j = 0; j < 8; ++j) second[8 * b + j] = base[16 * b + 8 + j];
    }
    for (int i = 0; i < 8 * group; ++i) {
      float radius = __builtin_sqrtf(-2.0f * logarithm(1.0f - first[i]));
      float sine, cosine;
      sine_cosine(kTwoPi * second[i], sine, cosine);
      first[i] = fused(radius * cosine, std, mean);
      second[i] = fused(radius * sine, std, mean);
    }
    for (int b = 0; b < group; ++b) {
      for (int j = 0; j < 8; ++j) base[16 * b + j] = first[8 * b + j];
      for (int j = 0; j < 8; ++j) base[16 * b + 8 + j] = second[8 * b + j];
    }
  }
}

}  // namespace flambeau::FLAMBEAU_ISA
