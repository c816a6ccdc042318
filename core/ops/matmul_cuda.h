// Matrix products on GPUs: by cuBLASLt, or by kernels of our own where it is missing or has none.
#pragma once

#include "cuda/cublaslt.h"
#include "ops/primitive.h"

namespace flambeau {

// What the primitives of ops/matmul.cpp do with tensors on a GPU.
void run_mm_cuda(Call& call);
void run_addmm_cuda(Call& call);
void run_batches_cuda(Call& call);
void run_baddbmm_cuda(Call& call);
void run_mv_cuda(Call& call);
void run_dot_cuda(Call& call);

// A product (mm, addmm) with something more in the same call of cuBLASLt. False if that has no
// kernel for both: then nothing has been done, or the outputs are of no meaning.
//
// `result` becomes the activation of the product; `at` is what a GeluGradient is taken at. The
// product itself goes to the call's output unless that is the memory of `result`.
bool multiply_and_activate(Call& call, cuda::Activation activation, const TensorRef& at,
                           Tensor& result);
// `sums` becomes the sums of factor 0's rows, or of factor 1's columns; of an mm only.
bool multiply_and_sum(Call& call, int factor, Tensor& sums);

// One product on raw memory of the product's device, on its current stream.
void multiply_on_gpu(const cuda::MatrixProduct& product);

}  // namespace flambeau
