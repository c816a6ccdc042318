// The functions of tensor/dtype.h over rows, written for the vectoriser. They are not shared with
// that header: inline functions compiled for several instruction sets must not be merged.
#include <string.h>

#include "blas/convert.h"
#if defined(FLAMBEAU_ISA_v3) || defined(FLAMBEAU_ISA_v4)
#include <immintrin.h>
#endif

namespace flambeau::FLAMBEAU_ISA {
namespace {

inline uint32_t bits_of(float value) {
  uint32_t bits;
  memcpy(&bits, &value, 4);
  return bits;
}
inline float float_of(uint32_t bits) {
  float value;
  memcpy(&value, &bits, 4);
  return value;
}

inline float widen_half(uint16_t half) {
  uint32_t magnitude = half & 0x7FFFu;
  uint32_t bits = bits_of(float_of(magnitude << 13) * float_of(0x77800000));  // times 2^112
  bits = magnitude >= 0x7C00 ? 0x7F800000 | (magnitude & 0x3FF) << 13 : bits;
  return float_of(bits | static_cast<uint32_t>(half & 0x8000u) << 16);
}

inline uint16_t narrow_to_half(float value) {
  uint32_t bits = bits_of(value), sign = bits >> 16 & 0x8000;
  bits &= 0x7FFFFFFF;
  uint32_t normal = (bits + 0xFFF + (bits >> 13 & 1) - 0x38000000) >> 13;
  uint32_t small = bits_of(float_of(bits) + 0.5f) - bits_of(0.5f);  // the adder rounds
  uint32_t result = bits < 0x38800000 ? small : normal;
  result = bits >= 0x477FF000 ? 0x7C00 : result;
  result = bits > 0x7F800000 ? 0x7E00 : result;
  return static_cast<uint16_t>(sign | result);
}

inline uint16_t narrow_to_bfloat(float value) {
  uint32_t bits = bits_of(value);
  uint32_t rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16;
  return static_cast<uint16_t>((bits & 0x7FFFFFFF) > 0x7F800000 ? bits >> 16 | 0x40 : rounded);
}

}  // namespace

void half_to_float(int64_t count, const uint16_t* from, float* to) {
  int64_t i = 0;
#if defined(FLAMBEAU_ISA_v3) || defined(FLAMBEAU_ISA_v4)
  for (; i + 8 <= count; i += 8) {
    __m128i halves = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i));
    _mm256_storeu_ps(to + i, _mm256_cvtph_ps(halves));
  }
#endif
  for (; i < count; ++i) to[i] = widen_half(from[i]);
}

void float_to_half(int64_t count, const float* from, uint16_t* to) {
  int64_t i = 0;
#if defined(FLAMBEAU_ISA_v3) || defined(FLAMBEAU_ISA_v4)
  for (; i + 8 <= count; i += 8) {
    __m128i halves = _mm256_cvtps_ph(_mm256_loadu_ps(from + i), _MM_FROUND_TO_NEAREST_INT);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to + i), halves);
  }
#endif
  for (; i < count; ++i) to[i] = narrow_to_half(from[i]);
}

void bfloat_to_float(int64_t count, const uint16_t* from, float* to) {
  for (int64_t i = 0; i < count; ++i) to[i] = float_of(static_cast<uint32_t>(from[i]) << 16);
}

void float_to_bfloat(int64_t count, const float* from, uint16_t* to) {
  for (int64_t i = 0; i < count; ++i) to[i] = narrow_to_bfloat(from[i]);
}

}  // namespace flambeau::FLAMBEAU_ISA
