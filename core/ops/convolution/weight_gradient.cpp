// The gradient of the weight: for every output channel and every (input channel, tap) the product
// of two rows summed over positions. With the output gradient laid out at the positions of the
// forward view, both rows are contiguous, so this is a matrix of dot products, 8x3 of them at a
// time in registers. Positions are cut into blocks: 8 rows of gradients stay in the first cache
// while all columns of the weight pass by. Where there are too few columns to share out, chunks of
// blocks add up in matrices of their own.
#include <algorithm>
#include <vector>

#include "base/thread_pool.h"
#include "ops/convolution/products.h"
#include "ops/convolution/shifted_view.h"

namespace flambeau {
namespace {

// Positions of a block, in bytes: half as many more or fewer, so that blocks are alike.
constexpr int64_t kBlockBytes = 2560;
// Planes of the output gradient at least so large are not copied but read where they are, if there
// are so few columns that the copy would cost more than it gains.
constexpr int64_t kDirectBytes = 2048, kDirectColumns = 64;
// Columns of the weight that one work item computes.
constexpr int64_t kBlockColumns = 48;
// Work items worth having, however many threads there are: results must not depend on those.
constexpr int64_t kItems = 16;

template <class T>
struct DotProducts {
  const ConvolutionGeometry& geometry;
  const ConvolutionKernels<T>& kernels;
  ShiftedView inputs, gradients;
  ViewPhase phase;
  std::vector<int64_t> offsets;  // of the columns of a group: (input channel, tap)
  bool compact;
  bool direct;         // reads the gradients where they are, one image after another
  int64_t images = 0;  // in the scratch
  TileMap map;         // of those images, or of each of them if direct; a tile is a block

  explicit DotProducts(const ConvolutionGeometry& geometry);
  int64_t rows() const { return geometry.out_channels / geometry.groups; }
  int64_t columns() const { return static_cast<int64_t>(offsets.size()); }
  int64_t size() const { return geometry.out_channels * columns(); }
  int64_t splits() const { return (columns() + kBlockColumns - 1) / kBlockColumns; }
  int64_t chunks() const;
  static constexpr int64_t kBlock = kBlockBytes / sizeof(T);
  // Short blocks cost more than images that do not fit the second cache.
  static int64_t least_images(const ConvolutionGeometry& geometry) {
    int64_t positions = geometry.output[0] * geometry.output[1] * geometry.output[2];
    return kBlock / std::max<int64_t>(positions, 1) + 1;
  }
  int64_t block_width(int64_t positions) const {
    int64_t blocks = std::max<int64_t>(1, (positions + kBlock / 2) / kBlock);
    int64_t width = (positions + blocks - 1) / blocks;
    return (width + kernels.lanes - 1) / kernels.lanes * kernels.lanes;
  }
  int64_t gradient_pitch() const { return direct ? gradients.source_size() : gradients.plane_size; }

  // Adds the products of the images in the scratch to w, and those of all chunks of positions but
  // the first to `extra`, [chunk_count - 1] matrices like w.
  void run(const T* x, const T* g, int64_t chunk_count, T* w, T* extra) const;

