// Tiles: accumulators stay in registers, so a tile has as many rows as the register file allows.
// With two vectors per row, one step of the depth loads rows + 2 times for 2 * rows
// multiply-adds; that keeps both multiply-add units of a core busy.
#include "blas/tile.h"

#if defined(FLAMBEAU_ISA_v4)
#include <immintrin.h>
#endif

namespace flambeau::FLAMBEAU_ISA {
namespace {

// Rows of a tile, bytes of a vector, and whether masks make parts of vectors as cheap as whole
// ones.
#if defined(FLAMBEAU_ISA_v4)
constexpr int kRows = 14, kBytes = 64;
constexpr bool kCheapParts = true;
#elif defined(FLAMBEAU_ISA_v3)
constexpr int kRows = 6, kBytes = 32;
#elif defined(FLAMBEAU_ISA_v2)
constexpr int kRows = 4, kBytes = 16;
#else
constexpr int kRows = 12, kBytes = 16;
#endif
#if !defined(FLAMBEAU_ISA_v4)
constexpr bool kCheapParts = false;
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

// --- the micro-kernel -------------------------------------------------------------------------

template <class T, TileLayout layout, int rows, int vectors>
struct Sums {
  Vector<T> sums[rows][vectors] = {};

  // One step of the depth: element i of the left operand is left(i).
  template <class Left>
  [[gnu::always_inline]] void step(const T* b, const T* b_later, Left left) {
    Vector<T> right[vectors];
    if constexpr (layout != TileLayout::Table) {
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) __builtin_prefetch(b_later + v * kLanes<T>);
    }
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) right[v] = load(b + v * kLanes<T>);
#pragma GCC unroll 16
    for (int i = 0; i < rows; ++i) {
      Lane<T> value = static_cast<Lane<T>>(left(i));
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) sums[i][v] += value * right[v];
    }
  }

  // Rows in place: a pointer for every third row, the others at once or twice the distance, which
  // is what an address can hold. The compiler must not see how the pointers are related, or it
  // would keep an offset for every row and run out of registers.
  [[gnu::always_inline]] void run_rows(const Tile<T>& t) {
    constexpr int groups = (rows + 2) / 3;
    const T *a[groups], *b = t.b, *later = b + t.b_ahead;
#pragma GCC unroll 8
    for (int q = 0; q < groups; ++q) {
      a[q] = t.a + 3 * q * t.a_step;
      asm("" : "+r"(a[q]));
    }
    int64_t row = t.a_step, b_step = t.b_step, p = t.depth;
    for (; p >= 4; p -= 4) {
#pragma GCC unroll 4
      for (int u = 0; u < 4; ++u, b += b_step, later += b_step) {
        step(b, later, [&](int i) [[gnu::always_inline]] { return a[i / 3][i % 3 * row + u]; });
        asm("" : "+r"(b), "+r"(later));
      }
#pragma GCC unroll 8
      for (int q = 0; q < groups; ++q) {
        a[q] += 4;
        asm("" : "+r"(a[q]));
      }
    }
    for (; p > 0; --p, b += b_step) {
      step(b, b, [&](int i) [[gnu::always_inline]] { return a[i / 3][i % 3 * row]; });
      for (int q = 0; q < groups; ++q) ++a[q];
    }
  }

  [[gnu::always_inline]] void run(const Tile<T>& t) {
    if constexpr (layout == TileLayout::Rows) return run_rows(t);
    const T *a = t.a, *b = t.b, *later = b + t.b_ahead;
    asm("" : "+r"(later));
    for (int64_t p = 0; p < t.depth; ++p, a += t.a_step) {
      auto left = [a](int i) [[gnu::always_inline]] { return a[i]; };
      if constexpr (layout == TileLayout::Table) {
        step(b + t.b_offsets[p], b, left);
      } else {
        __builtin_prefetch(a + t.a_ahead);
        step(b, later, left);
        b += t.b_step;
        later += t.b_step;
      }
    }
  }

  // Columns of the last vector that count; all of them is the usual case.
  template <bool whole>
  [[gnu::always_inline]] void store_sums(const Tile<T>& t) {
    Lane<T> alpha = static_cast<Lane<T>>(t.alpha), beta = static_cast<Lane<T>>(t.beta);
    int64_t last = t.columns - (vectors - 1) * kLanes<T>;
#pragma GCC unroll 16
    for (int i = 0; i < rows; ++i) {
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) {
        const T* d = t.d + i * t.ldd + v * kLanes<T>;
        T* c = t.c + i * t.ldc + v * kLanes<T>;
        Vector<T> result = sums[i][v] * alpha;
        if (whole || v < vectors - 1) {
          if (t.beta != 0) result += load(d) * beta;
          store_vector(c, result);
        } else {
          if (t.beta != 0) result += load_part(d, last) * beta;
          store_part(c, result, last);
        }
      }
    }
  }

  [[gnu::always_inline]] void store(const Tile<T>& t) {
    if (!kCheapParts && t.columns == vectors * kLanes<T>) {
      store_sums<true>(t);
    } else {
      store_sums<false>(t);
    }
  }
};

template <class T, TileLayout layout, int rows, int vectors>
void tile(const Tile<T>& t) {
  // Fetched while the sum runs; otherwise storing the tile would wait for its lines.
  for (int i = 0; i < rows; ++i) {
    __builtin_prefetch(t.c + i * t.ldc, 1);
    __builtin_prefetch(t.c + i * t.ldc + t.columns - 1, 1);
  }
  Sums<T, layout, rows, vectors> sums;
  sums.run(t);
  sums.store(t);
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
    for (; p < depth; ++p) {
      for (int q = 0; q < lanes; ++q) to[p * step + q] = rows[q][p];
    }
  }
}

template <class T>
void pack_rows(const T* from, int64_t ld, int64_t count, int64_t depth, T* packed, int64_t step,
               int64_t panel) {
  constexpr int lanes = kLanes<T>, width = lanes * kTileVectors;
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
#pragma GCC unroll 16
      for (int q = 0; q < lanes; ++q) {
        if (j + q >= columns) break;
        Vector<T> result = block[q];
        if (beta != 0) result += load_part(d + (j + q) * ldd + i, count) * scale;
        store_part(c + (j + q) * ldc + i, result, count);
      }
    }
  }
}

// --- few rows: vectors along the depth ----------------------------------------------------------

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
  fill<T, TileLayout::Columns, kRows>(kernels);
  constexpr bool floating = T(0.5) != T(0);
  if constexpr (floating) fill<T, TileLayout::Rows, kRows>(kernels);
  if constexpr (floating && sizeof(T) == 4) fill<T, TileLayout::Table, kRows>(kernels);
  kernels.pack = pack<T>;
  kernels.dot_tile = dot_tile<T>;
  kernels.store_transposed = store_transposed<T>;
  return kernels;
}

}  // namespace

extern const TileKernels<float> float_tiles = make_kernels<float>();
extern const TileKernels<double> double_tiles = make_kernels<double>();
extern const TileKernels<int32_t> int32_tiles = make_kernels<int32_t>();
extern const TileKernels<int64_t> int64_tiles = make_kernels<int64_t>();

}  // namespace flambeau::FLAMBEAU_ISA
