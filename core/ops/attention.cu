// softmax(q k^T + mask) v without its scores in memory (Dao et al., 2022, "FlashAttention"; the
// softmax over tiles is that of Milakov and Gimelshein, 2018). A block of 256 threads goes through
// the other side tile by tile; scores exist in registers and shared memory only, in float. Memory
// traffic: every operand once, keys and values once more for each tile of rows.
//
// T: the element type; HEAD, VALUE: features of queries and keys, and of values; ROWS, KEYS: of a
// tile, multiples of 16; MASK: the mask's type.

static constexpr int kRowsEach = ROWS / 16, kKeysEach = KEYS / 16;
static constexpr int kHeadEach = (HEAD + 15) / 16, kValueEach = (VALUE + 15) / 16;
static constexpr int kThreads = 256;
// Rows of tiles are one longer, so that columns of them lie in different banks.
static constexpr int kHeadStep = HEAD + 1, kValueStep = VALUE + 1, kScoreStep = KEYS + 1;
static constexpr int kWiderStep = kHeadStep > kValueStep ? kHeadStep : kValueStep;

struct Shape {
  int64 queries, keys;
  int64 sizes[4];  // of the batch; results lie in this order without gaps
  int64 tiles;     // of all batches
  float scale;
  int causal;
};
// Rows of features one after another; or a mask, whose columns may be apart.
template <class Element>
struct Operand {
  const Element* data;
  int64 row, column;
  int64 batch[4];  // strides

  __device__ const Element* at(const Shape& shape, int64 index) const {
    const Element* result = data;
#pragma unroll
    for (int d = 3; d >= 0; --d) {
      result += index % shape.sizes[d] * batch[d];
      index /= shape.sizes[d];
    }
    return result;
  }
};

// This thread's place: rows `row` + 16 i, keys or features `column` + 16 j.
DEVICE int own_row() { return static_cast<int>(threadIdx.x) / 16; }
DEVICE int own_column() { return static_cast<int>(threadIdx.x) % 16; }

// tile[count][features] = factor * rows [first, first + count) of an operand, zero beyond `end`.
template <int count, int features>
DEVICE void load_tile(float* tile, const T* from, int64 step, int64 first, int64 end,
                      float factor) {
  for (int i = static_cast<int>(threadIdx.x); i < count * features; i += kThreads) {
    const int row = i / features, column = i % features;
    const bool there = first + row < end;
    tile[row * (features + 1) + column] =
        there ? factor * convert<float>(from[(first + row) * step + column]) : 0.0f;
  }
}

// products[i][j] = the product of this thread's row i of `a` and row j of `b`.
template <int features, int rows, int columns>
DEVICE void multiply_rows(const float* a, const float* b, float (&products)[rows][columns]) {
#pragma unroll
  for (int i = 0; i < rows; ++i) {
#pragma unroll
    for (int j = 0; j < columns; ++j) products[i][j] = 0.0f;
  }
#pragma unroll 8
  for (int e = 0; e < features; ++e) {
    float x[rows], y[columns];
#pragma unroll
    for (int i = 0; i < rows; ++i) x[i] = a[(own_row() + 16 * i) * (features + 1) + e];
#pragma unroll
    for (int j = 0; j < columns; ++j) y[j] = b[(own_column() + 16 * j) * (features + 1) + e];
#pragma unroll
    for (int i = 0; i < rows; ++i) {
#pragma unroll
      for (int j = 0; j < columns; ++j) products[i][j] += x[i] * y[j];
    }
  }
}

// The score with its mask; minus infinity: the pair takes no part.
DEVICE float masked(const Shape& shape, const Operand<MASK>& mask, const MASK* mask_data,
                    int64 row, int64 key, float score) {
  if (row >= shape.queries || key >= shape.keys || (shape.causal && key > row)) return -kInfinity;
  if (!mask_data) return score;
  const MASK value = mask_data[row * mask.row + key * mask.column];
  if constexpr (Same<MASK, bool>::value) {
    return convert<bool>(value) ? score : -kInfinity;
  } else {
    return score + convert<float>(value);
  }
}

// Over the 16 threads that share a row.
template <class Join>
DEVICE float row_reduce(float value, Join join) {
#pragma unroll
  for (int distance = 1; distance < 16; distance *= 2) {
    value = join(value, shuffle_xor(value, distance));
  }
  return value;
}

