// Machine code over lists of tensors: optimizers.
#include <algorithm>

#include "base/thread_pool.h"
#include "program/emitter.h"
#include "program/emitter/emitted.h"
#include "program/emitter/foreach.h"

namespace flambeau {

using emitter::AccessKind;
using emitter::Emitted;
using emitter::ForeachLayout;
using emitter::kMostTensors;
using emitter::OperandView;

namespace emitter {

constexpr int64_t kUnit = 64;  // elements that stay in one thread

bool ForeachLayout::find(const Program& program, Precision precision,
                         std::span<const ForeachInput> inputs,
                         std::span<const std::span<Tensor* const>> outputs,
                         std::span<const size_t> wanted, bool at_once) {
  if (precision == Precision::Int64 || emitter_use() == EmitterUse::Never) return false;
  members.assign(wanted.begin(), wanted.end());
  starts.assign(1, 0);
  for (size_t k : members) {
    starts.push_back(starts.back() + (outputs[0][k]->numel() + kUnit - 1) / kUnit);
  }
  if (!at_once && !worthwhile(program, starts.back() * kUnit)) return false;
  // All tensors lie alike: the kernel of one row is the kernel of all.
  const Dims length{1 << 20}, step{1};
  SmallVector<OperandView, 12> input_views, output_views;
  for (const ForeachInput& input : inputs) {
    const bool tensors = !input.tensors.empty();
    input_views.push_back({tensors, tensors ? input.tensors[members[0]]->dtype() : DType::Float32,
                           &length, &step, true});
  }
  for (const auto& output : outputs) {
    output_views.push_back({true, output[members[0]]->dtype(), &length, &step, true});
  }
  return emitted.find(program, precision, input_views, output_views, instruction_set());
}

void ForeachLayout::run(const Program& program, std::span<const ForeachInput> inputs,
                        std::span<const std::span<Tensor* const>> outputs) const {
  const Plan& plan = *emitted.plan;
  SmallVector<std::span<Tensor* const>, 12> lists;
  for (int32_t v : plan.inputs) {
    const auto& tensors = inputs[program.values[v].index].tensors;
    if (!tensors.empty()) lists.push_back(tensors);
  }
  for (const auto& output : outputs) lists.push_back(output);
  auto run_units = [&](const uint64_t* numbers, int64_t begin, int64_t end) {
    auto at = std::upper_bound(starts.begin(), starts.end(), begin) - starts.begin() - 1;
    for (; begin < end; ++at) {
      const int64_t stop = std::min(end, starts[at + 1]), numel = outputs[0][members[at]]->numel();
      if (stop <= begin) continue;
      const int64_t first = (begin - starts[at]) * kUnit;
      void* places[kMostTensors];
      for (int64_t t = 0; t < lists.size(); ++t) {
        const Tensor& tensor = *lists[t][members[at]];
        places[t] = tensor.data<char>() + first * item_size(tensor.dtype());
      }
      emitted.kernel->run(places, emitted.geometry.strides, numbers, 1,
                          std::min((stop - starts[at]) * kUnit, numel) - first);
      begin = stop;
    }
  };
  emitted.with_numbers(
      [&](const uint64_t* numbers) {
        parallel_for(starts.back(), std::max<int64_t>(1, element_grain(plan) / kUnit),
                     [&](int64_t begin, int64_t end) { run_units(numbers, begin, end); });
      },
      [&](int32_t v, uint64_t* place) {
        *place =
            number_bits(emitted.geometry.key.precision, inputs[program.values[v].index].number);
      });
}

}  // namespace emitter

// --- prepared ------------------------------------------------------------------------------------

struct ForeachRun::Prepared {
  ProgramRef program;
  Precision precision;
  ForeachLayout layout;
  bool found = false;
  std::vector<int64_t> lengths;  // by position in the lists
  std::vector<DType> types;      // by list

  bool still_fits(std::span<const ForeachInput> inputs,
                  std::span<const std::span<Tensor* const>> outputs) const;
  void find(std::span<const ForeachInput> inputs,
            std::span<const std::span<Tensor* const>> outputs);
};

// Whether every tensor is still contiguous, of the length and type it had; `visit(tensors)` for
// every list.
template <class Visit>
static bool every_list(std::span<const ForeachInput> inputs,
                       std::span<const std::span<Tensor* const>> outputs, Visit&& visit) {
  for (const ForeachInput& input : inputs) {
    if (!input.tensors.empty() && !visit(input.tensors)) return false;
  }
  for (const auto& output : outputs) {
    if (!visit(output)) return false;
  }
  return true;
}

bool ForeachRun::Prepared::still_fits(std::span<const ForeachInput> inputs,
                                      std::span<const std::span<Tensor* const>> outputs) const {
  size_t list = 0;
  return every_list(inputs, outputs, [&](std::span<Tensor* const> tensors) {
    if (list == types.size() || tensors.size() != lengths.size()) return false;
    const DType type = types[list++];
    for (size_t k = 0; k < tensors.size(); ++k) {
      const Tensor& tensor = *tensors[k];
      if (tensor.numel() != lengths[k] || tensor.dtype() != type || !tensor.contiguous()) {
        return false;
      }
    }
    return true;
  });
}

void ForeachRun::Prepared::find(std::span<const ForeachInput> inputs,
                                std::span<const std::span<Tensor* const>> outputs) {
  found = false;
  lengths.clear();
  types.clear();
  std::vector<size_t> members;
  for (size_t k = 0; k < outputs[0].size(); ++k) {
    members.push_back(k);
    lengths.push_back(outputs[0][k]->numel());
  }
  if (members.empty() || program->has_rows || !outputs[0][0]->device().is_cpu()) return;
  every_list(inputs, outputs, [&](std::span<Tensor* const> tensors) {
    types.push_back(tensors[0]->dtype());
    return true;
  });
  found = still_fits(inputs, outputs) &&
          layout.find(*program, precision, inputs, outputs, members, true);
}

ForeachRun::ForeachRun(ProgramRef program, Precision precision)
    : prepared_(new Prepared{std::move(program), precision}) {}
ForeachRun::~ForeachRun() = default;
ForeachRun::ForeachRun(ForeachRun&&) noexcept = default;

void ForeachRun::run(std::span<const ForeachInput> inputs,
                     std::span<const std::span<Tensor* const>> outputs) {
  Prepared& my = *prepared_;
  if (!my.found || !my.still_fits(inputs, outputs)) my.find(inputs, outputs);
  if (my.found) {
    my.layout.run(*my.program, inputs, outputs);
  } else {
    run_foreach(*my.program, my.precision, inputs, outputs);
  }
}

}  // namespace flambeau
