// Programs over lists of tensors on the GPU: as few launches as parameters allow.
#include <algorithm>

#include "cuda/geometry.h"
#include "cuda/launch.h"
#include "program/cuda_operands.h"
#include "program/cuda_run.h"
#include "program/emitter/emitted.h"
#include "program/recipe.h"

namespace flambeau {

namespace {

bool is_number(const ForeachInput& input) { return input.tensors.empty(); }
bool is_known(const ForeachInput& input) { return is_number(input) && !input.place; }

class Lists {
 public:
  Lists(const Program& program, Precision precision, std::span<const ForeachInput> inputs,
        std::span<const std::span<Tensor* const>> outputs);
  void run();

 private:
  bool conforms(size_t k) const;
  bool aligned(size_t k) const;
  void run_alone(size_t k) const;
  void run_together(std::span<const size_t> members, int width);
  void launch(const CudaKernel& kernel, std::span<const size_t> members, size_t room) const;

  const Program& program_;
  const Plan& plan_;
  const Precision precision_;
  const std::span<const ForeachInput> inputs_;
  const std::span<const std::span<Tensor* const>> outputs_;
  // In the order of the kernel's operands: lists, and numbers in memory.
  struct Operand {
    std::span<Tensor* const> list;
    const Tensor* place = nullptr;
  };
  SmallVector<Operand, 12> operands_;
  SmallVector<std::span<Tensor* const>, 12> lists_;
};

Lists::Lists(const Program& program, Precision precision, std::span<const ForeachInput> inputs,
             std::span<const std::span<Tensor* const>> outputs)
    : program_(program),
      plan_(plan_of(program)),
      precision_(precision),
      inputs_(inputs),
      outputs_(outputs) {
  for (int32_t v : plan_.inputs) {
    const ForeachInput& input = inputs[program.values[v].index];
    if (!is_known(input)) operands_.push_back({input.tensors, input.place});
  }
  for (const auto& output : outputs) operands_.push_back({output});
  for (const Operand& operand : operands_) {
    if (!operand.place) lists_.push_back(operand.list);
  }
}

// Whether the k-th tensors are contiguous, of one shape, and of the types of the first ones.
bool Lists::conforms(size_t k) const {
  const Tensor& model = *outputs_[0][k];
  return std::all_of(lists_.begin(), lists_.end(), [&](std::span<Tensor* const> list) {
    const Tensor& tensor = *list[k];
    return tensor.contiguous() && tensor.shape() == model.shape() &&
           tensor.dtype() == list[0]->dtype() && tensor.device() == outputs_[0][0]->device();
  });
}

bool Lists::aligned(size_t k) const {
  return std::all_of(lists_.begin(), lists_.end(), [k](std::span<Tensor* const> list) {
    return reinterpret_cast<uintptr_t>(list[k]->data()) % 16 == 0;
  });
}

void Lists::run_alone(size_t k) const {
  std::vector<ProgramInput> inputs;
  std::vector<Tensor*> outputs;
  for (const ForeachInput& input : inputs_) {
    inputs.push_back({is_number(input) ? input.place : input.tensors[k], input.number});
  }
  for (const auto& output : outputs_) outputs.push_back(output[k]);
  run_program(program_, precision_, inputs, outputs);
}

// Queues the members at hand; there are at most `room`.
void Lists::launch(const CudaKernel& kernel, std::span<const size_t> members, size_t room) const {
  alignas(16) char parameters[kCudaParameterBytes] = {};
  cuda::ParameterWriter writer(parameters);
  auto pad = [&](auto value) {
    for (size_t i = members.size(); i < room; ++i) writer.put(value);
  };
  for (const Operand& operand : operands_) {
    if (operand.place) {
      writer.put(operand.place->data());
      continue;
    }
    for (size_t k : members) writer.put(operand.list[k]->data());
    pad(static_cast<void*>(nullptr));
  }
  SmallVector<uint64_t, 16> numbers(kernel.number_count());
  const int device = outputs_[0][0]->device().index;
  kernel.compute_numbers(numbers.data(), device, 0, [&](int32_t index, uint64_t* place) {
    *place = number_bits(precision_, inputs_[index].number);
  });
  for (uint64_t number : numbers) writer.put(number);
  writer.put(static_cast<int64_t>(members.size()));
  for (size_t k : members) writer.put(outputs_[0][k]->numel());
  pad(int64_t{0});
  uint32_t start = 0;
  for (size_t k : members) {
    writer.put(start);
    start += static_cast<uint32_t>((outputs_[0][k]->numel() + kListChunk - 1) / kListChunk);
  }
  writer.put(start);
  const unsigned blocks = cuda::blocks_for(int64_t{start} * kCudaBlock, kCudaBlock, device);
  void* arguments[] = {parameters};
  cuda::launch_with(kernel.function(device), {blocks}, {kCudaBlock}, 0, arguments);
}

void Lists::run_together(std::span<const size_t> members, int width) {
  if (members.empty()) return;
  CudaForm form;
  form.kind = CudaForm::Kind::Lists;
  form.precision = precision_;
  form.width = static_cast<uint8_t>(width);
  for (int32_t v : plan_.inputs) {
    const ForeachInput& input = inputs_[program_.values[v].index];
    CudaOperand operand;
    if (input.place) {
      operand = {CudaAccess::Single, input.place->dtype()};
    } else if (!is_number(input)) {
      operand = {CudaAccess::Unit, input.tensors[0]->dtype()};
    }
    form.inputs.push_back(operand);
  }
  for (const auto& output : outputs_) {
    form.outputs.push_back({CudaAccess::Unit, output[0]->dtype()});
  }
  const CudaKernel& kernel = CudaKernel::of(program_, form);
  const int64_t room = cuda_list_tensors(operands_.size(), kernel.number_count());
  if (room < 1) {
    for (size_t k : members) run_alone(k);
    return;
  }
  for (size_t first = 0; first < members.size(); first += static_cast<size_t>(room)) {
    const size_t count = std::min(members.size() - first, static_cast<size_t>(room));
    launch(kernel, members.subspan(first, count), static_cast<size_t>(room));
  }
}

void Lists::run() {
  std::vector<size_t> packed, others;  // by their alignment
  int64_t largest = 1;
  for (const auto& list : lists_) {
    largest = std::max<int64_t>(largest, item_size(list[0]->dtype()));
  }
  for (size_t k = 0; k < outputs_[0].size(); ++k) {
    if (program_.has_rows || !conforms(k)) {
      run_alone(k);
    } else {
      (aligned(k) ? packed : others).push_back(k);
    }
  }
  run_together(packed, static_cast<int>(16 / largest));
  run_together(others, 1);
}

}  // namespace

void run_foreach_cuda(const Program& program, Precision precision,
                      std::span<const ForeachInput> inputs,
                      std::span<const std::span<Tensor* const>> outputs) {
  Lists(program, precision, inputs, outputs).run();
}

}  // namespace flambeau
