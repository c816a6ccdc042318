// Copies where source and target have different inner dimensions, through tiles in shared memory,
// so that both are read and written along their own. TO, FROM: element types.
//
// The target is [outer][rows][columns], its columns next to one another; the source has its rows
// next to one another. One block of 256 threads per tile of 32 x 32. INDEX: numbers tiles.

constexpr int kTile = 32;
constexpr int kTileRows = 8;  // written at once

struct Parameters {
  TO* to;
  const FROM* from;
  int64 rows, columns, outer;
  int64 to_row;       // step between rows in the target
  int64 from_column;  // step between columns in the source
  Geometry<int64, DIMS, 2> geometry;  // of the outer dimensions
};

extern "C" __global__ void __launch_bounds__(256) transpose(const Parameters p) {
  __shared__ TO tile[kTile][kTile + 1];
  const int x = static_cast<int>(threadIdx.x) % kTile, y = static_cast<int>(threadIdx.x) / kTile;
  const INDEX across = static_cast<INDEX>((p.columns + kTile - 1) / kTile);
  const INDEX down = static_cast<INDEX>((p.rows + kTile - 1) / kTile);
  const INDEX tiles = static_cast<INDEX>(p.outer) * down * across;
  for (INDEX task = static_cast<INDEX>(blockIdx.x); task < tiles;
       task += static_cast<INDEX>(gridDim.x)) {
    const INDEX line = task / across, outer = line / down;
    const int64 row = static_cast<int64>(line - outer * down) * kTile;
    const int64 column = static_cast<int64>(task - line * across) * kTile;
    int64 at[2] = {};
    p.geometry.locate(outer, at);
    __syncthreads();
    for (int i = y; i < kTile; i += kTileRows) {
      if (row + x < p.rows && column + i < p.columns) {
        tile[i][x] = convert<TO>(p.from[at[1] + (column + i) * p.from_column + row + x]);
      }
    }
    __syncthreads();
    for (int i = y; i < kTile; i += kTileRows) {
      if (row + i < p.rows && column + x < p.columns) {
        p.to[at[0] + (row + i) * p.to_row + column + x] = tile[x][i];
      }
    }
  }
}
