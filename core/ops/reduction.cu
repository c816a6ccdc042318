// Reductions: every fold of reduction_kernels.h, with the values that the CPU gives.
//
// LANES threads fold the elements of one output, OUTPUTS outputs per block: neighbours along the
// reduced axis (COLUMNS = 0), or one below the other where outputs lie next to one another in
// memory (COLUMNS = 1). Long reductions are cut into chunks, whose states `join_chunks` merges:
// the order of all steps depends on the shape only. Memory is read once.
//
// T: elements; A: what they are computed in; TRUTH: elements are read as bool; LIMITS: the type
// whose limits bound them; FOLD: a struct below; OUT, FINISH: results; VECTOR: elements loaded at
// once; INDEX, KEPT, REDUCED: geometry.

constexpr int kThreads = 256;
constexpr int kRounds = VECTOR < 4 ? 8 / VECTOR : 2;  // packs that are loaded before any is used
constexpr int kElements = kRounds * VECTOR;

// Where along the reduced axis the k-th loaded element is.
DEVICE INDEX position(INDEX first, int k) {
  return first + k / VECTOR * (LANES * VECTOR) + k % VECTOR;
}

// --- folds ---------------------------------------------------------------------------------------
// initial (of a power), take (kElements at once), one, merge.

struct Identity {
  static DEVICE_MEMBER A apply(A x) { return x; }
};
struct NotNan {
  static DEVICE_MEMBER A apply(A x) { return x == x ? x : A(0); }
};
struct Known {
  static DEVICE_MEMBER A apply(A x) { return A(x == x); }
};
struct Absolute {
  static DEVICE_MEMBER A apply(A x) { return A(0) > x ? -x : x + 0; }
};
struct Square {
  static DEVICE_MEMBER A apply(A x) { return x * x; }
};

struct Plus {
  static constexpr int identity = 0;
  template <class V>
  static DEVICE_MEMBER V apply(V a, V b) {
    return a + b;
  }
};
struct Times {
  static constexpr int identity = 1;
  template <class V>
  static DEVICE_MEMBER V apply(V a, V b) {
    return a * b;
  }
};

template <class V>
struct WideOf {
  typedef uint64 type;
};
template <>
struct WideOf<float> {
  typedef double type;
};
template <>
struct WideOf<double> {
  typedef double type;
};

// Sums and products of mapped elements: a few in their own precision, the rest in double.
template <class Combine, class Map>
struct Accumulate {
  typedef typename WideOf<A>::type State;
  static DEVICE_MEMBER State initial(double) { return Combine::identity; }
  static DEVICE_MEMBER State merge(State a, State b) { return Combine::apply(a, b); }
  static DEVICE_MEMBER void one(State& state, A x, INDEX) {
    state = Combine::apply(state, static_cast<State>(Map::apply(x)));
  }
  static DEVICE_MEMBER void take(State& state, const A (&x)[kElements], INDEX) {
    A result = Map::apply(x[0]);
#pragma unroll
    for (int k = 1; k < kElements; ++k) result = Combine::apply(result, Map::apply(x[k]));
    state = Combine::apply(state, static_cast<State>(result));
  }
};

// Sum of |x| to any power.
struct PowerSum {
  double sum, power;
};
struct Power {
  typedef PowerSum State;
  static DEVICE_MEMBER State initial(double power) { return {0, power}; }
  static DEVICE_MEMBER State merge(State a, State b) { return {a.sum + b.sum, a.power}; }
  static DEVICE_MEMBER void one(State& state, A x, INDEX) {
    state.sum += pow(fabs(static_cast<double>(x)), state.power);
  }
  static DEVICE_MEMBER void take(State& state, const A (&x)[kElements], INDEX first) {
    for (int k = 0; k < kElements; ++k) one(state, x[k], first);
  }
};

// The limits of the element's type, as A.
template <class V>
DEVICE A lowest() {
  if constexpr (Is<V>::floating) {
    return A(-kInfinity);
  } else {
    return V(-1) > V(0) ? A(0) : static_cast<A>(static_cast<V>(uint64(1) << (8 * sizeof(V) - 1)));
  }
}
template <class V>
DEVICE A highest() {
  if constexpr (Is<V>::floating) {
    return A(kInfinity);
  } else {
    return V(-1) > V(0) ? static_cast<A>(static_cast<V>(-1)) : static_cast<A>(~lowest<V>());
  }
}

// `better(x, best)`: x takes the place of best; a NaN does so always.
struct Greater {
  static DEVICE_MEMBER A worst() { return lowest<LIMITS>(); }
  static DEVICE_MEMBER bool better(A x, A best) { return (x > best) | (x != x); }
};
struct Less {
  static DEVICE_MEMBER A worst() { return highest<LIMITS>(); }
  static DEVICE_MEMBER bool better(A x, A best) { return (x < best) | (x != x); }
};

