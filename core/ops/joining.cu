// cat: every input is `rows` runs of `length` units, which go to the same rows of the output at
// `start`. One launch takes up to 64 inputs, one per blockIdx.y.

struct Part {
  const T* from;
  int64 length, start;
};
struct Parts {
  Part of[64];
};

extern "C" __global__ void __launch_bounds__(256)
    join(T* to, Parts parts, int64 rows, int64 row_length) {
  const Part part = parts.of[blockIdx.y];
  const INDEX length = static_cast<INDEX>(part.length);
  const INDEX count = static_cast<INDEX>(rows) * length;
  for (INDEX n = thread_index<INDEX>(); n < count; n += thread_count<INDEX>()) {
    const INDEX row = n / length;
    to[row * row_length + part.start + (n - row * length)] = part.from[n];
  }
}
