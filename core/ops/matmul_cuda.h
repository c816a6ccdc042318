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

// One product on raw memory of the product's device, on its current stream.
void multiply_on_gpu(const cuda::MatrixProduct& product);

}  // namespace flambeau
