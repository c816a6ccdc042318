// The record of a pointwise operator, and the rules of types and shapes.
#include <memory>
#include <mutex>

#include "ops/pointwise_call.h"
#include "program/builder.h"

namespace flambeau {

namespace {

std::string camel_case(const std::string& name) {
  // A letter after a digit is upper case, too: log1p becomes Log1P.
  std::string result;
  bool upper = true;
  for (char c : name) {
    if (c != '_') result += upper ? static_cast<char>(std::toupper(c)) : c;
    upper = c == '_' || std::isdigit(c);
  }
  return result;
}

// The one instruction of a program whose operands are its inputs in order; else Count.
Instruction only_instruction(const Program& program) {
  int inputs = program.input_count;
  if (program.outputs.size() != 1 || static_cast<int>(program.values.size()) != inputs + 1) {
    return Instruction::Count;
  }
  const Value& value = program.values[inputs];
  if (program.outputs[0] != inputs || arity_of(value.instruction) != inputs ||
      kind_of(value.instruction) == InstructionKind::Row) {
    return Instruction::Count;
  }
  for (int i = 0; i < inputs; ++i) {
    const Value& input = program.values[i];
    if (input.instruction != Instruction::Input || input.index != i || value.operands[i] != i) {
      return Instruction::Count;
    }
  }
  return value.instruction;
}

}  // namespace

Pointwise::Pointwise(std::string name, ProgramRef program_, Promotion promotion_,
                     int operand_count_, std::string grad_name)
    : name_text(std::move(name)),
      grad_name_text(grad_name.empty() ? camel_case(name_text) + "Backward0"
                                       : std::move(grad_name)),
      program(std::move(program_)),
      promotion(promotion_),
      operand_count(operand_count_) {
  Primitive::name = name_text.c_str();
  Primitive::grad_name = grad_name_text.c_str();
  infer = &infer_pointwise;
  run = &run_pointwise;
  run_cuda = &run_pointwise;
  devices = Devices::CpuNumbers;
  any_order = true;
  if (!yields_bool() && promotion != Promotion::Integral) {
    gradient = &pointwise_gradient;
    saves = &pointwise_saves;
  }
  require(static_cast<int>(program->outputs.size()) <= kMaxOutputs, name_text, ": at most ",
          kMaxOutputs, " results, got ", program->outputs.size());
  for (const Value& value : program->values) cost += cost_of(value.instruction);
  Instruction instruction = only_instruction(*program);
  if (instruction == Instruction::Count || promotion == Promotion::CompareFloating) return;
  whole_power = instruction == Instruction::pow;
  for (DType dtype : {DType::Float32, DType::Float64, DType::Int64}) {
    bool fits = dtype == DType::Int64 ? promotion != Promotion::Floating &&
                                            promotion != Promotion::First && !whole_power
                                      : promotion != Promotion::Integral;
    if (fits) direct[static_cast<int>(dtype)] = kernel_of(instruction, precision_of(dtype));
  }
}

Pointwise::~Pointwise() {
  for (auto& plan : plans_) delete_backward_plans(plan.load());
}

const Pointwise& pointwise_of(Instruction instruction) {
  static std::atomic<const Pointwise*> table[static_cast<int>(Instruction::Count)] = {};
  static std::mutex mutex;
  auto& slot = table[static_cast<int>(instruction)];
  if (const Pointwise* found = slot.load(std::memory_order_acquire)) return *found;
  static constexpr Promotion kRule[] = {Promotion::Common,   Promotion::Floating,
                                        Promotion::Integral, Promotion::Compare,
                                        Promotion::Common,   Promotion::Common};
  Builder builder;
  int arity = arity_of(instruction);
  int32_t operands[3] = {-1, -1, -1};
  for (int i = 0; i < arity; ++i) operands[i] = builder.input(i);
  int32_t result = builder.apply(instruction, operands[0], operands[1], operands[2]);
  auto op = std::make_unique<Pointwise>(name_of(instruction), builder.finish(arity, {&result, 1}),
                                        kRule[static_cast<int>(kind_of(instruction))], arity);
  if (instruction == Instruction::sub) {
    op->bool_refusal = "use the ^ operator or logical_xor() instead";
  }
  if (instruction == Instruction::neg) {
    op->bool_refusal = "to invert a mask, use the ~ operator or logical_not() instead";
  }
  if (instruction == Instruction::bitwise_not) {
    op->for_bool = &pointwise_of(Instruction::logical_not);
  }
  std::lock_guard lock(mutex);
  if (const Pointwise* found = slot.load()) return *found;
  slot.store(op.get(), std::memory_order_release);
  return *op.release();
}

Dims broadcast_shapes(const char* name, const Dims& a, const Dims& b) {
  Dims shape = a.size() >= b.size() ? a : b;
  int64_t skip_a = shape.size() - a.size(), skip_b = shape.size() - b.size();
  for (int64_t d = 0; d < shape.size(); ++d) {
    int64_t from_a = d < skip_a ? 1 : a[d - skip_a], from_b = d < skip_b ? 1 : b[d - skip_b];
    require(from_a == from_b || from_a == 1 || from_b == 1, name, ": shapes ", a, " and ", b,
            " cannot be broadcast: The size of tensor a (", from_a,
            ") must match the size of tensor b (", from_b, ") at non-singleton dimension ", d,
            "; sizes must be equal or 1, counted from the last dimension");
    shape[d] = from_a == 1 ? from_b : from_a;
  }
  return shape;
}

DType common_type(std::span<const Operand> operands, uint32_t not_promoting) {
  // By category: tensors with dimensions, 0-d tensors, numbers.
  DType types[3];
  bool present[3] = {};
  auto include = [&](int category, DType dtype) {
    types[category] = present[category] ? promote_types(types[category], dtype) : dtype;
    present[category] = true;
  };
  for (size_t i = 0; i < operands.size(); ++i) {
    if (i < 32 && (not_promoting >> i & 1)) continue;
    const Operand& operand = operands[i];
    if (!operand.tensor) {
      include(2, operand.scalar.dtype());
    } else if (operand.tensor->wrapped_number()) {
      DType dtype = operand.tensor->dtype();
      include(2, is_floating(dtype) ? default_dtype() : dtype);
    } else {
      include(operand.tensor->dim() > 0 ? 0 : 1, operand.tensor->dtype());
    }
  }
  // A lower category only has a say if it is of a higher kind (bool, integer, floating).
  DType result = DType::Bool;
  bool any = false;
  for (int category = 2; category >= 0; --category) {
    if (!present[category]) continue;
    DType higher = types[category];
    if (!any || is_floating(higher)) {
      result = higher;
    } else if (higher == DType::Bool || is_floating(result)) {
      result = promote_types(higher, result);
    } else {
      result = higher;
    }
    any = true;
  }
  return any ? result : default_dtype();
}

}  // namespace flambeau
