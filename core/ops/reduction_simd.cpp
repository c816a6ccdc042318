// The folds of Note [Reduction tiles] in vector code. Long rows run over blocks with four vector
// accumulators; columns run over up to 16 rows of 512 columns at a time.
#include "ops/reduction_kernels.h"

namespace flambeau::FLAMBEAU_ISA {
namespace {

constexpr int64_t kBlock = 512;         // elements of a converted block
constexpr int64_t kDirectBlock = 4096;  // elements of a block read where it lies
constexpr int64_t kColumns = 512;
constexpr int64_t kRows = 16;

inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

// The width of a register: wider vectors would compile, to very slow code.
#if defined(FLAMBEAU_ISA_v4)
constexpr int kWidth = 64;
#elif defined(FLAMBEAU_ISA_v3)
constexpr int kWidth = 32;
#else
constexpr int kWidth = 16;
#endif

template <class A>
struct Lanes {
  static constexpr int64_t count = kWidth / sizeof(A);
  typedef A Vector __attribute__((vector_size(kWidth)));
  typedef A Unaligned __attribute__((vector_size(kWidth), aligned(alignof(A)), may_alias));
  static Vector load(const A* x) { return *reinterpret_cast<const Unaligned*>(x); }
};

// Maps work on one element and on a vector of them alike.
struct Identity {
  template <class V>
  static V apply(V x) {
    return x;
  }
};
struct NotNan {
  template <class V>
  static V apply(V x) {
    return x == x ? x : V{};
  }
};
struct Known {
  template <class V>
  static V apply(V x) {
    return x == x ? V{} + 1 : V{};
  }
};
struct Absolute {
  template <class V>
  static V apply(V x) {
    return x < 0 ? -x : x + 0;
  }
};
struct Square {
  template <class V>
  static V apply(V x) {
    return x * x;
  }
};

template <class A>
struct Wide {
  using type = double;
};
template <>
struct Wide<uint64_t> {
  using type = uint64_t;
};

struct Plus {
  static constexpr int identity = 0;
  template <class V>
  static V apply(V a, V b) {
    return a + b;
  }
};
struct Times {
  static constexpr int identity = 1;
  template <class V>
  static V apply(V a, V b) {
    return a * b;
  }
};

// Sums and products of mapped elements.
template <class A, class Combine, class Map>
struct Accumulate {
  using Element = A;
  static constexpr bool located = false;
  using State = typename Wide<A>::type;
  using L = Lanes<A>;
  using V = typename L::Vector;

  static State initial() { return Combine::identity; }
  static void merge(State& state, const State& other) { state = Combine::apply(state, other); }
  static V mapped(const A* x) { return Map::template apply<V>(L::load(x)); }

