// Tiles: accumulators stay in registers, so a tile has as many rows as the register file allows.
// With two vectors per row, one step of the depth loads rows + 2 times for 2 * rows
// multiply-adds; that keeps both multiply-add units of a core busy.
#include "blas/tile.h"

#if defined(FLAMBEAU_ISA_v4)
#include <immintrin.h>
#endif

namespace flambeau::FLAMBEAU_ISA {
namespace {

#if defined(FLAMBEAU_ISA_v4)
constexpr int kRows = 14, kBytes = 64;
#elif defined(FLAMBEAU_ISA_v3)
constexpr int kRows = 6, kBytes = 32;
#elif defined(FLAMBEAU_ISA_v2)
constexpr int kRows = 4, kBytes = 16;
#else
constexpr int kRows = 12, kBytes = 16;
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
[[gnu::always_inline]] inline void store(T* to, Vector<T> value) {
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
  store(lanes, value);
  for (int64_t i = 0; i < count; ++i) to[i] = lanes[i];
#endif
}

// --- the micro-kernel -------------------------------------------------------------------------

template <class T, TileLayout layout, int rows, int vectors>
struct Sums {
  Vector<T> sums[rows][vectors] = {};

  // One step of the depth: element i of the left operand is at a + i * a_row.
  [[gnu::always_inline]] void step(const T* a, int64_t a_row, const T* b) {
    Vector<T> right[vectors];
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) right[v] = load(b + v * kLanes<T>);
#pragma GCC unroll 16
    for (int i = 0; i < rows; ++i) {
      Lane<T> left = static_cast<Lane<T>>(a[i * a_row]);
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) sums[i][v] += left * right[v];
    }
  }

  [[gnu::always_inline]] void run(const Tile<T>& t) {
    const T *a = t.a, *b = t.b;
    if constexpr (layout == TileLayout::Rows) {
      int64_t p = 0;
      for (; p + 4 <= t.depth; p += 4, a += 4) {
#pragma GCC unroll 4
        for (int u = 0; u < 4; ++u, b += t.b_step) step(a + u, t.a_step, b);
      }
      for (; p < t.depth; ++p, ++a, b += t.b_step) step(a, t.a_step, b);
    } else if constexpr (layout == TileLayout::Columns) {
      for (int64_t p = 0; p < t.depth; ++p, a += t.a_step, b += t.b_step) step(a, 1, b);
    } else {
      for (int64_t p = 0; p < t.depth; ++p, a += t.a_step) step(a, 1, b + t.b_offsets[p]);
    }
  }

  [[gnu::always_inline]] void store_whole(const Tile<T>& t) {
    Lane<T> alpha = static_cast<Lane<T>>(t.alpha), beta = static_cast<Lane<T>>(t.beta);
#pragma GCC unroll 16
    for (int i = 0; i < rows; ++i) {
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) {
        Vector<T> result = sums[i][v] * alpha;
        if (t.beta != 0) result += load(t.d + i * t.ldd + v * kLanes<T>) * beta;
        store(t.c + i * t.ldc + v * kLanes<T>, result);
      }
    }
  }

  [[gnu::always_inline]] void store_columns(const Tile<T>& t) {
    Lane<T> alpha = static_cast<Lane<T>>(t.alpha), beta = static_cast<Lane<T>>(t.beta);
    int64_t last = t.columns - (vectors - 1) * kLanes<T>;
#pragma GCC unroll 16
    for (int i = 0; i < rows; ++i) {
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) {
        int64_t count = v == vectors - 1 ? last : kLanes<T>;
        Vector<T> result = sums[i][v] * alpha;
        if (t.beta != 0) result += load_part(t.d + i * t.ldd + v * kLanes<T>, count) * beta;
        store_part(t.c + i * t.ldc + v * kLanes<T>, result, count);
      }
    }
  }
};

