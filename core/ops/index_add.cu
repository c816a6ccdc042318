// Adding at places that an index tensor names, in a fixed order: offsets come sorted, with where
// they came from, and the thread that has the first of equal offsets adds all of them, in the
// order of the source. So results do not depend on scheduling. `layout` as in indexing.cu.

typedef Geometry<INDEX, DIMS, 2> Layout;

struct Rule {
  int64 after;   // elements that share a place
  int64 places;  // how many there are
  int64 skip;    // the offset to which nothing is added, or -1
  int scaled;    // source times alpha
  int mean;      // the sum is divided by the number of summands
};

DEVICE Compute<T> plus(Compute<T> a, Compute<T> b) {
  if constexpr (Same<T, bool>::value) {
    return a || b;
  } else {
    return static_cast<Compute<T>>(a + b);
  }
}

extern "C" __global__ void __launch_bounds__(256)
    add_places(T* to, const T* from, const int64* offsets, const int64* order, T alpha,
               Layout layout, Rule rule, int64 count) {
  const Compute<T> factor = convert<Compute<T>>(alpha);
  for (INDEX n = thread_index<INDEX>(); n < count; n += thread_count<INDEX>()) {
    INDEX at[2] = {0, 0};
    layout.locate(n, at);
    const int64 first = at[1], offset = offsets[first];
    if ((first > 0 && offsets[first - 1] == offset) || offset == rule.skip) continue;
    Compute<T> sum = convert<Compute<T>>(to[at[0] + offset]);
    int64 i = first;
    for (; i < rule.places && offsets[i] == offset; ++i) {
      Compute<T> value = convert<Compute<T>>(from[n + (order[i] - first) * rule.after]);
      if (rule.scaled) value = static_cast<Compute<T>>(value * factor);
      sum = plus(sum, value);
    }
    if (rule.mean && i - first > 1) {
      sum = static_cast<Compute<T>>(sum / static_cast<Compute<T>>(i - first));
    }
    to[at[0] + offset] = convert<T>(sum);
  }
}