template <class Order, class Map>
struct Extreme {
  typedef A State;
  static DEVICE_MEMBER State initial(double) { return Order::worst(); }
  static DEVICE_MEMBER State merge(State a, State b) { return Order::better(b, a) ? b : a; }
  static DEVICE_MEMBER void one(State& state, A x, INDEX) { state = merge(state, Map::apply(x)); }
  static DEVICE_MEMBER void take(State& state, const A (&x)[kElements], INDEX first) {
#pragma unroll
    for (int k = 0; k < kElements; ++k) one(state, x[k], first);
  }
};

// The first position of the extreme value; a NaN counts as the extreme.
struct Located {
  A value;
  int64 index;  // -1: nothing seen yet
};
template <class Order>
struct Locate {
  typedef Located State;
  static DEVICE_MEMBER State initial(double) { return {Order::worst(), -1}; }
  // States are not met in order, so ties are decided by the position.
  static DEVICE_MEMBER State merge(State a, State b) {
    if (b.index < 0) return a;
    if (a.index < 0) return b;
    const bool both = (a.value == b.value) | ((a.value != a.value) & (b.value != b.value));
    if (both) return a.index < b.index ? a : b;
    if (a.value != a.value) return a;
    return Order::better(b.value, a.value) ? b : a;
  }
  // A thread meets its elements in order: the first of equals is there already.
  static DEVICE_MEMBER void one(State& state, A x, INDEX at) {
    const bool known = (state.index >= 0) & (state.value != state.value);
    const bool better = (state.index < 0) | Order::better(x, state.value);
    if (better & !known) state = {x, at};
  }
  static DEVICE_MEMBER void take(State& state, const A (&x)[kElements], INDEX first) {
#pragma unroll
    for (int k = 0; k < kElements; ++k) one(state, x[k], position(first, k));
  }
};

// Count, mean and squared deviations: two passes over what is in registers, joined as in Chan,
// Golub, LeVeque (1983), eq. 2.1.
struct Moments {
  double count, mean, squares;
};
struct Variation {
  typedef Moments State;
  static DEVICE_MEMBER State initial(double) { return {0, 0, 0}; }
  static DEVICE_MEMBER State merge(State a, State b) {
    if (b.count == 0) return a;
    const double count = a.count + b.count, delta = b.mean - a.mean;
    return {count, a.mean + delta * (b.count / count),
            a.squares + b.squares + delta * delta * (a.count * b.count / count)};
  }
  static DEVICE_MEMBER void one(State& state, A x, INDEX) {
    state = merge(state, {1, static_cast<double>(x), 0});
  }
  // In A but for the additions to the state.
  static DEVICE_MEMBER void take(State& state, const A (&x)[kElements], INDEX) {
    A sum = 0, rest = 0, squares = 0;
#pragma unroll
    for (int k = 0; k < kElements; ++k) sum += x[k];
    const A mean = sum / kElements;
#pragma unroll
    for (int k = 0; k < kElements; ++k) {
      const A deviation = x[k] - mean;
      rest += deviation;  // makes up for the rounding of `mean`
      squares += deviation * deviation;
    }
    squares -= rest * (rest / kElements);
    const double own = static_cast<double>(mean) + static_cast<double>(rest / kElements);
    const A before = static_cast<A>(state.count), share = kElements / (before + kElements);
    const A delta = static_cast<A>(own - state.mean);
    state.mean += static_cast<double>(delta * share);
    state.squares += static_cast<double>(squares + delta * delta * before * share);
    state.count += kElements;
  }
};

// --- kernels -------------------------------------------------------------------------------------

typedef FOLD Fold;
typedef typename Fold::State State;

struct Parameters {
  const T* input;
  OUT* output;
  void* second;
  State* partial;
  int64 outputs, length, chunk, chunks;
  double parameter, power;
  Geometry<INDEX, KEPT, 2> kept;  // where outputs begin in the input; where they are written
  Geometry<INDEX, REDUCED, 1> reduced;
};

DEVICE A element(T value) {
  if constexpr (TRUTH) {
    return static_cast<A>(convert<bool>(value));
  } else {
    return convert<A>(value);
  }
}
DEVICE INDEX offset(const Parameters& p, INDEX r) {
  if constexpr (REDUCED == 1) {
    return r * p.reduced.strides[0][0];
  } else {
    INDEX at[1] = {};
    p.reduced.locate(r, at);
    return at[0];
  }
}