template <class T, TileLayout layout, int rows, int vectors>
void tile(const Tile<T>& t) {
  if (t.beta != 0) {
    for (int i = 0; i < rows; ++i) {
      __builtin_prefetch(t.d + i * t.ldd);
      __builtin_prefetch(t.d + i * t.ldd + t.columns - 1);
    }
  }
  Sums<T, layout, rows, vectors> sums;
  sums.run(t);
  if (t.columns == vectors * kLanes<T>) {
    sums.store_whole(t);
  } else {
    sums.store_columns(t);
  }
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

template <class T>
void pack_transposed(const T* from, int64_t ld, int64_t count, int64_t depth, T* to, int64_t step) {
  constexpr int lanes = kLanes<T>;
  for (int64_t i = 0; i < count; i += lanes) {
    const T* rows[lanes];
    for (int q = 0; q < lanes; ++q) rows[q] = from + (i + q < count ? i + q : count - 1) * ld;
    int64_t p = 0;
    for (; p + lanes <= depth; p += lanes) {
      Vector<T> block[lanes];
#pragma GCC unroll 16
      for (int q = 0; q < lanes; ++q) block[q] = load(rows[q] + p);
      transpose_square<1, lanes>(block);
#pragma GCC unroll 16
      for (int q = 0; q < lanes; ++q) store(to + (p + q) * step + i, block[q]);
    }
    for (; p < depth; ++p) {
      for (int q = 0; q < lanes; ++q) to[p * step + i + q] = rows[q][p];
    }
  }
}

template <class T>
void pack_rows(const T* from, int64_t ld, int64_t count, int64_t depth, T* to, int64_t step) {
  constexpr int lanes = kLanes<T>;
  for (int64_t p = 0; p < depth; ++p, from += ld, to += step) {
    int64_t i = 0;
    for (; i + lanes <= count; i += lanes) store(to + i, load(from + i));
    if (i < count) store(to + i, load_part(from + i, count - i));
  }
}

template <class T>
void pack(bool transposed, const T* from, int64_t ld, int64_t count, int64_t depth, T* to,
          int64_t step) {
  if (transposed) {
    pack_transposed(from, ld, count, depth, to, step);
  } else {
    pack_rows(from, ld, count, depth, to, step);
  }
}

template <class T>
void store_transposed(const T* tile, int64_t rows, int64_t columns, T beta, const T* d, int64_t ldd,
                      T* c, int64_t ldc) {
  constexpr int lanes = kLanes<T>, width = lanes * kTileVectors;
  Lane<T> scale = static_cast<Lane<T>>(beta);
  for (int64_t i = 0; i < rows; i += lanes) {
    int64_t count = rows - i < lanes ? rows - i : lanes;
    for (int64_t j = 0; j < columns; j += lanes) {
      Vector<T> block[lanes];
#pragma GCC unroll 16
      for (int q = 0; q < lanes; ++q) {
        block[q] = load(tile + (i + (q < count ? q : 0)) * width + j);
      }
      transpose_square<1, lanes>(block);
      T lines[lanes][lanes];
      for (int q = 0; q < lanes; ++q) store(lines[q], block[q]);
      for (int64_t q = 0; q < lanes && j + q < columns; ++q) {
        Vector<T> result = load(lines[q]);
        if (beta != 0) result += load_part(d + (j + q) * ldd + i, count) * scale;
        store_part(c + (j + q) * ldc + i, result, count);
      }
    }
  }
}

// --- the table --------------------------------------------------------------------------------

template <class T, TileLayout layout, int rows>
constexpr void fill(TileKernels<T>& kernels) {
  if constexpr (rows > 0) {
    auto& functions = kernels.functions[static_cast<int>(layout)];
    functions[0][rows - 1] = tile<T, layout, rows, 1>;
    functions[1][rows - 1] = tile<T, layout, rows, 2>;
    fill<T, layout, rows - 1>(kernels);
  }
}

template <class T>
constexpr TileKernels<T> make_kernels() {
  TileKernels<T> kernels = {};
  kernels.rows = kRows;
  kernels.lanes = kLanes<T>;
  kernels.width = kTileVectors * kLanes<T>;
  fill<T, TileLayout::Rows, kRows>(kernels);
  fill<T, TileLayout::Columns, kRows>(kernels);
  if constexpr (sizeof(T) == 4 && T(0.5) != T(0)) fill<T, TileLayout::Table, kRows>(kernels);
  kernels.pack = pack<T>;
  kernels.store_transposed = store_transposed<T>;
  return kernels;
}

}  // namespace

extern const TileKernels<float> float_tiles = make_kernels<float>();
extern const TileKernels<double> double_tiles = make_kernels<double>();
extern const TileKernels<int32_t> int32_tiles = make_kernels<int32_t>();
extern const TileKernels<int64_t> int64_tiles = make_kernels<int64_t>();

}  // namespace flambeau::FLAMBEAU_ISA
