#include "program/emitter/emitted.h"

#include "program/emitter/cache.h"

namespace flambeau::emitter {

bool Emitted::find(const Program& program, Precision precision, std::span<const OperandView> inputs,
                   std::span<const OperandView> outputs, InstructionSet instruction_set) {
  geometry = Geometry();
  if (!find_geometry(program, precision, inputs, outputs, geometry)) return false;
  kernel = kernel_of_program(program, geometry.key, instruction_set);
  if (!kernel) return false;
  plan = &plan_of(program);
  uint64_t numbers = 0;
  for (int64_t i = 0; i < geometry.key.inputs.size(); ++i) {
    if (geometry.key.inputs[i] == AccessKind::Number) numbers |= uint64_t{1} << i;
  }
  recipe = &recipe_of(program, precision, numbers, false);
  has_numbers = numbers || !recipe->row_counts.empty() || !recipe->once.empty();
  return true;
}

void Emitted::derive_numbers(uint64_t* table) const {
  for (int32_t v : recipe->row_counts) {
    table[v] = number_bits(geometry.key.precision, Scalar(geometry.columns));
  }
  for (const Step& step : recipe->once) {
    step.kernel(&table[step.to], &table[step.operands[0]], &table[step.operands[1]],
                &table[step.operands[2]], 1, 0);
  }
}

void read_number(Precision precision, DType dtype, const void* from, uint64_t* place) {
  static const TransferKernels& transfers = *FLAMBEAU_CHOOSE(transfer_kernels);
  transfers.loads[static_cast<int>(precision)][static_cast<int>(dtype)](place, from, 1, 1);
}

}  // namespace flambeau::emitter
