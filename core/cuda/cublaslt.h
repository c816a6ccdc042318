// Matrix products by cuBLASLt, found at run time.
#pragma once

#include "tensor/dtype.h"
#include "tensor/scalar.h"

namespace flambeau::cuda {

// An operand as it lies in memory, row by row, `leading` elements apart; `transposed` when that is
// the transpose of what is multiplied.
struct MatrixOperand {
  const void* data = nullptr;
  bool transposed = false;
  int64_t leading = 1;
  int64_t batch_stride = 0;  // 0: all products share it
};

// out = alpha * a b + beta * c + bias, a: m x k, b: k x n, for every product of a batch. The rows
// of c and out lie one after another; c may be out. With beta == 0, c is not read.
struct MatrixProduct {
  DType dtype = DType::Float32;
  int device = 0;
  int64_t m = 0, n = 0, k = 0, batch = 1;
  MatrixOperand a, b, c;
  void* out = nullptr;
  int64_t out_batch_stride = 0;
  Scalar alpha = 1, beta = 0;
  const void* bias = nullptr;  // n elements, added to every row; null: none
};

// On the current stream. False if cuBLASLt is missing or has no kernel for this: nothing happened.
bool cublaslt_multiply(const MatrixProduct& product);
// Why cuBLASLt is not used; empty if it is there.
std::string cublaslt_problem();

// Note [Plans of products]: cuBLASLt's choice of a kernel for a product is kept, with the
// descriptors it needs, by everything that the choice depends on. The table is bounded.
inline constexpr size_t kMatrixPlans = 1024;
size_t matrix_plan_count();

}  // namespace flambeau::cuda
