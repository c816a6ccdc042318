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
// ascending k, whatever tile and thread it falls to: results do not depend on threads. While one
// strip of tiles is computed, the left operand of the next one is fetched.
//
// Note [When to pack]: the left operand is read in place unless its rows are at a distance that
// maps them to the same cache sets; then each panel is copied just before its strip. The right
// operand must be packed if its columns are not contiguous, and is worth packing when each of its
// rows lies in a page of its own and many row panels read it. Of A and B, the one whose packing
// costs less may take the right side: then the transpose of C is computed and each tile is stored
// transposed.
constexpr int64_t kDepth = 384;
constexpr int64_t kColumnPanels = 8, kRowPanels = 16;  // most panels of a task
constexpr int64_t kChunkPanels = 16;  // panels of the right operand packed at a time, per thread
constexpr int64_t kPackRows = 20;     // row panels from which packing the right operand pays
constexpr int64_t kPackGrain = 16384;
constexpr int64_t kPage = 4096;
constexpr int64_t kResultBytes = 1 << 18;  // of a task that adds to its result several times
// Multiply-adds below which a task is not worth handing to another thread.
constexpr int64_t kTaskWork = 1 << 18;
// Elements of a result handed to the epilogue at once: they are still in the cache.
constexpr int64_t kEpilogueElements = 16384;
// Distance of the rows of a copied left panel: not a multiple of a page.
constexpr int64_t kPanelStep = kDepth + 16;

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

// A strip of tiles among those that a thread computes one after another.
struct Place {
  int64_t task, block, panel;
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
  void choose_tasks();
  void run_tasks(int64_t begin, int64_t end);
  void run_strip(const Place& place, const Place* following, T* panel);
  bool advance(Place& place, int64_t task_end) const;
  LeftLayout set_left(Strip<T>& strip, const Place& place, T* panel) const;
  Fetch* fetch_left(const Place& place, Fetch* list) const;
  Fetch* fetch_right(const Place& place, Fetch* list) const;
  void finish(int64_t row, int64_t rows, int64_t task) const;

  int64_t row_of(int64_t panel) const { return panel * rows_ / row_panels_; }
  int64_t depth_of(int64_t block) const { return block * product_.k / depth_blocks_; }
  int64_t first_panel(int64_t row_block) const { return row_block * row_panels_ / row_blocks_; }
  int64_t first_column(int64_t column_block) const {
    int64_t panel = column_block * column_panels_ / column_blocks_;
    return std::min(panel * kernels_.width, chunk_columns_);
  }
  int64_t task_columns(int64_t task) const {
    int64_t column_block = task / row_blocks_;
    return first_column(column_block + 1) - first_column(column_block);
  }
  const T* left_at(int64_t row, int64_t p) const {
    return left_ + (left_transposed_ ? p * left_ld_ + row : row * left_ld_ + p);
  }
  const T* right_at(int64_t p, int64_t column) const {
    return right_ + (right_transposed_ ? column * right_ld_ + p : p * right_ld_ + column);
  }

  const TileKernels<T>& kernels_ = tile_kernels<T>();
  const Product<T>& product_;
  bool swapped_;  // C transposed is computed
  const T *left_, *right_;
  int64_t left_ld_, right_ld_;
  bool left_transposed_, right_transposed_;
  int64_t rows_, columns_;
  bool pack_left_, pack_right_;
  int64_t left_step_ = 0, depth_blocks_ = 1;

  // The chunk at hand: columns, and blocks of the depth.
  int64_t column0_ = 0, block0_ = 0;
  int64_t chunk_columns_ = 0, chunk_blocks_ = 0;
  int64_t depth0_ = 0, chunk_depth_ = 0;
  int64_t row_panels_ = 0, column_panels_ = 0;
  int64_t row_blocks_ = 1, column_blocks_ = 1;
  T* packed_right_ = nullptr;  // all panels, or just the last if it is partial
};

// Rows at such a distance fall into one set of the first-level cache and evict one another.
bool collides(int64_t ld, size_t item) { return ld * static_cast<int64_t>(item) % kPage == 0; }

