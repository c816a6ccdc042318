// reduce() on the GPU: which kernel of reduction.cu, and how the work is dealt out.
#include <algorithm>

#include "cuda/allocator.h"
#include "cuda/geometry.h"
#include "cuda/launch.h"
#include "ops/reduction_kernels.h"
#include "tensor/tensor.h"

namespace flambeau {

namespace {

constexpr int kThreads = 256;
constexpr int64_t kTasks = 1024;       // blocks that keep any GPU busy
constexpr int64_t kLeastPerLane = 32;  // elements; below, a chunk costs more than it saves
constexpr int64_t kStateBytes = 24;    // of the largest state

struct Axis {
  int64_t length, stride, out_stride;
};
using Axes = SmallVector<Axis, 6>;

// Longest stride first; neighbours that both sides walk with one step are joined.
void arrange(Axes& axes) {
  std::stable_sort(axes.begin(), axes.end(),
                   [](const Axis& a, const Axis& b) { return a.stride > b.stride; });
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
  if (axes.empty()) axes.push_back({1, 1, 1});
}

int64_t product(const Axes& axes) {
  int64_t result = 1;
  for (const Axis& axis : axes) result *= axis.length;
  return result;
}

int64_t power_of_two_from(int64_t number) {
  int64_t power = 1;
  while (power < number) power *= 2;
  return power;
}

// How a reduction is dealt out to threads; follows from the shape alone.
struct Plan {
  Axes kept, reduced;
  int64_t outputs, length;
  bool columns = false;
  int64_t vector = 1, lanes = 1;
  int64_t tasks = 1, chunk = 1, chunks = 1;
  bool wide = false;

  Plan(const Tensor& input, uint64_t dims) {
    int64_t out_stride = 1;
    for (int64_t d = input.dim() - 1; d >= 0; --d) {
      const bool folded = dims >> d & 1;
      const int64_t own = folded ? input.stride(d) : out_stride;
      if (input.size(d) != 1) {
        (folded ? reduced : kept).push_back({input.size(d), input.stride(d), own});
      }
      if (!folded) out_stride *= input.size(d);
    }
    arrange(kept);
    arrange(reduced);
    outputs = product(kept);
    length = product(reduced);
    deal(input);
    wide = outputs >= cuda::kNarrowLimit || length >= cuda::kNarrowLimit;
    int64_t reach = 0;
    for (const Axes& axes : {kept, reduced}) {
      for (const Axis& axis : axes) reach += std::max<int64_t>(axis.length - 1, 0) * axis.stride;
    }
    wide |= reach >= cuda::kNarrowLimit;
  }
  int64_t together() const { return kThreads / lanes; }  // outputs of a block