DEVICE State fold_range(const Parameters& p, const T* input, INDEX begin, INDEX end, int lane) {
  State state = Fold::initial(p.power);
  constexpr INDEX kStep = LANES * VECTOR;
  for (INDEX first = begin + lane * VECTOR; first < end; first += kStep * kRounds) {
    if (first + (kRounds - 1) * kStep + VECTOR <= end) {
      A x[kElements];
#pragma unroll
      for (int round = 0; round < kRounds; ++round) {
        if constexpr (VECTOR > 1) {
          const auto pack = load_pack<VECTOR>(input + offset(p, first + round * kStep));
#pragma unroll
          for (int k = 0; k < VECTOR; ++k) x[round * VECTOR + k] = element(pack.at[k]);
        } else {
          x[round] = element(input[offset(p, first + round * kStep)]);
        }
      }
      Fold::take(state, x, first);
    } else {
      for (int k = 0; k < kElements; ++k) {
        const INDEX r = position(first, k);
        if (r < end) Fold::one(state, element(input[offset(p, r)]), r);
      }
    }
  }
  return state;
}

DEVICE State join_lanes(State state, int lane, int output) {
  if constexpr (COLUMNS) {
    __shared__ Words<State> shared[OUTPUTS][LANES];
    __syncthreads();
    shared[output][lane].value = state;
    for (int half = LANES / 2; half > 0; half /= 2) {
      __syncthreads();
      if (lane < half) {
        shared[output][lane].value =
            Fold::merge(shared[output][lane].value, shared[output][lane + half].value);
      }
    }
    return shared[output][0].value;  // of use to lane 0 only
  } else {
    return join_threads<LANES>(state, [](State a, State b) { return Fold::merge(a, b); });
  }
}

DEVICE double finished(double value, const Parameters& p) {
  if constexpr (FINISH == 1) return value / p.parameter;
  if constexpr (FINISH == 2) {
    if (p.parameter == 2) return sqrt(value);
    return p.parameter == 1 ? value : pow(value, 1 / p.parameter);
  }
  return value;
}

template <class V>
DEVICE void finish(const Parameters& p, V state, INDEX at) {
  if constexpr (FINISH == 0) {
    p.output[at] = convert<OUT>(state);
  } else {
    p.output[at] = convert<OUT>(finished(static_cast<double>(state), p));
  }
}
DEVICE void finish(const Parameters& p, PowerSum state, INDEX at) { finish(p, state.sum, at); }
DEVICE void finish(const Parameters& p, Located state, INDEX at) {
  static_cast<int64*>(p.second)[at] = state.index;
  if (p.output) p.output[at] = convert<OUT>(state.value);
}
DEVICE void finish(const Parameters& p, Moments state, INDEX at) {
  const double divisor = state.count > p.parameter ? state.count - p.parameter : 0;
  const double variance = state.count == 0 ? double(kNan) : state.squares / divisor;
  p.output[at] = convert<OUT>(FINISH == 4 ? sqrt(variance) : variance);
  if (p.second) {
    static_cast<OUT*>(p.second)[at] = convert<OUT>(state.count == 0 ? double(kNan) : state.mean);
  }
}

extern "C" __global__ void __launch_bounds__(256) fold(const Parameters p) {
  const int thread = static_cast<int>(threadIdx.x);
  const int lane = COLUMNS ? thread / OUTPUTS : thread % LANES;
  const int own = COLUMNS ? thread % OUTPUTS : thread / LANES;
  const int64 groups = (p.outputs + OUTPUTS - 1) / OUTPUTS;
  for (int64 task = blockIdx.x; task < groups * p.chunks; task += gridDim.x) {
    const int64 chunk = p.chunks == 1 ? 0 : task / groups;  // a division takes as long as a load
    const int64 output = (task - chunk * groups) * OUTPUTS + own;
    const bool inside = output < p.outputs;
    INDEX at[2] = {};
    p.kept.locate(inside ? static_cast<INDEX>(output) : 0, at);
    const int64 begin = chunk * p.chunk, stop = begin + p.chunk;
    const INDEX end = static_cast<INDEX>(!inside ? begin : stop < p.length ? stop : p.length);
    State state = fold_range(p, p.input + at[0], static_cast<INDEX>(begin), end, lane);
    state = join_lanes(state, lane, own);
    if (lane != 0 || !inside) continue;
    if (p.chunks > 1) {
      p.partial[chunk * p.outputs + output] = state;
    } else {
      finish(p, state, at[1]);
    }
  }
}

// One warp per output.
extern "C" __global__ void __launch_bounds__(256) join_chunks(const Parameters p) {
  const int64 warps = thread_count<int64>() / kWarpSize;
  for (int64 output = thread_index<int64>() / kWarpSize; output < p.outputs; output += warps) {
    State state = Fold::initial(p.power);
    for (int64 chunk = lane_index(); chunk < p.chunks; chunk += kWarpSize) {
      state = Fold::merge(state, p.partial[chunk * p.outputs + output]);
    }
    state = warp_reduce(state, [](State a, State b) { return Fold::merge(a, b); });
    INDEX at[2] = {};
    p.kept.locate(static_cast<INDEX>(output), at);
    if (lane_index() == 0) finish(p, state, at[1]);
  }
}