  static A vectors(const A* x, int64_t count) {
    V sums[4];
    for (V& sum : sums) sum = V{} + static_cast<A>(Combine::identity);
    int64_t i = 0;
    for (; i + 4 * L::count <= count; i += 4 * L::count) {
      for (int k = 0; k < 4; ++k) sums[k] = Combine::apply(sums[k], mapped(x + i + k * L::count));
    }
    V all = Combine::apply(Combine::apply(sums[0], sums[1]), Combine::apply(sums[2], sums[3]));
    for (; i < count; i += L::count) all = Combine::apply(all, mapped(x + i));
    A lanes[L::count];
    __builtin_memcpy(lanes, &all, sizeof(lanes));
    for (int64_t width = L::count / 2; width > 0; width /= 2) {
      for (int64_t k = 0; k < width; ++k) lanes[k] = Combine::apply(lanes[k], lanes[k + width]);
    }
    return lanes[0];
  }
  static void row(State& state, const A* x, int64_t count, int64_t, double) {
    int64_t whole = count / L::count * L::count;
    A result = whole ? vectors(x, whole) : static_cast<A>(Combine::identity);
    // Two chains: short rows wait for additions, not for memory.
    A even = static_cast<A>(Combine::identity), odd = even;
    int64_t i = whole;
    for (; i + 2 <= count; i += 2) {
      even = Combine::apply(even, Map::template apply<A>(x[i]));
      odd = Combine::apply(odd, Map::template apply<A>(x[i + 1]));
    }
    if (i < count) even = Combine::apply(even, Map::template apply<A>(x[i]));
    A tail = Combine::apply(even, odd);
    state = Combine::apply(state, static_cast<State>(Combine::apply(result, tail)));
  }
  static void columns(State* states, const A* const* rows, int64_t row_count, int64_t count,
                      int64_t, double) {
    A block[kColumns];
    for (int64_t j = 0; j < count; ++j) block[j] = Map::template apply<A>(rows[0][j]);
    int64_t i = 1;
    for (; i + 4 <= row_count; i += 4) {
      const A *a = rows[i], *b = rows[i + 1], *c = rows[i + 2], *d = rows[i + 3];
      for (int64_t j = 0; j < count; ++j) {
        A ab = Combine::apply(Map::template apply<A>(a[j]), Map::template apply<A>(b[j]));
        A cd = Combine::apply(Map::template apply<A>(c[j]), Map::template apply<A>(d[j]));
        block[j] = Combine::apply(block[j], Combine::apply(ab, cd));
      }
    }
    for (; i < row_count; ++i) {
      for (int64_t j = 0; j < count; ++j) {
        block[j] = Combine::apply(block[j], Map::template apply<A>(rows[i][j]));
      }
    }
    for (int64_t j = 0; j < count; ++j) {
      states[j] = Combine::apply(states[j], static_cast<State>(block[j]));
    }
  }
};

// Sum of |x| to any power.
template <class A>
struct Power {
  using Element = A;
  static constexpr bool located = false;
  using State = double;
  static State initial() { return 0; }
  static void merge(State& state, const State& other) { state += other; }
  static double mapped(A x, double power) {
    return __builtin_pow(__builtin_fabs(static_cast<double>(x)), power);
  }
  static void row(State& state, const A* x, int64_t count, int64_t, double power) {
    for (int64_t i = 0; i < count; ++i) state += mapped(x[i], power);
  }
  static void columns(State* states, const A* const* rows, int64_t row_count, int64_t count,
                      int64_t, double power) {
    for (int64_t i = 0; i < row_count; ++i) {
      for (int64_t j = 0; j < count; ++j) states[j] += mapped(rows[i][j], power);
    }
  }
};

template <class A>
constexpr A lowest() {
  if constexpr (static_cast<A>(0.5) != 0)
    return -__builtin_inf();
  else if constexpr (static_cast<A>(-1) > 0)
    return 0;
  else
    return static_cast<A>(1ll << (8 * sizeof(A) - 1));
}
template <class A>
constexpr A highest() {
  if constexpr (static_cast<A>(0.5) != 0)
    return __builtin_inf();
  else
    return static_cast<A>(~lowest<A>());
}

// `better(x, best)`: x takes the place of best; a NaN does so always.
struct Greater {
  template <class A>
  static constexpr A worst() {
    return lowest<A>();
  }
  template <class V>
  static auto better(V x, V best) {
    return (x > best) | (x != x);
  }
};
struct Less {
  template <class A>
  static constexpr A worst() {
    return highest<A>();
  }
  template <class V>
  static auto better(V x, V best) {
    return (x < best) | (x != x);
  }
};

template <class A, class Order, class Map>
struct Extreme {
  using Element = A;
  static constexpr bool located = false;
  using State = A;
  using L = Lanes<A>;
  using V = typename L::Vector;

  static State initial() { return Order::template worst<A>(); }
  static A best(A x, A y) { return Order::better(y, x) ? y : x; }
  static void merge(State& state, const State& other) { state = best(state, other); }

  static A of_row(A start, const A* x, int64_t count) {
    int64_t i = 0;
    if (count >= L::count) {
      V bests[4];
      for (V& value : bests) value = V{} + start;
      for (; i + 4 * L::count <= count; i += 4 * L::count) {
        for (int k = 0; k < 4; ++k) take(bests[k], x + i + k * L::count);
      }
      for (; i + L::count <= count; i += L::count) take(bests[0], x + i);
      A lanes[4 * L::count];
      __builtin_memcpy(lanes, bests, sizeof(lanes));
      for (int64_t width = 2 * L::count; width > 0; width /= 2) {
        for (int64_t k = 0; k < width; ++k) lanes[k] = best(lanes[k], lanes[k + width]);
      }
      start = lanes[0];
    }
    for (; i < count; ++i) start = best(start, Map::template apply<A>(x[i]));
    return start;
  }
  static void row(State& state, const A* x, int64_t count, int64_t, double) {
    state = of_row(state, x, count);
  }
  static void columns(State* states, const A* const* rows, int64_t row_count, int64_t count,
                      int64_t, double) {
    for (int64_t i = 0; i < row_count; ++i) {
      const A* x = rows[i];
      for (int64_t j = 0; j < count; ++j) {
        states[j] = best(states[j], Map::template apply<A>(x[j]));
      }
    }
  }

 private:
  static void take(V& value, const A* x) {
    V fresh = Map::template apply<V>(L::load(x));
    value = Order::better(fresh, value) ? fresh : value;
  }
};

// The first position of the extreme value; a NaN counts as the extreme.
template <class A, class Order>
struct Locate {
  using Element = A;
  static constexpr bool located = true;
  using State = Located<A>;
  using Values = Extreme<A, Order, Identity>;

