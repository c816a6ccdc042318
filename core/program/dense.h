// The usual case of the block machine: contiguous operands of one shape and the precision's own
// type, and numbers. Nothing is gathered or converted, so there is little to set up.
#pragma once

#include "program/program.h"

namespace flambeau {

// False when the case is another one; nothing has been done then.
bool run_dense(const Program& program, Precision precision, std::span<const ProgramInput> inputs,
               std::span<Tensor* const> outputs);

}  // namespace flambeau
