// Kernels of random/ that exist once per instruction set (kernels_simd.cpp). All of them give the
// same bits on every instruction set.
#pragma once

#include <cstdint>

#include "base/cpu.h"

namespace flambeau {

// The next 624 words of mt19937 in place, and the output function of the engine.
FLAMBEAU_SIMD(void twist(uint32_t* words))
FLAMBEAU_SIMD(void temper(const uint32_t* words, uint32_t* out, int64_t count))

// 24 random bits of each word as a float in [0, 1).
FLAMBEAU_SIMD(void unit_floats(const uint32_t* bits, float* out, int64_t count))
// The same scaled to [low, high); in double, rounded once, and low where rounding reaches high.
FLAMBEAU_SIMD(void scaled_floats(const uint32_t* bits, float* out, int64_t count, float low,
                                 float high))
// 53 random bits of each pair of words (the first is the high one) scaled to [low, high).
FLAMBEAU_SIMD(void scaled_doubles(const uint32_t* bits, double* out, int64_t count, double low,
                                  double high))
// Whether the 53 random bits of each pair of words, as a number in [0, 1), are below probability.
FLAMBEAU_SIMD(void below(const uint32_t* bits, bool* out, int64_t count, double probability))

// Box-Muller in blocks of 16: uniforms in [0, 1) become normals, in place. Logarithm, sine and
// cosine are those of the Cephes library in single precision (S. Moshier, 1989).
FLAMBEAU_SIMD(void normal_blocks(float* data, int64_t blocks, float mean, float std))

}  // namespace flambeau
