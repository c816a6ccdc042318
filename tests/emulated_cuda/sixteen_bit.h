#pragma once

// Sixteen-bit floating types: to nearest, ties to even; not-a-number stays so. For kernels and
// for the emulated libraries; includes nothing, as shim.h.

inline unsigned emulated_bits_of(float x) {
  unsigned bits;
  __builtin_memcpy(&bits, &x, sizeof bits);
  return bits;
}
inline float emulated_float_of(unsigned bits) {
  float x;
  __builtin_memcpy(&x, &bits, sizeof x);
  return x;
}

inline unsigned short emulated_float_to_bfloat(float x) {
  unsigned bits = emulated_bits_of(x);
  if (x != x) return static_cast<unsigned short>(bits >> 16 | 0x40);
  return static_cast<unsigned short>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}
inline float emulated_bfloat_to_float(unsigned short x) {
  return emulated_float_of(static_cast<unsigned>(x) << 16);
}
inline unsigned short emulated_float_to_half(float x) {
  unsigned bits = emulated_bits_of(x);
  unsigned sign = bits >> 16 & 0x8000, magnitude = bits & 0x7FFFFFFF;
  if (magnitude > 0x7F800000) return static_cast<unsigned short>(sign | 0x7E00);
  if (magnitude >= 0x477FF000) return static_cast<unsigned short>(sign | 0x7C00);  // >= 65520
  if (magnitude < 0x38800000) {  // below 2^-14: the sum rounds to a multiple of 2^-24
    float sum = emulated_float_of(magnitude) + 0.5f;
    return static_cast<unsigned short>(sign | (emulated_bits_of(sum) - 0x3F000000));
  }
  unsigned rounded = magnitude + 0xFFF + (magnitude >> 13 & 1);
  return static_cast<unsigned short>(sign | (rounded - 0x38000000) >> 13);
}
inline float emulated_half_to_float(unsigned short x) {
  unsigned sign = static_cast<unsigned>(x & 0x8000) << 16, magnitude = x & 0x7FFF;
  if (magnitude >= 0x7C00) return emulated_float_of(sign | 0x7F800000 | (magnitude & 0x3FF) << 13);
  if (magnitude < 0x400) {
    float value = static_cast<float>(magnitude) * 0x1p-24f;
    return sign != 0 ? -value : value;
  }
  return emulated_float_of(sign | ((magnitude << 13) + 0x38000000));
}
