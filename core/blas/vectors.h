// Vectors of the registers' width, for the kernels of products: included by *_simd.cpp files.
#pragma once

#include <cstdint>

#include "blas/tile.h"

#if defined(FLAMBEAU_ISA_v4)
#include <immintrin.h>
#endif

namespace flambeau::FLAMBEAU_ISA {

// Defined in pack_simd.cpp; blas/tile.h says what they do.
template <class T>
void pack(bool transposed, const T* from, int64_t ld, int64_t count, int64_t depth, T* packed,
          int64_t step, int64_t panel);
template <class T>
void dot_tile(int64_t rows, int64_t columns, int64_t depth, T alpha, const T* a, int64_t lda,
              const T* b, int64_t ldb, T beta, const T* d, int64_t ldd, T* c, int64_t ldc);

namespace {

// Rows of a tile, bytes of a vector, and whether masks make parts of vectors as cheap as whole
// ones.
#if defined(FLAMBEAU_ISA_v4)
constexpr int kRows = 14, kBytes = 64;
#elif defined(FLAMBEAU_ISA_v3)
constexpr int kRows = 6, kBytes = 32;
#elif defined(FLAMBEAU_ISA_v2)
constexpr int kRows = 4, kBytes = 16;
#else
constexpr int kRows = 12, kBytes = 16;
#endif
#if !defined(FLAMBEAU_ISA_v4)
#endif

// Integers wrap around: their arithmetic is done on unsigned lanes.
template <class T>
struct LaneOf {
  using Type = T;
};
template <>
struct LaneOf<int32_t> {
  using Type = uint32_t;
};
template <>
struct LaneOf<int64_t> {
  using Type = uint64_t;
};
template <class T>
struct VectorOf {
  using Lane = typename LaneOf<T>::Type;
  typedef Lane Type __attribute__((vector_size(kBytes)));
  typedef Lane Unaligned __attribute__((vector_size(kBytes), aligned(sizeof(T)), may_alias));
};
template <class T>
using Vector = typename VectorOf<T>::Type;
template <class T>
using Lane = typename LaneOf<T>::Type;
template <class T>
constexpr int kLanes = kBytes / sizeof(T);

template <class T>
[[gnu::always_inline]] inline Vector<T> load(const T* from) {
  return *reinterpret_cast<const typename VectorOf<T>::Unaligned*>(from);
}
template <class T>
[[gnu::always_inline]] inline void store_vector(T* to, Vector<T> value) {
  *reinterpret_cast<typename VectorOf<T>::Unaligned*>(to) = value;
}

// The first `count` lanes, 0 < count <= lanes; others are zero or left alone.
template <class T>
[[gnu::always_inline]] inline Vector<T> load_part(const T* from, int64_t count) {
#if defined(FLAMBEAU_ISA_v4)
  if constexpr (sizeof(T) == 4) {
    return (Vector<T>)_mm512_maskz_loadu_epi32(static_cast<__mmask16>((2u << (count - 1)) - 1),
                                               from);
  } else {
    return (Vector<T>)_mm512_maskz_loadu_epi64(static_cast<__mmask8>((2u << (count - 1)) - 1),
                                               from);
  }
#else
  T lanes[kLanes<T>] = {};
  for (int64_t i = 0; i < count; ++i) lanes[i] = from[i];
  return load(lanes);
#endif
}
template <class T>
[[gnu::always_inline]] inline void store_part(T* to, Vector<T> value, int64_t count) {
#if defined(FLAMBEAU_ISA_v4)
  if constexpr (sizeof(T) == 4) {
    _mm512_mask_storeu_epi32(to, static_cast<__mmask16>((2u << (count - 1)) - 1), (__m512i)value);
  } else {
    _mm512_mask_storeu_epi64(to, static_cast<__mmask8>((2u << (count - 1)) - 1), (__m512i)value);
  }
#else
  T lanes[kLanes<T>];
  store_vector(lanes, value);
  for (int64_t i = 0; i < count; ++i) to[i] = lanes[i];
#endif
}

// --- transposition ----------------------------------------------------------------------------

template <int... indices>
struct Indices {};
template <int n, int... indices>
struct MakeIndices : MakeIndices<n - 1, n - 1, indices...> {};
template <int... indices>
struct MakeIndices<0, indices...> {
  using Type = Indices<indices...>;
};

// Exchanges, between rows i and i + distance, the lanes whose number has / has not that bit.
template <int distance, class V, int... j>
[[gnu::always_inline]] inline void exchange(V& low, V& high, Indices<j...>) {
  constexpr int lanes = sizeof...(j);
  V first = __builtin_shufflevector(low, high, ((j & distance) ? j - distance + lanes : j)...);
  V second = __builtin_shufflevector(low, high, ((j & distance) ? j + lanes : j + distance)...);
  low = first;
  high = second;
}
template <int distance, int lanes, class V>
[[gnu::always_inline]] inline void transpose_square(V (&rows)[lanes]) {
  if constexpr (distance < lanes) {
#pragma GCC unroll 16
    for (int i = 0; i < lanes; ++i) {
      if (!(i & distance)) {
        exchange<distance>(rows[i], rows[i + distance], typename MakeIndices<lanes>::Type{});
      }
    }
    transpose_square<2 * distance, lanes>(rows);
  }
}

}  // namespace
}  // namespace flambeau::FLAMBEAU_ISA
