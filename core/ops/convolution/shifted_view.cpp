#include "ops/convolution/shifted_view.h"

#include <algorithm>

#include "base/thread_pool.h"

namespace flambeau {
namespace {

// Scratch per group of images: a share of a core's second-level cache.
constexpr int64_t kScratchBytes = 1 << 20;
// Smaller images are not read in place: side by side in the scratch they fill tiles better.
constexpr int64_t kInPlace = 192;
// What the widest tile reads beyond the last position, in bytes.
constexpr int64_t kSlackBytes = 6 * 64;

int64_t floor_divide(int64_t a, int64_t b) { return a / b - (a % b < 0); }
int64_t ceil_divide(int64_t a, int64_t b) { return -floor_divide(-a, b); }

// Pitch such that what lies beyond it is zero in this row and in the next one's beginning.
void set_pitch(ViewAxis& axis) {
  int64_t extent = 1, count = 1;
  for (const OutputPhase& phase : axis.phases) {
    count = std::max(count, phase.count);
    for (const Tap& tap : phase.taps) extent = std::max(extent, phase.count + tap.shift);
  }
  int64_t filled = 0, leading = extent;
  for (int64_t plane : axis.planes) {
    int64_t end = floor_divide(axis.length - 1 + axis.lead - plane, axis.stride) + 1;
    filled = std::max(filled, std::min(end, extent));
    leading = std::min(leading, std::max<int64_t>(0, ceil_divide(axis.lead - plane, axis.stride)));
  }
  axis.pitch = std::max({count, filled, extent - leading});
}

// An odd number of cache lines per plane keeps planes out of each other's cache sets.
int64_t odd_lines(int64_t size, int item_bytes) {
  int64_t line = 64 / item_bytes;
  return ((size + line - 1) / line | 1) * line;
}

ViewAxis forward_axis(const ConvolutionGeometry& geometry, int i) {
  int64_t stride = geometry.stride[i];
  ViewAxis axis{geometry.input[i],
                stride,
                geometry.padding[i],
                1,
                geometry.output[i],
                geometry.kernel[i],
                0,
                {},
                {}};
  OutputPhase phase{0, geometry.output[i], {}};
  for (int64_t t = 0; t < geometry.kernel[i]; ++t) {
    int64_t at = t * geometry.dilation[i];
    auto found = std::find(axis.planes.begin(), axis.planes.end(), at % stride);
    phase.taps.push_back({t, found - axis.planes.begin(), at / stride});
    if (found == axis.planes.end()) axis.planes.push_back(at % stride);
  }
  axis.phases.push_back(phase);
  set_pitch(axis);
  return axis;
}

ViewAxis transposed_axis(const ConvolutionGeometry& geometry, int i) {
  int64_t stride = geometry.stride[i];
  ViewAxis axis{geometry.output[i], 1, 0,   stride, geometry.input[i],
                geometry.kernel[i], 0, {0}, {}};
  for (int64_t start = 0; start < std::min(stride, geometry.input[i]); ++start) {
    OutputPhase phase{start, ceil_divide(geometry.input[i] - start, stride), {}};
    for (int64_t t = 0; t < geometry.kernel[i]; ++t) {
      int64_t distance = start + geometry.padding[i] - t * geometry.dilation[i];
      if (distance % stride == 0) phase.taps.push_back({t, 0, distance / stride});
    }
    axis.phases.push_back(phase);
  }
  int64_t first = INT64_MAX;
  for (const OutputPhase& phase : axis.phases) {
    for (const Tap& tap : phase.taps) first = std::min(first, tap.shift);
  }
  axis.lead = first == INT64_MAX ? 0 : -first;
  for (OutputPhase& phase : axis.phases) {
    for (Tap& tap : phase.taps) tap.shift += axis.lead;
  }
  set_pitch(axis);
  return axis;
}

void finish(ShiftedView& view, int64_t batch, int64_t other_channels, int64_t least_images,
            int item_bytes) {
  int64_t reach = 0;
  view.planes = 1;
  for (const ViewAxis& axis : view.axis) {
    int64_t shift = 0;
    for (const OutputPhase& phase : axis.phases) {
      for (const Tap& tap : phase.taps) shift = std::max(shift, tap.shift);
    }
    reach = reach * axis.pitch + shift;
    view.planes *= static_cast<int64_t>(axis.planes.size());
  }
  int64_t image_planes = view.channels * view.planes + other_channels;
  int64_t image_bytes = image_planes * view.image_pitch() * item_bytes;
  int64_t fitting = kScratchBytes / std::max<int64_t>(image_bytes, 1);
  view.group = std::min(std::max({fitting, least_images, int64_t{1}}), std::max<int64_t>(batch, 1));
  int64_t size = view.group * view.image_pitch() + reach + kSlackBytes / item_bytes;
  view.plane_size = odd_lines(size, item_bytes);
}

}  // namespace

ShiftedView forward_view(const ConvolutionGeometry& geometry, int64_t other_channels,
                         int64_t least_images, int item_bytes) {
  ShiftedView view;
  for (int i = 0; i < 3; ++i) view.axis[i] = forward_axis(geometry, i);
  view.channels = geometry.in_channels;
  finish(view, geometry.batch, other_channels, least_images, item_bytes);
  return view;
}

ShiftedView transposed_view(const ConvolutionGeometry& geometry, int item_bytes) {
  ShiftedView view;
  for (int i = 0; i < 3; ++i) view.axis[i] = transposed_axis(geometry, i);
  view.channels = geometry.out_channels;
  finish(view, geometry.batch, 0, 0, item_bytes);
  return view;
}

bool ShiftedView::read_in_place() {
  for (const ViewAxis& a : axis) {
    if (a.stride != 1 || a.lead != 0 || a.pitch != a.length) return false;
  }
  if (source_size() < kInPlace) return false;
  group = 1;
  plane_size = source_size();
  return true;
}

ShiftedView aligned_view(const ConvolutionGeometry& geometry, const ShiftedView& forward,
                         bool compact, int item_bytes) {
  ShiftedView view = forward;
  for (int i = 0; i < 3; ++i) {
    view.axis[i].length = geometry.output[i];
    view.axis[i].stride = 1;
    view.axis[i].lead = 0;
    view.axis[i].planes = {0};
    if (compact) view.axis[i].pitch = geometry.output[i];
  }
  view.channels = geometry.out_channels;
  view.planes = 1;
  view.plane_size = odd_lines(view.group * view.image_pitch() + 2 * 64 / item_bytes, item_bytes);
  return view;
}

static ViewPhase combine(const ShiftedView& view, const OutputPhase& first,
                         const OutputPhase& second, const OutputPhase& third) {
  const ViewAxis* axis = view.axis;
  ViewPhase result{{},
                   {},
                   {first.count, second.count, third.count},
                   {first.start, second.start, third.start},
                   {axis[0].step, axis[1].step, axis[2].step}};
  int64_t planes1 = static_cast<int64_t>(axis[1].planes.size());
  int64_t planes2 = static_cast<int64_t>(axis[2].planes.size());
  for (const Tap& a : first.taps) {
    for (const Tap& b : second.taps) {
      for (const Tap& c : third.taps) {
        int64_t plane = (a.plane * planes1 + b.plane) * planes2 + c.plane;
        int64_t shift = (a.shift * axis[1].pitch + b.shift) * axis[2].pitch + c.shift;
        result.offsets.push_back(plane * view.plane_size + shift);
        result.taps.push_back((a.index * axis[1].kernel + b.index) * axis[2].kernel + c.index);
      }
    }
  }
  return result;
}

std::vector<ViewPhase> phases_of(const ShiftedView& view) {
  std::vector<ViewPhase> result;
  for (const OutputPhase& first : view.axis[0].phases) {
    for (const OutputPhase& second : view.axis[1].phases) {
      for (const OutputPhase& third : view.axis[2].phases) {
        result.push_back(combine(view, first, second, third));
      }
    }
  }
  return result;
}

// Appends positions [at, at + length) that lie `step` apart from `offset` on, cut at multiples of
// `width`; continues the last run where it can.
static void add_run(RunList& list, int64_t width, int64_t at, int64_t length, int64_t offset,
                    int64_t step) {
  while (length > 0) {
    int64_t tile = at / width, start = at % width, count = std::min(length, width - start);
    bool fresh = static_cast<int64_t>(list.first.size()) <= tile;
    list.first.resize(std::max<int64_t>(list.first.size(), tile + 1), list.runs.size());
    TileRun* last = fresh ? nullptr : &list.runs.back();
    if (last && last->start + last->length == start &&
        last->offset + last->length * step == offset) {
      last->length += count;
    } else {
      list.runs.push_back({start, count, offset});
    }
    at += count, length -= count, offset += count * step;
  }
}

TileMap map_tiles(const ShiftedView& view, const ViewPhase& phase, int64_t channels, int64_t images,
                  int64_t width, bool compact) {
  const ViewAxis* axis = view.axis;
  TileMap map{width, 0, compact, {}, {}};
  int64_t length = phase.count[2];
  int64_t at = 0;
  for (int64_t image = 0; image < images; ++image) {
    for (int64_t i0 = 0; i0 < phase.count[0]; ++i0) {
      for (int64_t i1 = 0; i1 < phase.count[1]; ++i1) {
        int64_t source = ((image * axis[0].pitch + i0) * axis[1].pitch + i1) * axis[2].pitch;
        int64_t o0 = phase.start[0] + i0 * axis[0].step, o1 = phase.start[1] + i1 * axis[1].step;
        int64_t target = image * channels * view.output_size() +
                         (o0 * axis[1].output + o1) * axis[2].output + phase.start[2];
        if (!compact) at = source;
        if (compact) add_run(map.sources, width, at, length, source, 1);
        add_run(map.targets, width, at, length, target, axis[2].step);
        at += length;
      }
    }
  }
  map.positions = at;
  for (RunList* list : {&map.sources, &map.targets}) {
    list->first.resize(map.tiles() + 1, static_cast<int64_t>(list->runs.size()));
  }
  return map;
}

bool prefers_compact(const ShiftedView& view, const ViewPhase& phase, int64_t panels) {
  // In vectors of a register tile, per step: 4 multiply-adds a panel, and about 2 a copied run.
  double rows = static_cast<double>(phase.count[0] * phase.count[1]);
  double wanted = rows * static_cast<double>(phase.count[2]);
  double waste = static_cast<double>(view.image_pitch()) / wanted - 1;
  double run_vectors = static_cast<double>((phase.count[2] + 15) / 16);
  return waste * 4 * static_cast<double>(panels) * wanted / 16 > 2 * run_vectors * rows;
}

template <class T>
static void fill_plane(const ShiftedView& view, const T* x, const int64_t plane[3],
                       int64_t image_stride, int64_t images, T* to) {
  const ViewAxis* axis = view.axis;
  int64_t begin[3], count[3];  // the part of each axis that is not padding
  for (int i = 0; i < 3; ++i) {
    int64_t lead = axis[i].lead - plane[i], pitch = axis[i].pitch;
    begin[i] = std::clamp<int64_t>(ceil_divide(lead, axis[i].stride), 0, pitch);
    int64_t end = floor_divide(axis[i].length - 1 + lead, axis[i].stride) + 1;
    count[i] = std::clamp(end, begin[i], pitch) - begin[i];
    x += (begin[i] * axis[i].stride - lead) * (i == 2   ? 1
                                               : i == 1 ? axis[2].length
                                                        : axis[1].length * axis[2].length);
  }
  auto gather = convolution_kernels<T>().gather;
  if (count[1] == 0 || count[2] == 0) count[0] = 0;
  // A store of zeros writes up to a line too much; the plane has more slack than that.
  int64_t end = view.plane_size - 64 / static_cast<int64_t>(sizeof(T));
  int64_t slice_pitch = axis[1].pitch * axis[2].pitch;
  int64_t at = begin[0] * slice_pitch + begin[1] * axis[2].pitch + begin[2];
  std::fill(to, to + (count[0] == 0 ? view.plane_size : at), T(0));
  int64_t last_row = (count[1] - 1) * axis[2].pitch + count[2];
  for (int64_t image = 0; image < images; ++image, x += image_stride) {
    const T* from = x;
    for (int64_t i0 = 0; i0 < count[0]; ++i0) {
      bool more = i0 + 1 < count[0];
      int64_t next = at + (more ? 1 : axis[0].pitch - count[0] + 1) * slice_pitch;
      if (!more && image + 1 == images) next = end;
      gather(to + at, axis[2].pitch, from, axis[1].stride * axis[2].length, count[1], count[2],
             axis[2].stride, next - at - last_row);
      from += axis[0].stride * axis[1].length * axis[2].length;
      at = next;
    }
  }
}

template <class T>
static void fill_channel(const ShiftedView& view, const T* x, int64_t channel, int64_t images,
                         T* to) {
  int64_t image_stride = view.channels * view.source_size();
  for (int64_t plane0 : view.axis[0].planes) {
    for (int64_t plane1 : view.axis[1].planes) {
      for (int64_t plane2 : view.axis[2].planes) {
        const int64_t plane[3] = {plane0, plane1, plane2};
        fill_plane(view, x + channel * view.source_size(), plane, image_stride, images, to);
        to += view.plane_size;
      }
    }
  }
}

template <class T>
void fill_scratch(const ShiftedView& view, const T* x, int64_t images, T* scratch) {
  int64_t channel_size = view.planes * view.plane_size;
  parallel_for(view.channels, grain_for(4 * channel_size), [&](int64_t begin, int64_t end) {
    for (int64_t channel = begin; channel < end; ++channel) {
      fill_channel(view, x, channel, images, scratch + channel * channel_size);
    }
  });
}

template void fill_scratch(const ShiftedView&, const float*, int64_t, float*);
template void fill_scratch(const ShiftedView&, const double*, int64_t, double*);

}  // namespace flambeau
