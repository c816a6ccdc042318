#include "blas/packed.h"

#include <algorithm>

#include "base/allocator.h"
#include "base/cpu.h"
#include "base/thread_pool.h"
#include "blas/tile.h"

namespace flambeau {

FLAMBEAU_SIMD(extern const TileKernels<float> float_tiles)
FLAMBEAU_SIMD(extern const TileKernels<double> double_tiles)
FLAMBEAU_SIMD(extern const TileKernels<int32_t> int32_tiles)
FLAMBEAU_SIMD(extern const TileKernels<int64_t> int64_tiles)

template <>
const TileKernels<float>& tile_kernels<float>() {
  static const TileKernels<float>& kernels = *FLAMBEAU_CHOOSE(float_tiles);
  return kernels;
}
template <>
const TileKernels<double>& tile_kernels<double>() {
  static const TileKernels<double>& kernels = *FLAMBEAU_CHOOSE(double_tiles);
  return kernels;
}
template <>
const TileKernels<int32_t>& tile_kernels<int32_t>() {
  static const TileKernels<int32_t>& kernels = *FLAMBEAU_CHOOSE(int32_tiles);
  return kernels;
}
template <>
const TileKernels<int64_t>& tile_kernels<int64_t>() {
  static const TileKernels<int64_t>& kernels = *FLAMBEAU_CHOOSE(int64_tiles);
  return kernels;
}

namespace {

// Note [Blocking of products]: the sum over k is cut into blocks of at most kDepth, so that a
// panel of rows (kDepth x rows) stays in the first-level cache while a block of columns (kDepth x
// kBlockPanels panels) streams from the second. Within a block, every element is a plain sum in
// ascending k, whatever tile and thread it falls to: results do not depend on threads.
//
// Note [When to pack]: rows of the left operand are read in place unless their distance maps them
// to the same cache sets; the right operand must be packed if its columns are not contiguous, and
// is worth packing when many row panels read it. Of A and B, the one whose packing costs less may
// take the right side: then the transpose of C is computed and each tile is stored transposed.
constexpr int64_t kDepth = 384;
constexpr int64_t kBlockPanels = 8;
constexpr int64_t kChunk = 4096;  // rows and columns packed at a time
// Multiply-adds below which a task is not worth handing to another thread.
constexpr int64_t kTaskWork = 1 << 17;

int64_t divide_up(int64_t count, int64_t by) { return (count + by - 1) / by; }

// Scratch memory from the caching allocator.
template <class T>
class Scratch {
 public:
  explicit Scratch(int64_t count) : bytes_(static_cast<size_t>(count) * sizeof(T)) {
    data_ = bytes_ ? static_cast<T*>(allocate(bytes_)) : nullptr;
  }
  ~Scratch() {
    if (data_) deallocate(data_, bytes_);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  T* data() const { return data_; }

 private:
  size_t bytes_;
  T* data_;
};

// The product as tiles see it: left (rows x depth) times right (depth x columns).
template <class T>
class Driver {
 public:
  explicit Driver(const Product<T>& product);
  void run();

 private:
  void run_chunk();
  void pack_item(int64_t item);
  void run_task(int64_t task);
  void run_tile(int64_t row_panel, int64_t column_panel);
  void choose_tasks();

  int64_t row_of(int64_t panel) const { return row0_ + panel * chunk_rows_ / row_panels_; }
  bool packs_column(int64_t panel) const {
    return pack_right_ || (panel == column_panels_ - 1 && chunk_columns_ % kernels_.lanes != 0);
  }
  const T* left_at(int64_t row, int64_t p) const {
    return left_ + (left_transposed_ ? p * left_ld_ + row : row * left_ld_ + p);
  }
  const T* right_at(int64_t p, int64_t column) const {
    return right_ + (right_transposed_ ? column * right_ld_ + p : p * right_ld_ + column);
  }

  const TileKernels<T>& kernels_ = tile_kernels<T>();
  Product<T> product_;
  bool swapped_;  // C transposed is computed
  const T *left_, *right_;
  int64_t left_ld_, right_ld_;
  bool left_transposed_, right_transposed_;
  int64_t rows_, columns_;
  bool pack_left_, pack_right_;
  int64_t left_step_ = 0;

