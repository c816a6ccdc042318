#pragma once

// Elements of tensors, as the emulated libraries read and write them.

#include <cmath>
#include <cstdint>

#include "sixteen_bit.h"

namespace emulated {

// Numbers that cuBLASLt and cuDNN share; anything else is bfloat16, for which they have two.
enum ElementType : int { kFloat = 0, kDouble = 1, kHalf = 2 };

inline double load_element(int type, const void* base, int64_t index) {
  switch (type) {
    case kDouble:
      return static_cast<const double*>(base)[index];
    case kFloat:
      return static_cast<const float*>(base)[index];
    case kHalf:
      return emulated_half_to_float(static_cast<const uint16_t*>(base)[index]);
    default:
      return emulated_bfloat_to_float(static_cast<const uint16_t*>(base)[index]);
  }
}

inline void store_element(int type, void* base, int64_t index, double value) {
  const auto single = static_cast<float>(value);
  switch (type) {
    case kDouble:
      static_cast<double*>(base)[index] = value;
      return;
    case kFloat:
      static_cast<float*>(base)[index] = single;
      return;
    case kHalf:
      static_cast<uint16_t*>(base)[index] = emulated_float_to_half(single);
      return;
    default:
      static_cast<uint16_t*>(base)[index] = emulated_float_to_bfloat(single);
  }
}

// What tensor cores see of a float32: ten bits of mantissa.
inline float rounded_to_tf32(float value) {
  if (!std::isfinite(value)) return value;
  const unsigned bits = emulated_bits_of(value);
  return emulated_float_of((bits + 0xFFF + (bits >> 13 & 1)) & ~0x1FFFu);
}

}  // namespace emulated
