// Random numbers, value for value those of PyTorch's CUDA generator (docs/random.md says how far).
//
// Every thread has a stream of its own: Philox4x32-10 with the seed as key and the thread's number
// in the upper half of the counter, so a kernel needs no memory but its results. Of these defines
// one chooses the kernel: DISTRIBUTION, WHOLE_LANES, MASK_LANES, PROBABILITY, KEYS, WEIGHT.

// Twin of random/cuda_generator.h.
struct PhiloxNumbers {
  uint64 seed, offset;
  const uint64* captured;
};

struct Four {
  unsigned at[4];
};

// The numbers of one stream, four at a time (Salmon et al., 2011, section 3.3).
struct Philox {
  unsigned key[2];
  uint64 block, stream;

  __device__ Philox(const PhiloxNumbers& numbers, uint64 thread) {
    const uint64 seed = numbers.captured ? numbers.captured[0] : numbers.seed;
    const uint64 start = numbers.captured ? numbers.captured[1] : 0;
    key[0] = static_cast<unsigned>(seed);
    key[1] = static_cast<unsigned>(seed >> 32);
    block = (start + numbers.offset) / 4;
    stream = thread;
  }

  __device__ Four next() {
    unsigned a = static_cast<unsigned>(block), b = static_cast<unsigned>(block >> 32);
    unsigned c = static_cast<unsigned>(stream), d = static_cast<unsigned>(stream >> 32);
    unsigned k = key[0], l = key[1];
    ++block;
#pragma unroll
    for (int round = 0; round < 10; ++round) {
      const unsigned high = __umulhi(0xD2511F53u, a), low = 0xD2511F53u * a;
      const unsigned other_high = __umulhi(0xCD9E8D57u, c), other_low = 0xCD9E8D57u * c;
      a = other_high ^ b ^ k;
      b = other_low;
      c = high ^ d ^ l;
      d = low;
      k += 0x9E3779B9u;
      l += 0xBB67AE85u;
    }
    return {{a, b, c, d}};
  }
};

DEVICE uint64 wide(unsigned high, unsigned low) { return static_cast<uint64>(high) << 32 | low; }

// The middle of one of 2^32 (2^53) intervals of (0, 1]; rounding reaches 1.
DEVICE float unit(unsigned bits) {
  return fmaf(static_cast<float>(bits), 2.3283064e-10f, 1.1641532e-10f);
}
DEVICE double unit(unsigned low, unsigned high) {
  const uint64 bits = low ^ static_cast<uint64>(high) << 21;
  return fma(static_cast<double>(bits), 1.1102230246251565e-16, 5.551115123125783e-17);
}

// Numbers per call of next() for results of a type, and the type that they are computed in.
template <class Item>
struct LanesOf {
  static constexpr int count = 4;
  typedef float type;
};
template <>
struct LanesOf<double> {
  static constexpr int count = 2;
  typedef double type;
};

DEVICE void uniforms(const Four& bits, float* out) {
#pragma unroll
  for (int i = 0; i < 4; ++i) out[i] = unit(bits.at[i]);
}
DEVICE void uniforms(const Four& bits, double* out) {
  out[0] = unit(bits.at[0], bits.at[1]);
  out[1] = unit(bits.at[2], bits.at[3]);
}

// Box and Muller, 1958. In float with the GPU's fast sine and cosine, as cuRAND.
DEVICE void normals(const Four& bits, float* out) {
#pragma unroll
  for (int i = 0; i < 4; i += 2) {
    const float angle =
        fmaf(static_cast<float>(bits.at[i + 1]), 2.3283064e-10f * 6.2831855f,
             2.3283064e-10f * 6.2831855f / 2.0f);
    const float radius = sqrtf(-2.0f * logf(unit(bits.at[i])));
    out[i] = __sinf(angle) * radius;
    out[i + 1] = __cosf(angle) * radius;
  }
}
DEVICE void normals(const Four& bits, double* out) {
  const double half_turns = 2.0 * unit(bits.at[2], bits.at[3]);
  const double radius = sqrt(-2.0 * log(unit(bits.at[0], bits.at[1])));
  double sine, cosine;
  sincospi(half_turns, &sine, &cosine);
  out[0] = sine * radius;
  out[1] = cosine * radius;
}

