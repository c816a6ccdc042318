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
// kColumnPanels panels) streams from the second. Within a block, every element is a plain sum in
// ascending k, whatever tile and thread it falls to: results do not depend on threads.
//
// Note [When to pack]: the left operand is read in place unless its rows are at a distance that
// maps them to the same cache sets, or it is transposed and large; the right operand must be packed
// if its columns are not contiguous, and is worth packing when many row panels read it. Of A and B,
// the one whose packing costs less may take the right side: then the transpose of C is computed and
// each tile is stored transposed.
constexpr int64_t kDepth = 384;
constexpr int64_t kColumnPanels = 8, kRowPanels = 16;  // most panels of a task
constexpr int64_t kChunkPanels = 16;  // panels of the right operand packed at a time, per thread
constexpr int64_t kPackRows = 20;     // row panels from which packing the right operand pays
constexpr int64_t kAhead = 4;         // steps of the depth to fetch ahead in packed operands
constexpr int64_t kLeftSize = int64_t{4} << 20;  // elements of the left operand packed at a time
constexpr int64_t kPackGrain = 16384;
constexpr size_t kCacheSize = size_t{1} << 20;  // about a second-level cache
// Multiply-adds below which a task is not worth handing to another thread.
constexpr int64_t kTaskWork = 1 << 19;

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
  Driver(const Product<T>& product, bool swapped);
  void run();

 private:
  void run_chunk();
  void pack_right();
  void pack_left();
  void pack_left_panel(int64_t panel, int64_t p, int64_t p_end);
  void run_task(int64_t task);
  void run_tile(int64_t row_panel, int64_t column_panel, int64_t block);
  void choose_tasks();

  int64_t row_of(int64_t panel) const { return row0_ + panel * chunk_rows_ / row_panels_; }
  int64_t depth_of(int64_t block) const { return block * product_.k / depth_blocks_; }
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
  int64_t left_step_ = 0, depth_blocks_ = 1;

  // The chunk at hand: rows, columns, and blocks of the depth.
  int64_t row0_ = 0, column0_ = 0, block0_ = 0;
  int64_t chunk_rows_ = 0, chunk_columns_ = 0, chunk_blocks_ = 0;
  int64_t depth0_ = 0, chunk_depth_ = 0;
  int64_t row_panels_ = 0, column_panels_ = 0;
  int64_t row_blocks_ = 1, column_blocks_ = 1;
  T *packed_left_ = nullptr, *packed_right_ = nullptr;
};

// Rows at such a distance fall into a few sets of the first-level cache and evict one another.
bool collides(int64_t ld, size_t item) { return ld * static_cast<int64_t>(item) % 2048 == 0; }

// Estimated time of left (rows x k) times right (k x columns) in processor cycles.
template <class T>
int64_t estimate(int64_t rows, int64_t columns, int64_t k, bool right_transposed, bool swapped) {
  const TileKernels<T>& kernels = tile_kernels<T>();
  int64_t panels = divide_up(rows, kernels.rows);
  // A tile with few sums waits for its own results.
  int64_t busy_rows = std::max<int64_t>(rows, panels * (columns > kernels.lanes ? 4 : 8));
  int64_t cycles = k * busy_rows * divide_up(columns, kernels.lanes) / 2;
  if (right_transposed) cycles += k * columns / 2;
  if (swapped) cycles += rows * columns;
  return cycles;
}

template <class T>
Driver<T>::Driver(const Product<T>& p, bool swapped) : product_(p), swapped_(swapped) {
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
  bool scattered =
      collides(left_ld_, sizeof(T)) || (left_transposed_ && rows_ * p.k * sizeof(T) > kCacheSize);
  bool in_place = std::is_floating_point_v<T> || left_transposed_;
  pack_left_ = !in_place || (many_columns && scattered);
  pack_right_ = right_transposed_ || rows_ >= kPackRows * kernels_.rows;
}

