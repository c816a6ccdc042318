// The block machine, and programs over lists of tensors (foreach_program).
#pragma once

#include "program/program.h"

namespace flambeau {

// The block machine, which runs anything anywhere.
void run_blocks(const Program& program, Precision precision, std::span<const ProgramInput> inputs,
                std::span<Tensor* const> outputs);

// Runs a program on tensors k = 0, 1, ...: input i reads inputs[i][k], or a number for all k;
// outputs[j][k] are written, in place or not. All k in one parallel loop.
struct ForeachInput {
  std::span<Tensor* const> tensors;  // empty: the number
  Scalar number;
  const Tensor* place = nullptr;  // on a GPU, where the number is: one element
};
void run_foreach(const Program& program, Precision precision, std::span<const ForeachInput> inputs,
                 std::span<const std::span<Tensor* const>> outputs);

}  // namespace flambeau
