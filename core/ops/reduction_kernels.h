// Reductions from the inside: folds of tiles and the driver that cuts tensors into
// tiles.
//
// Note [Reduction tiles]: every reduction is cut into tiles of `outputs` x `length` elements; a
// fold adds a tile to one accumulator ("state") per output. Long reductions are cut into chunks
// that depend on the shape only, whose states are merged in order: results do not depend on the
// number of threads. Sums run in the element's precision over short blocks and in double (or
// uint64) between blocks.
#pragma once

#include <cstdint>

#include "base/cpu.h"
#include "tensor/dtype.h"

namespace flambeau {

class Tensor;

// Copies `count` elements, `stride` apart, into a block of the type that the fold computes in.
using BlockLoad = void (*)(void* block, const void* source, int64_t stride, int64_t count);

// Strides in elements. `first` is the position of the tile along the reduced axis (for indices).
struct Tile {
  const char* data;
  int64_t outputs, output_stride;
  int64_t length, length_stride;
  int64_t first;
  int item_size;
  BlockLoad load;
  bool direct;  // elements already have the fold's type: unit strides need no load
  double power;
};

enum class Fold : uint8_t {
  Sum,
  SumNotNan,
  SumAbs,
  SumSquare,
  SumPower,
  CountNotNan,
  Product,
  Max,
  Min,
  MaxAbs,
  MinAbs,
  ArgMax,
  ArgMin,
  Moments
};

// The accumulators of the families of folds. Max and Min have the element's compute type itself.
template <class A>
struct Located {
  A value;
  int64_t index;  // -1: nothing seen yet
};
struct MomentsState {
  double count, mean, squares;  // squares: sum of squared deviations from the mean
};

struct FoldKernel {
  int state_size = 0;
  bool direct = false;
  BlockLoad load = nullptr;
  void (*start)(void* states, int64_t count) = nullptr;
  void (*fold)(void* states, const Tile& tile) = nullptr;
  // Adds `others`, which come later along the axis, to `states`.
  void (*merge)(void* states, const void* others, int64_t count) = nullptr;
};

// `truth`: elements are read as bool (any, all, count_nonzero).
FLAMBEAU_SIMD(FoldKernel fold_kernel(Fold fold, DType dtype, bool truth))

// What becomes of an accumulator.
enum class Finish : uint8_t {
  Plain,
  Divide,     // by `parameter`
  Root,       // of order `parameter`
  Variance,   // squares / max(count - parameter, 0)
  Deviation,  // the root of that
};

struct Reduction {
  Fold fold;
  Finish finish = Finish::Plain;
  double parameter = 0;
  double power = 0;    // SumPower
  bool truth = false;  // elements are read as bool
};

// Folds the dimensions in `dims` (bit d: dimension d) of input into `output`, dense, in the order
// of the dimensions that remain. `second`: int64 positions of ArgMax and ArgMin (then `output` may
// be null), the means of Moments. ArgMax and ArgMin take one dimension, or all of a dense tensor.
void reduce(const Tensor& input, uint64_t dims, const Reduction& reduction, Tensor* output,
            Tensor* second = nullptr);
// What it does where the tensors are on a GPU; there are results.
void reduce_cuda(const Tensor& input, uint64_t dims, const Reduction& reduction, Tensor* output,
                 Tensor* second);

}  // namespace flambeau
