#include "blas/gemm.h"

#include <algorithm>
#include <climits>
#include <utility>
#include <vector>

#include "base/allocator.h"
#include "base/error.h"
#include "base/thread_pool.h"
#include "blas/convert.h"
#include "blas/openblas.h"
#include "blas/packed.h"

namespace flambeau {
namespace {

// Multiply-adds below which a second thread does not pay.
constexpr int64_t kSerialWork = 1 << 18;

constexpr int64_t kSmallWork = 64 * 64 * 64, kTinyWork = 20 * 20 * 20;

template <class T>
constexpr bool kNative = std::is_same_v<T, float> || std::is_same_v<T, double>;

template <class T>
T wrapping_multiply_add(T x, T y, T sum) {
  using Unsigned = std::conditional_t<sizeof(T) == 8, uint64_t, uint32_t>;
  return static_cast<T>(static_cast<Unsigned>(x) * static_cast<Unsigned>(y) +
                        static_cast<Unsigned>(sum));
}

// C = beta * D, for products with nothing to sum.
template <class T>
void scale(const Product<T>& p) {
  for (int64_t i = 0; i < p.m; ++i) {
    for (int64_t j = 0; j < p.n; ++j) {
      T& c = p.c[i * p.ldc + j];
      if (p.beta == T(0)) {
        c = 0;
      } else if constexpr (kNative<T>) {
        c = p.beta * p.d[i * p.ldd + j];
      } else {
        c = wrapping_multiply_add(p.beta, p.d[i * p.ldd + j], T(0));
      }
    }
  }
}

// C = D, for OpenBLAS, which adds to C itself.
template <class T>
void copy_rows(const Product<T>& p) {
  for (int64_t i = 0; i < p.m; ++i) {
    T* c = p.c + i * p.ldc;
    const T* d = p.d + i * p.ldd;
    if (p.n == 1) {
      *c = *d;  // a call each would take longer than the product
    } else {
      std::copy_n(d, p.n, c);
    }
  }
}

CBLAS_TRANSPOSE transposition(bool transposed) { return transposed ? CblasTrans : CblasNoTrans; }

void multiply_openblas(const Product<float>& p) {
  scipy_cblas_sgemm(CblasRowMajor, transposition(p.transpose_a), transposition(p.transpose_b), p.m,
                    p.n, p.k, p.alpha, p.a, p.lda, p.b, p.ldb, p.beta, p.c, p.ldc);
}
void multiply_openblas(const Product<double>& p) {
  scipy_cblas_dgemm(CblasRowMajor, transposition(p.transpose_a), transposition(p.transpose_b), p.m,
                    p.n, p.k, p.alpha, p.a, p.lda, p.b, p.ldb, p.beta, p.c, p.ldc);
}

// The epilogue of a product that is complete but too large for one block.
void finish_rows(const Epilogue* epilogue, int64_t m, int64_t n) {
  if (!epilogue) return;
  parallel_for(m, kGrain / std::max<int64_t>(n, 1) + 1, [&](int64_t begin, int64_t end) {
    epilogue->run(epilogue->context, begin, end, 0, n);
  });
}

// y = alpha * op(matrix) x + beta * y, the matrix as stored.
template <class T>
struct MatrixVector {
  bool transposed;
  int64_t rows, columns;
  const T* matrix;
  int64_t ld;
  const T* x;
  int64_t step_x;
  T* y;
  int64_t step_y;
};

void multiply_vector(const MatrixVector<float>& v, float alpha, float beta) {
  scipy_cblas_sgemv(CblasRowMajor, transposition(v.transposed), v.rows, v.columns, alpha, v.matrix,
                    v.ld, v.x, v.step_x, beta, v.y, v.step_y);
}
void multiply_vector(const MatrixVector<double>& v, double alpha, double beta) {
  scipy_cblas_dgemv(CblasRowMajor, transposition(v.transposed), v.rows, v.columns, alpha, v.matrix,
                    v.ld, v.x, v.step_x, beta, v.y, v.step_y);
}

// One column (or one row, which is a column of the transpose): bound by reading the matrix once.
template <class T>
void multiply_vector(const Product<T>& p) {
  MatrixVector<T> whole;
  if (p.n == 1) {
    whole = {p.transpose_a, p.m, p.k, p.a, p.lda, p.b, p.transpose_b ? 1 : p.ldb, p.c, p.ldc};
    if (p.transpose_a) std::swap(whole.rows, whole.columns);
  } else {
    whole = {!p.transpose_b, p.k, p.n, p.b, p.ldb, p.a, p.transpose_a ? p.lda : 1, p.c, 1};
    if (p.transpose_b) std::swap(whole.rows, whole.columns);
  }
  int64_t results = p.n == 1 ? p.m : p.n;
  parallel_for(results, kSerialWork / p.k + 1, [&](int64_t begin, int64_t end) {
    MatrixVector<T> part = whole;
    (whole.transposed ? part.columns : part.rows) = end - begin;
    part.matrix += begin * (whole.transposed ? 1 : whole.ld);
    part.y += begin * whole.step_y;
    multiply_vector(part, p.alpha, p.beta);
    if (!p.epilogue) return;
    bool column = p.n == 1;
    p.epilogue->run(p.epilogue->context, column ? begin : 0, column ? end : 1, column ? 0 : begin,
                    column ? 1 : end);
  });
}

// Where OpenBLAS is faster: vectors and small products, for which it packs nothing.
template <class T>
bool use_openblas(const Product<T>& p) {
  int64_t largest = std::max({p.m, p.n, p.k, p.lda, p.ldb, p.ldc});
  if (largest > INT_MAX) return false;
  bool transposes = !p.transpose_a && p.transpose_b;  // then it is slow
  return p.m == 1 || p.n == 1 || p.m * p.n * p.k <= (transposes ? kTinyWork : kSmallWork);
}

template <class T>
void multiply(const Product<T>& p) {
  if (p.m == 0 || p.n == 0) return;
  if (p.k == 0 || p.alpha == T(0)) {
    scale(p);
    return finish_rows(p.epilogue, p.m, p.n);
  }
  if constexpr (kNative<T>) {
    if (use_openblas(p)) {
      if (p.d != p.c) copy_rows(p);
      if (p.m == 1 || p.n == 1) return multiply_vector(p);
      multiply_openblas(p);
      return finish_rows(p.epilogue, p.m, p.n);
    }
  }
  multiply_packed(p);
}

// --- types that are computed in a wider one ---------------------------------------------------

template <class T>
using Wide = std::conditional_t<kNative<T> || (std::is_integral_v<T> && sizeof(T) >= 4), T,
                                std::conditional_t<std::is_integral_v<T>, int32_t, float>>;

template <class From, class To>
void convert_row(int64_t count, const From* from, To* to) {
  if constexpr (std::is_same_v<From, Half>) {
    static const auto kernel = FLAMBEAU_CHOOSE(half_to_float);
    kernel(count, &from->bits, to);
  } else if constexpr (std::is_same_v<To, Half>) {
    static const auto kernel = FLAMBEAU_CHOOSE(float_to_half);
    kernel(count, from, &to->bits);
  } else if constexpr (std::is_same_v<From, BFloat>) {
    static const auto kernel = FLAMBEAU_CHOOSE(bfloat_to_float);
    kernel(count, &from->bits, to);
  } else if constexpr (std::is_same_v<To, BFloat>) {
    static const auto kernel = FLAMBEAU_CHOOSE(float_to_bfloat);
    kernel(count, from, &to->bits);
  } else {
    for (int64_t i = 0; i < count; ++i) to[i] = convert<To>(from[i]);
  }
}

// A contiguous copy of a rows x columns matrix in another type.
template <class To>
class Converted {
 public:
  template <class From>
  Converted(int64_t rows, int64_t columns, const From* from, int64_t ld)
      : Converted(rows, columns) {
    read(from, ld);
  }
  Converted(int64_t rows, int64_t columns) : rows_(rows), columns_(columns) {
    data_ = static_cast<To*>(allocate(bytes()));
  }
  ~Converted() { deallocate(data_, bytes()); }
  Converted(const Converted&) = delete;
  Converted& operator=(const Converted&) = delete;

