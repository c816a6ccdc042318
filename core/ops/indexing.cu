// Reading and writing at places that an index tensor names.
//
// A tensor is walked as front x places x after: `layout` locates an element without its place
// (operand 0) and says which place it belongs to (operand 1); the index adds the place's offset.
// Every element is read once and written once, neighbours in `after` by neighbouring threads.
// T: the type, or a unit of memory of that width (or wider, where rows allow it).

// The offset of a place: an index times the stride of its dimension, or, with bound < 0, as it is.
struct Places {
  const int64* index;
  int64 bound, stride;
  int floor;  // -1: negative indices count from the end
  int site;
  ErrorSlot* slot;

  __device__ int64 operator[](int64 i) const {
    int64 at = index[i];
    if (bound < 0) return at;
    if (at >= bound || at < (floor ? -bound : 0)) {
      report_error(slot, site, at, bound);
      at = 0;
    }
    return (at < 0 ? at + bound : at) * stride;
  }
};
typedef Geometry<INDEX, DIMS, 2> Layout;

extern "C" __global__ void __launch_bounds__(256)
    read_places(T* to, const T* from, Layout layout, Places places, int64 count) {
  for (INDEX n = thread_index<INDEX>(); n < count; n += thread_count<INDEX>()) {
    INDEX at[2] = {0, 0};
    layout.locate(n, at);
    to[n] = from[at[0] + places[at[1]]];
  }
}

extern "C" __global__ void __launch_bounds__(256)
    write_places(T* to, const T* from, Layout layout, Places places, int64 count) {
  for (INDEX n = thread_index<INDEX>(); n < count; n += thread_count<INDEX>()) {
    INDEX at[2] = {0, 0};
    layout.locate(n, at);
    to[at[0] + places[at[1]]] = from[n];
  }
}

extern "C" __global__ void __launch_bounds__(256)
    fill_places(T* to, T value, Layout layout, Places places, int64 count) {
  for (INDEX n = thread_index<INDEX>(); n < count; n += thread_count<INDEX>()) {
    INDEX at[2] = {0, 0};
    layout.locate(n, at);
    to[at[0] + places[at[1]]] = value;
  }
}