// The scores of a tile become weights relative to the largest score so far; what was summed with
// the largest score before has to be multiplied by `factors`.
DEVICE void soften(float (&scores)[kRowsEach][kKeysEach], float (&largest)[kRowsEach],
                   float (&sums)[kRowsEach], float (&factors)[kRowsEach]) {
#pragma unroll
  for (int i = 0; i < kRowsEach; ++i) {
    float top = largest[i];
#pragma unroll
    for (int j = 0; j < kKeysEach; ++j) top = Larger()(top, scores[i][j]);
    top = row_reduce(top, Larger());
    const bool nothing = top == -kInfinity;
    factors[i] = nothing ? 1.0f : expf(largest[i] - top);
    float sum = 0.0f;
#pragma unroll
    for (int j = 0; j < kKeysEach; ++j) {
      scores[i][j] = nothing ? 0.0f : expf(scores[i][j] - top);
      sum += scores[i][j];
    }
    sums[i] = sums[i] * factors[i] + row_reduce(sum, Sum());
    largest[i] = top;
  }
}

DEVICE void store_scores(float* tile, const float (&scores)[kRowsEach][kKeysEach]) {
#pragma unroll
  for (int i = 0; i < kRowsEach; ++i) {
#pragma unroll
    for (int j = 0; j < kKeysEach; ++j) {
      tile[(own_row() + 16 * i) * kScoreStep + own_column() + 16 * j] = scores[i][j];
    }
  }
}

// sums[i][c] += sum over n of weights(i, n) * tile[n][c], c: this thread's features.
template <int count, int features, int rows, int columns, class Weights>
DEVICE void accumulate(float (&sums)[rows][columns], const float* tile, Weights weights) {
#pragma unroll 4
  for (int n = 0; n < count; ++n) {
    float values[columns];
#pragma unroll
    for (int c = 0; c < columns; ++c) {
      const int feature = own_column() + 16 * c;
      values[c] = feature < features ? tile[n * (features + 1) + feature] : 0.0f;
    }
#pragma unroll
    for (int i = 0; i < rows; ++i) {
      const float weight = weights(i, n);
#pragma unroll
      for (int c = 0; c < columns; ++c) sums[i][c] += weight * values[c];
    }
  }
}

// to[first + own row + 16 i][own features] = factor(i) * sums.
template <int features, int rows, int columns, class Factor>
DEVICE void store_rows(T* to, int64 first, int64 end, const float (&sums)[rows][columns],
                       Factor factor) {
#pragma unroll
  for (int i = 0; i < rows; ++i) {
    const int64 row = first + own_row() + 16 * i;
    if (row >= end) continue;
#pragma unroll
    for (int c = 0; c < columns; ++c) {
      const int feature = own_column() + 16 * c;
      if (feature < features) to[row * features + feature] = convert<T>(factor(i) * sums[i][c]);
    }
  }
}

