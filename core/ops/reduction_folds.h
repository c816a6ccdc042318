// The folds of Note [Reduction tiles]: how elements, or vectors of them, are added to states.
// Included by reduction_simd.cpp inside the namespace of the instruction set.

constexpr int64_t kColumns = 512;  // columns at most of what a fold gets at once

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

// Lane i of the result is lane i + distance of x, for those there are.
template <int64_t distance, class V, int... i>
inline V moved_lanes(V x, std::integer_sequence<int, i...>) {
  constexpr int count = sizeof...(i);
  return __builtin_shufflevector(x, x, (i + distance < count ? i + distance : i)...);
}
template <int64_t distance, class V>
inline V moved(V x) {
  constexpr int count = sizeof(V) / sizeof(x[0]);
  return moved_lanes<distance>(x, std::make_integer_sequence<int, count>());
}

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
#pragma GCC unroll 4
      for (int k = 0; k < 4; ++k) sums[k] = Combine::apply(sums[k], mapped(x + i + k * L::count));
    }
    V all = Combine::apply(Combine::apply(sums[0], sums[1]), Combine::apply(sums[2], sums[3]));
    for (; i < count; i += L::count) all = Combine::apply(all, mapped(x + i));
    return fold_lanes<L::count / 2>(all);
  }
  // Lane by lane, each with the one `distance` further on.
  template <int64_t distance>
  static A fold_lanes(V all) {
    if constexpr (distance == 0) {
      return all[0];
    } else {
      return fold_lanes<distance / 2>(Combine::apply(all, moved<distance>(all)));
    }
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
  // Four vectors of columns at a time stay in registers, rows of even and odd number apart: fewer
  // sums would wait for one another.
  static void columns(State* states, const A* const* rows, int64_t row_count, int64_t count,
                      int64_t, double) {
    constexpr int64_t width = 4 * L::count;
    int64_t j = 0;
    for (; j + width <= count; j += width) {
      V even[4], odd[4];
#pragma GCC unroll 4
      for (int k = 0; k < 4; ++k) {
        even[k] = mapped(rows[0] + j + k * L::count);
        odd[k] = V{} + static_cast<A>(Combine::identity);
      }
      int64_t i = 1;
      for (; i + 2 <= row_count; i += 2) {
        const A *x = rows[i] + j, *y = rows[i + 1] + j;
#pragma GCC unroll 4
        for (int k = 0; k < 4; ++k) {
          odd[k] = Combine::apply(odd[k], mapped(x + k * L::count));
          even[k] = Combine::apply(even[k], mapped(y + k * L::count));
        }
      }
      A block[width];
#pragma GCC unroll 4
      for (int k = 0; k < 4; ++k) {
        if (i < row_count) odd[k] = Combine::apply(odd[k], mapped(rows[i] + j + k * L::count));
        V sum = Combine::apply(even[k], odd[k]);
        __builtin_memcpy(block + k * L::count, &sum, sizeof(sum));
      }
      for (int64_t k = 0; k < width; ++k) {
        states[j + k] = Combine::apply(states[j + k], static_cast<State>(block[k]));
      }
    }
    for (; j < count; ++j) {
      A sum = Map::template apply<A>(rows[0][j]);
      for (int64_t i = 1; i < row_count; ++i) {
        sum = Combine::apply(sum, Map::template apply<A>(rows[i][j]));
      }
      states[j] = Combine::apply(states[j], static_cast<State>(sum));
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
