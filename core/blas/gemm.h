// Matrix products of row-major matrices on the pool's threads.
#pragma once

#include <cstdint>
#include <type_traits>

#include "tensor/dtype.h"

namespace flambeau {

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
          std::type_identity_t<Compute<T>> beta, T* c, int64_t ldc);

// C = op(A) op(B) + bias, the bias added to every row (nullptr: none). A linear layer.
template <class T>
void gemm_bias(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, const T* a,
               int64_t lda, const T* b, int64_t ldb, const T* bias, T* c, int64_t ldc);

// `batch` products; stride_*: elements between one matrix and the next (0 repeats A or B). The C
// must not overlap.
template <class T>
void gemm_batch(bool transpose_a, bool transpose_b, int64_t batch, int64_t m, int64_t n, int64_t k,
                std::type_identity_t<Compute<T>> alpha, const T* a, int64_t lda, int64_t stride_a,
                const T* b, int64_t ldb, int64_t stride_b, std::type_identity_t<Compute<T>> beta,
                T* c, int64_t ldc, int64_t stride_c);

// Sum of x[i * step_x] * y[i * step_y], for the same types.
template <class T>
T dot(int64_t count, const T* x, int64_t step_x, const T* y, int64_t step_y);

}  // namespace flambeau
