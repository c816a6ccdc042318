// Operands of a run on the GPU, without tensors: copies see them as other types.
#pragma once

#include "program/cuda_kernel.h"
#include "program/plan.h"
#include "tensor/copy.h"

namespace flambeau::cuda_run {

struct Operand {
  void* data = nullptr;  // null: `number`
  Scalar number;
  DType dtype = DType::Float32;
  bool contiguous = true;
  int device = -1;  // -1: the CPU
  int64_t numel = 1;
  const Dims* shape = nullptr;
  const Dims* strides = nullptr;

  static Operand of(const Tensor& tensor);
  static Operand of(Scalar number) {
    Operand operand;
    operand.number = number;
    return operand;
  }
  bool is_number() const { return device < 0; }
};

// See run_program_cuda.
void run(const Program& program, Precision precision, std::span<const Operand> inputs,
         std::span<const Operand> outputs);

}  // namespace flambeau::cuda_run