  template <class From>
  void read(const From* from, int64_t ld) {
    for_rows([&](int64_t i) { convert_row(columns_, from + i * ld, data_ + i * columns_); });
  }
  To* data() { return data_; }
  int64_t ld() const { return std::max<int64_t>(columns_, 1); }

 private:
  size_t bytes() const { return static_cast<size_t>(rows_ * columns_) * sizeof(To); }
  template <class Function>
  void for_rows(Function function) const {
    parallel_for(rows_, kGrain / std::max<int64_t>(columns_, 1) + 1,
                 [&](int64_t begin, int64_t end) {
                   for (int64_t i = begin; i < end; ++i) function(i);
                 });
  }
  int64_t rows_, columns_;
  To* data_;
};

// Writes blocks of a wide result into C; then comes the caller's own epilogue.
template <class W, class T>
struct Narrowing {
  const W* from;
  int64_t ld_from;
  T* to;
  int64_t ld_to;
  const Epilogue* next;

  static void run(void* context, int64_t row_begin, int64_t row_end, int64_t column_begin,
                  int64_t column_end) {
    auto& self = *static_cast<Narrowing*>(context);
    for (int64_t i = row_begin; i < row_end; ++i) {
      convert_row(column_end - column_begin, self.from + i * self.ld_from + column_begin,
                  self.to + i * self.ld_to + column_begin);
    }
    if (!self.next) return;
    self.next->run(self.next->context, row_begin, row_end, column_begin, column_end);
  }
};

}  // namespace

template <class T>
void gemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k,
          std::type_identity_t<Compute<T>> alpha, const T* a, int64_t lda, const T* b, int64_t ldb,
          std::type_identity_t<Compute<T>> beta, T* c, int64_t ldc, const Epilogue* epilogue) {
  using W = Wide<T>;
  if constexpr (std::is_same_v<T, W>) {
    multiply<T>(
        {transpose_a, transpose_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc, c, ldc, epilogue});
  } else {
    Converted<W> wide_a(transpose_a ? k : m, transpose_a ? m : k, a, lda);
    Converted<W> wide_b(transpose_b ? n : k, transpose_b ? k : n, b, ldb);
    Converted<W> wide_c(m, n);
    if (beta != Compute<T>(0)) wide_c.read(c, ldc);
    Narrowing<W, T> narrowing{wide_c.data(), wide_c.ld(), c, ldc, epilogue};
    const Epilogue writing{narrowing.run, &narrowing};
    multiply<W>({transpose_a, transpose_b, m, n, k, static_cast<W>(alpha), wide_a.data(),
                 wide_a.ld(), wide_b.data(), wide_b.ld(), static_cast<W>(beta), wide_c.data(),
                 wide_c.ld(), wide_c.data(), wide_c.ld(), &writing});
  }
}