 private:
  void block(int64_t index, const T* x, const T* g, int64_t first_column, int64_t last_column,
             T* gathered, T* out) const;
};

template <class T>
DotProducts<T>::DotProducts(const ConvolutionGeometry& geometry)
    : geometry(geometry),
      kernels(convolution_kernels<T>()),
      inputs(forward_view(geometry, geometry.out_channels, least_images(geometry), sizeof(T))),
      phase(phases_of(inputs)[0]) {
  for (int64_t channel = 0; channel < geometry.in_channels / geometry.groups; ++channel) {
    for (int64_t offset : phase.offsets) {
      offsets.push_back(channel * inputs.planes * inputs.plane_size + offset);
    }
  }
  compact = prefers_compact(inputs, phase, (rows() + kernels.rows - 1) / kernels.rows);
  direct = rows() >= 2 * kernels.rows && columns() <= kDirectColumns &&
           inputs.output_size() * static_cast<int64_t>(sizeof(T)) >= kDirectBytes;
  compact = compact || direct;
  gradients = aligned_view(geometry, inputs, compact, sizeof(T));
}

template <class T>
int64_t DotProducts<T>::chunks() const {
  int64_t items = std::max<int64_t>(1, geometry.groups * splits());
  int64_t blocks = inputs.group * inputs.image_pitch() * sizeof(T) / kBlockBytes;
  return std::clamp<int64_t>((kItems + items - 1) / items, 1, std::max<int64_t>(1, blocks));
}

// Adds to out, [rows][columns], the products over one block of positions for some columns.
template <class T>
void DotProducts<T>::block(int64_t index, const T* x, const T* g, int64_t first_column,
                           int64_t last_column, T* gathered, T* out) const {
  if (direct) {
    int64_t image = index / map.tiles();
    index %= map.tiles();
    x += image * inputs.image_pitch();
    g += image * geometry.out_channels * gradients.source_size();
  }
  int64_t begin = index * map.width, valid = std::min(map.width, map.positions - begin);
  int64_t count = (valid + kernels.lanes - 1) / kernels.lanes * kernels.lanes;
  const T* b = x + begin;
  const int64_t* b_offsets = offsets.data() + first_column;
  int64_t gathered_offsets[kBlockColumns];
  if (compact) {
    kernels.gather_runs(x, b_offsets, last_column - first_column, map.sources.begin(index),
                        map.sources.count(index), gathered, map.width);
    for (int64_t j = 0; j < last_column - first_column; ++j) {
      gathered_offsets[j] = j * map.width;
      for (int64_t i = valid; i < count; ++i) gathered[j * map.width + i] = T(0);
    }
    b = gathered;
    b_offsets = gathered_offsets;
  }
  for (int64_t row = 0; row < rows();) {
    int height = kernels.rows;
    while (height > rows() - row) height /= 2;
    int64_t width = height <= 2 ? 6 : 3;
    for (int64_t column = first_column; column < last_column; column += width) {
      kernels.dot(height, static_cast<int>(std::min(width, last_column - column)),
                  g + row * gradient_pitch() + begin, gradient_pitch(), b,
                  b_offsets + column - first_column, direct ? valid : count,
                  out + row * columns() + column, columns());
    }
    row += height;
  }
}

template <class T>
void DotProducts<T>::run(const T* x, const T* g, int64_t chunk_count, T* w, T* extra) const {
  int64_t channels = geometry.in_channels / geometry.groups;
  int64_t blocks = direct ? images * map.tiles() : map.tiles();
  int64_t group_count = geometry.groups, split_count = splits();
  int64_t work = rows() * std::min(columns(), kBlockColumns) * (direct ? images : 1) *
                 map.positions / chunk_count;
  auto body = [&](int64_t begin, int64_t end) {
    Scratch<T> gathered(compact ? kBlockColumns * map.width : 0);
    for (int64_t item = begin; item < end; ++item) {
      int64_t split = item % split_count, group = item / split_count % group_count;
      int64_t chunk = item / (split_count * group_count);
      int64_t last = blocks * (chunk + 1) / chunk_count;
      T* sums = chunk == 0 ? w : extra + (chunk - 1) * size();
      for (int64_t index = blocks * chunk / chunk_count; index < last; ++index) {
        block(index, x + group * channels * inputs.planes * inputs.plane_size,
              g + group * rows() * gradient_pitch(), split * kBlockColumns,
              std::min((split + 1) * kBlockColumns, columns()), gathered.data(),
              sums + group * rows() * columns());
      }
    }
  };
  parallel_for(group_count * split_count * chunk_count, grain_for(work), body);
}

}  // namespace

template <class T>
void convolution_weight_gradient(const ConvolutionGeometry& geometry, const T* x, const T* g,
                                 T* w) {
  if (geometry.batch > 0 && prefers_weight_product<T>(geometry)) {
    return weight_product(geometry, x, g, w);
  }
  DotProducts<T> products(geometry);
  int64_t size = products.size(), chunks = products.chunks(), group = products.inputs.group;
  std::fill(w, w + size, T(0));
  if (size == 0 || geometry.batch == 0) return;
  Scratch<T> x_scratch(products.inputs.scratch_size());
  Scratch<T> g_scratch(products.direct ? 0 : products.gradients.scratch_size()),
      extra((chunks - 1) * size);
  std::fill(extra.data(), extra.data() + (chunks - 1) * size, T(0));
  for (int64_t image = 0; image < geometry.batch; image += group) {
    products.images = std::min(group, geometry.batch - image);
    if (image == 0 || products.images < group) {
      products.map =
          map_tiles(products.inputs, products.phase, 1, products.direct ? 1 : products.images,
                    kBlockBytes / sizeof(T), products.compact);
    }
    fill_scratch(products.inputs,
                 x + image * products.inputs.channels * products.inputs.source_size(),
                 products.images, x_scratch.data());
    const T* from = g + image * geometry.out_channels * products.gradients.source_size();
    if (!products.direct) {
      fill_scratch(products.gradients, from, products.images, g_scratch.data());
      from = g_scratch.data();
    }
    products.run(x_scratch.data(), from, chunks, w, extra.data());
  }
  for (const T* from = extra.data(); from < extra.data() + (chunks - 1) * size; from += size) {
    for (int64_t i = 0; i < size; ++i) w[i] += from[i];
  }
}

template void convolution_weight_gradient(const ConvolutionGeometry&, const float*, const float*,
                                          float*);
template void convolution_weight_gradient(const ConvolutionGeometry&, const double*, const double*,
                                          double*);

}  // namespace flambeau
