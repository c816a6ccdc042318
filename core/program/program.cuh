// What kernels of programs (program/cuda_source.h) are made of, beside the prelude. Comes after
// program/special.cuh.

// One element in place of a pack of them.
template <class T>
struct RepeatPack {
  struct {
    T value;
    __device__ T operator[](int) const { return value; }
  } at;
};

// The tensor that a chunk of a list belongs to: the last one that does not start behind it.
template <int most>
DEVICE int tensor_of_chunk(const unsigned (&starts)[most], int tensors, unsigned chunk) {
  int low = 0, high = tensors;
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    if (starts[middle] <= chunk) {
      low = middle;
    } else {
      high = middle;
    }
  }
  return low;
}

namespace mathematics {

// Rarely used: computed in double.
template <class T>
DEVICE T erfinv(T x) {
  return static_cast<T>(erfinv_slow(x));
}
template <class T>
DEVICE T lgamma(T x) {
  return static_cast<T>(::lgamma(static_cast<double>(x)));
}
template <class T>
DEVICE T digamma(T x) {
  return static_cast<T>(digamma_slow(x));
}
template <class T>
DEVICE T polygamma(T n, T x) {
  return static_cast<T>(polygamma_slow(n, x));
}

}  // namespace mathematics
