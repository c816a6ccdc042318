// In front of kernels that multiply matrices by tiles: a block of 256 threads computes 64 x 64
// elements of a product, 4 x 4 per thread, from tiles of both operands in shared memory. Every
// element is summed in the order of the inner index.
//
// T: the element type; INDEX: int or int64.

// What products are accumulated in.
template <class Element>
struct AccumulatorOf {
  typedef int64 type;  // integers wrap around in the end
};
template <>
struct AccumulatorOf<float> {
  typedef float type;
};
template <>
struct AccumulatorOf<half_t> {
  typedef float type;
};
template <>
struct AccumulatorOf<bfloat_t> {
  typedef float type;
};
template <>
struct AccumulatorOf<double> {
  typedef double type;
};
typedef typename AccumulatorOf<T>::type Accumulator;

static constexpr int kTile = 64;      // rows and columns of a block
static constexpr int kDepth = 16;     // inner indices at a time
static constexpr int kThreads = 256;  // 16 x 16
static constexpr int kEach = 4;       // rows and columns of a thread, 16 apart

// sums += the product over inner indices [begin, end). a(row, inner) and b(inner, column) give
// elements by their place in the tile, zero beyond the matrices. `a_inner`: neighbours along the
// inner index lie next to each other in memory, so neighbouring threads load these.
template <class LoadA, class LoadB>
DEVICE void multiply_tiles(INDEX begin, INDEX end, bool a_inner, bool b_inner, LoadA a, LoadB b,
                           Accumulator (&sums)[kEach][kEach]) {
  __shared__ Accumulator a_tile[kDepth][kTile + 1], b_tile[kDepth][kTile + 1];
  const int thread = static_cast<int>(threadIdx.x);
  const int row = thread / 16, column = thread % 16;
  for (INDEX first = begin; first < end; first += kDepth) {
#pragma unroll
    for (int i = 0; i < kTile * kDepth / kThreads; ++i) {
      const int item = thread + i * kThreads;
      const int along = item / kDepth, deep = item % kDepth;
      const int wide = item % kTile, down = item / kTile;
      const int a_row = a_inner ? along : wide, a_depth = a_inner ? deep : down;
      const int b_column = b_inner ? along : wide, b_depth = b_inner ? deep : down;
      a_tile[a_depth][a_row] = first + a_depth < end ? a(a_row, first + a_depth) : 0;
      b_tile[b_depth][b_column] = first + b_depth < end ? b(first + b_depth, b_column) : 0;
    }
    __syncthreads();
#pragma unroll
    for (int depth = 0; depth < kDepth; ++depth) {
      Accumulator x[kEach], y[kEach];
#pragma unroll
      for (int i = 0; i < kEach; ++i) {
        x[i] = a_tile[depth][row + 16 * i];
        y[i] = b_tile[depth][column + 16 * i];
      }
#pragma unroll
      for (int i = 0; i < kEach; ++i) {
#pragma unroll
        for (int j = 0; j < kEach; ++j) sums[i][j] += x[i] * y[j];
      }
    }
    __syncthreads();
  }
}

// Calls store(row, column, sum), places in the tile, for the elements of this thread.
template <class Store>
DEVICE void each_of_tile(const Accumulator (&sums)[kEach][kEach], Store store) {
  const int thread = static_cast<int>(threadIdx.x);
#pragma unroll
  for (int i = 0; i < kEach; ++i) {
#pragma unroll
    for (int j = 0; j < kEach; ++j) {
      store(thread / 16 + 16 * i, thread % 16 + 16 * j, sums[i][j]);
    }
  }
}
