// Reductions of rows for one type `Number` with sums kept in `Total`. The order of additions is
// fixed: it depends neither on the instruction set nor on the number of threads.

// Lanes are passed to inlined functions only: their calling convention does not matter.
#pragma GCC diagnostic ignored "-Wpsabi"
constexpr int kLanes = 64 / sizeof(Number);
typedef Number Lanes __attribute__((vector_size(64)));

FLAMBEAU_SCALAR Lanes lanes_at(const Number* p) {
  Lanes lanes;
  __builtin_memcpy(&lanes, p, sizeof(lanes));
  return lanes;
}

// Lane l of the result is lane l + distance.
template <int distance, class V, int... l>
FLAMBEAU_SCALAR V moved_lanes(V x, std::integer_sequence<int, l...>) {
  constexpr int count = sizeof...(l);
  return __builtin_shufflevector(x, x, (l + distance < count ? l + distance : l)...);
}
// Joins the first 2 * distance lanes into lane 0: halves, quarters ...
template <int distance, class V, class Join>
FLAMBEAU_SCALAR auto join_lanes(V x, Join join) {
  if constexpr (distance == 0) {
    return x[0];
  } else {
    constexpr int count = sizeof(V) / sizeof(x[0]);
    V other = moved_lanes<distance>(x, std::make_integer_sequence<int, count>());
    return join_lanes<distance / 2>(join(x, other), join);
  }
}

FLAMBEAU_SCALAR Total sum_of_lanes(Lanes lanes) {
  typedef Total Wide __attribute__((vector_size(kLanes * sizeof(Total))));
  return join_lanes<kLanes / 2>(__builtin_convertvector(lanes, Wide),
                                [](auto a, auto b)
                                    __attribute__((always_inline)) { return a + b; });
}

// Chunks short enough to lose nothing in Number; their sums are added in Total.
static void row_sum(void* out_pointer, const void* in_pointer, int64_t rows, int64_t length) {
  auto* out = static_cast<Number*>(out_pointer);
  auto* in = static_cast<const Number*>(in_pointer);
  constexpr int64_t kChunk = 64 * kLanes;
  for (int64_t r = 0; r < rows; ++r, in += length) {
    Total total = 0;
    int64_t i = 0;
    while (i + 4 * kLanes <= length) {
      Lanes s0{}, s1{}, s2{}, s3{};
      int64_t end = length - i < kChunk ? length : i + kChunk;
      for (; i + 4 * kLanes <= end; i += 4 * kLanes) {
        s0 += lanes_at(in + i);
        s1 += lanes_at(in + i + kLanes);
        s2 += lanes_at(in + i + 2 * kLanes);
        s3 += lanes_at(in + i + 3 * kLanes);
      }
      total += sum_of_lanes((s0 + s1) + (s2 + s3));
    }
    for (; i < length; ++i) total += in[i];
    out[r] = static_cast<Number>(total);
  }
}

// Whether x replaces the best number so far: it is beyond it, or NaN. Numbers or Lanes.
template <int kSign, class T>
FLAMBEAU_SCALAR auto replaces(const T& x, const T& best) {
#ifdef FLAMBEAU_FLOATING
  return (kSign > 0 ? x > best : x < best) | (x != x);
#else
  return kSign > 0 ? x > best : x < best;
#endif
}

// The largest (kSign = 1) or smallest (-1) number of a row; NaN if there is one.
template <int kSign>
static void row_extreme(void* out_pointer, const void* in_pointer, int64_t rows, int64_t length) {
  auto* out = static_cast<Number*>(out_pointer);
  auto* in = static_cast<const Number*>(in_pointer);
  for (int64_t r = 0; r < rows; ++r, in += length) {
    Number best = kSign > 0 ? kLowest : kHighest;
    int64_t i = 0;
    if (length >= 2 * kLanes) {
      Lanes b0 = lanes_at(in), b1 = lanes_at(in + kLanes);
      for (i = 2 * kLanes; i + 2 * kLanes <= length; i += 2 * kLanes) {
        Lanes x0 = lanes_at(in + i), x1 = lanes_at(in + i + kLanes);
        b0 = replaces<kSign>(x0, b0) ? x0 : b0;
        b1 = replaces<kSign>(x1, b1) ? x1 : b1;
      }
      b0 = replaces<kSign>(b1, b0) ? b1 : b0;
      best = join_lanes<kLanes / 2>(b0, [](auto a, auto b) __attribute__((always_inline)) {
        return replaces<kSign>(b, a) ? b : a;
      });
    }
    for (; i < length; ++i) {
      Number x = in[i];
      best = replaces<kSign>(x, best) ? x : best;
    }
    out[r] = best;
  }
}
