#include "ops/convolution/pixel_major.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "base/thread_pool.h"

namespace flambeau {

constexpr int64_t kGroupBytes = 3 << 19;  // of images at a time: about a second-level cache

template <class T>
PixelMajor<T>::PixelMajor(const ConvolutionGeometry& geometry) : geometry(geometry) {
  pixels = volume(geometry.output);
  narrow = geometry.in_channels < kernels.lanes;
  channels = narrow ? geometry.in_channels
                    : divide_up(geometry.in_channels, kernels.lanes) * kernels.lanes;
  for (int d = 0; d < 3; ++d) {
    int64_t reach = (geometry.output[d] - 1) * geometry.stride[d] +
                    (geometry.kernel[d] - 1) * geometry.dilation[d] + 1;
    padded[d] = std::max(reach, geometry.input[d] + geometry.padding[d]);
  }
}

template <class T>
int64_t PixelMajor<T>::images_at_once() const {
  int64_t bytes = (image_size() + pixels * geometry.out_channels) * sizeof(T);
  return std::clamp<int64_t>(kGroupBytes / bytes, 1, geometry.batch);
}

// Channels innermost, with zeros around.
template <class T>
void PixelMajor<T>::turn(const T* x, int64_t images, T* turned) const {
  const int64_t *input = geometry.input, *lead = geometry.padding;
  int64_t line = padded[2] * channels, plane = volume(geometry.input);
  parallel_for(
      images * padded[0] * padded[1], grain_for(4 * line), [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          int64_t y = i % padded[1] - lead[1], z = i / padded[1] % padded[0] - lead[0];
          T* to = turned + i * line;
          std::fill(to, to + line, T(0));
          if (y < 0 || y >= input[1] || z < 0 || z >= input[0]) continue;
          int64_t image = i / (padded[1] * padded[0]);
          const T* from = x + image * geometry.in_channels * plane + (z * input[1] + y) * input[2];
          if (narrow) {
            for (int64_t c = 0; c < channels; ++c, from += plane) {
              T* first = to + lead[2] * channels + c;
              for (int64_t column = 0; column < input[2]; ++column) {
                first[column * channels] = from[column];
              }
            }
            continue;
          }
          kernels.pack(true, from, plane, geometry.in_channels, input[2], to + lead[2] * channels,
                       channels, kernels.width);
        }
      });
}

// One line of output pixels: `pieces` are where each begins, counted from the first pixel.
template <class T>
void PixelMajor<T>::gather_run(const T* from, const std::vector<int64_t>& pieces, int64_t length,
                               int64_t count, T* to) const {
  int64_t step = static_cast<int64_t>(pieces.size()) * length;
  int64_t from_step = geometry.stride[2] * channels;
  if (!narrow) {
    for (int64_t piece : pieces) {
      kernels.pack(false, from + piece, from_step, length, count, to, step, kernels.width);
      to += length;
    }
    return;
  }
  for (int64_t i = 0; i < count; ++i, from += from_step) {
    for (int64_t piece : pieces) {
      for (int64_t k = 0; k < length; k += kSlack) {  // the next piece overwrites what is too much
        std::memcpy(to + k, from + piece + k, kSlack * sizeof(T));
      }
      to += length;
    }
  }
}

template <class T>
void PixelMajor<T>::gather(const T* turned, int64_t kernel_row, int64_t rows, int64_t pixel,
                           int64_t count, T* to) const {
  const int64_t *output = geometry.output, *stride = geometry.stride;
  const int64_t* dilation = geometry.dilation;
  bool whole = dilation[2] == 1;
  int64_t length = whole ? piece_size() : channels;
  std::vector<int64_t> pieces;
  for (int64_t r = kernel_row; r < kernel_row + rows; ++r) {
    int64_t z = r / geometry.kernel[1] * dilation[0], y = r % geometry.kernel[1] * dilation[1];
    for (int64_t x = 0; x < (whole ? 1 : geometry.kernel[2]); ++x) {
      pieces.push_back(((z * padded[1] + y) * padded[2] + x * dilation[2]) * channels);
    }
  }
  for (int64_t end = pixel + count; pixel < end;) {
    int64_t x = pixel % output[2], line = pixel / output[2];
    int64_t y = line % output[1], z = line / output[1] % output[0];
    int64_t image = line / (output[1] * output[0]);
    int64_t row = (image * padded[0] + z * stride[0]) * padded[1] + y * stride[1];
    int64_t run = std::min(output[2] - x, end - pixel);
    gather_run(turned + (row * padded[2] + x * stride[2]) * channels, pieces, length, run, to);
    to += run * length * static_cast<int64_t>(pieces.size());
    pixel += run;
  }
}

template struct PixelMajor<float>;
template struct PixelMajor<double>;

}  // namespace flambeau
