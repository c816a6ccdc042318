// The micro-kernel of matrix products and convolutions: one tile of the result, held in registers
// while the sum runs over the whole depth. blas/packed.cpp shows how to drive it; choose it when
// the left operand is (or can be packed as) a short panel of rows and the right one has rows of
// contiguous columns.
#pragma once

#include <cstdint>

namespace flambeau {

// How a tile finds its operands. Left: element (i, p), right: row p, elements 0 ... columns - 1.
enum class TileLayout {
  Rows,     // left a[i * a_step + p], right b[p * b_step]: left as stored, rows contiguous
  Columns,  // left a[p * a_step + i], right b[p * b_step]: left packed, or stored transposed
  Table,    // left a[p * a_step + i], right b[b_offsets[p]]: shifted views of an image
};

// c[i, j] = alpha * sum over p < depth of left(i, p) * right(p, j) + beta * d[i, j].
// Right rows are read in whole vectors: up to the next multiple of `lanes` columns must be
// readable there. d and c are only touched within the given columns; with beta == 0, d is not read.
// d may be c (accumulate) or have ldd == 0 (a bias per column).
template <class T>
struct Tile {
  const T* a;
  int64_t a_step;
  int64_t a_ahead;  // a hint (not for Rows): a[p * a_step + a_ahead] will be needed soon
  const T* b;
  int64_t b_step;
  int64_t b_ahead;           // a hint (not for Table): b[p * b_step + b_ahead] will be needed soon
  const int64_t* b_offsets;  // Table only
  int64_t depth;
  int64_t columns;  // 1 ... lanes * vectors of the function
  T alpha;
  T beta;
  const T* d;
  int64_t ldd;
  T* c;
  int64_t ldc;
};

constexpr int kTileRows = 14;    // most rows of a tile on any processor
constexpr int kTileVectors = 2;  // a tile is up to this many vectors wide
constexpr int kDotRows = 4;
constexpr int kTileBuffer = kTileRows * kTileVectors * 16;  // elements of the largest tile

// The functions for this processor. T: float, double, int32_t, int64_t . Rows for floating
// types, Table for float.
template <class T>
struct TileKernels {
  using Function = void (*)(const Tile<T>&);
  int rows;   // most rows of a tile here
  int lanes;  // elements of a vector
  int width;  // most columns: lanes * kTileVectors
  Function functions[3][kTileVectors][kTileRows];

  Function function(TileLayout layout, int64_t tile_rows, int64_t columns) const {
    return functions[static_cast<int>(layout)][columns > lanes][tile_rows - 1];
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
  // c[j * ldc + i] = tile[i * width + j] + beta * d[j * ldd + i]: a tile computed of C transposed.
  void (*store_transposed)(const T* tile, int64_t rows, int64_t columns, T beta, const T* d,
                           int64_t ldd, T* c, int64_t ldc);
};

template <class T>
const TileKernels<T>& tile_kernels();

}  // namespace flambeau
