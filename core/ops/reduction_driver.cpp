// Cuts a reduction into the tiles of Note [Reduction tiles] and finishes the accumulators.
#include <cmath>
#include <memory>

#include "base/thread_pool.h"
#include "ops/reduction_kernels.h"
#include "tensor/tensor.h"

namespace flambeau {
namespace {

struct Axis {
  int64_t length, stride, out_stride;
};
using Axes = SmallVector<Axis, 6>;

// Longest stride first; neighbours that both sides walk with one step are joined.
void arrange(Axes& axes) {
  for (int64_t i = 1; i < axes.size(); ++i) {
    for (int64_t j = i; j > 0 && axes[j - 1].stride < axes[j].stride; --j) {
      std::swap(axes[j - 1], axes[j]);
    }
  }
  int64_t last = -1;
  for (const Axis& axis : Axes(axes)) {
    if (last >= 0 && axes[last].stride == axis.stride * axis.length &&
        axes[last].out_stride == axis.out_stride * axis.length) {
      axes[last] = {axes[last].length * axis.length, axis.stride, axis.out_stride};
    } else {
      axes[++last] = axis;
    }
  }
  axes.resize(last + 1);
}

int64_t product(const Axes& axes) {
  int64_t result = 1;
  for (const Axis& axis : axes) result *= axis.length;
  return result;
}

// Splits off the innermost axis; one of length 1 if there is none.
Axis take_inner(Axes& axes) {
  if (axes.empty()) return {1, 1, 1};
  Axis inner = axes.back();
  axes.pop_back();
  return inner;
}

struct Offsets {
  int64_t in = 0, out = 0;
};
Offsets offsets_of(const Axes& axes, int64_t index) {
  Offsets result;
  for (int64_t d = axes.size() - 1; d >= 0; --d) {
    int64_t position = index % axes[d].length;
    index /= axes[d].length;
    result.in += position * axes[d].stride;
    result.out += position * axes[d].out_stride;
  }
  return result;
}

double finished(double value, const Reduction& reduction) {
  switch (reduction.finish) {
    case Finish::Divide:
      return value / reduction.parameter;
    case Finish::Root:
      if (reduction.parameter == 2) return std::sqrt(value);
      return reduction.parameter == 1 ? value : std::pow(value, 1 / reduction.parameter);
    default:
      return value;
  }
}

double finished(const MomentsState& state, const Reduction& reduction) {
  double divisor = std::max(state.count - reduction.parameter, 0.0);
  double variance = state.count == 0 ? NAN : state.squares / divisor;
  return reduction.finish == Finish::Deviation ? std::sqrt(variance) : variance;
}

// One reduction on its way: where it reads, what it folds with, where results go.
struct Job {
  const Tensor& input;
  const Reduction& reduction;
  Tensor* output;
  Tensor* second;
  FoldKernel kernel;

  void finish(const void* states, int64_t count, int64_t at, int64_t stride) const;

