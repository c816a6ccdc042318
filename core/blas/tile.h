// The micro-kernels of matrix products: tiles of the result, held in registers while the sum runs
// over the whole depth. blas/packed.cpp drives them.
#pragma once

#include <cstdint>

namespace flambeau {

constexpr int kTileRows = 14;    // most rows of a tile on any processor
constexpr int kTileVectors = 2;  // a tile is up to this many vectors wide
constexpr int kDotRows = 4;

// How the left operand of a strip lies. The right one has rows b[p * b_step + j] either way.
enum class LeftLayout {
  Rows,     // a[i * a_step + p]: as stored, its rows contiguous (floating types only)
  Columns,  // a[p * a_step + i]: packed, or stored transposed
};

// Memory to bring into the second-level cache while sums run: 4 * groups pairs of cache lines,
// `step` bytes from one pair to the next.
struct Fetch {
  const void* at;
  int64_t step;
  int64_t groups;
};

// A row of tiles: c[i, j] = alpha * sum over p < depth of left(i, p) * right(p, j) + beta * d[i, j]
// for as many rows i as the function chosen has, and j < columns.
// Columns come in panels of `width`, the right operand's `b_panel` elements apart. Right rows are
// read in whole vectors: up to the next multiple of `lanes` columns must be readable there.
// d and c are only touched within the given columns; with beta == 0, d is not read. d may be c
// (accumulate) or have ldd == 0 (a bias per column).
template <class T>
struct Strip {
  const T* a;
  int64_t a_step;
  const T* b;
  int64_t b_step, b_panel;
  int64_t depth, columns;
  T alpha, beta;
  const T* d;
  int64_t ldd;
  T* c;
  int64_t ldc;
  bool turned;         // c and d are stored transposed: element (i, j) at c[j * ldc + i]
  const T* next_c;     // where the next strip stores
  const Fetch* fetch;  // a list that never ends: the last element has groups for ever
};

// The functions for this processor. T: float, double, int32_t, int64_t.
template <class T>
struct TileKernels {
  using Function = void (*)(const Strip<T>&);
  int rows;   // most rows of a tile here
  int lanes;  // elements of a vector
  int width;  // columns of a tile: lanes * kTileVectors
  Function strips[2][kTileRows];

  Function strip(LeftLayout layout, int64_t rows) const {
    return strips[static_cast<int>(layout)][rows - 1];
  }
  // Packing: copies from[p * ld + i], or from[i * ld + p] if transposed, for p < depth, i < count,
  // to[i / width * panel + p * step + i % width]. step is at least min(count, width) rounded up to
  // whole vectors; what is between them is filled with zeros or repeated elements.
  void (*pack)(bool transposed, const T* from, int64_t ld, int64_t count, int64_t depth, T* to,
               int64_t step, int64_t panel);
  // c[i * ldc + j] = alpha * sum over p < depth of a[i * lda + p] * b[j * ldb + p] + beta *
  // d[i * ldd + j] for i < rows and j < columns (both at most kDotRows): vectors run along the
  // depth, so that nothing is packed. For few rows.
  void (*dot_tile)(int64_t rows, int64_t columns, int64_t depth, T alpha, const T* a, int64_t lda,
                   const T* b, int64_t ldb, T beta, const T* d, int64_t ldd, T* c, int64_t ldc);
};

template <class T>
const TileKernels<T>& tile_kernels();

}  // namespace flambeau
