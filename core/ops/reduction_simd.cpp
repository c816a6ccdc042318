// The folds of Note [Reduction tiles] in vector code. Long rows run over blocks with four vector
// accumulators; columns run over up to 16 rows of 512 columns at a time.
#include <utility>

#include "ops/reduction_kernels.h"

namespace flambeau::FLAMBEAU_ISA {
namespace {

constexpr int64_t kBlock = 512;                  // elements of a converted block
constexpr int64_t kDirectBlock = 4096;           // elements of a block read where it lies
constexpr int64_t kRows = 16, kDirectRows = 64;  // the same for columns
inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

#include "ops/reduction_folds.h"

template <class Op>
void start(void* states, int64_t count) {
  auto* state = static_cast<typename Op::State*>(states);
  for (int64_t i = 0; i < count; ++i) state[i] = Op::initial();
}

template <class Op>
void merge(void* states, const void* others, int64_t count) {
  auto* state = static_cast<typename Op::State*>(states);
  auto* other = static_cast<const typename Op::State*>(others);
  for (int64_t i = 0; i < count; ++i) Op::merge(state[i], other[i]);
}

template <class Op>
void fold_rows(typename Op::State* states, const Tile& tile) {
  using A = typename Op::Element;
  bool direct = tile.direct && tile.length_stride == 1;
  int64_t block = direct ? kDirectBlock : kBlock;
  alignas(64) A buffer[kBlock];
  for (int64_t output = 0; output < tile.outputs; ++output) {
    const char* row = tile.data + output * tile.output_stride * tile.item_size;
    for (int64_t i = 0; i < tile.length; i += block) {
      int64_t count = smaller(block, tile.length - i);
      const char* source = row + i * tile.length_stride * tile.item_size;
      const A* x = reinterpret_cast<const A*>(source);
      if (!direct) {
        tile.load(buffer, source, tile.length_stride, count);
        x = buffer;
      }
      Op::row(states[output], x, count, tile.first + i, tile.power);
    }
  }
}

template <class Op>
void fold_columns(typename Op::State* states, const Tile& tile) {
  using A = typename Op::Element;
  alignas(64) A buffer[kRows * kColumns];
  const A* rows[kDirectRows];
  const int64_t most = tile.direct ? kDirectRows : kRows;
  for (int64_t i = 0; i < tile.length; i += most) {  // outside: rows are read from end to end
    int64_t row_count = smaller(most, tile.length - i);
    for (int64_t j = 0; j < tile.outputs; j += kColumns) {
      int64_t count = smaller(kColumns, tile.outputs - j);
      for (int64_t k = 0; k < row_count; ++k) {
        const char* source = tile.data + (j + (i + k) * tile.length_stride) * tile.item_size;
        rows[k] = reinterpret_cast<const A*>(source);
        if (!tile.direct) {
          tile.load(buffer + k * kColumns, source, 1, count);
          rows[k] = buffer + k * kColumns;
        }
      }
      Op::columns(states + j, rows, row_count, count, tile.first + i, tile.power);
    }
  }
}

// A few dense columns: several rows are read as one long one, whose parts are merged at the end.
// Returns the rows done.
template <class Op>
int64_t fold_narrow(typename Op::State* states, const Tile& tile) {
  if constexpr (Op::located) return 0;
  int64_t joined = kColumns / tile.outputs, wide = joined * tile.outputs;
  bool narrow = joined >= 4 && tile.outputs % (4 * Lanes<typename Op::Element>::count) != 0;
  if (!narrow || tile.length_stride != tile.outputs || tile.length < 4 * joined) return 0;
  typename Op::State partial[kColumns];
  for (int64_t j = 0; j < wide; ++j) partial[j] = Op::initial();
  Tile whole = tile;
  whole.outputs = whole.length_stride = wide;
  whole.length = tile.length / joined;
  fold_columns<Op>(partial, whole);
  for (int64_t i = 0; i < wide; i += tile.outputs) {
    for (int64_t j = 0; j < tile.outputs; ++j) Op::merge(states[j], partial[i + j]);
  }
  return whole.length * joined;
}

template <class Op>
void fold_tile(void* states, const Tile& tile) {
  auto* state = static_cast<typename Op::State*>(states);
  if (tile.output_stride != 1 || tile.outputs == 1 || tile.length_stride == 1) {
    fold_rows<Op>(state, tile);
    return;
  }
  Tile rest = tile;
  int64_t done = fold_narrow<Op>(state, tile);
  rest.data += done * tile.length_stride * tile.item_size;
  rest.length -= done;
  fold_columns<Op>(state, rest);
}

template <class T, class A, bool truth>
void load_block(void* block, const void* source, int64_t stride, int64_t count) {
  A* to = static_cast<A*>(block);
  const T* from = static_cast<const T*>(source);
  auto value = [](T x) {
    if constexpr (truth)
      return static_cast<A>(convert<bool>(x));
    else
      return convert<A>(x);
  };
  if (stride == 1) {
    for (int64_t i = 0; i < count; ++i) to[i] = value(from[i]);
  } else {
    for (int64_t i = 0; i < count; ++i) to[i] = value(from[i * stride]);
  }
}

template <class A, bool truth>
BlockLoad loader(DType dtype) {
  switch (dtype) {
    case DType::Bool:
      return load_block<bool, A, truth>;
    case DType::UInt8:
      return load_block<uint8_t, A, truth>;
    case DType::Int8:
      return load_block<int8_t, A, truth>;
    case DType::Int16:
      return load_block<int16_t, A, truth>;
    case DType::Int32:
      return load_block<int32_t, A, truth>;
    case DType::Int64:
      return load_block<int64_t, A, truth>;
    case DType::Float16:
      return load_block<Half, A, truth>;
    case DType::BFloat16:
      return load_block<BFloat, A, truth>;
    case DType::Float32:
      return load_block<float, A, truth>;
    default:
      return load_block<double, A, truth>;
  }
}

template <class Op>
FoldKernel kernel() {
  FoldKernel kernel;
  kernel.state_size = sizeof(typename Op::State);
  kernel.start = start<Op>;
  kernel.fold = fold_tile<Op>;
  kernel.merge = merge<Op>;
  return kernel;
}

template <class A>
FoldKernel sum_kernel(Fold fold) {
  switch (fold) {
    case Fold::SumNotNan:
      return kernel<Accumulate<A, Plus, NotNan>>();
    case Fold::CountNotNan:
      return kernel<Accumulate<A, Plus, Known>>();
    case Fold::SumAbs:
      return kernel<Accumulate<A, Plus, Absolute>>();
    case Fold::SumSquare:
      return kernel<Accumulate<A, Plus, Square>>();
    case Fold::SumPower:
      return kernel<Power<A>>();
    case Fold::MaxAbs:
      return kernel<Extreme<A, Greater, Absolute>>();
    case Fold::MinAbs:
      return kernel<Extreme<A, Less, Absolute>>();
    default:
      return kernel<Variation<A>>();
  }
}

template <class A>
FoldKernel order_kernel(Fold fold) {
  switch (fold) {
    case Fold::Max:
      return kernel<Extreme<A, Greater, Identity>>();
    case Fold::Min:
      return kernel<Extreme<A, Less, Identity>>();
    case Fold::ArgMax:
      return kernel<Locate<A, Greater>>();
    default:
      return kernel<Locate<A, Less>>();
  }
}

template <class A>
FoldKernel any_kernel(Fold fold) {
  if (fold == Fold::Sum) return kernel<Accumulate<A, Plus, Identity>>();
  if (fold == Fold::Product) return kernel<Accumulate<A, Times, Identity>>();
  if (fold >= Fold::Max && fold <= Fold::ArgMin && fold != Fold::MaxAbs && fold != Fold::MinAbs) {
    return order_kernel<A>(fold);
  }
  if constexpr (static_cast<A>(0.5) != 0)
    return sum_kernel<A>(fold);
  else
    return {};
}

// Folds that compute in A on elements of `dtype`; T is the type whose memory is A's.
template <class A>
FoldKernel loading(FoldKernel kernel, DType dtype, DType own, bool truth) {
  kernel.load = truth ? loader<A, true>(dtype) : loader<A, false>(dtype);
  kernel.direct = dtype == own && !truth;
  return kernel;
}

}  // namespace

FoldKernel fold_kernel(Fold fold, DType dtype, bool truth) {
  bool sums = fold == Fold::Sum || fold == Fold::Product;
  if (sums && (truth || dtype < DType::Float16)) {
    FoldKernel kernel = any_kernel<uint64_t>(fold);
    return loading<uint64_t>(kernel, dtype, DType::Int64, truth);
  }
  if (truth) return loading<uint8_t>(order_kernel<uint8_t>(fold), dtype, DType::UInt8, true);
  switch (dtype) {
    case DType::Bool:
    case DType::UInt8:
      return loading<uint8_t>(order_kernel<uint8_t>(fold), dtype, dtype, false);
    case DType::Int8:
      return loading<int8_t>(order_kernel<int8_t>(fold), dtype, dtype, false);
    case DType::Int16:
      return loading<int16_t>(order_kernel<int16_t>(fold), dtype, dtype, false);
    case DType::Int32:
      return loading<int32_t>(order_kernel<int32_t>(fold), dtype, dtype, false);
    case DType::Int64:
      return loading<int64_t>(order_kernel<int64_t>(fold), dtype, dtype, false);
    case DType::Float64:
      return loading<double>(any_kernel<double>(fold), dtype, dtype, false);
    default:
      return loading<float>(any_kernel<float>(fold), dtype, DType::Float32, false);
  }
}

}  // namespace flambeau::FLAMBEAU_ISA
