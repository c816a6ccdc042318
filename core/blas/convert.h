// Rows of 16-bit floats to float and back, for products that are computed in float.
#pragma once

#include <cstdint>

#include "base/cpu.h"

namespace flambeau {

// The 16-bit floats are given by their bits; rounding is to nearest even.
FLAMBEAU_SIMD(void half_to_float(int64_t count, const uint16_t* from, float* to);
              void float_to_half(int64_t count, const float* from, uint16_t* to);
              void bfloat_to_float(int64_t count, const uint16_t* from, float* to);
              void float_to_bfloat(int64_t count, const float* from, uint16_t* to))

}  // namespace flambeau
