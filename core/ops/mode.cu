// The most frequent element of lines that are sorted: the smallest of several, and where it stands
// last. One block per line; the thread at which a run begins finds its end by halving, so lines of
// equal elements are no worse than others.

struct Run {
  int64 count, begin;
};
struct Longer {
  __device__ Run operator()(Run a, Run b) const {
    if (a.count != b.count) return a.count > b.count ? a : b;
    return a.begin <= b.begin ? a : b;
  }
};

DEVICE bool equal(Compute<T> a, Compute<T> b) { return a == b || (a != a && b != b); }

extern "C" __global__ void __launch_bounds__(256)
    find_mode(T* to, int64* where, const T* sorted, const int64* positions, int64 length) {
  const int64 line = blockIdx.x;
  const T* values = sorted + line * length;
  Run best;
  best.count = 0;
  best.begin = 0;
  for (int64 i = threadIdx.x; i < length; i += blockDim.x) {
    const Compute<T> own = convert<Compute<T>>(values[i]);
    if (i > 0 && equal(convert<Compute<T>>(values[i - 1]), own)) continue;
    int64 begin = i, end = length;  // the element at `begin` equals, that at `end` does not
    while (end - begin > 1) {
      const int64 middle = (begin + end) / 2;
      if (equal(convert<Compute<T>>(values[middle]), own)) {
        begin = middle;
      } else {
        end = middle;
      }
    }
    Run run;
    run.count = end - i;
    run.begin = i;
    best = Longer()(best, run);
  }
  best = block_reduce(best, Longer());
  if (threadIdx.x != 0) return;
  const int64 last = best.begin + best.count - 1;
  to[line] = values[last];
  where[line] = positions[line * length + last];
}