// out, and for every row the logarithm of the sum of exp(scores); infinity where it sees nothing.
extern "C" __global__ void __launch_bounds__(256)
    attention(Shape shape, Operand<T> q, Operand<T> k, Operand<T> v, Operand<MASK> mask, T* out,
              float* log_sums) {
  DYNAMIC_SHARED(float, memory);
  float* const q_tile = memory;
  float* const other_tile = q_tile + ROWS * kHeadStep;  // keys, then values
  float* const weights = other_tile + KEYS * kWiderStep;
  const int64 row_tiles = (shape.queries + ROWS - 1) / ROWS;
  for (int64 block = blockIdx.x; block < shape.tiles; block += gridDim.x) {
    const int64 batch = block / row_tiles, first = block % row_tiles * ROWS;
    const T* keys = k.at(shape, batch);
    const T* values = v.at(shape, batch);
    const MASK* mask_data = mask.data ? mask.at(shape, batch) : nullptr;
    float largest[kRowsEach], sums[kRowsEach], factors[kRowsEach];
    float results[kRowsEach][kValueEach] = {};
    for (int i = 0; i < kRowsEach; ++i) {
      largest[i] = -kInfinity;
      sums[i] = 0.0f;
    }
    load_tile<ROWS, HEAD>(q_tile, q.at(shape, batch), q.row, first, shape.queries, shape.scale);
    const int64 end = shape.causal && first + ROWS < shape.keys ? first + ROWS : shape.keys;
    for (int64 key = 0; key < end; key += KEYS) {
      load_tile<KEYS, HEAD>(other_tile, keys, k.row, key, shape.keys, 1.0f);
      __syncthreads();
      float scores[kRowsEach][kKeysEach];
      multiply_rows<HEAD>(q_tile, other_tile, scores);
#pragma unroll
      for (int i = 0; i < kRowsEach; ++i) {
#pragma unroll
        for (int j = 0; j < kKeysEach; ++j) {
          scores[i][j] = masked(shape, mask, mask_data, first + own_row() + 16 * i,
                                key + own_column() + 16 * j, scores[i][j]);
        }
      }
      soften(scores, largest, sums, factors);
      store_scores(weights, scores);
      __syncthreads();
      load_tile<KEYS, VALUE>(other_tile, values, v.row, key, shape.keys, 1.0f);
      __syncthreads();
#pragma unroll
      for (int i = 0; i < kRowsEach; ++i) {
#pragma unroll
        for (int c = 0; c < kValueEach; ++c) results[i][c] *= factors[i];
      }
      accumulate<KEYS, VALUE>(results, other_tile, [&](int i, int n) {
        return weights[(own_row() + 16 * i) * kScoreStep + n];
      });
      __syncthreads();
    }
    store_rows<VALUE>(out + batch * shape.queries * VALUE, first, shape.queries, results,
                      [&](int i) { return sums[i] == 0.0f ? 0.0f : 1.0f / sums[i]; });
    for (int i = 0; i < kRowsEach; ++i) {
      const int64 row = first + own_row() + 16 * i;
      if (row >= shape.queries || own_column() != 0) continue;
      log_sums[batch * shape.queries + row] =
          sums[i] == 0.0f ? kInfinity : largest[i] + logf(sums[i]);
    }
    __syncthreads();  // the tile of queries has been read
  }
}

// --- backward. With weights p = exp(score - log sum): dv = p^T g, dp = g v^T,
// ds = p (dp - delta), delta = sum over features of g out; dq = scale ds k, dk = scale ds^T q.

// A warp for each row.
extern "C" __global__ void __launch_bounds__(256)
    attention_deltas(int64 rows, const T* g, const T* out, float* deltas) {
  const int64 warps = thread_count<int64>() / kWarpSize;
  for (int64 row = thread_index<int64>() / kWarpSize; row < rows; row += warps) {
    float sum = 0.0f;
    for (int c = lane_index(); c < VALUE; c += kWarpSize) {
      sum += convert<float>(g[row * VALUE + c]) * convert<float>(out[row * VALUE + c]);
    }
    sum = warp_reduce(sum, Sum());
    if (lane_index() == 0) deltas[row] = sum;
  }
}

struct Pass {
  const T* g;
  const float *log_sums, *deltas;
};
// Tiles in shared memory of the two passes below.
struct Tiles {
  float *q, *g, *k, *v, *weights, *slopes;
  __device__ explicit Tiles(float* memory)
      : q(memory),
        g(q + ROWS * kHeadStep),
        k(g + ROWS * kValueStep),
        v(k + KEYS * kHeadStep),
        weights(v + KEYS * kValueStep),
        slopes(weights + ROWS * kScoreStep) {}
};

// Weights p and slopes ds of the tile of rows from `first` and keys from `key` on.
DEVICE void differentiate_tile(const Shape& shape, const Pass& pass, const Operand<MASK>& mask,
                               const MASK* mask_data, int64 batch, int64 first, int64 key,
                               const Tiles& tiles) {
  float scores[kRowsEach][kKeysEach], slopes[kRowsEach][kKeysEach];
  multiply_rows<HEAD>(tiles.q, tiles.k, scores);
  multiply_rows<VALUE>(tiles.g, tiles.v, slopes);
#pragma unroll
  for (int i = 0; i < kRowsEach; ++i) {
    const int64 row = first + own_row() + 16 * i;
    const bool there = row < shape.queries;
    const float log_sum = there ? pass.log_sums[batch * shape.queries + row] : kInfinity;
    const float delta = there ? pass.deltas[batch * shape.queries + row] : 0.0f;
#pragma unroll
    for (int j = 0; j < kKeysEach; ++j) {
      const float score =
          masked(shape, mask, mask_data, row, key + own_column() + 16 * j, scores[i][j]);
      scores[i][j] = score == -kInfinity ? 0.0f : expf(score - log_sum);
      slopes[i][j] = scores[i][j] * (slopes[i][j] - delta);
    }
  }
  store_scores(tiles.weights, scores);
  store_scores(tiles.slopes, slopes);
}