template <class T>
void gemm_bias(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, const T* a,
               int64_t lda, const T* b, int64_t ldb, const T* bias, T* c, int64_t ldc,
               const Epilogue* epilogue) {
  if constexpr (std::is_same_v<T, Wide<T>>) {
    if (bias) {
      multiply<T>({transpose_a, transpose_b, m, n, k, T(1), a, lda, b, ldb, T(1), bias, 0, c, ldc,
                   epilogue});
      return;
    }
  }
  if (bias) {
    parallel_for(m, kGrain / std::max<int64_t>(n, 1) + 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) std::copy(bias, bias + n, c + i * ldc);
    });
  }
  Compute<T> one = 1, beta = bias ? 1 : 0;
  gemm(transpose_a, transpose_b, m, n, k, one, a, lda, b, ldb, beta, c, ldc, epilogue);
}

template <class T>
void gemm_batch(bool transpose_a, bool transpose_b, int64_t batch, int64_t m, int64_t n, int64_t k,
                std::type_identity_t<Compute<T>> alpha, const T* a, int64_t lda,
                const int64_t* a_offsets, const T* b, int64_t ldb, const int64_t* b_offsets,
                std::type_identity_t<Compute<T>> beta, T* c, int64_t ldc, int64_t stride_c) {
  auto products = [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      gemm(transpose_a, transpose_b, m, n, k, alpha, a + a_offsets[i], lda, b + b_offsets[i], ldb,
           beta, c + i * stride_c, ldc);
    }
  };
  // With few large products each one uses all threads, with many each thread takes some.
  if (batch < thread_count()) return products(0, batch);
  int64_t work = std::max<int64_t>(m * n, 1) * std::max<int64_t>(k, 1);
  parallel_for(batch, kSerialWork / work + 1, products);
}

