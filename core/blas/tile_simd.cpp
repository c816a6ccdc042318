// Tiles: accumulators stay in registers, so a tile has as many rows as the register file allows.
// With two vectors per row, one step of the depth loads rows + 2 times for 2 * rows
// multiply-adds; that keeps both multiply-add units of a core busy and leaves half of the loads
// to fetch what comes next: the tile to be stored next, and the list that the caller gives.
#include <type_traits>

#include "blas/vectors.h"

namespace flambeau::FLAMBEAU_ISA {
namespace {

// Where fetching stands: the entry at hand, and the one that it interrupted.
struct Fetcher {
  const char* at;
  int64_t step, groups;
  Fetch interrupted = {nullptr, 0, 0};
  const Fetch* next;

  explicit Fetcher(const Fetch* list) : next(list) { advance(); }
  [[gnu::always_inline]] void take(const Fetch& entry) {
    at = static_cast<const char*>(entry.at);
    step = entry.step;
    groups = entry.groups;
  }
  void advance() {
    if (interrupted.groups > 0) {
      take(interrupted);
      interrupted.groups = 0;
    } else {
      take(*next++);
    }
  }
  void interrupt(const Fetch& entry) {
    if (interrupted.groups == 0) interrupted = {at, step, groups};
    take(entry);
  }
};

// sum += x * y. The compiler would choose the form that overwrites a factor as often, and then copy
// and spill sums to make room.
template <class T>
[[gnu::always_inline]] inline void multiply_add(Vector<T>& sum, Vector<T> x, Vector<T> y) {
#if defined(FLAMBEAU_ISA_v4) || defined(FLAMBEAU_ISA_v3)
  if constexpr (std::is_same_v<T, float>) {
    asm("vfmadd231ps %2, %1, %0" : "+v"(sum) : "v"(x), "v"(y));
    return;
  } else if constexpr (std::is_same_v<T, double>) {
    asm("vfmadd231pd %2, %1, %0" : "+v"(sum) : "v"(x), "v"(y));
    return;
  }
#endif
  sum += x * y;
}

template <class T, LeftLayout layout, int rows, int vectors>
struct Sums {
  Vector<T> sums[rows][vectors] = {};

  // One step of the depth: element i of the left operand is left(i).
  template <class Left>
  [[gnu::always_inline]] void step(const T* b, Left left) {
    Vector<T> right[vectors];
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) right[v] = load(b + v * kLanes<T>);
#pragma GCC unroll 16
    for (int i = 0; i < rows; ++i) {
      Vector<T> value = static_cast<Lane<T>>(left(i)) - Vector<T>{};
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) multiply_add<T>(sums[i][v], value, right[v]);
    }
  }

  // All steps. Four at a time fetch; the element i of the left operand at step u of them is
  // left(i, u). move() is called after each, move_end(count) after four or after a single one.
  template <class Left, class Move, class MoveEnd>
  [[gnu::always_inline]] void steps(int64_t depth, const T* b, int64_t b_step, Fetcher& fetcher,
                                    Left left, Move move, MoveEnd move_end) {
    const char* at = fetcher.at;
    int64_t groups = fetcher.groups, fetch_step = fetcher.step;
    for (; depth >= 4; depth -= 4) {
#pragma GCC unroll 4
      for (int u = 0; u < 4; ++u, b += b_step, at += fetch_step) {
        __builtin_prefetch(at, 0, 2);
        __builtin_prefetch(at + 64, 0, 2);
        step(b, [&](int i) [[gnu::always_inline]] { return left(i, u); });
        move();
        asm("" : "+r"(b), "+r"(at));
      }
      move_end(4);
      if (--groups == 0) [[unlikely]] {
        fetcher.advance();
        at = fetcher.at, groups = fetcher.groups, fetch_step = fetcher.step;
      }
    }
    for (; depth > 0; --depth, b += b_step) {
      step(b, [&](int i) [[gnu::always_inline]] { return left(i, 0); });
      move();
      move_end(1);
    }
    fetcher.at = at, fetcher.groups = groups;
  }

  // Rows in place: a pointer for every third row, the others at once or twice the distance, which
  // is what an address can hold. The compiler must not see how the pointers are related, or it
  // would keep an offset for every row and run out of registers.
  [[gnu::always_inline]] void run_rows(const Strip<T>& s, const T* b, Fetcher& fetcher) {
    constexpr int groups = (rows + 2) / 3;
    const T* a[groups];
#pragma GCC unroll 8
    for (int q = 0; q < groups; ++q) {
      a[q] = s.a + 3 * q * s.a_step;
      asm("" : "+r"(a[q]));
    }
    int64_t row = s.a_step;
    auto left = [&](int i, int u) [[gnu::always_inline]] { return a[i / 3][i % 3 * row + u]; };
    auto stay = []() [[gnu::always_inline]] {};
    steps(s.depth, b, s.b_step, fetcher, left, stay, [&](int count) [[gnu::always_inline]] {
#pragma GCC unroll 8
      for (int q = 0; q < groups; ++q) {
        a[q] += count;
        asm("" : "+r"(a[q]));
      }
    });
  }

  [[gnu::always_inline]] void run_columns(const Strip<T>& s, const T* b, Fetcher& fetcher) {
    const T* a = s.a;
    int64_t step = s.a_step;
    auto left = [&](int i, int) [[gnu::always_inline]] { return a[i]; };
    auto move = [&]() [[gnu::always_inline]] {
      a += step;
      asm("" : "+r"(a));
    };
    steps(s.depth, b, s.b_step, fetcher, left, move, [](int) [[gnu::always_inline]] {});
  }

