// searchsorted: one thread per value halves the interval where it belongs.

extern "C" __global__ void __launch_bounds__(256)
    search(OUT* to, const A* sorted, const int64* order, const A* values, int64 length,
           int64 per_line, int right, int64 count) {
  for (int64 n = thread_index<int64>(); n < count; n += thread_count<int64>()) {
    const int64 line = n / per_line * length;
    const A value = values[n];
    int64 begin = 0, end = length;
    while (begin < end) {
      const int64 middle = begin + (end - begin) / 2;
      const A found = sorted[line + (order ? order[line + middle] : middle)];
      // A NaN goes last.
      const bool before = right ? !(found > value) : !(found >= value);
      if (before) {
        begin = middle + 1;
      } else {
        end = middle;
      }
    }
    to[n] = static_cast<OUT>(begin);
  }
}