// --- distributions: a number between 0 and 1, or a normal one, becomes an element ----------------

template <class Item>
struct Uniform {  // from low to high
  typedef typename LanesOf<Item>::type C;
  static constexpr bool normal = false;
  Item low, high;
  C range;
  __device__ Uniform(double first, double second)
      : low(convert<Item>(first)), high(convert<Item>(second)) {
    range = convert<C>(convert<Item>(convert<C>(high) - convert<C>(low)));
  }
  // The generator gives (0, 1], the result is in [low, high).
  __device__ Item operator()(C u) const {
    const Item value = convert<Item>(fma(u, range, convert<C>(low)));
    return convert<C>(value) == convert<C>(high) ? low : value;
  }
};

template <class Item>
struct Normal {
  typedef typename LanesOf<Item>::type C;
  static constexpr bool normal = true;
  C mean, deviation;
  __device__ Normal(double first, double second)
      : mean(static_cast<C>(first)), deviation(static_cast<C>(second)) {}
  __device__ Item operator()(C x) const { return convert<Item>(fma(x, deviation, mean)); }
};

DEVICE float fast_exp(float x) { return __expf(x); }
DEVICE double fast_exp(double x) { return exp(x); }
DEVICE float fast_log(float x) { return __logf(x); }
DEVICE double fast_log(double x) { return log(x); }
DEVICE float fast_log1p(float x) { return __logf(1.0f + x); }
DEVICE double fast_log1p(double x) { return log1p(x); }

template <class Item>
struct LogNormal {
  typedef typename LanesOf<Item>::type C;
  static constexpr bool normal = true;
  C mean, deviation;
  __device__ LogNormal(double first, double second)
      : mean(static_cast<C>(first)), deviation(static_cast<C>(second)) {}
  __device__ Item operator()(C x) const { return convert<Item>(fast_exp(fma(x, deviation, mean))); }
};

template <class Item>
struct Exponential {
  typedef typename LanesOf<Item>::type C;
  static constexpr bool normal = false;
  C factor;
  __device__ Exponential(double rate, double) : factor(C(-1) / static_cast<C>(rate)) {}
  // Never 0: the logarithm of numbers next to 1 is taken to be half of a rounding step.
  __device__ Item operator()(C u) const {
    const C half_step = sizeof(C) == 8 ? C(1.1102230246251565e-16) : C(5.9604645e-8);
    return convert<Item>(factor * (u >= C(1) - half_step ? -half_step : fast_log(u)));
  }
};

template <class Item>
struct Geometric {
  typedef typename LanesOf<Item>::type C;
  static constexpr bool normal = false;
  C failure;
  __device__ Geometric(double probability, double)
      : failure(fast_log1p(-static_cast<C>(probability))) {}
  __device__ Item operator()(C u) const { return convert<Item>(ceil(fast_log(u) / failure)); }
};

template <class Item>
struct Cauchy {
  typedef typename LanesOf<Item>::type C;
  static constexpr bool normal = false;
  C median, sigma;
  __device__ Cauchy(double first, double second)
      : median(static_cast<C>(first)), sigma(static_cast<C>(second)) {}
  static __device__ double tangent(double u) { return tan(3.141592653589793 * (u - 0.5)); }
  // The fast tangent is infinite next to the ends.
  static __device__ float tangent(float u) {
    const float step = 1.1920929e-7f;
    const float inside = u > 1.0f - step ? 1.0f - step : u < step ? step : u;
    return __tanf(3.1415927f * (inside - 0.5f));
  }
  __device__ Item operator()(C u) const { return convert<Item>(fma(sigma, tangent(u), median)); }
};

