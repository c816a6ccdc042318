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

// copy() of tensor/copy.h with a GPU on either side. Copies to and from the CPU are complete when
// this returns unless `non_blocking` is set; then memory that is not pinned is still safe to reuse
// after a copy to the GPU.
void copy_cuda(const Tensor& target, const Tensor& source, bool non_blocking = false);
void fill_cuda(const Tensor& target, Scalar value);

}  // namespace flambeau
