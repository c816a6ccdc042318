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

// What becomes of every element x of a product: max(x, 0), GELU by the approximation with tanh, or
// the derivative of that at another element, times x.
enum class Activation : uint8_t { None, Relu, Gelu, GeluGradient };

// out = activation(alpha * a b + beta * c + bias), a: m x k, b: k x n, for every product of a
// batch. The rows of c and out lie one after another; c may be out. With beta == 0, c is not read.
//
// What begins with `activation` is computed by cuBLASLt or not at all, for one product with
// beta == 0, and a_sums and b_sums only alone.
struct MatrixProduct {
  DType dtype = DType::Float32;
  int device = 0;
  int64_t m = 0, n = 0, k = 0, batch = 1;
  MatrixOperand a, b, c;
  void* out = nullptr;
  int64_t out_batch_stride = 0;
  Scalar alpha = 1, beta = 0;
  const void* bias = nullptr;  // n elements, added to every row; null: none
  Activation activation = Activation::None;
  // m x n: becomes what a Gelu is taken of (null: not wanted); what a GeluGradient is taken at.
  void* before = nullptr;
  void* a_sums = nullptr;  // m elements: the sums of a's rows; null: not wanted
  void* b_sums = nullptr;  // n elements: the sums of b's columns; null: not wanted
};

// On the current stream. False if cuBLASLt is missing or has no kernel for this: `out` is as it
// was, or of no meaning if there is an activation.
bool cublaslt_multiply(const MatrixProduct& product);
// How many products have had an activation, or sums, in the same call.
size_t cublaslt_fused_count();
// Why cuBLASLt is not used; empty if it is there.
std::string cublaslt_problem();

// Note [Plans of products]: cuBLASLt's choice of a kernel for a product is kept, with the
// descriptors it needs, by everything that the choice depends on. The table is bounded.
inline constexpr size_t kMatrixPlans = 1024;
size_t matrix_plan_count();

}  // namespace flambeau::cuda
