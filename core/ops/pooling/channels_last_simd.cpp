// Pooling where channels lie closest: loops over the channels of a pixel are the vectors, and the
// results of a pixel stay in the first-level cache while the taps of its window pass by.
#include <limits>

#include "ops/pooling/pooling_kernels.h"
#include "ops/pooling/windows.h"

namespace flambeau::FLAMBEAU_ISA {
namespace {

// Calls visit(rows, columns, image, pixel of the result) for rows of results [begin, end), counted
// over images, slices and rows.
template <class Visit>
inline void each_pixel(const PoolGeometry& geometry, int64_t begin, int64_t end, Visit visit) {
  const PoolAxis* axis = geometry.axis;
  for (int64_t row = begin; row < end; ++row) {
    const int64_t h = row % axis[1].output, d = row / axis[1].output % axis[0].output;
    const int64_t image = row / axis[1].output / axis[0].output;
    const Rows rows{window_of(axis[0], d), window_of(axis[1], h), geometry};
    for (int64_t o = 0; o < axis[2].output; ++o) {
      visit(rows, window_of(axis[2], o), image, row * axis[2].output + o);
    }
  }
}

// Calls visit(place in the plane) for all that a window covers.
template <class Visit>
inline void each_place(const Rows& rows, const Window& columns, Visit visit) {
  rows.each([&](int64_t row) {
    for (int64_t w = columns.begin; w < columns.end; w += columns.step) visit(row + w);
  });
}

template <class T>
void max_pool(const PoolGeometry& geometry, int64_t begin, int64_t end, const T* x, T* out,
              int64_t* indices) {
  using Limits = std::numeric_limits<T>;
  const int64_t channels = geometry.channels, size = geometry.input_size();
  each_pixel(geometry, begin, end,
             [&](const Rows& rows, const Window& columns, int64_t image, int64_t at) {
               T* best = out + at * channels;
               int64_t* where = indices + at * channels;
               for (int64_t c = 0; c < channels; ++c) {
                 best[c] = Limits::has_infinity ? -Limits::infinity() : Limits::lowest();
                 where[c] = -1;
               }
               bool first = true;
               each_place(rows, columns, [&](int64_t place) {
                 const T* from = x + (image * size + place) * channels;
                 for (int64_t c = 0; c < channels; ++c) {
                   const T value = from[c];
                   const bool wins = (value > best[c]) | (value != value) | first;
                   best[c] = wins ? value : best[c];
                   where[c] = wins ? place : where[c];
                 }
                 first = false;
               });
             });
}

template <class T>
void average_pool(const PoolGeometry& geometry, int64_t begin, int64_t end, const T* x, T* out) {
  const int64_t channels = geometry.channels, size = geometry.input_size();
  each_pixel(geometry, begin, end,
             [&](const Rows& rows, const Window& columns, int64_t image, int64_t at) {
               T* sum = out + at * channels;
               for (int64_t c = 0; c < channels; ++c) sum[c] = T(0);
               bool empty = true;
               each_place(rows, columns, [&](int64_t place) {
                 const T* from = x + (image * size + place) * channels;
                 for (int64_t c = 0; c < channels; ++c) sum[c] += from[c];
                 empty = false;
               });
               if (empty) return;
               const T count = divisor<T>(rows, columns);
               for (int64_t c = 0; c < channels; ++c) sum[c] /= count;
             });
}

template <class T>
void spread(const PoolGeometry& geometry, int64_t image, int64_t begin, int64_t end, const T* g,
            T* x) {
  const int64_t channels = geometry.channels, size = geometry.input_size();
  for (int64_t place = 0; place < size; ++place) {
    T* to = x + (image * size + place) * channels;
    for (int64_t c = begin; c < end; ++c) to[c] = T(0);
  }
  const int64_t rows_of_image = geometry.axis[0].output * geometry.axis[1].output;
  each_pixel(geometry, image * rows_of_image, (image + 1) * rows_of_image,
             [&](const Rows& rows, const Window& columns, int64_t, int64_t at) {
               const T* from = g + at * channels;
               const T count = divisor<T>(rows, columns);
               each_place(rows, columns, [&](int64_t place) {
                 T* to = x + (image * size + place) * channels;
                 for (int64_t c = begin; c < end; ++c) to[c] += from[c] / count;
               });
             });
}

template <class T>
constexpr ChannelsLastPoolKernels<T> kKernels = {max_pool<T>, average_pool<T>, spread<T>};

}  // namespace

extern const ChannelsLastPoolKernels<float> channels_last_pool_float = kKernels<float>;
extern const ChannelsLastPoolKernels<double> channels_last_pool_double = kKernels<double>;
extern const ChannelsLastPoolKernels<int64_t> channels_last_pool_int64 = kKernels<int64_t>;

}  // namespace flambeau::FLAMBEAU_ISA
