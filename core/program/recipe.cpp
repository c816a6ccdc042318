#include "program/recipe.h"

#include <algorithm>
#include <cstring>

#include "program/builder.h"

namespace flambeau {

uint64_t number_bits(Precision precision, Scalar value) {
  uint64_t bits = 0;
  if (precision == Precision::Float32) {
    auto single = static_cast<float>(value.to_double());
    std::memcpy(&bits, &single, 4);
  } else if (precision == Precision::Float64) {
    double full = value.to_double();
    std::memcpy(&bits, &full, 8);
  } else {
    int64_t whole = value.to_int();
    std::memcpy(&bits, &whole, 8);
  }
  return bits;
}

const InstructionKernels& kernels_of(Precision precision) {
  static const InstructionKernels* const tables[] = {FLAMBEAU_CHOOSE(float_kernels),
                                                     FLAMBEAU_CHOOSE(double_kernels),
                                                     FLAMBEAU_CHOOSE(int_kernels)};
  return *tables[static_cast<int>(precision)];
}

Recipe::Recipe(const Program& program, Precision precision_, uint64_t numbers_, bool single_row_)
    : precision(precision_),
      numbers(numbers_),
      single_row(single_row_),
      uniform(program.values.size(), false),
      constants(program.values.size(), 0),
      placeable(program.outputs.size(), false),
      program_(program),
      count_(static_cast<int32_t>(program.values.size())) {
  const Plan& plan = plan_of(program);
  for (size_t i = 0; i < plan.inputs.size(); ++i) {
    int32_t v = plan.inputs[i];
    uniform[v] = program.values[v].extent == Extent::Uniform || (i < 64 && (numbers >> i & 1));
  }
  for (int32_t v = 0; v < count_; ++v) {
    const Value& value = program.values[v];
    if (value.instruction == Instruction::Constant) {
      uniform[v] = true;
      constants[v] = number_bits(precision, Scalar(value.constant));
    } else if (value.instruction == Instruction::row_count) {
      uniform[v] = true;
      row_counts.push_back(v);
    } else if (value.instruction != Instruction::Input) {
      add_compute(v);
    }
    add_stores(v);
  }
}

void Recipe::push(Step::Kind kind, int32_t to, int32_t operand) {
  Step step{kind};
  step.to = to;
  step.operands[0] = operand;
  steps.push_back(step);
}

// The slot of a value's filled or spread form, made when first asked for.
int32_t Recipe::filled(int32_t v, Step::Kind kind) {
  int32_t slot = v + count_;
  if (std::find(done_.begin(), done_.end(), slot) == done_.end()) {
    push(kind, slot, v);
    done_.push_back(slot);
  }
  return slot;
}

// How a step over elements names an operand: one number, a spread row, or a block.
int32_t Recipe::element_operand(int32_t v, uint32_t bit, uint32_t* scalars) {
  if (uniform[v] || (is_row(v) && single_row)) {
    *scalars |= bit;
    return v;
  }
  return is_row(v) ? filled(v, Step::Kind::Spread) : v;
}

void Recipe::add_compute(int32_t v) {
  const Value& value = program_.values[v];
  const InstructionKernels& kernels = kernels_of(precision);
  const int arity = arity_of(value.instruction);
  Step step{Step::Kind::Elements};
  step.to = v;
  if (kind_of(value.instruction) == InstructionKind::Row) {
    int32_t operand = value.operands[0];
    step.kind = Step::Kind::Reduce;
    step.reduce =
        kernels.rows[static_cast<int>(value.instruction) - static_cast<int>(Instruction::row_sum)];
    step.operands[0] = uniform[operand] ? filled(operand, Step::Kind::Fill) : operand;
    steps.push_back(step);
    return;
  }
  step.kernel = kernels.kernels[static_cast<int>(value.instruction)];
  require(step.kernel, name_of(value.instruction), ": not defined for ",
          precision == Precision::Int64 ? "integers; convert them with .float()"
                                        : "floating numbers; convert them to an integer type");
  bool number = true;
  for (int i = 0; i < arity; ++i) number = number && uniform[value.operands[i]];
  uniform[v] = number;
  if (is_row(v)) step.kind = Step::Kind::Rows;
  for (int i = 0; i < arity; ++i) {
    int32_t operand = value.operands[i];
    if (!number && step.kind == Step::Kind::Elements) {
      step.operands[i] = element_operand(operand, 1u << i, &step.scalars);
    } else {
      step.operands[i] = operand;
      step.scalars |= !number && uniform[operand] ? 1u << i : 0;
    }
  }
  (number ? once : steps).push_back(step);
}

void Recipe::add_stores(int32_t v) {
  bool taken = uniform[v] || program_.values[v].instruction == Instruction::Input;
  for (size_t j = 0; j < program_.outputs.size(); ++j) {
    if (program_.outputs[j] != v) continue;
    placeable[j] = !taken;
    taken = true;
    int32_t from = v;
    if (uniform[v]) from = filled(v, is_row(v) ? Step::Kind::FillRows : Step::Kind::Fill);
    push(is_row(v) ? Step::Kind::StoreRows : Step::Kind::Store, static_cast<int32_t>(j), from);
  }
}

}  // namespace flambeau