// Estimated time of left (rows x k) times right (k x columns) in processor cycles; the factors
// were measured.
template <class T>
int64_t estimate(int64_t rows, int64_t columns, int64_t k, bool right_transposed, int64_t right_ld,
                 bool swapped) {
  const TileKernels<T>& kernels = tile_kernels<T>();
  int64_t panels = divide_up(rows, kernels.rows), vectors = divide_up(columns, kernels.lanes);
  // A tile with few sums waits for its own results.
  int64_t busy_rows = std::max<int64_t>(rows, panels * (columns > kernels.lanes ? 4 : 8));
  int64_t cycles = k * busy_rows * vectors / 2;
  // A tile of one vector is bound by its loads.
  if (vectors % 2 != 0) cycles += k * busy_rows / 6;
  if (right_transposed) {
    cycles += k * columns * 5 / 16;
  } else if (right_ld * static_cast<int64_t>(sizeof(T)) >= kPage / 2) {
    cycles += k * columns / 8;  // rows that lie far apart share cache sets
  }
  if (swapped) cycles += rows * columns * divide_up(k, kDepth) / 4;
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
  bool several_tiles = columns_ > 2 * kernels_.width;
  pack_left_ = !left_transposed_ &&
               (!std::is_floating_point_v<T> || (several_tiles && collides(left_ld_, sizeof(T))));
  bool distant = right_ld_ * static_cast<int64_t>(sizeof(T)) >= kPage;
  pack_right_ = right_transposed_ || (distant && rows_ >= kPackRows * kernels_.rows);
  left_step_ = divide_up(kernels_.rows, kernels_.lanes) * kernels_.lanes;
}

