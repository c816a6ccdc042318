// Programs prepared for fixed shapes: emitter.h.
#include "program/emitter.h"

namespace flambeau {

struct ProgramRun::Prepared {
  ProgramRef program;
  Precision precision;
  std::vector<ProgramOperand> inputs, outputs;
};

ProgramRun::ProgramRun(ProgramRef program, Precision precision,
                       std::span<const ProgramOperand> inputs,
                       std::span<const ProgramOperand> outputs, InstructionSet instruction_set)
    : prepared_(new Prepared{std::move(program),
                             precision,
                             {inputs.begin(), inputs.end()},
                             {outputs.begin(), outputs.end()}}) {}
ProgramRun::~ProgramRun() = default;
ProgramRun::ProgramRun(ProgramRun&&) noexcept = default;

// A tensor over memory that the caller keeps alive.
static TensorRef borrowed(const ProgramOperand& operand, void* data) {
  int64_t last = 0;
  for (int64_t d = 0; d < operand.shape.size(); ++d) {
    last += std::max<int64_t>(0, operand.shape[d] - 1) * operand.strides[d];
  }
  const auto bytes = static_cast<size_t>((last + 1) * item_size(operand.dtype));
  return Tensor::view(Storage::wrap(data, bytes, nullptr, [](void*) {}), operand.shape,
                      operand.strides, 0, operand.dtype);
}

void ProgramRun::run(std::span<void* const> inputs, std::span<const Scalar> numbers,
                     std::span<void* const> outputs) const {
  const Prepared& my = *prepared_;
  std::vector<TensorRef> tensors;
  std::vector<ProgramInput> operands;
  size_t tensor = 0, number = 0;
  for (const ProgramOperand& input : my.inputs) {
    if (input.is_tensor) {
      tensors.push_back(borrowed(input, inputs[tensor++]));
      operands.push_back({tensors.back().get(), {}});
    } else {
      operands.push_back({nullptr, numbers[number++]});
    }
  }
  std::vector<Tensor*> results;
  for (size_t j = 0; j < my.outputs.size(); ++j) {
    tensors.push_back(borrowed(my.outputs[j], outputs[j]));
    results.push_back(tensors.back().get());
  }
  run_program(*my.program, my.precision, operands, results);
}

bool ProgramRun::emitted() const { return false; }
std::string ProgramRun::listing() const { return {}; }

EmitterUse emitter_use() { return EmitterUse::WhenWorthwhile; }

}  // namespace flambeau