  static State initial() { return {Order::template worst<A>(), -1}; }
  static void merge(State& state, const State& other) {
    if (other.index < 0) return;
    bool settled = state.index >= 0 && state.value != state.value;
    if (state.index < 0 || (!settled && Order::better(other.value, state.value))) state = other;
  }
  static void row(State& state, const A* x, int64_t count, int64_t first, double) {
    if (count < Lanes<A>::count) {  // without branches: where the best comes is anybody's guess
      State found{x[0], first};
      for (int64_t i = 1; i < count; ++i) {
        bool take = Order::better(x[i], found.value) & (found.value == found.value);
        found.value = take ? x[i] : found.value;
        found.index = take ? first + i : found.index;
      }
      merge(state, found);
      return;
    }
    A best = Values::of_row(Order::template worst<A>(), x, count);
    bool settled = state.value != state.value;
    if (state.index >= 0 && (settled || !Order::better(best, state.value))) return;
    int64_t i = 0;
    if (best != best) {
      while (x[i] == x[i]) ++i;
    } else {
      while (x[i] != best) ++i;
    }
    state = {best, first + i};
  }
  static void columns(State* states, const A* const* rows, int64_t row_count, int64_t count,
                      int64_t first, double) {
    // Positions are kept in integers of the element's width, which masks select between.
    using V = typename Lanes<A>::Vector;
    using Places = decltype(V{} > V{});
    constexpr int64_t kLanes = Lanes<A>::count;
    int64_t j = 0;
    for (; j + kLanes <= count; j += kLanes) {
      V best = Lanes<A>::load(rows[0] + j);
      Places where{}, here{};
      for (int64_t i = 1; i < row_count; ++i) {
        V x = Lanes<A>::load(rows[i] + j);
        Places take = Order::better(x, best) & (best == best);
        best = take ? x : best;
        here += 1;
        where = take ? here : where;
      }
      for (int64_t k = 0; k < kLanes; ++k) merge(states[j + k], {best[k], first + where[k]});
    }
    for (; j < count; ++j) {
      for (int64_t i = 0; i < row_count; ++i) merge(states[j], {rows[i][j], first + i});
    }
  }
};

// Count, mean and squared deviations: two passes over a block in cache, blocks joined as in
// Chan, Golub, LeVeque (1983), eq. 2.1.
template <class A>
struct Variation {
  using Element = A;
  static constexpr bool located = false;
  using State = MomentsState;
  using Sum = Accumulate<A, Plus, Identity>;
  using L = Lanes<A>;

  static State initial() { return {0, 0, 0}; }
  static void merge(State& state, const State& other) {
    if (other.count == 0) return;
    double count = state.count + other.count, delta = other.mean - state.mean;
    state.mean += delta * (other.count / count);
    state.squares += other.squares + delta * delta * (state.count * other.count / count);
    state.count = count;
  }
  static void row(State& state, const A* x, int64_t count, int64_t, double) {
    double sum = 0;
    Sum::row(sum, x, count, 0, 0);
    A mean = static_cast<A>(sum / count);
    typename L::Vector rest{}, squares{};
    int64_t i = 0;
    for (; i + L::count <= count; i += L::count) {
      auto deviation = L::load(x + i) - mean;
      rest += deviation;
      squares += deviation * deviation;
    }
    double rest_sum = 0, square_sum = 0;
    for (int64_t k = 0; k < L::count; ++k) {
      rest_sum += rest[k];
      square_sum += squares[k];
    }
    for (; i < count; ++i) {
      double deviation = static_cast<double>(x[i]) - mean;
      rest_sum += deviation;
      square_sum += deviation * deviation;
    }
    // `rest` makes up for the rounding of `mean`.
    double n = static_cast<double>(count);
    merge(state, {n, mean + rest_sum / n, square_sum - rest_sum * (rest_sum / n)});
  }
  static void columns(State* states, const A* const* rows, int64_t row_count, int64_t count,
                      int64_t, double) {
    A mean[kColumns] = {}, squares[kColumns] = {};
    for (int64_t i = 0; i < row_count; ++i) {
      for (int64_t j = 0; j < count; ++j) mean[j] += rows[i][j];
    }
    for (int64_t j = 0; j < count; ++j) mean[j] /= static_cast<A>(row_count);
    A rest[kColumns] = {};
    for (int64_t i = 0; i < row_count; ++i) {
      for (int64_t j = 0; j < count; ++j) {
        A deviation = rows[i][j] - mean[j];
        rest[j] += deviation;
        squares[j] += deviation * deviation;
      }
    }
    double n = static_cast<double>(row_count);
    for (int64_t j = 0; j < count; ++j) {
      double shift = static_cast<double>(rest[j]);
      merge(states[j], {n, mean[j] + shift / n, squares[j] - shift * (shift / n)});
    }
  }
};

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
  const A* rows[kRows];
  for (int64_t i = 0; i < tile.length; i += kRows) {  // outside: rows are read from end to end
    int64_t row_count = smaller(kRows, tile.length - i);
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
  if (joined < 4 || tile.length_stride != tile.outputs || tile.length < 4 * joined) return 0;
  typename Op::State partial[kColumns];
  for (int64_t j = 0; j < wide; ++j) partial[j] = Op::initial();
  Tile whole = tile;
  whole.outputs = whole.length_stride = wide;
  whole.length = tile.length / joined;
  fold_columns<Op>(partial, whole);
  for (int64_t j = 0; j < wide; ++j) Op::merge(states[j % tile.outputs], partial[j]);
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