  // The chunk at hand.
  int64_t row0_ = 0, column0_ = 0, depth0_ = 0;
  int64_t chunk_rows_ = 0, chunk_columns_ = 0, depth_ = 0;
  int64_t row_panels_ = 0, column_panels_ = 0;
  int64_t row_blocks_ = 1, column_blocks_ = 1;
  T *packed_left_ = nullptr, *packed_right_ = nullptr;
};

// Rows at such a distance fall into a few sets of the first-level cache and evict one another.
bool collides(int64_t ld, size_t item) { return ld * static_cast<int64_t>(item) % 2048 == 0; }

template <class T>
Driver<T>::Driver(const Product<T>& p) : product_(p) {
  swapped_ = p.transpose_b && (p.transpose_a || 2 * p.m < p.n);
  if (swapped_) {
    rows_ = p.n, columns_ = p.m;
    left_ = p.b, left_ld_ = p.ldb, left_transposed_ = !p.transpose_b;
    right_ = p.a, right_ld_ = p.lda, right_transposed_ = !p.transpose_a;
  } else {
    rows_ = p.m, columns_ = p.n;
    left_ = p.a, left_ld_ = p.lda, left_transposed_ = p.transpose_a;
    right_ = p.b, right_ld_ = p.ldb, right_transposed_ = p.transpose_b;
  }
  bool many_columns = columns_ >= 4 * kernels_.width;
  pack_left_ = many_columns && collides(left_ld_, sizeof(T));
  pack_right_ = right_transposed_ || rows_ >= 12 * kernels_.rows ||
                (rows_ >= 4 * kernels_.rows && collides(right_ld_, sizeof(T)));
}

template <class T>
void Driver<T>::run() {
  int64_t blocks = divide_up(product_.k, kDepth);
  int64_t deepest = divide_up(product_.k, blocks);
  int64_t most_rows = std::min(rows_, kChunk), most_columns = std::min(columns_, kChunk);
  left_step_ = divide_up(kernels_.rows, kernels_.lanes) * kernels_.lanes;
  int64_t left_panels = divide_up(most_rows, kernels_.rows);
  int64_t right_panels = pack_right_ ? divide_up(most_columns, kernels_.width) : 1;
  Scratch<T> left(pack_left_ ? left_panels * left_step_ * deepest : 0);
  Scratch<T> right(right_panels * kernels_.width * deepest);
  packed_left_ = left.data();
  packed_right_ = right.data();
  for (column0_ = 0; column0_ < columns_; column0_ += kChunk) {
    chunk_columns_ = std::min(kChunk, columns_ - column0_);
    column_panels_ = divide_up(chunk_columns_, kernels_.width);
    for (row0_ = 0; row0_ < rows_; row0_ += kChunk) {
      chunk_rows_ = std::min(kChunk, rows_ - row0_);
      row_panels_ = divide_up(chunk_rows_, kernels_.rows);
      for (int64_t block = 0; block < blocks; ++block) {
        depth0_ = block * product_.k / blocks;
        depth_ = (block + 1) * product_.k / blocks - depth0_;
        run_chunk();
      }
    }
  }
}

template <class T>
void Driver<T>::choose_tasks() {
  column_blocks_ = divide_up(column_panels_, kBlockPanels);
  row_blocks_ = divide_up(row_panels_, 2 * kBlockPanels);
  int64_t threads = thread_count();
  int64_t wanted = threads == 1 ? 1 : chunk_rows_ * chunk_columns_ * depth_ / kTaskWork;
  wanted = std::min(wanted, 4 * threads);
  while (row_blocks_ * column_blocks_ < wanted) {
    if (row_blocks_ * column_panels_ < column_blocks_ * row_panels_) {
      row_blocks_ = std::min(row_panels_, 2 * row_blocks_);
    } else if (column_blocks_ < column_panels_) {
      column_blocks_ = std::min(column_panels_, 2 * column_blocks_);
    } else {
      break;
    }
  }
}

template <class T>
void Driver<T>::run_chunk() {
  int64_t items = (pack_left_ ? row_panels_ : 0) + (pack_right_ ? column_panels_ : 0);
  int64_t grain = 16384 / (depth_ * kernels_.width) + 1;
  parallel_for(items, grain, [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) pack_item(item);
  });
  if (!pack_right_ && packs_column(column_panels_ - 1)) {
    int64_t column = (column_panels_ - 1) * kernels_.width;
    kernels_.pack(false, right_at(depth0_, column0_ + column), right_ld_, chunk_columns_ - column,
                  depth_, packed_right_, kernels_.width);
  }
  choose_tasks();
  parallel_for(row_blocks_ * column_blocks_, 1, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) run_task(task);
  });
}

