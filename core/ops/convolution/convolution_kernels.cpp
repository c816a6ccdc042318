#include "ops/convolution/convolution_kernels.h"

#include <algorithm>
#include <bit>
#include <vector>

#include "base/thread_pool.h"
#include "ops/convolution/products.h"
#include "ops/convolution/shifted_view.h"

namespace flambeau {
namespace {

// Rows of the output that one work item computes at most: their tile stays in the second cache.
constexpr int64_t kBlockRows = 256;
// Steps of the inner product before moving to the next panel: a panel of weights and the rows of
// the source that a tile reads stay in the first cache.
constexpr int64_t kBlockSteps = 192;
constexpr int64_t kTileBytes = 3 * 64;
// What a tile reads beyond the last position.
template <class T>
constexpr int64_t kSlack = 2 * kTileBytes / sizeof(T);

// Rows of one convolution group, cut into panels of the kernel's height; the last is rounded up
// to a power of two.
struct Panels {
  int64_t rows, height;
  int64_t count() const { return (rows + height - 1) / height; }
  int64_t valid(int64_t panel) const { return std::min(height, rows - panel * height); }
  int height_of(int64_t panel) const {
    return static_cast<int>(std::bit_ceil(static_cast<uint64_t>(valid(panel))));
  }
  int64_t padded() const { return (count() - 1) * height + height_of(count() - 1); }
};

// Where the weight of (group, row of the output, channel of the source, tap) lies.
struct WeightStrides {
  int64_t group, row, channel;
};

// A product of weights with a shifted view: shared by the forward pass and the input gradient.
template <class T>
struct ViewProduct {
  const ShiftedView& view;
  const ConvolutionKernels<T>& kernels;
  int64_t groups, channels;  // source channels per group
  Panels panels;             // output channels per group
  const T* initial;          // [groups][padded rows]: the bias

  int64_t steps(const ViewPhase& phase) const {
    return channels * static_cast<int64_t>(phase.taps.size());
  }
  // One map of tiles for each phase.
  std::vector<TileMap> map(const std::vector<ViewPhase>& phases, int64_t images) const {
    int64_t vectors = panels.rows <= 2 ? 2 * kernels.vectors : kernels.vectors;
    std::vector<TileMap> maps;
    for (const ViewPhase& phase : phases) {
      bool compact = panels.rows > 2 && prefers_compact(view, phase, panels.count());
      maps.push_back(
          map_tiles(view, phase, groups * panels.rows, images, vectors * kernels.lanes, compact));
    }
    return maps;
  }

  void pack(const ViewPhase& phase, const T* w, WeightStrides strides, T* packed) const;
  // Of `images` sources and outputs, one after another; each may be a group of images.
  void run(const ViewPhase& phase, const TileMap& map, const T* packed, const T* source,
           int64_t images, T* out) const;