template <class T>
void Driver<T>::run() {
  depth_blocks_ = divide_up(product_.k, kDepth);
  int64_t most_rows = rows_, most_columns = columns_, most_blocks = depth_blocks_;
  if (pack_left_) most_rows = std::min(rows_, std::max<int64_t>(kLeftSize / product_.k, 512));
  if (pack_right_) {
    int64_t at_once = kChunkPanels * kernels_.width * thread_count();
    most_columns = divide_up(columns_, divide_up(columns_, at_once));
    most_columns = divide_up(most_columns, kernels_.width) * kernels_.width;
    most_blocks = std::max<int64_t>(at_once / most_columns, 1);
  }
  left_step_ = divide_up(kernels_.rows, kernels_.lanes) * kernels_.lanes;
  int64_t left_panels = divide_up(most_rows, kernels_.rows);
  int64_t right_panels = pack_right_ ? divide_up(most_columns, kernels_.width) : 1;
  Scratch<T> left(pack_left_ ? left_panels * left_step_ * product_.k : 0);
  int64_t deepest = std::min(product_.k, most_blocks * divide_up(product_.k, depth_blocks_));
  Scratch<T> right(right_panels * kernels_.width * deepest);
  packed_left_ = left.data();
  packed_right_ = right.data();
  for (row0_ = 0; row0_ < rows_; row0_ += most_rows) {
    chunk_rows_ = std::min(most_rows, rows_ - row0_);
    row_panels_ = divide_up(chunk_rows_, kernels_.rows);
    if (pack_left_) pack_left();
    for (column0_ = 0; column0_ < columns_; column0_ += most_columns) {
      chunk_columns_ = std::min(most_columns, columns_ - column0_);
      column_panels_ = divide_up(chunk_columns_, kernels_.width);
      for (block0_ = 0; block0_ < depth_blocks_; block0_ += most_blocks) {
        chunk_blocks_ = std::min(most_blocks, depth_blocks_ - block0_);
        depth0_ = depth_of(block0_);
        chunk_depth_ = depth_of(block0_ + chunk_blocks_) - depth0_;
        run_chunk();
      }
    }
  }
}

template <class T>
void Driver<T>::choose_tasks() {
  column_blocks_ = divide_up(column_panels_, kColumnPanels);
  row_blocks_ = divide_up(row_panels_, kRowPanels);
  int64_t threads = thread_count();
  int64_t wanted = threads == 1 ? 1 : chunk_rows_ * chunk_columns_ * chunk_depth_ / kTaskWork;
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
  if (pack_right_) {
    pack_right();
  } else if (packs_column(column_panels_ - 1)) {
    int64_t column = (column_panels_ - 1) * kernels_.width;
    kernels_.pack(false, right_at(depth0_, column0_ + column), right_ld_, chunk_columns_ - column,
                  chunk_depth_, packed_right_, kernels_.width, 0);
  }
  choose_tasks();
  parallel_for(row_blocks_ * column_blocks_, 1, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) run_task(task);
  });
}

template <class T>
void Driver<T>::pack_right() {
  // Contiguous rows are copied in pieces long enough for the prefetcher.
  int64_t group = right_transposed_ ? 1 : 8, slice = right_transposed_ ? chunk_depth_ : 64;
  int64_t groups = divide_up(column_panels_, group), slices = divide_up(chunk_depth_, slice);
  int64_t grain = kPackGrain / (group * kernels_.width * slice) + 1;
  parallel_for(groups * slices, grain, [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      int64_t panel = item / slices * group, p = item % slices * slice;
      int64_t column = panel * kernels_.width, panel_size = kernels_.width * chunk_depth_;
      kernels_.pack(right_transposed_, right_at(depth0_ + p, column0_ + column), right_ld_,
                    std::min<int64_t>(group * kernels_.width, chunk_columns_ - column),
                    std::min(slice, chunk_depth_ - p),
                    packed_right_ + panel * panel_size + p * kernels_.width, kernels_.width,
                    panel_size);
    }
  });
}

template <class T>
void Driver<T>::pack_left() {
  // Neighbouring panels of a transposed operand share cache lines: they take turns, 64 rows each.
  int64_t group = left_transposed_ ? 8 : 1, slice = left_transposed_ ? 64 : kDepth;
  int64_t groups = divide_up(row_panels_, group), slices = divide_up(product_.k, slice);
  int64_t grain = kPackGrain / (group * kernels_.rows * slice) + 1;
  parallel_for(groups * slices, grain, [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      int64_t first = item / slices * group, last = std::min(first + group, row_panels_);
      int64_t p = item % slices * slice;
      for (int64_t panel = first; panel < last; ++panel) {
        pack_left_panel(panel, p, std::min(p + slice, product_.k));
      }
    }
  });
}

// Panels of one block of the depth lie together.
template <class T>
void Driver<T>::pack_left_panel(int64_t panel, int64_t p, int64_t p_end) {
  int64_t row = row_of(panel);
  for (int64_t block = 0; block < depth_blocks_; ++block) {
    int64_t block_begin = depth_of(block), block_end = depth_of(block + 1);
    int64_t begin = std::max(p, block_begin), depth = std::min(p_end, block_end) - begin;
    if (depth <= 0) continue;
    T* to = packed_left_ + left_step_ * (row_panels_ * block_begin +
                                         panel * (block_end - block_begin) + begin - block_begin);
    kernels_.pack(!left_transposed_, left_at(row, begin), left_ld_, row_of(panel + 1) - row, depth,
                  to, left_step_, kernels_.width);
  }
}