template <class Item>
struct Bernoulli {
  typedef typename LanesOf<Item>::type C;
  static constexpr bool normal = false;
  C probability;
  __device__ Bernoulli(double first, double) : probability(static_cast<C>(first)) {}
  __device__ Item operator()(C u) const { return convert<Item>(u < probability); }
};

// --- kernels -------------------------------------------------------------------------------------

// body(at, lane) for the elements of a thread: `lanes` of them a whole grid apart, then the next.
// draw() comes before each group.
template <int lanes, class Draw, class Body>
DEVICE void over_grid(int64 count, Draw draw, Body body) {
  const int64 stride = thread_count<int64>();
  for (int64 first = thread_index<int64>(); first < count; first += stride * lanes) {
    draw();
#pragma unroll
    for (int lane = 0; lane < lanes; ++lane) {
      const int64 at = first + lane * stride;
      if (at < count) body(at, lane);
    }
  }
}

#ifdef DISTRIBUTION
extern "C" __global__ void __launch_bounds__(256)
    fill(T* out, int64 count, PhiloxNumbers numbers, double first, double second) {
  typedef typename LanesOf<T>::type C;
  Philox philox(numbers, thread_index<uint64>());
  const DISTRIBUTION<T> make(first, second);
  C drawn[LanesOf<T>::count];
  over_grid<LanesOf<T>::count>(
      count,
      [&] {
        if constexpr (DISTRIBUTION<T>::normal) {
          normals(philox.next(), drawn);
        } else {
          uniforms(philox.next(), drawn);
        }
      },
      [&](int64 at, int lane) { out[at] = make(drawn[lane]); });
}
#endif

#ifdef WHOLE_LANES
// Whole numbers base, ..., base + range - 1; a range of 0 stands for 2^64.
extern "C" __global__ void __launch_bounds__(256)
    whole(T* out, int64 count, PhiloxNumbers numbers, int64 base, uint64 range) {
  Philox philox(numbers, thread_index<uint64>());
  Four bits;
  over_grid<WHOLE_LANES>(
      count, [&] { bits = philox.next(); },
      [&](int64 at, int lane) {
        const int pair = lane % 2 * 2;
        const uint64 value =
            WHOLE_LANES == 4 ? bits.at[lane] : wide(bits.at[pair], bits.at[pair + 1]);
        const uint64 rest = range == 0 ? value : value % range;
        out[at] = convert<T>(static_cast<int64>(rest + static_cast<uint64>(base)));
      });
}
#endif

#ifdef MASK_LANES
// What dropout keeps. MASK_LANES elements that lie side by side belong to one thread; 1: elements a
// whole grid apart.
extern "C" __global__ void __launch_bounds__(256)
    dropout_mask(T* out, int64 count, PhiloxNumbers numbers, double keep) {
  Philox philox(numbers, thread_index<uint64>());
  Four bits;
#if MASK_LANES == 1
  over_grid<4>(
      count, [&] { bits = philox.next(); },
      [&](int64 at, int lane) { out[at] = convert<T>(unit(bits.at[lane]) < keep); });
#else
  const int64 stride = thread_count<int64>() * MASK_LANES;
  for (int64 first = thread_index<int64>() * MASK_LANES; first < count; first += stride) {
    Pack<T, MASK_LANES> mask;
#pragma unroll
    for (int lane = 0; lane < MASK_LANES; ++lane) {
      if (lane % 4 == 0) bits = philox.next();
      mask.at[lane] = convert<T>(unit(bits.at[lane % 4]) < keep);
    }
    store_pack(out + first, mask);
  }
#endif
}
#endif

#ifdef PROBABILITY
// 1 with the probability of each element; four elements side by side for each thread.
extern "C" __global__ void __launch_bounds__(512)
    bernoulli(T* out, const PROBABILITY* probabilities, int64 count, PhiloxNumbers numbers,
              ErrorSlot* slot, int site) {
  const int64 first = thread_index<int64>() * 4;
  if (first >= count) return;
  Philox philox(numbers, thread_index<uint64>());
  const Four bits = philox.next();
#pragma unroll
  for (int lane = 0; lane < 4; ++lane) {
    if (first + lane >= count) return;
    const PROBABILITY p = probabilities[first + lane];
    if (!(p >= 0 && p <= 1)) report_error(slot, site, 0, 0);
    out[first + lane] = convert<T>(unit(bits.at[lane]) <= p);
  }
}
#endif