 private:
  void tile(const TileMap& map, int64_t index, const std::vector<int64_t>& offsets, const T* packed,
            const T* source, const T* initial_rows, int64_t first_panel, int64_t last_panel, T* c,
            T* out) const;
};

template <class T>
void ViewProduct<T>::pack(const ViewPhase& phase, const T* w, WeightStrides strides,
                          T* packed) const {
  int64_t depth = steps(phase), count = panels.count();
  parallel_for(
      groups * count, grain_for(4 * depth * panels.height), [&](int64_t begin, int64_t end) {
        for (int64_t item = begin; item < end; ++item) {
          int64_t group = item / count, panel = item % count;
          int64_t row = panel * panels.height;
          kernels.pack(panels.height_of(panel), static_cast<int>(panels.valid(panel)),
                       w + group * strides.group + row * strides.row, strides.row, strides.channel,
                       channels, phase.taps.data(), static_cast<int64_t>(phase.taps.size()),
                       packed + (group * panels.padded() + row) * depth);
        }
      });
}

// Stores the panels [first_panel, last_panel) of a tile; c, [rows][width], is working memory.
template <class T>
void ViewProduct<T>::tile(const TileMap& map, int64_t index, const std::vector<int64_t>& offsets,
                          const T* packed, const T* source, const T* initial_rows,
                          int64_t first_panel, int64_t last_panel, T* c, T* out) const {
  alignas(64) T gathered[kBlockSteps * kTileBytes / sizeof(T)];
  int64_t gathered_offsets[kBlockSteps];
  for (int64_t k = 0; map.compact && k < kBlockSteps; ++k) gathered_offsets[k] = k * map.width;
  int64_t depth = static_cast<int64_t>(offsets.size()), step = 0;
  int64_t wanted = std::min(map.width, map.positions - index * map.width);
  int width = static_cast<int>((wanted + kernels.lanes - 1) / kernels.lanes);
  do {
    int64_t count = std::min(kBlockSteps, depth - step);
    const T* b = source + index * map.width;
    const int64_t* b_offsets = offsets.data() + step;
    if (map.compact) {
      kernels.gather_runs(source, b_offsets, count, map.sources.begin(index),
                          map.sources.count(index), gathered, map.width);
      b = gathered;
      b_offsets = gathered_offsets;
    }
    for (int64_t panel = first_panel; panel < last_panel; ++panel) {
      int64_t row = panel * panels.height;
      int height = panels.height_of(panel);
      T* c_panel = c + (row - first_panel * panels.height) * map.width;
      kernels.product(height, width, packed + row * depth + step * height, b, b_offsets, count,
                      step ? nullptr : initial_rows + row, c_panel, map.width);
      if (step + count == depth) {
        kernels.store(c_panel, map.width, panels.valid(panel), map.targets.begin(index),
                      map.targets.count(index), out + row * view.output_size(), view.output_size(),
                      view.axis[2].step);
      }
    }
    step += count;
  } while (step < depth);
}

template <class T>
void ViewProduct<T>::run(const ViewPhase& phase, const TileMap& map, const T* packed,
                         const T* source, int64_t images, T* out) const {
  std::vector<int64_t> offsets;
  offsets.reserve(steps(phase));
  for (int64_t channel = 0; channel < channels; ++channel) {
    for (int64_t offset : phase.offsets) {
      offsets.push_back(channel * view.planes * view.plane_size + offset);
    }
  }
  int64_t tiles = map.tiles();
  // Blocks of rows as high as possible, but enough of them for the threads.
  int64_t block_panels = kBlockRows / panels.height;
  while (block_panels > 1 && block_panels * panels.height > 32 &&
         images * groups * tiles * (panels.count() / block_panels) < 4 * thread_count()) {
    block_panels /= 2;
  }
  int64_t blocks = (panels.count() + block_panels - 1) / block_panels;
  int64_t block_rows = block_panels * panels.height;
  int64_t work = std::min(block_rows, panels.rows) * map.width * (steps(phase) + 16);
  int64_t items = groups * tiles * blocks;
  parallel_for(images * items, grain_for(work), [&](int64_t begin, int64_t end) {
    alignas(64) T c[kBlockRows * kTileBytes / sizeof(T)];
    for (int64_t item = begin; item < end; ++item) {
      int64_t block = item % blocks, index = item / blocks % tiles;
      int64_t group = item / (blocks * tiles) % groups, image = item / items;
      if (map.targets.count(index) == 0) continue;
      tile(map, index, offsets, packed + group * panels.padded() * steps(phase),
           source + image * view.scratch_size() + group * channels * view.planes * view.plane_size,
           initial + group * panels.padded(), block * block_panels,
           std::min((block + 1) * block_panels, panels.count()), c,
           out + (image * groups + group) * panels.rows * view.output_size());
    }
  });
}

// out = weights times view(x) + bias, for all images.
template <class T>
void multiply_view(ShiftedView view, const ConvolutionGeometry& geometry, int64_t out_channels,
                   const T* x, const T* w, WeightStrides strides, const T* bias, T* out) {
  const ConvolutionKernels<T>& kernels = convolution_kernels<T>();
  int64_t groups = geometry.groups, batch = geometry.batch;
  // All images but the last are read where they are: tiles read a little beyond their image.
  bool in_place = batch > 1 && view.read_in_place();
  Panels panels{out_channels / groups, kernels.rows};
  std::vector<T> initial(groups * panels.padded(), T(0));
  for (int64_t channel = 0; bias && channel < out_channels; ++channel) {
    initial[channel / panels.rows * panels.padded() + channel % panels.rows] = bias[channel];
  }
  ViewProduct<T> product{view, kernels, groups, view.channels / groups, panels, initial.data()};
  std::vector<ViewPhase> phases = phases_of(view);
  int64_t packed_size = 0;
  for (const ViewPhase& phase : phases) packed_size += product.steps(phase);
  Scratch<T> packed(packed_size * groups * panels.padded()),
      scratch(view.scratch_size() + kSlack<T>);
  T* to = packed.data();
  for (const ViewPhase& phase : phases) {
    product.pack(phase, w, strides, to);
    to += product.steps(phase) * groups * panels.padded();
  }
  int64_t source_size = view.channels * view.source_size();
  int64_t out_size = out_channels * view.output_size();
  std::vector<TileMap> maps;
  int64_t images = 0;
  for (int64_t image = 0; image < batch; image += images) {
    bool there = in_place && image + 1 < batch;
    images = there ? batch - 1 : std::min(view.group, batch - image);
    if (image == 0 || images < view.group) maps = product.map(phases, in_place ? 1 : images);
    const T* source = x + image * source_size;
    if (in_place && !there) {
      std::copy(source, source + source_size, scratch.data());
    } else if (!in_place) {
      fill_scratch(view, source, images, scratch.data());
    }
    const T* from = packed.data();
    for (size_t i = 0; i < phases.size(); ++i) {
      product.run(phases[i], maps[i], from, there ? source : scratch.data(), there ? images : 1,
                  out + image * out_size);
      from += product.steps(phases[i]) * groups * panels.padded();
    }
  }
}

}  // namespace

template <class T>
void convolution_forward(const ConvolutionGeometry& geometry, const T* x, const T* w, const T* bias,
                         T* y) {
  if (is_pointwise<T>(geometry)) return pointwise_forward(geometry, x, w, bias, y);
  int64_t taps = geometry.taps(), channels = geometry.in_channels / geometry.groups;
  WeightStrides strides{geometry.out_channels / geometry.groups * channels * taps, channels * taps,
                        taps};
  multiply_view(forward_view(geometry, 0, 0, sizeof(T)), geometry, geometry.out_channels, x, w,
                strides, bias, y);
}

template <class T>
void convolution_input_gradient(const ConvolutionGeometry& geometry, const T* g, const T* w,
                                const T* bias, T* x) {
  if (is_pointwise<T>(geometry)) return pointwise_input_gradient(geometry, g, w, bias, x);
  int64_t taps = geometry.taps(), channels = geometry.in_channels / geometry.groups;
  WeightStrides strides{geometry.out_channels / geometry.groups * channels * taps, taps,
                        channels * taps};
  multiply_view(transposed_view(geometry, sizeof(T)), geometry, geometry.in_channels, g, w, strides,
                bias, x);
}

template void convolution_forward(const ConvolutionGeometry&, const float*, const float*,
                                  const float*, float*);
template void convolution_forward(const ConvolutionGeometry&, const double*, const double*,
                                  const double*, double*);
template void convolution_input_gradient(const ConvolutionGeometry&, const float*, const float*,
                                         const float*, float*);
template void convolution_input_gradient(const ConvolutionGeometry&, const double*, const double*,
                                         const double*, double*);

}  // namespace flambeau
