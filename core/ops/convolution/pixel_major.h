// The input of a convolution with its channels innermost.
//
// Note [Pixel-major convolution]: what one row of the kernel reads for one output pixel is then a
// piece of memory of (kernel width x channels). Pieces copied one below the other for a block of
// pixels are the right operand of a matrix product, the gradient of the weight, whose left operand
// is the output's gradient as it lies. Cost: one transposition of the input, and a copy of every
// piece for as many multiply-adds of each element as there are output channels. (The convolution
// itself was slower this way than as a shifted view.)
#pragma once

#include "blas/tile.h"
#include "ops/convolution/shifted_view.h"

namespace flambeau {

inline int64_t divide_up(int64_t count, int64_t by) { return (count + by - 1) / by; }
inline int64_t volume(const int64_t (&lengths)[3]) { return lengths[0] * lengths[1] * lengths[2]; }

template <class T>
struct PixelMajor {
  const ConvolutionGeometry& geometry;
  const TileKernels<T>& kernels = tile_kernels<T>();
  int64_t pixels;     // of one output image
  int64_t channels;   // of the input; rounded up to whole vectors unless narrow
  bool narrow;        // fewer channels than a vector has lanes
  int64_t padded[3];  // the input with its padding

  explicit PixelMajor(const ConvolutionGeometry& geometry);
  int64_t image_size() const { return volume(padded) * channels; }
  int64_t piece_size() const { return geometry.kernel[2] * channels; }
  // Elements of a row that `gather` makes for that many rows of the kernel: the pieces, and what
  // the vectors of the last one reach beyond it.
  int64_t row_size(int64_t rows) const;
  int64_t kernel_rows() const { return geometry.kernel[0] * geometry.kernel[1]; }
  // As many images as fit the second-level cache together with their outputs.
  int64_t images_at_once() const;
  void turn(const T* x, int64_t images, T* turned) const;
  // Row i of `to` = what the kernel's rows [kernel_row, kernel_row + rows) read for output pixel
  // `pixel` + i of the turned images, then numbers without meaning.
  void gather(const T* turned, int64_t kernel_row, int64_t rows, int64_t pixel, int64_t count,
              T* to) const;

 private:
  // A piece is a row of the kernel where its taps are neighbours, otherwise a tap.
  int64_t piece_length() const { return geometry.dilation[2] == 1 ? piece_size() : channels; }
};

}  // namespace flambeau