 private:
  void deal(const Tensor& input) {
    const Axis &across = kept.back(), &along = reduced.back();
    columns = outputs >= 8 && across.length > 1 && across.stride < along.stride;
    if (columns) {
      lanes = std::min<int64_t>(power_of_two_from((length + 7) / 8), 8);
      lanes = std::max(lanes, kThreads / power_of_two_from(std::min<int64_t>(outputs, kThreads)));
    } else {
      if (along.stride == 1) vector = vector_of(input);
      const int64_t packs =
          (length + std::max<int64_t>(vector, 8) - 1) / std::max<int64_t>(vector, 8);
      lanes = std::min<int64_t>(power_of_two_from(packs), 32);
      if (length >= 4096 || (outputs < 1024 && length >= 1024)) lanes = kThreads;
    }
    tasks = (outputs + together() - 1) / together();
    const int64_t most = std::max<int64_t>(length / (lanes * kLeastPerLane), 1);
    chunks = std::clamp<int64_t>((kTasks + tasks - 1) / tasks, 1, most);
    chunk = (length + chunks - 1) / chunks;
    chunk = std::max<int64_t>((chunk + vector - 1) / vector * vector, 1);
    chunks = std::max<int64_t>((length + chunk - 1) / chunk, 1);
  }
  // Stretches of memory must begin at multiples of 16 bytes, and hold whole packs unless there is
  // only one for each output.
  int64_t vector_of(const Tensor& input) const {
    const int64_t size = item_size(input.dtype());
    bool aligned = reinterpret_cast<uintptr_t>(input.data()) % 16 == 0;
    auto check = [&](const Axis& axis) {
      aligned &= axis.length == 1 || axis.stride * size % 16 == 0;
    };
    std::for_each(kept.begin(), kept.end(), check);
    std::for_each(reduced.begin(), reduced.end() - 1, check);
    if (reduced.size() > 1) aligned &= reduced.back().length * size % 16 == 0;
    return aligned ? 16 / size : 1;
  }
};

bool sums(const Reduction& reduction) {
  return reduction.fold == Fold::Sum || reduction.fold == Fold::Product;
}

// What elements are computed in; integers wrap around in sums and products.
const char* compute_type(const Reduction& reduction, DType dtype) {
  if (!is_floating(dtype) || reduction.truth) {
    if (sums(reduction)) return "uint64";
    return dtype == DType::Int64 && !reduction.truth ? "int64" : "int";
  }
  return dtype == DType::Float64 ? "double" : "float";
}

const char* fold_name(Fold fold) {
  switch (fold) {
    case Fold::Sum:
      return "Accumulate<Plus, Identity>";
    case Fold::SumNotNan:
      return "Accumulate<Plus, NotNan>";
    case Fold::SumAbs:
      return "Accumulate<Plus, Absolute>";
    case Fold::SumSquare:
      return "Accumulate<Plus, Square>";
    case Fold::SumPower:
      return "Power";
    case Fold::CountNotNan:
      return "Accumulate<Plus, Known>";
    case Fold::Product:
      return "Accumulate<Times, Identity>";
    case Fold::Max:
      return "Extreme<Greater, Identity>";
    case Fold::Min:
      return "Extreme<Less, Identity>";
    case Fold::MaxAbs:
      return "Extreme<Greater, Absolute>";
    case Fold::MinAbs:
      return "Extreme<Less, Absolute>";
    case Fold::ArgMax:
      return "Locate<Greater>";
    case Fold::ArgMin:
      return "Locate<Less>";
    default:
      return "Variation";
  }
}

const cuda::Function& kernel_of(const char* entry, const Tensor& input, const Reduction& reduction,
                                DType output, const Plan& plan) {
  static constexpr cuda::KernelFile kFile{"ops/reduction.cu"};
  const char* type = cuda::type_name(input.dtype());
  return kFile.get(entry,
                   {{"T", type},
                    {"A", compute_type(reduction, input.dtype())},
                    {"TRUTH", reduction.truth ? "true" : "false"},
                    {"LIMITS", reduction.truth ? "bool" : type},
                    {"FOLD", fold_name(reduction.fold)},
                    {"OUT", cuda::type_name(output)},
                    {"FINISH", std::to_string(static_cast<int>(reduction.finish))},
                    {"LANES", std::to_string(plan.lanes)},
                    {"OUTPUTS", std::to_string(plan.together())},
                    {"COLUMNS", plan.columns ? "1" : "0"},
                    {"VECTOR", std::to_string(plan.vector)},
                    {"INDEX", plan.wide ? "int64" : "int"},
                    {"KEPT", std::to_string(plan.kept.size())},
                    {"REDUCED", std::to_string(plan.reduced.size())}},
                   input.device().index);
}

void put_geometry(cuda::ParameterWriter& writer, const Axes& axes, bool wide, bool both) {
  for (const Axis& axis : axes) writer.put_size(std::max<int64_t>(axis.length, 1), wide);
  for (const Axis& axis : axes) writer.put_index(axis.stride, wide);
  for (const Axis& axis : axes) {
    if (both) writer.put_index(axis.out_stride, wide);
  }
}

}  // namespace

void reduce_cuda(const Tensor& input, uint64_t dims, const Reduction& reduction, Tensor* output,
                 Tensor* second) {
  const Plan plan(input, dims);
  const int device = input.device().index;
  void* partial = nullptr;
  if (plan.chunks > 1) {
    const int64_t bytes = plan.chunks * plan.outputs * kStateBytes;
    partial = cuda::allocate(static_cast<size_t>(bytes), device);
  }
  alignas(16) char parameters[4096];
  cuda::ParameterWriter writer(parameters);
  writer.put(input.data());
  writer.put(output ? output->data() : nullptr);
  writer.put(second ? second->data() : nullptr);
  writer.put(partial);
  for (int64_t number : {plan.outputs, plan.length, plan.chunk, plan.chunks}) writer.put(number);
  writer.put(reduction.parameter);
  writer.put(reduction.power);
  put_geometry(writer, plan.kept, plan.wide, true);
  put_geometry(writer, plan.reduced, plan.wide, false);
  void* arguments[] = {parameters};
  const DType result = output ? output->dtype() : input.dtype();
  const int64_t blocks = plan.tasks * plan.chunks;
  cuda::launch_with(kernel_of("fold", input, reduction, result, plan),
                    {cuda::blocks_for(blocks * kThreads, kThreads, device)}, {kThreads}, 0,
                    arguments);
  if (plan.chunks == 1) return;
  cuda::launch_with(kernel_of("join_chunks", input, reduction, result, plan),
                    {cuda::blocks_for(plan.outputs * 32, kThreads, device)}, {kThreads}, 0,
                    arguments);
  cuda::deallocate(partial, device);
}

}  // namespace flambeau