 private:
  template <class State>
  void finish_numbers(const void* states, int64_t count, int64_t at, int64_t stride) const;
  template <class A, class T>
  void finish_values(const void* states, int64_t count, int64_t at, int64_t stride) const;
  void finish_moments(const void* states, int64_t count, int64_t at, int64_t stride) const;
};

template <class State>
void Job::finish_numbers(const void* states, int64_t count, int64_t at, int64_t stride) const {
  auto* state = static_cast<const State*>(states);
  visit_dtype(output->dtype(), [&]<class T>() {
    T* out = output->data<T>() + at;
    if (reduction.finish == Finish::Plain) {
      for (int64_t i = 0; i < count; ++i) out[i * stride] = convert<T>(state[i]);
    } else {
      for (int64_t i = 0; i < count; ++i) {
        out[i * stride] = convert<T>(finished(static_cast<double>(state[i]), reduction));
      }
    }
  });
}

template <class A, class T>
void Job::finish_values(const void* states, int64_t count, int64_t at, int64_t stride) const {
  if (reduction.fold == Fold::ArgMax || reduction.fold == Fold::ArgMin) {
    auto* state = static_cast<const Located<A>*>(states);
    int64_t* where = second->data<int64_t>() + at;
    for (int64_t i = 0; i < count; ++i) where[i * stride] = state[i].index;
    if (!output) return;
    T* out = output->data<T>() + at;
    for (int64_t i = 0; i < count; ++i) out[i * stride] = convert<T>(state[i].value);
  } else {
    auto* state = static_cast<const A*>(states);
    T* out = output->data<T>() + at;
    for (int64_t i = 0; i < count; ++i) out[i * stride] = convert<T>(state[i]);
  }
}

void Job::finish_moments(const void* states, int64_t count, int64_t at, int64_t stride) const {
  auto* state = static_cast<const MomentsState*>(states);
  visit_dtype(output->dtype(), [&]<class T>() {
    T* out = output->data<T>() + at;
    for (int64_t i = 0; i < count; ++i) out[i * stride] = convert<T>(finished(state[i], reduction));
    if (!second) return;
    T* means = second->data<T>() + at;
    for (int64_t i = 0; i < count; ++i) {
      means[i * stride] = convert<T>(state[i].count == 0 ? NAN : state[i].mean);
    }
  });
}

// Writes results `at`, `at + stride`, ...
void Job::finish(const void* states, int64_t count, int64_t at, int64_t stride) const {
  if (reduction.fold == Fold::Moments) return finish_moments(states, count, at, stride);
  bool whole = reduction.truth || !is_floating(input.dtype());
  if (reduction.fold <= Fold::Product) {
    if (whole) return finish_numbers<uint64_t>(states, count, at, stride);
    return finish_numbers<double>(states, count, at, stride);
  }
  if (reduction.truth) {
    if (output->dtype() == DType::Bool)
      return finish_values<uint8_t, bool>(states, count, at, stride);
    return finish_values<uint8_t, uint8_t>(states, count, at, stride);
  }
  visit_dtype(input.dtype(), [&]<class T>() {
    using A = std::conditional_t<std::is_same_v<T, bool>, uint8_t, Compute<T>>;
    finish_values<A, T>(states, count, at, stride);
  });
}

// Room for accumulators: on the stack up to 24 KB.
class States {
 public:
  explicit States(int64_t bytes) {
    if (bytes > static_cast<int64_t>(sizeof(small_))) large_.reset(new char[bytes]);
  }
  char* data() { return large_ ? large_.get() : small_; }

 private:
  alignas(64) char small_[24576];
  std::unique_ptr<char[]> large_;
};

constexpr int64_t kTileElements = 32768;
constexpr int64_t kTileOutputs = 1024;
constexpr int64_t kTasks = 64;  // enough for the threads of any machine

struct Plan {
  Axes kept, reduced;  // the outer ones
  Axis across, along;  // the tile's own: outputs, and elements of one output
  int64_t outer, folds;
  int64_t block, blocks;         // outputs of a tile
  int64_t chunk, chunks, units;  // parts of the reduced range

  Plan(const Tensor& input, uint64_t dims) {
    int64_t out_stride = 1;
    for (int64_t d = input.dim() - 1; d >= 0; --d) {
      int64_t length = input.size(d);
      bool folded = dims >> d & 1;
      if (length != 1) (folded ? reduced : kept).push_back({length, input.stride(d), out_stride});
      if (!folded) out_stride *= length;
    }
    for (Axis& axis : reduced) axis.out_stride = axis.stride;  // joined by their strides alone
    arrange(kept);
    arrange(reduced);
    across = take_inner(kept);
    along = take_inner(reduced);
    outer = product(kept);
    folds = product(reduced);
    cut();
  }

