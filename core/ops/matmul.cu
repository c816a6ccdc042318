// Matrix products where cuBLASLt is not there or has none: integers, above all. Operands are read
// as they lie, whatever their strides. After ops/tiles.cuh.

struct Operand {
  const T* data;
  int64 row, column, batch;  // strides
};
struct Shape {
  int64 rows, columns, inner, batch;
};

// out = alpha * a b + beta * c + bias; blocks walk over the tiles of all products of the batch.
extern "C" __global__ void __launch_bounds__(256)
    multiply(Shape shape, Operand a, Operand b, Operand c, const T* bias, T* out, int64 out_batch,
             Accumulator alpha, Accumulator beta) {
  const int64 down = (shape.rows + kTile - 1) / kTile, across = (shape.columns + kTile - 1) / kTile;
  const INDEX rows = static_cast<INDEX>(shape.rows), columns = static_cast<INDEX>(shape.columns);
  for (int64 block = blockIdx.x; block < down * across * shape.batch; block += gridDim.x) {
    const int64 product = block / (down * across), tile = block % (down * across);
    const INDEX first_row = static_cast<INDEX>(tile / across * kTile);
    const INDEX first_column = static_cast<INDEX>(tile % across * kTile);
    const T* a_data = a.data + product * a.batch;
    const T* b_data = b.data + product * b.batch;
    Accumulator sums[kEach][kEach] = {};
    multiply_tiles(
        INDEX(0), static_cast<INDEX>(shape.inner), a.column == 1, b.row == 1,
        [&](int row, INDEX inner) -> Accumulator {
          if (first_row + row >= rows) return 0;
          return convert<Accumulator>(a_data[(first_row + row) * a.row + inner * a.column]);
        },
        [&](INDEX inner, int column) -> Accumulator {
          if (first_column + column >= columns) return 0;
          return convert<Accumulator>(b_data[inner * b.row + (first_column + column) * b.column]);
        },
        sums);
    each_of_tile(sums, [&](int row, int column, Accumulator sum) {
      const int64 i = first_row + row, j = first_column + column;
      if (i >= rows || j >= columns) return;
      Accumulator value = alpha * sum;
      if (beta != 0) {
        value += beta * convert<Accumulator>(
                            c.data[product * c.batch + i * c.row + j * c.column]);
      }
      if (bias) value += convert<Accumulator>(bias[j]);
      out[product * out_batch + i * columns + j] = convert<T>(value);
    });
  }
}

// The dot product of two vectors: every block sums a part, the last kernel the parts.
extern "C" __global__ void __launch_bounds__(256)
    dot_parts(const T* x, int64 x_step, const T* y, int64 y_step, int64 count, Accumulator* parts) {
  Accumulator sum = 0;
  for (int64 i = thread_index<int64>(); i < count; i += thread_count<int64>()) {
    sum += convert<Accumulator>(x[i * x_step]) * convert<Accumulator>(y[i * y_step]);
  }
  sum = block_reduce(sum, Sum());
  if (threadIdx.x == 0) parts[blockIdx.x] = sum;
}
extern "C" __global__ void __launch_bounds__(256)
    dot_total(const Accumulator* parts, int count, T* out) {
  Accumulator sum = 0;
  for (int i = static_cast<int>(threadIdx.x); i < count; i += static_cast<int>(blockDim.x)) {
    sum += parts[i];
  }
  sum = block_reduce(sum, Sum());
  if (threadIdx.x == 0) *out = convert<T>(sum);
}