extern "C" __global__ void __launch_bounds__(256)
    attention_dq(Shape shape, Operand<T> q, Operand<T> k, Operand<T> v, Operand<MASK> mask,
                 Pass pass, T* dq) {
  DYNAMIC_SHARED(float, memory);
  const Tiles tiles(memory);
  const int64 row_tiles = (shape.queries + ROWS - 1) / ROWS;
  for (int64 block = blockIdx.x; block < shape.tiles; block += gridDim.x) {
    const int64 batch = block / row_tiles, first = block % row_tiles * ROWS;
    const MASK* mask_data = mask.data ? mask.at(shape, batch) : nullptr;
    load_tile<ROWS, HEAD>(tiles.q, q.at(shape, batch), q.row, first, shape.queries, shape.scale);
    load_tile<ROWS, VALUE>(tiles.g, pass.g + batch * shape.queries * VALUE, VALUE, first,
                           shape.queries, 1.0f);
    float sums[kRowsEach][kHeadEach] = {};
    const int64 end = shape.causal && first + ROWS < shape.keys ? first + ROWS : shape.keys;
    for (int64 key = 0; key < end; key += KEYS) {
      load_tile<KEYS, HEAD>(tiles.k, k.at(shape, batch), k.row, key, shape.keys, 1.0f);
      load_tile<KEYS, VALUE>(tiles.v, v.at(shape, batch), v.row, key, shape.keys, 1.0f);
      __syncthreads();
      differentiate_tile(shape, pass, mask, mask_data, batch, first, key, tiles);
      __syncthreads();
      accumulate<KEYS, HEAD>(sums, tiles.k, [&](int i, int n) {
        return tiles.slopes[(own_row() + 16 * i) * kScoreStep + n];
      });
      __syncthreads();
    }
    store_rows<HEAD>(dq + batch * shape.queries * HEAD, first, shape.queries, sums,
                     [&](int) { return shape.scale; });
    __syncthreads();
  }
}

extern "C" __global__ void __launch_bounds__(256)
    attention_dkv(Shape shape, Operand<T> q, Operand<T> k, Operand<T> v, Operand<MASK> mask,
                  Pass pass, T* dk, T* dv) {
  DYNAMIC_SHARED(float, memory);
  const Tiles tiles(memory);
  const int64 key_tiles = (shape.keys + KEYS - 1) / KEYS;
  for (int64 block = blockIdx.x; block < shape.tiles; block += gridDim.x) {
    const int64 batch = block / key_tiles, key = block % key_tiles * KEYS;
    const MASK* mask_data = mask.data ? mask.at(shape, batch) : nullptr;
    load_tile<KEYS, HEAD>(tiles.k, k.at(shape, batch), k.row, key, shape.keys, 1.0f);
    load_tile<KEYS, VALUE>(tiles.v, v.at(shape, batch), v.row, key, shape.keys, 1.0f);
    float key_sums[kKeysEach][kHeadEach] = {}, value_sums[kKeysEach][kValueEach] = {};
    // Rows before the first key see none of the tile.
    const int64 begin = shape.causal ? key / ROWS * ROWS : 0;
    for (int64 first = begin; first < shape.queries; first += ROWS) {
      load_tile<ROWS, HEAD>(tiles.q, q.at(shape, batch), q.row, first, shape.queries, shape.scale);
      load_tile<ROWS, VALUE>(tiles.g, pass.g + batch * shape.queries * VALUE, VALUE, first,
                             shape.queries, 1.0f);
      __syncthreads();
      differentiate_tile(shape, pass, mask, mask_data, batch, first, key, tiles);
      __syncthreads();
      accumulate<ROWS, HEAD>(key_sums, tiles.q, [&](int i, int n) {
        return tiles.slopes[n * kScoreStep + own_row() + 16 * i];
      });
      accumulate<ROWS, VALUE>(value_sums, tiles.g, [&](int i, int n) {
        return tiles.weights[n * kScoreStep + own_row() + 16 * i];
      });
      __syncthreads();
    }
    const auto one = [](int) { return 1.0f; };
    store_rows<HEAD>(dk + batch * shape.keys * HEAD, key, shape.keys, key_sums, one);
    store_rows<VALUE>(dv + batch * shape.keys * VALUE, key, shape.keys, value_sums, one);
    __syncthreads();
  }
}
