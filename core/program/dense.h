// The usual case of the block machine: contiguous tensors of one shape, and numbers. Nothing is
// broadcast or gathered, so there is little to set up.
#pragma once

#include "program/program.h"

namespace flambeau {

// False when the case is another one; nothing has been done then.
bool run_dense(const Program& program, Precision precision, std::span<const ProgramInput> inputs,
               std::span<Tensor* const> outputs);

}  // namespace flambeau
