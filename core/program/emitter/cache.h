// The kernels of a program, made when first asked for and kept as long as the program.
#pragma once

#include "program/emitter/machine_code.h"
#include "program/plan.h"

namespace flambeau::emitter {

// Null when there is no machine code for this way of calling the program.
const MachineCode* kernel_of_program(const Program& program, const KernelKey& key,
                                     InstructionSet instruction_set);

}  // namespace flambeau::emitter
