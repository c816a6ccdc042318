// Copies in another order. T: a unit of an element's width.

// Element n of the output comes from position (p + shift) mod length in every dimension, counted
// from the end where it is mirrored: flip and roll.
struct Moved {
  int64 length, stride, shift;
  int mirrored;
};
struct Source {
  Moved of[DIMS];
};

extern "C" __global__ void __launch_bounds__(256)
    rearrange(T* to, const T* from, Source source, int64 count) {
  for (INDEX n = thread_index<INDEX>(); n < count; n += thread_count<INDEX>()) {
    INDEX rest = n;
    int64 at = 0;
    for (int d = DIMS - 1; d >= 0; --d) {
      const Moved& moved = source.of[d];
      const INDEX length = static_cast<INDEX>(moved.length);
      const INDEX digit = rest % length;
      rest /= length;
      int64 place = digit + moved.shift;
      if (place >= length) place -= length;
      at += (moved.mirrored ? length - 1 - place : place) * moved.stride;
    }
    to[n] = from[at];
  }
}

// Keeps what is on or below (above) a diagonal of dense matrices.
extern "C" __global__ void __launch_bounds__(256)
    keep_triangle(T* to, const T* from, int64 rows, int64 columns, int64 diagonal, int lower,
                  int64 count) {
  for (INDEX n = thread_index<INDEX>(); n < count; n += thread_count<INDEX>()) {
    const INDEX line = n / static_cast<INDEX>(columns);
    const int64 column = n - line * static_cast<INDEX>(columns);
    const int64 distance = column - line % static_cast<INDEX>(rows);
    const bool kept = lower ? distance <= diagonal : distance >= diagonal;
    to[n] = kept ? from[n] : static_cast<T>(0);
  }
}
