// Pooling over windows: kernels for every instruction set.
#pragma once

#include <cstdint>

#include "base/cpu.h"

namespace flambeau {

// One spatial axis. kernel == 0 means adaptive: output o covers [floor(o * input / output),
// ceil((o + 1) * input / output)); stride, padding and dilation are unused then.
struct PoolAxis {
  int64_t input, output;
  int64_t kernel, stride, padding, dilation;
};

// Three axes always; missing ones come first and have length 1.
struct PoolGeometry {
  PoolAxis axis[3];
  bool include_padding = true;  // averages count the padding
  int64_t divisor = 0;          // what averages divide by instead of the number of elements
  int64_t channels = 1;         // that lie within a pixel; 1: planes follow one another

  int64_t input_size() const { return axis[0].input * axis[1].input * axis[2].input; }
  int64_t output_size() const { return axis[0].output * axis[1].output * axis[2].output; }
};

// For planes that follow one another; all work on `planes` of them. Indices are flat positions in
// the input's plane.
template <class T>
struct PoolKernels {
  // The first of equal elements wins; a NaN wins over everything, the last one if there are more.
  // A window without elements (they can lie apart) has -inf and position -1.
  void (*max)(const PoolGeometry& geometry, int64_t planes, const T* x, T* out, int64_t* indices);
  void (*average)(const PoolGeometry& geometry, int64_t planes, const T* x, T* out);
  // The adjoint of average: x is overwritten.
  void (*spread)(const PoolGeometry& geometry, int64_t planes, const T* g, T* x);
};

// The same for channels that lie closest.
template <class T>
struct ChannelsLastPoolKernels {
  // Rows of results [begin, end), counted over images, slices and rows.
  void (*max)(const PoolGeometry& geometry, int64_t begin, int64_t end, const T* x, T* out,
              int64_t* indices);
  void (*average)(const PoolGeometry& geometry, int64_t begin, int64_t end, const T* x, T* out);
  // Channels [begin, end) of one image.
  void (*spread)(const PoolGeometry& geometry, int64_t image, int64_t begin, int64_t end,
                 const T* g, T* x);
};

FLAMBEAU_SIMD(extern const PoolKernels<float> pool_kernels_float)
FLAMBEAU_SIMD(extern const PoolKernels<double> pool_kernels_double)
FLAMBEAU_SIMD(extern const PoolKernels<int64_t> pool_kernels_int64)
FLAMBEAU_SIMD(extern const ChannelsLastPoolKernels<float> channels_last_pool_float)
FLAMBEAU_SIMD(extern const ChannelsLastPoolKernels<double> channels_last_pool_double)
FLAMBEAU_SIMD(extern const ChannelsLastPoolKernels<int64_t> channels_last_pool_int64)

}  // namespace flambeau