 private:
  void cut() {
    int64_t length = std::max<int64_t>(folds * along.length, 1);
    bool columns = across.stride == 1 && along.stride != 1;
    block = std::clamp<int64_t>(kTileElements / length, columns ? kTileOutputs : 1, kTileOutputs);
    blocks = (across.length + block - 1) / block;
    units = folds == 1 ? along.length : folds;
    int64_t tiles = outer * blocks;
    // Tiles are cut only where they are large: parts cost accumulators and a merge.
    int64_t tile = std::min(block, across.length) * length;
    int64_t wanted = std::min((kTasks + tiles - 1) / tiles, tile / (2 * kTileElements));
    wanted = std::clamp<int64_t>(wanted, 1, std::max<int64_t>(units, 1));
    chunk = (units + wanted - 1) / wanted;
    chunks = chunk ? (units + chunk - 1) / chunk : 1;
  }
};

Tile tile_of(const Job& job) {
  Tile tile{};
  tile.item_size = item_size(job.input.dtype());
  tile.load = job.kernel.load;
  tile.direct = job.kernel.direct;
  tile.power = job.reduction.power;
  return tile;
}

// Folds units [begin, end) of `count` outputs that start at `data`.
void fold_part(const Job& job, const Plan& plan, Tile tile, int64_t begin, int64_t end,
               char* states) {
  const char* data = tile.data;
  tile.output_stride = plan.across.stride;
  tile.length_stride = plan.along.stride;
  if (plan.folds == 1) {
    tile.data = data + begin * plan.along.stride * tile.item_size;
    tile.length = end - begin;
    tile.first = begin;
    job.kernel.fold(states, tile);
    return;
  }
  tile.length = plan.along.length;
  for (int64_t unit = begin; unit < end; ++unit) {
    tile.data = data + offsets_of(plan.reduced, unit).in * tile.item_size;
    job.kernel.fold(states, tile);
  }
}

void run(const Job& job, const Plan& plan) {
  int64_t outputs = plan.outer * plan.across.length, size = job.kernel.state_size;
  std::unique_ptr<char[]> partial;
  if (plan.chunks > 1) partial.reset(new char[plan.chunks * outputs * size]);
  int64_t tasks = plan.outer * plan.blocks * plan.chunks;
  int64_t work = std::min(plan.block, plan.across.length) * std::max<int64_t>(plan.chunk, 1) *
                 (plan.folds > 1 ? plan.along.length : 1);
  int64_t grain = std::max<int64_t>(1, kTileElements / std::max<int64_t>(work, 1));
  parallel_for(tasks, grain, [&](int64_t begin, int64_t end) {
    States local(plan.chunks > 1 ? 0 : plan.block * size);
    for (int64_t task = begin; task < end; ++task) {
      int64_t chunk = task % plan.chunks, row = task / plan.chunks / plan.blocks;
      int64_t first = task / plan.chunks % plan.blocks * plan.block;
      Offsets at = offsets_of(plan.kept, row);
      Tile tile = tile_of(job);
      tile.outputs = std::min(plan.block, plan.across.length - first);
      tile.data = job.input.data<char>() + (at.in + first * plan.across.stride) * tile.item_size;
      int64_t place = chunk * outputs + row * plan.across.length + first;
      char* states = partial ? partial.get() + place * size : local.data();
      job.kernel.start(states, tile.outputs);
      int64_t from = chunk * plan.chunk, to = std::min(plan.units, from + plan.chunk);
      if (to > from) fold_part(job, plan, tile, from, to, states);
      if (!partial) {
        job.finish(states, tile.outputs, at.out + first * plan.across.out_stride,
                   plan.across.out_stride);
      }
    }
  });
  if (!partial) return;
  for (int64_t chunk = 1; chunk < plan.chunks; ++chunk) {
    job.kernel.merge(partial.get(), partial.get() + chunk * outputs * size, outputs);
  }
  for (int64_t row = 0; row < plan.outer; ++row) {
    job.finish(partial.get() + row * plan.across.length * size, plan.across.length,
               offsets_of(plan.kept, row).out, plan.across.out_stride);
  }
}

}  // namespace

void reduce(const Tensor& input, uint64_t dims, const Reduction& reduction, Tensor* output,
            Tensor* second) {
  int64_t outputs = output ? output->numel() : second->numel();
  if (outputs == 0) return;
  if (!input.device().is_cpu()) return reduce_cuda(input, dims, reduction, output, second);
  Job job{input, reduction, output, second,
          FLAMBEAU_CHOOSE(fold_kernel)(reduction.fold, input.dtype(), reduction.truth)};
  if (outputs == 1 && input.contiguous() && input.numel() <= 2 * kTileElements) {
    Tile tile = tile_of(job);
    tile.data = input.data<char>();
    tile.outputs = tile.output_stride = tile.length_stride = 1;
    tile.length = input.numel();
    alignas(64) char state[sizeof(MomentsState)];
    job.kernel.start(state, 1);
    job.kernel.fold(state, tile);
    job.finish(state, 1, 0, 1);
    return;
  }
  run(job, Plan(input, dims));
}

}  // namespace flambeau
