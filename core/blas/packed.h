// Matrix products made of tiles (blas/tile.h): packing, cache blocking, threads.
#pragma once

#include <cstdint>

#include "blas/gemm.h"

namespace flambeau {

// C = alpha * op(A) op(B) + beta * D, where D is C itself, or a bias with a row step of zero.
template <class T>
struct Product {
  bool transpose_a, transpose_b;
  int64_t m, n, k;
  T alpha;
  const T* a;
  int64_t lda;
  const T* b;
  int64_t ldb;
  T beta;
  const T* d;
  int64_t ldd;
  T* c;
  int64_t ldc;
  const Epilogue* epilogue = nullptr;
};

// T: float, double, int32_t, int64_t. All sizes positive.
template <class T>
void multiply_packed(const Product<T>& product);

}  // namespace flambeau
