// Packing of operands by register transposes, and products of few rows that need no packing.
#include "blas/vectors.h"

namespace flambeau::FLAMBEAU_ISA {
namespace {

// Column i of what is packed starts at (i / width) * panel + i % width.
template <class T>
void pack_transposed(const T* from, int64_t ld, int64_t count, int64_t depth, T* packed,
                     int64_t step, int64_t panel) {
  constexpr int lanes = kLanes<T>, width = lanes * kTileVectors;
  for (int64_t i = 0; i < count; i += lanes) {
    const T* rows[lanes];
    for (int q = 0; q < lanes; ++q) rows[q] = from + (i + q < count ? i + q : count - 1) * ld;
    T* to = packed + i / width * panel + i % width;
    int64_t p = 0;
    for (; p + lanes <= depth; p += lanes) {
      Vector<T> block[lanes];
#pragma GCC unroll 16
      for (int q = 0; q < lanes; ++q) block[q] = load(rows[q] + p);
      transpose_square<1, lanes>(block);
#pragma GCC unroll 16
      for (int q = 0; q < lanes; ++q) store_vector(to + (p + q) * step, block[q]);
    }
    if (p < depth) {
      Vector<T> block[lanes];
#pragma GCC unroll 16
      for (int q = 0; q < lanes; ++q) block[q] = load_part(rows[q] + p, depth - p);
      transpose_square<1, lanes>(block);
#pragma GCC unroll 16
      for (int q = 0; q < lanes; ++q) {
        if (p + q < depth) store_vector(to + (p + q) * step, block[q]);
      }
    }
  }
}

template <class T>
void pack_rows(const T* from, int64_t ld, int64_t count, int64_t depth, T* packed, int64_t step,
               int64_t panel) {
  constexpr int lanes = kLanes<T>, width = lanes * kTileVectors;
  if (count < lanes) {  // a panel of the left operand
#pragma GCC unroll 4
    for (int64_t p = 0; p < depth; ++p) {
      store_vector(packed + p * step, load_part(from + p * ld, count));
    }
    return;
  }
  for (int64_t p = 0; p < depth; ++p, from += ld, packed += step) {
    T* to = packed;
    int64_t i = 0;
    for (; i + width <= count; i += width, to += panel) {
#pragma GCC unroll 4
      for (int v = 0; v < width; v += lanes) store_vector(to + v, load(from + i + v));
    }
    for (; i + lanes <= count; i += lanes, to += lanes) store_vector(to, load(from + i));
    if (i < count) store_vector(to, load_part(from + i, count - i));
  }
}

}  // namespace

template <class T>
void pack(bool transposed, const T* from, int64_t ld, int64_t count, int64_t depth, T* packed,
          int64_t step, int64_t panel) {
  if (transposed) {
    pack_transposed(from, ld, count, depth, packed, step, panel);
  } else {
    pack_rows(from, ld, count, depth, packed, step, panel);
  }
}

template <class T>
void dot_tile(int64_t rows, int64_t columns, int64_t depth, T alpha, const T* a, int64_t lda,
              const T* b, int64_t ldb, T beta, const T* d, int64_t ldd, T* c, int64_t ldc) {
  constexpr int lanes = kLanes<T>, size = kDotRows, sums_count = size * size;
  // Missing rows repeat the last one; their sums are dropped.
  const T *left[size], *right[size];
  for (int i = 0; i < size; ++i) left[i] = a + (i < rows ? i : rows - 1) * lda;
  for (int j = 0; j < size; ++j) right[j] = b + (j < columns ? j : columns - 1) * ldb;
  Vector<T> sums[sums_count] = {};
  auto step = [&](auto read) [[gnu::always_inline]] {
    Vector<T> values[size];
#pragma GCC unroll 4
    for (int j = 0; j < size; ++j) values[j] = read(right[j]);
#pragma GCC unroll 4
    for (int i = 0; i < size; ++i) {
      Vector<T> value = read(left[i]);
#pragma GCC unroll 4
      for (int j = 0; j < size; ++j) sums[i * size + j] += value * values[j];
    }
  };
  int64_t p = 0;
  for (; p + lanes <= depth; p += lanes) step([p](const T* row) { return load(row + p); });
  if (p < depth) step([p, depth](const T* row) { return load_part(row + p, depth - p); });
  // Transposing a square of sums lets one vector add up `lanes` of them.
  T totals[sums_count];
#pragma GCC unroll 16
  for (int first = 0; first < sums_count; first += lanes) {
    Vector<T> square[lanes];
#pragma GCC unroll 16
    for (int q = 0; q < lanes; ++q) square[q] = sums[first + q];
    transpose_square<1, lanes>(square);
#pragma GCC unroll 16
    for (int q = 1; q < lanes; ++q) square[0] += square[q];
    store_vector(totals + first, square[0]);
  }
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < columns; ++j) {
      Lane<T> total = static_cast<Lane<T>>(totals[i * size + j]) * static_cast<Lane<T>>(alpha);
      if (beta != 0) total += static_cast<Lane<T>>(d[i * ldd + j]) * static_cast<Lane<T>>(beta);
      c[i * ldc + j] = static_cast<T>(total);
    }
  }
}

#define FLAMBEAU_PACK(T)                                                                        \
  template void pack(bool, const T*, int64_t, int64_t, int64_t, T*, int64_t, int64_t);          \
  template void dot_tile(int64_t, int64_t, int64_t, T, const T*, int64_t, const T*, int64_t, T, \
                         const T*, int64_t, T*, int64_t);
FLAMBEAU_PACK(float)
FLAMBEAU_PACK(double)
FLAMBEAU_PACK(int32_t)
FLAMBEAU_PACK(int64_t)
#undef FLAMBEAU_PACK

}  // namespace flambeau::FLAMBEAU_ISA