template <class T>
void Driver<T>::run_task(int64_t task) {
  int64_t row_block = task % row_blocks_, column_block = task / row_blocks_;
  int64_t row_end = (row_block + 1) * row_panels_ / row_blocks_;
  int64_t column_begin = column_block * column_panels_ / column_blocks_;
  int64_t column_end = (column_block + 1) * column_panels_ / column_blocks_;
  for (int64_t block = block0_; block < block0_ + chunk_blocks_; ++block) {
    for (int64_t i = row_block * row_panels_ / row_blocks_; i < row_end; ++i) {
      for (int64_t j = column_begin; j < column_end; ++j) run_tile(i, j, block);
    }
  }
}

template <class T>
void Driver<T>::run_tile(int64_t row_panel, int64_t column_panel, int64_t block) {
  int64_t p = depth_of(block), depth = depth_of(block + 1) - p;
  int64_t row = row_of(row_panel), column = column_panel * kernels_.width;
  int64_t tile_rows = row_of(row_panel + 1) - row;
  Tile<T> tile;
  TileLayout layout = TileLayout::Columns;
  if (pack_left_) {
    tile.a = packed_left_ + left_step_ * (row_panels_ * p + row_panel * depth);
    tile.a_step = left_step_;
    tile.a_ahead = kAhead * left_step_;
  } else {
    tile.a = left_at(row, p);
    tile.a_step = left_ld_;
    tile.a_ahead = tile_rows;
    if (!left_transposed_) layout = TileLayout::Rows;
  }
  if (packs_column(column_panel)) {
    tile.b =
        packed_right_ + (pack_right_ ? column * chunk_depth_ : 0) + (p - depth0_) * kernels_.width;
    tile.b_step = kernels_.width;
    tile.b_ahead = kAhead * kernels_.width;
  } else {
    tile.b = right_at(p, column0_ + column);
    tile.b_step = right_ld_;
    tile.b_ahead = kernels_.width;
  }
  tile.depth = depth;
  tile.columns = std::min<int64_t>(kernels_.width, chunk_columns_ - column);
  tile.alpha = product_.alpha;
  auto function = kernels_.function(layout, tile_rows, tile.columns);
  // Later blocks of the depth add to what earlier ones have stored.
  bool first = p == 0;
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

// A times B transposed, both with few enough rows on one side that packing would cost more than
// the product itself.
template <class T>
void multiply_dots(const Product<T>& p) {
  const TileKernels<T>& kernels = tile_kernels<T>();
  int64_t row_tiles = divide_up(p.m, kDotRows), column_tiles = divide_up(p.n, kDotRows);
  int64_t grain = kTaskWork / (kDotRows * kDotRows * p.k) + 1;
  parallel_for(row_tiles * column_tiles, grain, [&](int64_t begin, int64_t end) {
    for (int64_t tile = begin; tile < end; ++tile) {
      // Neighbours share the longer operand's rows.
      bool wide = p.n >= p.m;
      int64_t i = kDotRows * (wide ? tile % row_tiles : tile / column_tiles);
      int64_t j = kDotRows * (wide ? tile / row_tiles : tile % column_tiles);
      kernels.dot_tile(std::min<int64_t>(kDotRows, p.m - i), std::min<int64_t>(kDotRows, p.n - j),
                       p.k, p.alpha, p.a + i * p.lda, p.lda, p.b + j * p.ldb, p.ldb, p.beta,
                       p.d + i * p.ldd + j, p.ldd, p.c + i * p.ldc + j, p.ldc);
    }
  });
}

// Estimated time of multiply_dots in processor cycles, as `estimate`.
template <class T>
int64_t estimate_dots(const Product<T>& p) {
  int64_t tiles = divide_up(p.m, kDotRows) * divide_up(p.n, kDotRows);
  return tiles * (kDotRows * kDotRows / 2 * divide_up(p.k, tile_kernels<T>().lanes) + 120);
}

}  // namespace

template <class T>
void multiply_packed(const Product<T>& p) {
  int64_t plain = estimate<T>(p.m, p.n, p.k, p.transpose_b, false);
  int64_t swapped = estimate<T>(p.n, p.m, p.k, !p.transpose_a, true);
  if (!p.transpose_a && p.transpose_b && estimate_dots(p) < std::min(plain, swapped)) {
    multiply_dots(p);
  } else {
    Driver<T>(p, swapped < plain).run();
  }
}

template void multiply_packed(const Product<float>&);
template void multiply_packed(const Product<double>&);
template void multiply_packed(const Product<int32_t>&);
template void multiply_packed(const Product<int64_t>&);

}  // namespace flambeau