#ifdef KEYS
// The element's key for sorting: its lower bits, or all of them with the sign.
extern "C" __global__ void __launch_bounds__(256)
    keep_bits(int64* keys, int64 count, int64 mask) {
  for (int64 at = thread_index<int64>(); at < count; at += thread_count<int64>()) keys[at] &= mask;
}

// Shuffles, by Fisher and Yates, the elements of `order` whose keys are equal: sorting left them in
// their old order. The first thread of such a run does it. All keys of a run are equal, so a
// neighbour that reads in between sees what it would have seen before.
extern "C" __global__ void __launch_bounds__(512)
    shuffle_runs(const int64* keys, int64* order, int64 count, PhiloxNumbers numbers) {
  const int64 begin = thread_index<int64>();
  if (begin >= count - 1) return;
  const int64 key = keys[order[begin]];
  if (keys[order[begin + 1]] != key) return;
  if (begin > 0 && keys[order[begin - 1]] == key) return;
  int64 length = 2;
  while (begin + length < count && keys[order[begin + length]] == key) ++length;
  Philox philox(numbers, static_cast<uint64>(begin));
  Four bits;
  int used = 4;
  for (int64 last = length - 1; last > 0; --last) {
    if (used == 4) {
      bits = philox.next();
      used = 0;
    }
    const int64 other = bits.at[used++] % static_cast<unsigned>(last + 1);
    const int64 moved = order[begin + last];
    order[begin + last] = order[begin + other];
    order[begin + other] = moved;
  }
}
#endif

#ifdef WEIGHT
// Reports rows of weights that are no distribution; a block for each row.
extern "C" __global__ void __launch_bounds__(256)
    check_weights(const WEIGHT* weights, int64 rows, int64 categories, ErrorSlot* slot,
                  int wrong_weight, int empty_row) {
  for (int64 row = blockIdx.x; row < rows; row += gridDim.x) {
    bool positive = false, wrong = false;
    for (int64 i = threadIdx.x; i < categories; i += blockDim.x) {
      const WEIGHT weight = weights[row * categories + i];
      wrong |= !(weight >= 0 && weight < kInfinity);
      positive |= weight > 0;
    }
    const int found = block_reduce((wrong ? 2 : 0) | (positive ? 1 : 0),
                                   [](int a, int b) { return a | b; });
    if (threadIdx.x != 0) continue;
    if (found & 2) {
      report_error(slot, wrong_weight, row, 0);
    } else if (found == 0) {
      report_error(slot, empty_row, row, 0);
    }
  }
}

// Categories whose cumulative weight is the first to reach a random share of the total.
extern "C" __global__ void __launch_bounds__(128)
    sample(int64* out, const WEIGHT* weights, const WEIGHT* cumulative, int64 rows,
           int64 categories, int64 samples, PhiloxNumbers numbers) {
  const uint64 column = thread_index<uint64>();
  Philox philox(numbers, static_cast<uint64>(blockIdx.y) * thread_count<uint64>() + column);
  if (column >= static_cast<uint64>(samples)) return;
  for (int64 row = blockIdx.y; row < rows; row += gridDim.y) {
    const WEIGHT* sums = cumulative + row * categories;
    const WEIGHT* own = weights + row * categories;
    const WEIGHT wanted = static_cast<WEIGHT>(unit(philox.next().at[0]));
    const WEIGHT total = sums[categories - 1];
    int64 low = 0, high = categories;
    while (low < high) {
      const int64 middle = low + (high - low) / 2;
      if (sums[middle] / total < wanted) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    if (low == categories) --low;
    while (low > 0 && own[low] == 0) --low;  // rounding may end on a category that cannot be
    out[row * samples + static_cast<int64>(column)] = low;
  }
}
#endif
