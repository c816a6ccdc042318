// A kernel with everything about its run but the operands' addresses.
#pragma once

#include "program/emitter/geometry.h"
#include "program/recipe.h"

namespace flambeau::emitter {

struct Emitted {
  const Plan* plan = nullptr;
  const Recipe* recipe = nullptr;
  const MachineCode* kernel = nullptr;
  Geometry geometry;
  bool has_numbers = false;

  // False when there is no machine code for such operands.
  bool find(const Program& program, Precision precision, std::span<const OperandView> inputs,
            std::span<const OperandView> outputs, InstructionSet instruction_set);
  // Calls body(numbers) with the table of numbers, which may be null; `number(v, place)` puts the
  // number of input value v there, in the precision's own type.
  template <class Body, class Number>
  void with_numbers(Body&& body, Number&& number) const;
  template <class Number>
  void run(void* const* tensors, Number&& number) const {
    with_numbers(
        [&](const uint64_t* numbers) { run_kernel(*kernel, geometry, tensors, numbers, *plan); },
        number);
  }

 private:
  // What follows from the number inputs.
  void derive_numbers(uint64_t* table) const;
};

template <class Body, class Number>
void Emitted::with_numbers(Body&& body, Number&& number) const {
  if (!has_numbers) {
    body(nullptr);
    return;
  }
  SmallVector<uint64_t, 64> table;
  table.assign(recipe->constants.data(), recipe->constants.data() + recipe->constants.size());
  for (size_t i = 0; i < plan->inputs.size(); ++i) {
    const int32_t v = plan->inputs[i];
    if (geometry.key.inputs[i] == AccessKind::Number) number(v, &table[v]);
  }
  derive_numbers(table.data());
  body(table.data());
}

// The first number of a tensor of any type.
void read_number(Precision precision, DType dtype, const void* from, uint64_t* place);

}  // namespace flambeau::emitter
