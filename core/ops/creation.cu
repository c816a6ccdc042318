// Ranges of numbers, one thread per element; arithmetic as in creation.cpp.

extern "C" __global__ void __launch_bounds__(256)
    count_up(T* to, double start, double step, int64 whole_start, int64 whole_step, int integers,
             int64 count) {
  for (int64 i = thread_index<int64>(); i < count; i += thread_count<int64>()) {
    if (integers) {
      to[i] = convert<T>(whole_start + i * whole_step);
    } else {
      to[i] = convert<T>(start + static_cast<double>(i) * step);
    }
  }
}

// Symmetric about the middle: both ends are exact.
extern "C" __global__ void __launch_bounds__(256)
    space(T* to, double start, double end, double base, int powers, int64 count) {
  const C first = static_cast<C>(start), last = static_cast<C>(end);
  const C step = count > 1 ? (last - first) / static_cast<C>(count - 1) : static_cast<C>(0);
  for (int64 i = thread_index<int64>(); i < count; i += thread_count<int64>()) {
    C value = i < count / 2 ? first + step * static_cast<C>(i)
                            : last - step * static_cast<C>(count - i - 1);
    if (count == 1) value = first;
    if (powers) value = static_cast<C>(pow(static_cast<C>(base), value));
    to[i] = convert<T>(value);
  }
}
