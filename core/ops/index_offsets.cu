// offsets[i] = sum over k of index_k[i] * stride_k: one offset for several index tensors.

struct Index {
  const int64* at;
  int64 bound, stride;
};
struct Indices {
  Index of[8];
};

extern "C" __global__ void __launch_bounds__(256)
    make_offsets(int64* offsets, Indices indices, int used, int floor, int more, int site,
                 ErrorSlot* slot, int64 count) {
  for (int64 i = thread_index<int64>(); i < count; i += thread_count<int64>()) {
    int64 offset = more ? offsets[i] : 0;
    for (int k = 0; k < used; ++k) {
      const Index& index = indices.of[k];
      int64 at = index.at[i];
      if (at >= index.bound || at < (floor ? -index.bound : 0)) {
        report_error(slot, site, at, index.bound);
        at = 0;
      }
      offset += (at < 0 ? at + index.bound : at) * index.stride;
    }
    offsets[i] = offset;
  }
}
