// out[sum(index * strides)] += x[index]. Several elements may meet at one place, in any order: sums
// of floats are not the same bit for bit from run to run, as those of PyTorch's as_strided.

typedef Geometry<INDEX, DIMS, 2> Layout;

extern "C" __global__ void __launch_bounds__(256)
    strided_sum(T* to, const T* from, Layout layout, int64 count) {
  for (INDEX n = thread_index<INDEX>(); n < count; n += thread_count<INDEX>()) {
    INDEX at[2] = {0, 0};
    layout.locate(n, at);
    atomic_add(to + at[0], from[at[1]]);
  }
}
