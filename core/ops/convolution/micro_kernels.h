// The innermost loops of convolution, one table per element type and instruction set.
#pragma once

#include <cstdint>

#include "base/cpu.h"

namespace flambeau {

// Consecutive positions of a tile: where they begin in the tile, and where the first one lies.
struct TileRun {
  int64_t start, length, offset;
};

template <class T>
struct ConvolutionKernels {
  int rows;     // rows of a full panel; also 1, 2, 4, ... below it are valid heights
  int lanes;    // elements of a vector
  int vectors;  // widest product tile, in vectors; twice as many for heights 1 and 2

  // c[r][j] = initial[r] + sum over k of a[k][r] * b[offsets[k] + j]; c[r][j] itself is the start
  // when `initial` is null. `a` is packed height by height; reads of b reach the full width.
  void (*product)(int height, int width_vectors, const T* a, const T* b, const int64_t* offsets,
                  int64_t count, const T* initial, T* c, int64_t c_pitch);
  // c[r][j] += sum over i < count of a[r][i] * b[offsets[j] + i]; columns is at most 3 (6 for
  // heights 1 and 2).
  void (*dot)(int height, int columns, const T* a, int64_t a_pitch, const T* b,
              const int64_t* offsets, int64_t count, T* c, int64_t c_pitch);
  // Copies the runs of every row of a tile to the output, `step` elements apart.
  void (*store)(const T* c, int64_t c_pitch, int64_t rows, const TileRun* runs, int64_t run_count,
                T* out, int64_t out_pitch, int64_t step);
  // to[k][start + i] = from[offsets[k] + offset + i] for every run; runs are in ascending order.
  // Reads up to 64 bytes too much.
  void (*gather_runs)(const T* from, const int64_t* offsets, int64_t count, const TileRun* runs,
                      int64_t run_count, T* to, int64_t pitch);
  // to[r][i] = from[r][i * step] with zeros up to the next row, `tail` of them after the last one
  // and up to 64 bytes beyond.
  void (*gather)(T* to, int64_t to_pitch, const T* from, int64_t from_pitch, int64_t rows,
                 int64_t count, int64_t step, int64_t tail);
  // Transposes `height` rows of a weight into the panel layout: a[k][r] = row r at k.
  void (*pack)(int height, int valid, const T* weight, int64_t row_stride, int64_t channel_stride,
               int64_t channels, const int64_t* taps, int64_t tap_count, T* a);
};

FLAMBEAU_SIMD(extern const ConvolutionKernels<float> convolution_kernels_float)
FLAMBEAU_SIMD(extern const ConvolutionKernels<double> convolution_kernels_double)

template <class T>
const ConvolutionKernels<T>& convolution_kernels();
template <>
inline const ConvolutionKernels<float>& convolution_kernels() {
  return *FLAMBEAU_CHOOSE(convolution_kernels_float);
}
template <>
inline const ConvolutionKernels<double>& convolution_kernels() {
  return *FLAMBEAU_CHOOSE(convolution_kernels_double);
}

}  // namespace flambeau
