#include "ops/convolution/convolution_kernels.h"

#include <algorithm>
#include <bit>
#include <vector>

#include "base/thread_pool.h"
#include "ops/convolution/shifted_view.h"

namespace flambeau {
namespace {

// Rows of the output that one work item computes; with a tile's width it fits the first cache.
constexpr int64_t kBlockRows = 64;
// Steps of the inner product before moving to the next panel: a panel of weights and the rows of
// the source that a tile reads stay in the first cache.
constexpr int64_t kBlockSteps = 256;

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
  int tile_vectors() const { return panels.rows <= 2 ? 2 * kernels.vectors : kernels.vectors; }

  void pack(const ViewPhase& phase, const T* w, WeightStrides strides, T* packed) const;
  void run(const ViewPhase& phase, const T* packed, const T* scratch, int64_t images, T* out) const;

 private:
  void tile(const ViewPhase& phase, const std::vector<int64_t>& offsets, const T* packed,
            const T* source, const T* initial_rows, int64_t first_panel, int64_t last_panel,
            int width, T* c) const;
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

// Fills c, [rows][width], with the sums of the panels [first_panel, last_panel).
template <class T>
void ViewProduct<T>::tile(const ViewPhase& phase, const std::vector<int64_t>& offsets,
                          const T* packed, const T* source, const T* initial_rows,
                          int64_t first_panel, int64_t last_panel, int width, T* c) const {
  int64_t depth = steps(phase), pitch = tile_vectors() * kernels.lanes, step = 0;
  do {
    int64_t count = std::min(kBlockSteps, depth - step);
    for (int64_t panel = first_panel; panel < last_panel; ++panel) {
      int64_t row = panel * panels.height;
      int height = panels.height_of(panel);
      kernels.product(height, width, packed + row * depth + step * height, source,
                      offsets.data() + step, count, step ? nullptr : initial_rows + row,
                      c + (row - first_panel * panels.height) * pitch, pitch);
    }
    step += count;
  } while (step < depth);
}

template <class T>
void ViewProduct<T>::run(const ViewPhase& phase, const T* packed, const T* scratch, int64_t images,
                         T* out) const {
  std::vector<int64_t> offsets;
  offsets.reserve(steps(phase));
  for (int64_t channel = 0; channel < channels; ++channel) {
    for (int64_t offset : phase.offsets) {
      offsets.push_back(channel * view.planes * view.plane_size + offset);
    }
  }
  int64_t width = tile_vectors() * kernels.lanes, positions = position_count(view, phase, images);
  int64_t tiles = (positions + width - 1) / width;
  int64_t block_panels = std::max<int64_t>(1, kBlockRows / panels.height);
  int64_t blocks = (panels.count() + block_panels - 1) / block_panels;
  int64_t out_channels = groups * panels.rows, out_plane = view.output_size();
  int64_t block_rows = std::min(kBlockRows, panels.rows);
  int64_t work = block_rows * width * (steps(phase) + 16);
  parallel_for(groups * tiles * blocks, grain_for(work), [&](int64_t begin, int64_t end) {
    alignas(64) T c[kBlockRows * 3 * 64 / sizeof(T)];
    TileRun runs[6 * 64 / sizeof(T)];
    int64_t run_count = 0, known_tile = -1;
    for (int64_t item = begin; item < end; ++item) {
      int64_t block = item % blocks, at = item / blocks % tiles, group = item / blocks / tiles;
      int64_t first = at * width, last = std::min(first + width, positions);
      if (known_tile != at) {
        run_count = find_runs(view, phase, out_channels, first, last, runs);
        known_tile = at;
      }
      if (run_count == 0) continue;
      int64_t first_panel = block * block_panels;
      int64_t last_panel = std::min(first_panel + block_panels, panels.count());
      int64_t row = first_panel * panels.height;
      tile(phase, offsets, packed + group * panels.padded() * steps(phase),
           scratch + group * channels * view.planes * view.plane_size + first,
           initial + group * panels.padded(), first_panel, last_panel,
           static_cast<int>((last - first + kernels.lanes - 1) / kernels.lanes), c);
      kernels.store(c, width, std::min(kBlockRows, panels.rows - row), runs, run_count,
                    out + (group * panels.rows + row) * out_plane, out_plane, phase.step[2]);
    }
  });
}

// out = weights times view(x) + bias, for all images.
template <class T>
void multiply_view(const ShiftedView& view, const ConvolutionGeometry& geometry,
                   int64_t out_channels, const T* x, const T* w, WeightStrides strides,
                   const T* bias, T* out) {
  const ConvolutionKernels<T>& kernels = convolution_kernels<T>();
  int64_t groups = geometry.groups;
  Panels panels{out_channels / groups, kernels.rows};
  std::vector<T> initial(groups * panels.padded(), T(0));
  for (int64_t channel = 0; bias && channel < out_channels; ++channel) {
    initial[channel / panels.rows * panels.padded() + channel % panels.rows] = bias[channel];
  }
  ViewProduct<T> product{view, kernels, groups, view.channels / groups, panels, initial.data()};
  std::vector<ViewPhase> phases = phases_of(view);
  int64_t packed_size = 0;
  for (const ViewPhase& phase : phases) packed_size += product.steps(phase);
  Scratch<T> packed(packed_size * groups * panels.padded()), scratch(view.scratch_size());
  T* to = packed.data();
  for (const ViewPhase& phase : phases) {
    product.pack(phase, w, strides, to);
    to += product.steps(phase) * groups * panels.padded();
  }
  for (int64_t image = 0; image < geometry.batch; image += view.group) {
    int64_t images = std::min(view.group, geometry.batch - image);
    fill_scratch(view, x + image * view.channels * view.source_size(), images, scratch.data());
    const T* from = packed.data();
    for (const ViewPhase& phase : phases) {
      product.run(phase, from, scratch.data(), images,
                  out + image * out_channels * view.output_size());
      from += product.steps(phase) * groups * panels.padded();
    }
  }
}

}  // namespace

template <class T>
void convolution_forward(const ConvolutionGeometry& geometry, const T* x, const T* w, const T* bias,
                         T* y) {
  int64_t taps = geometry.taps(), channels = geometry.in_channels / geometry.groups;
  WeightStrides strides{geometry.out_channels / geometry.groups * channels * taps, channels * taps,
                        taps};
  multiply_view(forward_view(geometry, sizeof(T)), geometry, geometry.out_channels, x, w, strides,
                bias, y);
}

template <class T>
void convolution_input_gradient(const ConvolutionGeometry& geometry, const T* g, const T* w,
                                const T* bias, T* x) {
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
