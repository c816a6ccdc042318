// Matrix products of row-major matrices on the pool's threads.
#pragma once

#include <cstdint>
#include <type_traits>

#include "tensor/dtype.h"

namespace flambeau {

// What follows a product, block by block: once rows [row_begin, row_end) x columns [column_begin,
// column_end) of C are final, the thread that made them calls `run`, while they are in its cache.
// The blocks cover C, each element once; which blocks they are depends on sizes and threads, so
// `run` must do to every element what it would do alone. It must not use the pool.
struct Epilogue {
  void (*run)(void* context, int64_t row_begin, int64_t row_end, int64_t column_begin,
              int64_t column_end);
  void* context;
};

// C = alpha * op(A) op(B) + beta * C, where op(A) is m x k and op(B) is k x n; op transposes what
// is stored if the flag is set. ld*: elements between the starts of two rows as stored. With
// beta == 0, C is only written (it may hold NaN). Any of m, n, k may be zero. C overlaps neither A
// nor B.
// T: float, double, Half, BFloat (both computed in float, rounded once), int64_t, int32_t, int16_t,
// int8_t, uint8_t (integers wrap around).
// The sum over k is taken in an order that depends on the sizes only, never on threads.
template <class T>
void gemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k,
          std::type_identity_t<Compute<T>> alpha, const T* a, int64_t lda, const T* b, int64_t ldb,
          std::type_identity_t<Compute<T>> beta, T* c, int64_t ldc,
          const Epilogue* epilogue = nullptr);

// C = op(A) op(B) + bias, the bias added to every row (nullptr: none). A linear layer.
template <class T>
void gemm_bias(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, const T* a,
               int64_t lda, const T* b, int64_t ldb, const T* bias, T* c, int64_t ldc,
               const Epilogue* epilogue = nullptr);

// `batch` products: of the matrices at a + a_offsets[i] and b + b_offsets[i], into C one after
// another, `stride_c` elements apart.
template <class T>
void gemm_batch(bool transpose_a, bool transpose_b, int64_t batch, int64_t m, int64_t n, int64_t k,
                std::type_identity_t<Compute<T>> alpha, const T* a, int64_t lda,
                const int64_t* a_offsets, const T* b, int64_t ldb, const int64_t* b_offsets,
                std::type_identity_t<Compute<T>> beta, T* c, int64_t ldc, int64_t stride_c);

// Sum of x[i * step_x] * y[i * step_y], for the same types.
template <class T>
T dot(int64_t count, const T* x, int64_t step_x, const T* y, int64_t step_y);

}  // namespace flambeau
