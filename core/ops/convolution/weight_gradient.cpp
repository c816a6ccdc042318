// The gradient of the weight: for every output channel and every (input channel, tap) the product
// of two rows summed over positions. With the output gradient laid out at the positions of the
// forward view (zero in between), both rows are contiguous, so this is a matrix of dot products:
// 8x3 of them at a time in registers, positions cut so that 8 rows of gradients stay in cache.
// Chunks of positions add up in separate matrices where there are too few products to share out.
#include <algorithm>
#include <vector>

#include "base/thread_pool.h"
#include "ops/convolution/shifted_view.h"

namespace flambeau {
namespace {

// Positions that are reduced in registers before adding to memory, in bytes.
constexpr int64_t kBlockBytes = 4096;
// Columns of the weight that one work item computes.
constexpr int64_t kBlockColumns = 144;
// Work items worth having, however many threads there are: results must not depend on those.
constexpr int64_t kItems = 32;

template <class T>
struct DotProducts {
  const ShiftedView& inputs;
  const ShiftedView& gradients;
  const ConvolutionKernels<T>& kernels;
  int64_t groups, rows;          // output channels per group
  std::vector<int64_t> offsets;  // of the columns of a group: (input channel, tap)

  int64_t columns() const { return static_cast<int64_t>(offsets.size()); }
  int64_t panels() const { return (rows + kernels.rows - 1) / kernels.rows; }
  int64_t column_blocks() const { return (columns() + kBlockColumns - 1) / kBlockColumns; }
  int64_t chunks(int64_t blocks) const {
    int64_t items = groups * panels() * column_blocks();
    return std::clamp<int64_t>((kItems + items - 1) / items, 1, blocks);
  }

  void run(const T* x, const T* g, int64_t positions, int64_t chunk_count, T* sums) const;

 private:
  void item(const T* x, const T* g, int64_t positions, int64_t panel, int64_t first_column,
            int64_t last_column, T* out) const;
};

// Adds to out, [rows][columns], the products over `positions` of one panel with some columns.
template <class T>
void DotProducts<T>::item(const T* x, const T* g, int64_t positions, int64_t panel,
                          int64_t first_column, int64_t last_column, T* out) const {
  constexpr int64_t block = kBlockBytes / sizeof(T);
  int64_t first_row = panel * kernels.rows, last_row = std::min(first_row + kernels.rows, rows);
  for (int64_t at = 0; at < positions; at += block) {
    int64_t count = std::min(block, positions - at);
    for (int64_t row = first_row; row < last_row;) {
      int height = kernels.rows;
      while (height > last_row - row) height /= 2;
      int64_t width = height <= 2 ? 6 : 3;
      for (int64_t column = first_column; column < last_column; column += width) {
        kernels.dot(height, static_cast<int>(std::min(width, last_column - column)),
                    g + row * gradients.plane_size + at, gradients.plane_size, x + at,
                    offsets.data() + column, count, out + row * columns() + column, columns());
      }
      row += height;
    }
  }
}

// Adds the products of a group of images to sums, [chunks][groups][rows][columns].
template <class T>
void DotProducts<T>::run(const T* x, const T* g, int64_t positions, int64_t chunk_count,
                         T* sums) const {
  constexpr int64_t block = kBlockBytes / sizeof(T);
  int64_t blocks = (positions + block - 1) / block, splits = column_blocks();
  int64_t items = groups * panels() * splits * chunk_count;
  int64_t size = groups * rows * columns();
  int64_t channels = inputs.channels / groups;
  int64_t work = kernels.rows * std::min(columns(), kBlockColumns) * positions / chunk_count;
  parallel_for(items, grain_for(work), [&](int64_t begin, int64_t end) {
    for (int64_t index = begin; index < end; ++index) {
      int64_t split = index % splits, panel = index / splits % panels();
      int64_t group = index / (splits * panels()) % groups;
      int64_t chunk = index / (splits * panels() * groups);
      int64_t first = blocks * chunk / chunk_count * block;
      int64_t last = std::min(blocks * (chunk + 1) / chunk_count * block, positions);
      if (first >= last) continue;
      item(x + group * channels * inputs.planes * inputs.plane_size + first,
           g + group * rows * gradients.plane_size + first, last - first, panel,
           split * kBlockColumns, std::min((split + 1) * kBlockColumns, columns()),
           sums + chunk * size + group * rows * columns());
    }
  });
}

}  // namespace

template <class T>
void convolution_weight_gradient(const ConvolutionGeometry& geometry, const T* x, const T* g,
                                 T* w) {
  ShiftedView inputs = forward_view(geometry, sizeof(T));
  ShiftedView gradients = aligned_view(geometry, inputs, sizeof(T));
  ViewPhase phase = phases_of(inputs)[0];
  DotProducts<T> products{inputs,
                          gradients,
                          convolution_kernels<T>(),
                          geometry.groups,
                          geometry.out_channels / geometry.groups,
                          {}};
  for (int64_t channel = 0; channel < geometry.in_channels / geometry.groups; ++channel) {
    for (int64_t offset : phase.offsets) {
      products.offsets.push_back(channel * inputs.planes * inputs.plane_size + offset);
    }
  }
  int64_t size = geometry.out_channels * products.columns();
  std::fill(w, w + size, T(0));
  if (size == 0 || geometry.batch == 0) return;

  int64_t lanes = products.kernels.lanes;
  auto padded_positions = [&](int64_t images) {
    return (map_tiles(inputs, phase, 1, images, 1024, false).positions + lanes - 1) / lanes * lanes;
  };
  int64_t block = kBlockBytes / sizeof(T);
  int64_t chunks = products.chunks((padded_positions(inputs.group) + block - 1) / block);
  Scratch<T> x_scratch(inputs.scratch_size()), g_scratch(gradients.scratch_size());
  Scratch<T> sums(chunks * size);
  std::fill(sums.data(), sums.data() + chunks * size, T(0));
  for (int64_t image = 0; image < geometry.batch; image += inputs.group) {
    int64_t images = std::min(inputs.group, geometry.batch - image);
    fill_scratch(inputs, x + image * inputs.channels * inputs.source_size(), images,
                 x_scratch.data());
    fill_scratch(gradients, g + image * gradients.channels * gradients.source_size(), images,
                 g_scratch.data());
    products.run(x_scratch.data(), g_scratch.data(), padded_positions(images), chunks, sums.data());
  }
  for (int64_t chunk = 0; chunk < chunks; ++chunk) {
    const T* from = sums.data() + chunk * size;
    for (int64_t i = 0; i < size; ++i) w[i] += from[i];
  }
}

template void convolution_weight_gradient(const ConvolutionGeometry&, const float*, const float*,
                                          float*);
template void convolution_weight_gradient(const ConvolutionGeometry&, const double*, const double*,
                                          double*);

}  // namespace flambeau
