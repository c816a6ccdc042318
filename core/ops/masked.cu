// Elements that a mask chooses. `ends` are the mask's running counts: the k-th true element has
// ends == k + 1.

// Positions of the true elements, one row of DIMS numbers each.
typedef Geometry<INDEX, DIMS, 1> Shape;

extern "C" __global__ void __launch_bounds__(256)
    write_positions(int64* rows, const bool* mask, const int64* ends, Shape shape, int64 count) {
  for (INDEX n = thread_index<INDEX>(); n < count; n += thread_count<INDEX>()) {
    if (!mask[n]) continue;
    int64* row = rows + (ends[n] - 1) * DIMS;
    INDEX rest = n;
    for (int d = DIMS - 1; d >= 0; --d) row[d] = d > 0 ? take_digit(rest, shape.sizes[d]) : rest;
  }
}

extern "C" __global__ void __launch_bounds__(256)
    select_masked(T* to, const T* from, const bool* mask, const int64* ends, int64 count) {
  for (INDEX n = thread_index<INDEX>(); n < count; n += thread_count<INDEX>()) {
    if (mask[n]) to[ends[n] - 1] = from[n];
  }
}

extern "C" __global__ void __launch_bounds__(256)
    scatter_masked(T* to, const T* from, const bool* mask, const int64* ends, int64 count) {
  for (INDEX n = thread_index<INDEX>(); n < count; n += thread_count<INDEX>()) {
    if (mask[n]) to[n] = from[ends[n] - 1];
  }
}
