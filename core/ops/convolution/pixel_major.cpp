#include "ops/convolution/pixel_major.h"

#include <algorithm>
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

template <class T>
int64_t PixelMajor<T>::row_size(int64_t rows) const {
  int64_t length = piece_length(), size = rows * piece_size();
  return narrow ? divide_up(size - length, kernels.lanes) * kernels.lanes +
                      divide_up(length, kernels.lanes) * kernels.lanes
                : size;
}

template <class T>
void PixelMajor<T>::gather(const T* turned, int64_t kernel_row, int64_t rows, int64_t pixel,
                           int64_t count, T* to) const {
  const int64_t *output = geometry.output, *stride = geometry.stride;
  const int64_t* dilation = geometry.dilation;
  int64_t length = piece_length(), step = row_size(rows);
  std::vector<int64_t> pieces;  // where each begins, counted from the first one of a pixel
  for (int64_t r = kernel_row; r < kernel_row + rows; ++r) {
    int64_t z = r / geometry.kernel[1] * dilation[0], y = r % geometry.kernel[1] * dilation[1];
    for (int64_t x = 0; x < piece_size() / length; ++x) {
      pieces.push_back(((z * padded[1] + y) * padded[2] + x * dilation[2]) * channels);
    }
  }
  for (int64_t end = pixel + count; pixel < end;) {
    int64_t x = pixel % output[2], line = pixel / output[2];
    int64_t y = line % output[1], z = line / output[1] % output[0];
    int64_t image = line / (output[1] * output[0]);
    int64_t row = (image * padded[0] + z * stride[0]) * padded[1] + y * stride[1];
    int64_t run = std::min(output[2] - x, end - pixel);
    const T* from = turned + (row * padded[2] + x * stride[2]) * channels;
    // The next piece overwrites what the vectors of one reach beyond it.
    for (size_t i = 0; i < pieces.size(); ++i) {
      kernels.pack(false, from + pieces[i], stride[2] * channels, length, run,
                   to + static_cast<int64_t>(i) * length, step, kernels.width);
    }
    to += run * step;
    pixel += run;
  }
}

template struct PixelMajor<float>;
template struct PixelMajor<double>;

}  // namespace flambeau