template <class T>
void Driver<T>::pack_item(int64_t item) {
  if (pack_right_ && item < column_panels_) {
    int64_t column = item * kernels_.width;
    kernels_.pack(right_transposed_, right_at(depth0_, column0_ + column), right_ld_,
                  std::min<int64_t>(kernels_.width, chunk_columns_ - column), depth_,
                  packed_right_ + item * kernels_.width * depth_, kernels_.width);
    return;
  }
  int64_t panel = item - (pack_right_ ? column_panels_ : 0);
  int64_t row = row_of(panel);
  kernels_.pack(!left_transposed_, left_at(row, depth0_), left_ld_, row_of(panel + 1) - row, depth_,
                packed_left_ + panel * left_step_ * depth_, left_step_);
}

template <class T>
void Driver<T>::run_task(int64_t task) {
  int64_t row_block = task % row_blocks_, column_block = task / row_blocks_;
  int64_t row_end = (row_block + 1) * row_panels_ / row_blocks_;
  int64_t column_begin = column_block * column_panels_ / column_blocks_;
  int64_t column_end = (column_block + 1) * column_panels_ / column_blocks_;
  for (int64_t i = row_block * row_panels_ / row_blocks_; i < row_end; ++i) {
    for (int64_t j = column_begin; j < column_end; ++j) run_tile(i, j);
  }
}

template <class T>
void Driver<T>::run_tile(int64_t row_panel, int64_t column_panel) {
  int64_t row = row_of(row_panel), column = column_panel * kernels_.width;
  int64_t tile_rows = row_of(row_panel + 1) - row;
  Tile<T> tile;
  TileLayout layout = TileLayout::Columns;
  if (pack_left_) {
    tile.a = packed_left_ + row_panel * left_step_ * depth_;
    tile.a_step = left_step_;
  } else {
    tile.a = left_at(row, depth0_);
    tile.a_step = left_ld_;
    if (!left_transposed_) layout = TileLayout::Rows;
  }
  if (packs_column(column_panel)) {
    tile.b = packed_right_ + (pack_right_ ? column * depth_ : 0);
    tile.b_step = kernels_.width;
  } else {
    tile.b = right_at(depth0_, column0_ + column);
    tile.b_step = right_ld_;
  }
  tile.depth = depth_;
  tile.columns = std::min<int64_t>(kernels_.width, chunk_columns_ - column);
  tile.alpha = product_.alpha;
  auto function = kernels_.function(layout, tile_rows, tile.columns);
  // Later blocks of the depth add to what earlier ones have stored.
  bool first = depth0_ == 0;
  T beta = first ? product_.beta : T(1);
  const T* d = first ? product_.d : product_.c;
  int64_t ldd = first ? product_.ldd : product_.ldc;
  column += column0_;
  if (!swapped_) {
    tile.beta = beta;
    tile.d = d + row * ldd + column;
    tile.ldd = ldd;
    tile.c = product_.c + row * product_.ldc + column;
    tile.ldc = product_.ldc;
    return function(tile);
  }
  alignas(64) T buffer[kTileBuffer];
  int64_t columns = tile.columns;
  tile.columns = divide_up(columns, kernels_.lanes) * kernels_.lanes;
  tile.beta = 0;
  tile.c = buffer;
  tile.ldc = kernels_.width;
  function(tile);
  kernels_.store_transposed(buffer, tile_rows, columns, beta, d + column * ldd + row, ldd,
                            product_.c + column * product_.ldc + row, product_.ldc);
}

}  // namespace

template <class T>
void multiply_packed(const Product<T>& product) {
  Driver<T>(product).run();
}

template void multiply_packed(const Product<float>&);
template void multiply_packed(const Product<double>&);
template void multiply_packed(const Product<int32_t>&);
template void multiply_packed(const Product<int64_t>&);

}  // namespace flambeau