  [[gnu::always_inline]] void run(const Strip<T>& s, const T* b, Fetcher& fetcher) {
    if constexpr (layout == LeftLayout::Rows) {
      run_rows(s, b, fetcher);
    } else {
      run_columns(s, b, fetcher);
    }
  }

  [[gnu::always_inline]] void scale(Lane<T> alpha) {
#pragma GCC unroll 16
    for (int i = 0; i < rows; ++i) {
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) sums[i][v] *= alpha;
    }
  }

  // `last`: columns of the last vector that count; all of them is the usual case.
  template <bool whole, bool accumulates>
  [[gnu::always_inline]] void store_sums(const Strip<T>& s, const T* d, T* c, int64_t last) {
    Lane<T> beta = static_cast<Lane<T>>(s.beta);
#pragma GCC unroll 16
    for (int i = 0; i < rows; ++i, d += s.ldd, c += s.ldc) {
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) {
        int64_t at = v * kLanes<T>;
        Vector<T> result = sums[i][v];
        if (whole || v < vectors - 1) {
          if constexpr (accumulates) result += load(d + at) * beta;
          store_vector(c + at, result);
        } else {
          if constexpr (accumulates) result += load_part(d + at, last) * beta;
          store_part(c + at, result, last);
        }
      }
    }
  }
  void store(const Strip<T>& s, const T* d, T* c, int64_t columns) {
    int64_t last = columns - (vectors - 1) * kLanes<T>;
    if (last == kLanes<T>) {
      if (s.beta != 0) return store_sums<true, true>(s, d, c, last);
      return store_sums<true, false>(s, d, c, last);
    }
    if (s.beta != 0) return store_sums<false, true>(s, d, c, last);
    store_sums<false, false>(s, d, c, last);
  }

  // The same with C stored transposed: columns of the tile become rows.
  void store_turned(const Strip<T>& s, const T* d, T* c, int64_t columns) {
    constexpr int lanes = kLanes<T>;
    Lane<T> beta = static_cast<Lane<T>>(s.beta);
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) {
#pragma GCC unroll 8
      for (int first = 0; first < rows; first += lanes) {
        constexpr int missing = rows % lanes;
        int64_t count = rows - first < lanes ? missing : lanes;
        Vector<T> block[lanes];
#pragma GCC unroll 16
        for (int q = 0; q < lanes; ++q) {
          block[q] = first + q < rows ? sums[first + q][v] : Vector<T>{};
        }
        transpose_square<1, lanes>(block);
#pragma GCC unroll 16
        for (int q = 0; q < lanes; ++q) {
          int64_t column = v * lanes + q;
          if (column >= columns) break;
          Vector<T> result = block[q];
          if (s.beta != 0) result += load_part(d + column * s.ldd + first, count) * beta;
          store_part(c + column * s.ldc + first, result, count);
        }
      }
    }
  }
};

template <class T, LeftLayout layout, int rows, int vectors>
[[gnu::noinline]] void tile(const Strip<T>& s, int64_t j, int64_t columns, Fetcher& fetcher) {
  const T* b = s.b + j / (kLanes<T> * kTileVectors) * s.b_panel;
  Sums<T, layout, rows, vectors> sums;
  sums.run(s, b, fetcher);
  if (s.alpha != T(1)) [[unlikely]]
    sums.scale(static_cast<Lane<T>>(s.alpha));
  if (s.turned) {
    sums.store_turned(s, s.d + j * s.ldd, s.c + j * s.ldc, columns);
  } else {
    sums.store(s, s.d + j, s.c + j, columns);
  }
}

template <class T, LeftLayout layout, int rows>
void strip(const Strip<T>& s) {
  constexpr int64_t width = kLanes<T> * kTileVectors;
  Fetcher fetcher(s.fetch);
  int64_t stored_rows = s.turned ? width : rows;
  for (int64_t j = 0; j < s.columns; j += width) {
    int64_t columns = s.columns - j < width ? s.columns - j : width;
    // Otherwise storing the next tile would wait for its lines.
    const T* next = j + width < s.columns ? s.c + (j + width) * (s.turned ? s.ldc : 1) : s.next_c;
    fetcher.interrupt({next, s.ldc * static_cast<int64_t>(sizeof(T)), (stored_rows + 3) / 4});
    if (columns > kLanes<T>) {
      tile<T, layout, rows, 2>(s, j, columns, fetcher);
    } else {
      tile<T, layout, rows, 1>(s, j, columns, fetcher);
    }
  }
}

// --- the table --------------------------------------------------------------------------------

template <class T, LeftLayout layout, int rows>
constexpr void fill(TileKernels<T>& kernels) {
  if constexpr (rows > 0) {
    kernels.strips[static_cast<int>(layout)][rows - 1] = strip<T, layout, rows>;
    fill<T, layout, rows - 1>(kernels);
  }
}

template <class T>
constexpr TileKernels<T> make_kernels() {
  TileKernels<T> kernels = {};
  kernels.rows = kRows;
  kernels.lanes = kLanes<T>;
  kernels.width = kTileVectors * kLanes<T>;
  fill<T, LeftLayout::Columns, kRows>(kernels);
  constexpr bool floating = T(0.5) != T(0);
  if constexpr (floating) fill<T, LeftLayout::Rows, kRows>(kernels);
  kernels.pack = pack<T>;
  kernels.dot_tile = dot_tile<T>;
  return kernels;
}

}  // namespace

extern const TileKernels<float> float_tiles = make_kernels<float>();
extern const TileKernels<double> double_tiles = make_kernels<double>();
extern const TileKernels<int32_t> int32_tiles = make_kernels<int32_t>();
extern const TileKernels<int64_t> int64_tiles = make_kernels<int64_t>();

}  // namespace flambeau::FLAMBEAU_ISA
