// Note [Shifted view]
// Convolution reads, for one tap of the kernel, the same picture at another offset. So the source
// is copied once into a flat zero-padded scratch, and output positions run over that flat memory:
// the row of the matrix product that belongs to (channel, tap) is simply scratch + offset, with no
// im2col. Positions between the end of an output row and the next row are computed and dropped.
//   - stride s: element u of the padded axis goes to plane u % s at index u / s, so that the taps
//     of neighbouring outputs are neighbours again, and every stride is a shifted view;
//   - transposed with stride s: the outputs of one remainder modulo s form a stride-1 convolution
//     with every s-th tap (an OutputPhase);
//   - padding is shared: the zeros that follow a row are the zeros that precede the next one, and
//     the images of a group follow each other as rows do.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "base/allocator.h"
#include "ops/convolution/convolution_kernels.h"
#include "ops/convolution/micro_kernels.h"

namespace flambeau {

// A kernel position along one axis: which plane it reads, and how far along.
struct Tap {
  int64_t index, plane, shift;
};

// Output positions start, start + step, ... (count of them) along one axis, and their taps.
struct OutputPhase {
  int64_t start, count;
  std::vector<Tap> taps;
};

// How one axis of the source lies in the scratch.
struct ViewAxis {
  int64_t length;  // elements of the source
  int64_t stride;  // element (plane p, index i) of the scratch is source i * stride + p - lead
  int64_t lead;
  int64_t step;                 // distance of the output positions of a phase
  int64_t output;               // length of the output axis
  int64_t kernel;               // taps of the whole kernel along this axis
  int64_t pitch;                // scratch elements from one row to the next
  std::vector<int64_t> planes;  // remainders that some tap reads
  std::vector<OutputPhase> phases;
};

struct ShiftedView {
  ViewAxis axis[3];
  int64_t channels;    // of the source
  int64_t plane_size;  // scratch elements of one plane of one channel
  int64_t planes;      // planes per channel
  int64_t group;       // images in the scratch at a time

  int64_t image_pitch() const { return axis[0].pitch * axis[1].pitch * axis[2].pitch; }
  int64_t source_size() const { return axis[0].length * axis[1].length * axis[2].length; }
  int64_t output_size() const { return axis[0].output * axis[1].output * axis[2].output; }
  int64_t scratch_size() const { return channels * planes * plane_size; }

  // Where nothing is padded, the source itself can be the scratch of one image: changes the view
  // accordingly, or returns false.
  bool read_in_place();
};

// One combination of output phases: offsets of the taps and where the positions lie.
struct ViewPhase {
  std::vector<int64_t> offsets;  // into the planes of a channel
  std::vector<int64_t> taps;     // index into the kernel
  int64_t count[3], start[3], step[3];
};

// The output's view of the input, and the input gradient's view of the output gradient. The first
// leaves room in the caches for as many images with `other_channels` channels, but its group has
// least_images if the batch does.
ShiftedView forward_view(const ConvolutionGeometry& geometry, int64_t other_channels,
                         int64_t least_images, int item_bytes);
ShiftedView transposed_view(const ConvolutionGeometry& geometry, int item_bytes);
// The output gradient laid out at the flat positions of the forward view, zero between the rows,
// or at its compact ones.
ShiftedView aligned_view(const ConvolutionGeometry& geometry, const ShiftedView& forward,
                         bool compact, int item_bytes);
std::vector<ViewPhase> phases_of(const ShiftedView& view);

// Runs of consecutive positions, tile after tile.
struct RunList {
  std::vector<TileRun> runs;
  std::vector<int64_t> first;  // run of each tile, and one past the last

  const TileRun* begin(int64_t tile) const { return runs.data() + first[tile]; }
  int64_t count(int64_t tile) const { return first[tile + 1] - first[tile]; }
};

// The positions of a phase, cut into tiles of `width`. Flat positions run over the scratch with
// everything between the rows; compact ones count the outputs only, so that a tile's rows of the
// source must be gathered first.
struct TileMap {
  int64_t width, positions;
  bool compact;
  RunList sources;  // where to gather a tile from; empty unless compact
  RunList targets;  // where to store it

  int64_t tiles() const { return (positions + width - 1) / width; }
};
// Targets count from channel 0 of image 0 of an output with `channels` channels.
TileMap map_tiles(const ShiftedView& view, const ViewPhase& phase, int64_t channels, int64_t images,
                  int64_t width, bool compact);
// Whether gathering costs less than computing the positions between rows, when `panels` register
// tiles use what was gathered.
bool prefers_compact(const ShiftedView& view, const ViewPhase& phase, int64_t panels);

// Copies `images` images from x into the scratch.
template <class T>
void fill_scratch(const ShiftedView& view, const T* x, int64_t images, T* scratch);

// Uninitialised working memory.
template <class T>
class Scratch {
 public:
  explicit Scratch(int64_t count)
      : bytes_(count * sizeof(T)), data_(static_cast<T*>(allocate(bytes_))) {}
  ~Scratch() { deallocate(data_, bytes_); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  T* data() const { return data_; }

 private:
  size_t bytes_;
  T* data_;
};

// Items that a thread takes at least, when one costs `work` multiply-adds: below about half a
// million of them another thread costs more than it brings.
inline int64_t grain_for(int64_t work) {
  return std::max<int64_t>(1, (1 << 19) / std::max<int64_t>(work, 1));
}

}  // namespace flambeau