template <class T>
T dot(int64_t count, const T* x, int64_t step_x, const T* y, int64_t step_y) {
  using W = Wide<T>;
  if constexpr (kNative<T>) {
    double sum = 0;
    // Blocks keep the error of long sums small and the counts within 32 bits.
    constexpr int64_t kBlock = 4096;
    require(std::max(std::abs(step_x), std::abs(step_y)) <= INT_MAX,
            "dot: steps below 2^31 are required, got ", step_x, " and ", step_y,
            "; make the tensors contiguous");
    for (int64_t i = 0; i < count; i += kBlock) {
      int length = static_cast<int>(std::min(kBlock, count - i));
      const T *from_x = x + i * step_x, *from_y = y + i * step_y;
      if constexpr (std::is_same_v<T, float>) {
        sum += scipy_cblas_sdot(length, from_x, step_x, from_y, step_y);
      } else {
        sum += scipy_cblas_ddot(length, from_x, step_x, from_y, step_y);
      }
    }
    return static_cast<T>(sum);
  } else {
    W sum = 0;
    for (int64_t i = 0; i < count; ++i) {
      W left = convert<W>(x[i * step_x]), right = convert<W>(y[i * step_y]);
      if constexpr (std::is_integral_v<W>) {
        sum = wrapping_multiply_add(left, right, sum);
      } else {
        sum += left * right;
      }
    }
    return convert<T>(sum);
  }
}

#define FLAMBEAU_GEMM(T)                                                                         \
  template void gemm<T>(bool, bool, int64_t, int64_t, int64_t, Compute<T>, const T*, int64_t,    \
                        const T*, int64_t, Compute<T>, T*, int64_t, const Epilogue*);            \
  template void gemm_bias<T>(bool, bool, int64_t, int64_t, int64_t, const T*, int64_t, const T*, \
                             int64_t, const T*, T*, int64_t, const Epilogue*);                   \
  template void gemm_batch<T>(bool, bool, int64_t, int64_t, int64_t, int64_t, Compute<T>,        \
                              const T*, int64_t, const int64_t*, const T*, int64_t,              \
                              const int64_t*, Compute<T>, T*, int64_t, int64_t);                 \
  template T dot<T>(int64_t, const T*, int64_t, const T*, int64_t);
FLAMBEAU_GEMM(float)
FLAMBEAU_GEMM(double)
FLAMBEAU_GEMM(Half)
FLAMBEAU_GEMM(BFloat)
FLAMBEAU_GEMM(int64_t)
FLAMBEAU_GEMM(int32_t)
FLAMBEAU_GEMM(int16_t)
FLAMBEAU_GEMM(int8_t)
FLAMBEAU_GEMM(uint8_t)
#undef FLAMBEAU_GEMM

}  // namespace flambeau
