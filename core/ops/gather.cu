// gather and scatter: one index per element along one dimension. `layout` walks the index;
// operand 0 is the indexed tensor without that dimension, operand 1 the source.
// HOW: the values of Combine in gather_cuda.cpp. Where an index occurs twice, sums of floats take
// their summands in any order, and of assigned values any one stays, as in PyTorch.

typedef Geometry<INDEX, DIMS, 2> Layout;

struct Along {
  const int64* index;
  int64 bound, step;
  int site;
  ErrorSlot* slot;

  __device__ int64 operator[](int64 n) const {
    int64 at = index[n];
    if (at < 0 || at >= bound) {
      report_error(slot, site, at, bound);
      at = 0;
    }
    return at * step;
  }
};

#if HOW < 0
extern "C" __global__ void __launch_bounds__(256)
    gather(T* to, const T* from, Layout layout, Along along, int64 count) {
  for (INDEX n = thread_index<INDEX>(); n < count; n += thread_count<INDEX>()) {
    INDEX at[2] = {0, 0};
    layout.locate(n, at);
    to[n] = from[at[0] + along[n]];
  }
}
#else
template <class V>
DEVICE void combine(V* to, V value) {
#if HOW == 0
  *to = value;
#elif HOW == 1 || HOW == 3
  atomic_add(to, value);
#else
  typedef Compute<V> A;
  const A mine = convert<A>(value);
  atomic_update(to, [=](V old) {
    const A theirs = convert<A>(old);
#if HOW == 2
    if constexpr (Same<V, bool>::value) {
      return old && value;
    } else {
      return convert<V>(static_cast<A>(theirs * mine));
    }
#elif HOW == 4
    return convert<V>(Larger()(theirs, mine));
#else
    return convert<V>(Smaller()(theirs, mine));
#endif
  });
#endif
}

// Without a source, the value goes everywhere.
extern "C" __global__ void __launch_bounds__(256)
    scatter(T* to, const T* source, T value, Layout layout, Along along, int64 count) {
  for (INDEX n = thread_index<INDEX>(); n < count; n += thread_count<INDEX>()) {
    INDEX at[2] = {0, 0};
    layout.locate(n, at);
    combine(to + at[0] + along[n], source ? source[at[1]] : value);
  }
}
#endif
