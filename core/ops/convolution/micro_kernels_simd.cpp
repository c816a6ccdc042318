// Register tiles of convolution: Note [Shifted view] in shifted_view.h says what they compute.
// A product tile of 8x3 vectors keeps 24 sums in registers (32 of them with AVX-512; 4x3 of 16
// otherwise) and needs 3 loads of b and one broadcast per row and step: bound by multiply-adds.
#include <utility>

#include "ops/convolution/micro_kernels.h"

namespace flambeau::FLAMBEAU_ISA {
namespace {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64, kRows = 8;
#elif defined(__AVX__)
constexpr int kVectorBytes = 32, kRows = 4;
#elif defined(__aarch64__)
constexpr int kVectorBytes = 16, kRows = 8;
#else
constexpr int kVectorBytes = 16, kRows = 4;
#endif
constexpr int kVectors = 3;

// A vector of any length that may lie at any address.
template <class T, int Bytes>
struct VectorOf {
  typedef T type __attribute__((vector_size(Bytes), aligned(sizeof(T)), may_alias));
};
template <class T, int Bytes = kVectorBytes>
using Vector = typename VectorOf<T, Bytes>::type;
template <class T>
constexpr int kLanes = kVectorBytes / sizeof(T);

template <class T, int Bytes = kVectorBytes>
inline Vector<T, Bytes> load(const T* from) {
  return *reinterpret_cast<const Vector<T, Bytes>*>(from);
}
template <class T, int Bytes = kVectorBytes>
inline void store(T* to, Vector<T, Bytes> value) {
  *reinterpret_cast<Vector<T, Bytes>*>(to) = value;
}

template <class T, int Height, int Width>
void product(const T* a, const T* b, const int64_t* offsets, int64_t count, const T* initial, T* c,
             int64_t c_pitch) {
  constexpr int lanes = kLanes<T>;
  Vector<T> sum[Height][Width];
#pragma GCC unroll 8
  for (int r = 0; r < Height; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < Width; ++v) {
      sum[r][v] = initial ? Vector<T>{} + initial[r] : load(c + r * c_pitch + v * lanes);
    }
  }
  for (int64_t k = 0; k < count; ++k, a += Height) {
    const T* row = b + offsets[k];
    Vector<T> x[Width];
#pragma GCC unroll 8
    for (int v = 0; v < Width; ++v) x[v] = load(row + v * lanes);
#pragma GCC unroll 8
    for (int r = 0; r < Height; ++r) {
#pragma GCC unroll 8
      for (int v = 0; v < Width; ++v) sum[r][v] += a[r] * x[v];
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < Height; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < Width; ++v) store(c + r * c_pitch + v * lanes, sum[r][v]);
  }
}

// Vectors x and y hold sums spread over groups of Spread lanes; so does the result, over half as
// many lanes: first the groups of x, then those of y.
template <class T, int Spread, int... Lane>
inline Vector<T> fold(Vector<T> x, Vector<T> y, std::integer_sequence<int, Lane...>) {
  constexpr int half = Spread / 2;
  return __builtin_shufflevector(x, y, (Lane / half * Spread + Lane % half)...) +
         __builtin_shufflevector(x, y, (Lane / half * Spread + Lane % half + half)...);
}

// Sums the lanes of each of Count vectors: afterwards values[j / lanes][j % lanes] is sum j.
template <class T, int Count, int Spread = kLanes<T>>
inline void sum_lanes(Vector<T>* values) {
  if constexpr (Spread > 1) {
    constexpr int folded = (Count + 1) / 2;
#pragma GCC unroll 16
    for (int i = 0; i < folded; ++i) {
      int second = 2 * i + 1 < Count ? 2 * i + 1 : 2 * i;
      values[i] = fold<T, Spread>(values[2 * i], values[second],
                                  std::make_integer_sequence<int, kLanes<T>>());
    }
    sum_lanes<T, folded, Spread / 2>(values);
  }
}

template <class T, int Height, int Columns>
void dot(const T* a, int64_t a_pitch, const T* b, const int64_t* offsets, int64_t count, T* c,
         int64_t c_pitch) {
  Vector<T> sum[Height * Columns] = {};
  const T* column[Columns];
  for (int j = 0; j < Columns; ++j) column[j] = b + offsets[j];
  int64_t i = 0;
  for (; i + kLanes<T> <= count; i += kLanes<T>) {
    Vector<T> x[Columns];
#pragma GCC unroll 8
    for (int j = 0; j < Columns; ++j) x[j] = load(column[j] + i);
#pragma GCC unroll 8
    for (int r = 0; r < Height; ++r) {
      Vector<T> y = load(a + r * a_pitch + i);
#pragma GCC unroll 8
      for (int j = 0; j < Columns; ++j) sum[r * Columns + j] += y * x[j];
    }
  }
  if (i < count) {
    auto rest = [&](const T* row) {  // filled up with zeros
      T kept[kLanes<T>] = {};
      for (int64_t k = 0; i + k < count; ++k) kept[k] = row[i + k];
      return load(kept);
    };
    Vector<T> x[Columns];
    for (int j = 0; j < Columns; ++j) x[j] = rest(column[j]);
    for (int r = 0; r < Height; ++r) {
      Vector<T> y = rest(a + r * a_pitch);
      for (int j = 0; j < Columns; ++j) sum[r * Columns + j] += y * x[j];
    }
  }
  sum_lanes<T, Height * Columns>(sum);
  T total[(Height * Columns + kLanes<T> - 1) / kLanes<T> * kLanes<T>];
#pragma GCC unroll 24
  for (int i = 0; i * kLanes<T> < Height * Columns; ++i) store(total + i * kLanes<T>, sum[i]);
  for (int r = 0; r < Height; ++r) {
    for (int j = 0; j < Columns; ++j) c[r * c_pitch + j] += total[r * Columns + j];
  }
}

// A number known to the compiler, as an argument.
template <int N>
struct Number {
  static constexpr int value = N;
};
// Calls action with the height, a power of two up to Height.
template <int Height = kRows, class Action>
inline void with_height(int height, Action action) {
  if constexpr (Height > 1) {
    if (height < Height) return with_height<Height / 2>(height, action);
  }
  action(Number<Height>{});
}
// Calls action with the width, at most Width.
template <int Width, class Action>
inline void with_width(int width, Action action) {
  if constexpr (Width > 1) {
    if (width < Width) return with_width<Width - 1>(width, action);
  }
  action(Number<Width>{});
}
// Low tiles may be twice as wide: they need the independent sums.
constexpr int widest(int height) { return height <= 2 ? 2 * kVectors : kVectors; }

template <class T>
void product_of(int height, int width, const T* a, const T* b, const int64_t* offsets,
                int64_t count, const T* initial, T* c, int64_t c_pitch) {
  with_height(height, [&](auto h) {
    with_width<widest(h.value)>(width, [&](auto w) {
      product<T, h.value, w.value>(a, b, offsets, count, initial, c, c_pitch);
    });
  });
}

template <class T>
void dot_of(int height, int columns, const T* a, int64_t a_pitch, const T* b,
            const int64_t* offsets, int64_t count, T* c, int64_t c_pitch) {
  with_height(height, [&](auto h) {
    with_width<widest(h.value)>(columns, [&](auto w) {
      dot<T, h.value, w.value>(a, a_pitch, b, offsets, count, c, c_pitch);
    });
  });
}

// Copies a short row with vectors only: the last one overlaps the one before it.
template <class T, int Bytes = kVectorBytes>
inline void copy_row(T* to, const T* from, int64_t count) {
  constexpr int64_t lanes = Bytes / sizeof(T);
  if (count >= lanes) {
    for (int64_t i = 0; i + lanes < count; i += lanes) {
      store<T, Bytes>(to + i, load<T, Bytes>(from + i));
    }
    store<T, Bytes>(to + count - lanes, load<T, Bytes>(from + count - lanes));
  } else if constexpr (lanes > 1) {
    copy_row<T, Bytes / 2>(to, from, count);
  }
}

template <class T>
void store_runs(const T* c, int64_t c_pitch, int64_t rows, const TileRun* runs, int64_t run_count,
                T* out, int64_t out_pitch, int64_t step) {
  for (int64_t n = 0; n < run_count; ++n) {
    const T* from = c + runs[n].start;
    T* to = out + runs[n].offset;
    int64_t length = runs[n].length;
    for (int64_t r = 0; r < rows; ++r, from += c_pitch, to += out_pitch) {
      if (step == 1) {
        copy_row(to, from, length);
      } else {
        for (int64_t i = 0; i < length; ++i) to[i * step] = from[i];
      }
    }
  }
}

// Copies whole vectors and lets each run overwrite what the one before it copied too much, but
// never beyond the row.
template <class T, int Bytes, int Steps>
inline void gather_steps(const T* from, const int64_t* offsets, const TileRun* runs,
                         int64_t run_count, T* to, int64_t pitch) {
  constexpr int64_t lanes = Bytes / sizeof(T);
  const T* row[Steps];
  for (int k = 0; k < Steps; ++k) row[k] = from + offsets[k];
  for (int64_t n = 0; n < run_count; ++n) {
    int64_t start = runs[n].start, offset = runs[n].offset, end = start + runs[n].length;
    if (start + (runs[n].length + lanes - 1) / lanes * lanes > pitch) {
      for (int k = 0; k < Steps; ++k) {
        copy_row(to + k * pitch + start, row[k] + offset, runs[n].length);
      }
      continue;
    }
    do {
#pragma GCC unroll 4
      for (int k = 0; k < Steps; ++k) {
        store<T, Bytes>(to + k * pitch + start, load<T, Bytes>(row[k] + offset));
      }
      start += lanes, offset += lanes;
    } while (start < end);
  }
}

template <class T, int Bytes>
void gather_runs(const T* from, const int64_t* offsets, int64_t count, const TileRun* runs,
                 int64_t run_count, T* to, int64_t pitch) {
  int64_t k = 0;
  for (; k + 4 <= count; k += 4) {
    gather_steps<T, Bytes, 4>(from, offsets + k, runs, run_count, to + k * pitch, pitch);
  }
  for (; k < count; ++k) {
    gather_steps<T, Bytes, 1>(from, offsets + k, runs, run_count, to + k * pitch, pitch);
  }
}

template <class T>
void gather_runs_of(const T* from, const int64_t* offsets, int64_t count, const TileRun* runs,
                    int64_t run_count, T* to, int64_t pitch) {
  constexpr int64_t widest = kVectorBytes < 32 ? kVectorBytes : 32;
  int64_t bytes = 0;
  for (int64_t n = 0; n < run_count; ++n) {
    int64_t length = runs[n].length * sizeof(T);
    bytes = length > bytes ? length : bytes;
  }
  auto gather = bytes <= 16       ? gather_runs<T, 16>
                : bytes <= widest ? gather_runs<T, widest>
                                  : gather_runs<T, kVectorBytes>;
  gather(from, offsets, count, runs, run_count, to, pitch);
}

template <class T>
void gather(T* to, int64_t to_pitch, const T* from, int64_t from_pitch, int64_t rows, int64_t count,
            int64_t step, int64_t tail) {
  if (step == 1 && to_pitch == count && from_pitch == count) {
    count *= rows;
    rows = 1;
  }
  for (int64_t r = 0; r < rows; ++r, to += to_pitch, from += from_pitch) {
    if (step == 1) {
      copy_row(to, from, count);
    } else if (step == 2) {
      for (int64_t i = 0; i < count; ++i) to[i] = from[2 * i];
    } else {
      for (int64_t i = 0; i < count; ++i) to[i] = from[i * step];
    }
    int64_t end = r + 1 < rows ? to_pitch : count + tail;
    for (int64_t i = count; i < end; i += kLanes<T>) store(to + i, Vector<T>{});
  }
}

template <class T, int Height>
void pack(int valid, const T* weight, int64_t row_stride, int64_t channel_stride, int64_t channels,
          const int64_t* taps, int64_t tap_count, T* a) {
  for (int64_t channel = 0; channel < channels; ++channel, weight += channel_stride) {
    for (int64_t t = 0; t < tap_count; ++t, a += Height) {
      const T* from = weight + taps[t];
      for (int r = 0; r < Height; ++r) a[r] = r < valid ? from[r * row_stride] : T(0);
    }
  }
}

template <class T>
void pack_of(int height, int valid, const T* weight, int64_t row_stride, int64_t channel_stride,
             int64_t channels, const int64_t* taps, int64_t tap_count, T* a) {
  with_height(height, [&](auto h) {
    pack<T, h.value>(valid, weight, row_stride, channel_stride, channels, taps, tap_count, a);
  });
}

template <class T>
constexpr ConvolutionKernels<T> kKernels = {
    kRows,         kLanes<T>,         kVectors,  product_of<T>, dot_of<T>,
    store_runs<T>, gather_runs_of<T>, gather<T>, pack_of<T>};

}  // namespace

extern const ConvolutionKernels<float> convolution_kernels_float = kKernels<float>;
extern const ConvolutionKernels<double> convolution_kernels_double = kKernels<double>;

}  // namespace flambeau::FLAMBEAU_ISA