template <class T>
void Driver<T>::run() {
  depth_blocks_ = divide_up(product_.k, kDepth);
  int64_t most_columns = columns_, most_blocks = depth_blocks_;
  if (pack_right_) {
    int64_t at_once = kChunkPanels * kernels_.width * thread_count();
    most_columns = divide_up(columns_, divide_up(columns_, at_once));
    most_columns = divide_up(most_columns, kernels_.width) * kernels_.width;
    most_blocks = std::max<int64_t>(at_once / most_columns, 1);
  }
  int64_t right_panels = pack_right_ ? divide_up(most_columns, kernels_.width) : 1;
  int64_t deepest = std::min(product_.k, most_blocks * divide_up(product_.k, depth_blocks_));
  Scratch<T> right(right_panels * kernels_.width * deepest);
  packed_right_ = right.data();
  row_panels_ = divide_up(rows_, kernels_.rows);
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

template <class T>
void Driver<T>::choose_tasks() {
  column_blocks_ = divide_up(column_panels_, kColumnPanels);
  row_blocks_ = divide_up(row_panels_, kRowPanels);
  bool deep = depth_blocks_ > 1;
  if (deep) {  // every task reads the whole right operand: as few as the cache allows
    int64_t columns = divide_up(column_panels_, column_blocks_) * kernels_.width;
    row_blocks_ = divide_up(rows_ * columns * static_cast<int64_t>(sizeof(T)), kResultBytes);
    row_blocks_ = std::min(row_blocks_, row_panels_);
  }
  int64_t threads = thread_count();
  // Packing has handed work over already, and the packed lines are the other thread's as often.
  int64_t least = pack_right_ ? 2 * kTaskWork : kTaskWork;
  int64_t wanted = threads == 1 ? 1 : rows_ * chunk_columns_ * chunk_depth_ / least;
  // Rows of a transposed result are cut at columns of C, which share cache lines: as seldom as
  // possible.
  wanted = std::min(wanted, (swapped_ ? 1 : 2) * threads);
  while (row_blocks_ * column_blocks_ < wanted) {
    bool rows = swapped_ ? column_blocks_ == column_panels_
                         : row_blocks_ * column_panels_ < column_blocks_ * row_panels_;
    if (rows && row_blocks_ < row_panels_) {
      row_blocks_ = std::min(row_panels_, 2 * row_blocks_);
    } else if (column_blocks_ < column_panels_) {
      column_blocks_ = std::min(column_panels_, 2 * column_blocks_);
    } else {
      break;
    }
  }
  // As much for every thread, if one block of columns is all there is.
  if (row_blocks_ > 1 && column_blocks_ == 1 && row_blocks_ % threads != 0) {
    row_blocks_ = std::min(divide_up(row_blocks_, threads) * threads, row_panels_);
  }
}

template <class T>
void Driver<T>::run_chunk() {
  if (pack_right_) {
    pack_right();
  } else if (chunk_columns_ % kernels_.lanes != 0) {
    int64_t column = (column_panels_ - 1) * kernels_.width;
    kernels_.pack(false, right_at(depth0_, column0_ + column), right_ld_, chunk_columns_ - column,
                  chunk_depth_, packed_right_, kernels_.width, 0);
  }
  choose_tasks();
  // One range per thread, so that each finds its part of C in its own cache the next time.
  int64_t tasks = row_blocks_ * column_blocks_;
  parallel_for(tasks, std::max<int64_t>(tasks / thread_count(), 1),
               [&](int64_t begin, int64_t end) { run_tasks(begin, end); });
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

// To the strip that the same thread computes next; false if there is none.
template <class T>
bool Driver<T>::advance(Place& place, int64_t task_end) const {
  int64_t row_block = place.task % row_blocks_;
  if (++place.panel < first_panel(row_block + 1)) return true;
  if (++place.block == block0_ + chunk_blocks_) {
    place.block = block0_;
    row_block = ++place.task % row_blocks_;
  }
  place.panel = first_panel(row_block);
  return place.task < task_end;
}

template <class T>
void Driver<T>::run_tasks(int64_t begin, int64_t end) {
  alignas(64) T panel[(kTileRows + 2) * kPanelStep];
  Place place{begin, block0_, first_panel(begin % row_blocks_)}, following = place;
  int64_t pending = place.panel;  // the first whose result the epilogue has not seen
  for (bool more = true; more; place = following) {
    more = advance(following, end);
    run_strip(place, more ? &following : nullptr, panel);
    bool same = following.task == place.task && following.block == place.block;
    if (product_.epilogue && place.block + 1 == depth_blocks_) {
      int64_t rows = row_of(place.panel + 1) - row_of(pending);
      if (!same || rows * task_columns(place.task) >= kEpilogueElements) {
        finish(row_of(pending), rows, place.task);
        pending = place.panel + 1;
      }
    }
    if (!same) pending = following.panel;
  }
}

template <class T>
void Driver<T>::finish(int64_t row, int64_t rows, int64_t task) const {
  int64_t column = column0_ + first_column(task / row_blocks_), columns = task_columns(task);
  if (swapped_) {
    std::swap(row, column);
    std::swap(rows, columns);
  }
  product_.epilogue->run(product_.epilogue->context, row, row + rows, column, column + columns);
}

// The left operand of a strip: where it lies, or a copy in `panel`.
template <class T>
LeftLayout Driver<T>::set_left(Strip<T>& strip, const Place& place, T* panel) const {
  int64_t row = row_of(place.panel), rows = row_of(place.panel + 1) - row;
  const T* from = left_at(row, depth_of(place.block));
  strip.a = from;
  strip.a_step = left_ld_;
  if (pack_left_) {
    strip.a = panel;
    if (!left_transposed_ && std::is_floating_point_v<T>) {
      strip.a_step = kPanelStep;
      for (int64_t i = 0; i < rows; ++i) {
        std::copy(from + i * left_ld_, from + i * left_ld_ + strip.depth, panel + i * kPanelStep);
      }
    } else {
      strip.a_step = left_step_;
      kernels_.pack(!left_transposed_, from, left_ld_, rows, strip.depth, panel, left_step_,
                    kernels_.width);
      return LeftLayout::Columns;
    }
  }
  return left_transposed_ ? LeftLayout::Columns : LeftLayout::Rows;
}

// What to fetch while the strip at `place` is computed, added at the end of the list: its share of
// the rows of the right operand that the next block of the depth will read.
template <class T>
Fetch* Driver<T>::fetch_right(const Place& place, Fetch* list) const {
  if (pack_right_ || place.block + 1 == depth_blocks_) return list;
  int64_t row_block = place.task % row_blocks_, first = first_panel(row_block);
  int64_t strips = first_panel(row_block + 1) - first, strip = place.panel - first;
  int64_t p = depth_of(place.block + 1), depth = depth_of(place.block + 2) - p;
  int64_t begin = p + strip * depth / strips, end = p + (strip + 1) * depth / strips;
  int64_t column = first_column(place.task / row_blocks_), columns = task_columns(place.task);
  const int64_t lines = 128 / sizeof(T);
  for (int64_t j = 0; j < columns; j += lines) {
    *list++ = {right_at(begin, column + j), right_ld_ * static_cast<int64_t>(sizeof(T)),
               divide_up(end - begin, 4)};
  }
  return list;
}

// The same for the left operand of the strip at `place`, which comes next.
template <class T>
Fetch* Driver<T>::fetch_left(const Place& place, Fetch* list) const {
  int64_t row = row_of(place.panel), rows = row_of(place.panel + 1) - row;
  int64_t p = depth_of(place.block), depth = depth_of(place.block + 1) - p;
  const int64_t item = sizeof(T);
  if (left_transposed_) {
    *list++ = {left_at(row, p), left_ld_ * item, divide_up(depth, 4)};
    return list;
  }
  for (int64_t i = 0; i < rows; ++i) {
    *list++ = {left_at(row + i, p), 128, divide_up(depth * item, 512)};
  }
  return list;
}

template <class T>
void Driver<T>::run_strip(const Place& place, const Place* following, T* panel) {
  int64_t p = depth_of(place.block), row = row_of(place.panel);
  Strip<T> strip;
  strip.depth = depth_of(place.block + 1) - p;
  LeftLayout layout = set_left(strip, place, panel);
  // Later blocks of the depth add to what earlier ones have stored.
  bool first = p == 0;
  strip.alpha = product_.alpha;
  strip.beta = first ? product_.beta : T(1);
  strip.d = first ? product_.d : product_.c;
  strip.ldd = first ? product_.ldd : product_.ldc;
  strip.c = product_.c;
  strip.ldc = product_.ldc;
  strip.turned = swapped_;
  Fetch list[kTileRows + kColumnPanels * kTileVectors + 1], *end = list;
  if (following) end = fetch_left(*following, end);
  end = fetch_right(place, end);
  *end = {strip.a, 0, INT64_MAX};  // in the cache anyway
  strip.fetch = list;
  int64_t begin = first_column(place.task / row_blocks_), columns = task_columns(place.task);
  auto at = [&](int64_t i, int64_t j, int64_t ld) { return swapped_ ? j * ld + i : i * ld + j; };
  int64_t next_row = following ? row_of(following->panel) : row;
  strip.next_c = strip.c + at(next_row, column0_ + begin, strip.ldc);
  strip.c += at(row, column0_ + begin, strip.ldc);
  strip.d += at(row, column0_ + begin, strip.ldd);
  auto function = kernels_.strip(layout, row_of(place.panel + 1) - row);
  if (pack_right_) {
    strip.b = packed_right_ + begin * chunk_depth_ + (p - depth0_) * kernels_.width;
    strip.b_step = kernels_.width;
    strip.b_panel = kernels_.width * chunk_depth_;
    strip.columns = columns;
    return function(strip);
  }
  // In place, but for a partial last panel.
  int64_t tail = begin + columns == columns_ && columns_ % kernels_.lanes != 0
                     ? columns - (column_panels_ - 1) * kernels_.width + begin
                     : 0;
  strip.b = right_at(p, begin);
  strip.b_step = right_ld_;
  strip.b_panel = kernels_.width;
  strip.columns = columns - tail;
  if (strip.columns > 0) function(strip);
  if (tail == 0) return;
  strip.b = packed_right_ + p * kernels_.width;
  strip.b_step = kernels_.width;
  strip.c += at(0, strip.columns, strip.ldc);
  strip.d += at(0, strip.columns, strip.ldd);
  strip.columns = tail;
  function(strip);
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
  int64_t plain = estimate<T>(p.m, p.n, p.k, p.transpose_b, p.ldb, false);
  int64_t swapped = estimate<T>(p.n, p.m, p.k, !p.transpose_a, p.lda, true);
  if (!p.transpose_a && p.transpose_b && estimate_dots(p) < std::min(plain, swapped)) {
    multiply_dots(p);
    if (!p.epilogue) return;
    parallel_for(p.m, kEpilogueElements / p.n + 1, [&](int64_t begin, int64_t end) {
      p.epilogue->run(p.epilogue->context, begin, end, 0, p.n);
    });
  } else {
    Driver<T>(p, swapped < plain).run();
  }
}

template void multiply_packed(const Product<float>&);
template void multiply_packed(const Product<double>&);
template void multiply_packed(const Product<int32_t>&);
template void multiply_packed(const Product<int64_t>&);

}  // namespace flambeau
