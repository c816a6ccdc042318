// Programs, copies and fills on the GPU: what run_program, run_foreach, copy and fill do when
// their targets are there.
#pragma once

#include "program/machine.h"

namespace flambeau {

// Inputs are on the outputs' GPU; 0-d tensors of the CPU count as numbers, read when the kernel is
// queued.
void run_program_cuda(const Program& program, Precision precision,
                      std::span<const ProgramInput> inputs, std::span<Tensor* const> outputs);
void run_foreach_cuda(const Program& program, Precision precision,
                      std::span<const ForeachInput> inputs,
                      std::span<const std::span<Tensor* const>> outputs);

// copy() and fill() of tensor/copy.h with a GPU on either side.
void copy_cuda(const Tensor& target, const Tensor& source, bool wait);
void fill_cuda(const Tensor& target, Scalar value);

}  // namespace flambeau
