// Pooling, a vector of neighbouring outputs at a time: the maximum (with its position) or the sum
// stays in registers while the taps of the window pass by. Columns whose window reaches into the
// padding, adaptive windows and very short rows go one output at a time.
#include <limits>
#include <utility>

#include "ops/pooling/pooling_kernels.h"
#include "ops/pooling/windows.h"

namespace flambeau::FLAMBEAU_ISA {
namespace {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
#elif defined(__AVX__)
constexpr int kVectorBytes = 32;
#else
constexpr int kVectorBytes = 16;
#endif

template <class T, int Bytes>
struct VectorOf {
  typedef T type __attribute__((vector_size(Bytes), aligned(sizeof(T)), may_alias));
};
template <class T, int Bytes>
using Vector = typename VectorOf<T, Bytes>::type;

template <class T, int Bytes>
inline Vector<T, Bytes> load(const T* from) {
  return *reinterpret_cast<const Vector<T, Bytes>*>(from);
}
template <class T, int Bytes>
inline void store(T* to, Vector<T, Bytes> value) {
  *reinterpret_cast<Vector<T, Bytes>*>(to) = value;
}

// Elements 0, 2, 4, ... of a sequence; the second load starts one early so that nothing beyond
// the last wanted element is read.
template <class T, int Bytes, int... Lane>
inline Vector<T, Bytes> load_even(const T* from, std::integer_sequence<int, Lane...>) {
  constexpr int lanes = sizeof...(Lane);
  return __builtin_shufflevector(load<T, Bytes>(from), load<T, Bytes>(from + lanes - 1),
                                 (2 * Lane < lanes ? 2 * Lane : 2 * Lane + 1)...);
}

template <class T, int Bytes, int... Lane>
inline Vector<T, Bytes> count_up(std::integer_sequence<int, Lane...>) {
  return Vector<T, Bytes>{Lane...};
}

template <class T, int Bytes>
inline Vector<T, Bytes> load_strided(const T* from, int64_t stride) {
  constexpr int lanes = Bytes / sizeof(T);
  if (stride == 1) return load<T, Bytes>(from);
  if (stride == 2) return load_even<T, Bytes>(from, std::make_integer_sequence<int, lanes>());
  T values[lanes];
  for (int i = 0; i < lanes; ++i) values[i] = from[i * stride];
  return load<T, Bytes>(values);
}

// Outputs of the last axis whose windows lie inside the input.
inline Window inner_columns(const PoolAxis& axis) {
  if (axis.kernel == 0) return {0, 0, 1, 0};
  int64_t begin = (axis.padding + axis.stride - 1) / axis.stride;
  int64_t room = axis.input - 1 - (axis.kernel - 1) * axis.dilation + axis.padding;
  int64_t end = room < 0 ? 0 : room / axis.stride + 1;
  end = end < axis.output ? end : axis.output;
  return {begin, end > begin ? end : begin, 1, 0};
}

template <class T>
struct Integer {
  using type = int64_t;
};
template <>
struct Integer<float> {
  using type = int32_t;
};

// Outputs are computed by a policy: `vector` does a vector of inner columns from column o on,
// `one` any single output.
template <class T>
struct Max {
  T* out;
  int64_t* indices;

  template <int Bytes>
  inline void vector(const Rows& rows, const T* plane, int64_t at, int64_t o) const {
    using Index = typename Integer<T>::type;
    constexpr int lanes = Bytes / sizeof(T);
    const PoolAxis& axis = rows.geometry.axis[2];
    int64_t column = o * axis.stride - axis.padding;
    Vector<Index, Bytes> lane = count_up<Index, Bytes>(std::make_integer_sequence<int, lanes>()) *
                                static_cast<Index>(axis.stride);
    Vector<T, Bytes> best = {};
    Vector<Index, Bytes> where = {};
    bool first = true;
    rows.each([&](int64_t row) {
      for (int64_t k = 0; k < axis.kernel; ++k) {
        int64_t position = row + column + k * axis.dilation;
        Vector<T, Bytes> x = load_strided<T, Bytes>(plane + position, axis.stride);
        Vector<Index, Bytes> here = lane + static_cast<Index>(position);
        auto wins = (x > best) | (x != x) | (Vector<Index, Bytes>{} - static_cast<Index>(first));
        best = wins ? x : best;
        where = wins ? here : where;
        first = false;
      }
    });
    store<T, Bytes>(out + at, best);
    using Positions = Vector<int64_t, lanes * 8>;
    store<int64_t, lanes * 8>(indices + at, __builtin_convertvector(where, Positions));
  }

  inline void one(const Rows& rows, const Window& columns, const T* plane, int64_t at) const {
    using Limits = std::numeric_limits<T>;
    T best = Limits::has_infinity ? -Limits::infinity() : Limits::lowest();
    int64_t where = -1;  // stays for a window without any element (wide dilation)
    rows.each([&](int64_t row) {
      for (int64_t w = columns.begin; w < columns.end; w += columns.step) {
        T x = plane[row + w];
        if (where < 0 || x > best || x != x) {
          best = x;
          where = row + w;
        }
      }
    });
    out[at] = best;
    indices[at] = where;
  }
};

template <class T>
struct Average {
  T* out;

  template <int Bytes>
  inline void vector(const Rows& rows, const T* plane, int64_t at, int64_t o) const {
    const PoolAxis& axis = rows.geometry.axis[2];
    int64_t column = o * axis.stride - axis.padding;
    Vector<T, Bytes> sum = {};
    rows.each([&](int64_t row) {
      for (int64_t k = 0; k < axis.kernel; ++k) {
        sum += load_strided<T, Bytes>(plane + row + column + k, axis.stride);
      }
    });
    store<T, Bytes>(out + at, sum / divisor<T>(rows, window_of(axis, o)));
  }

  inline void one(const Rows& rows, const Window& columns, const T* plane, int64_t at) const {
    T sum = T(0);
    bool empty = true;
    rows.each([&](int64_t row) {
      for (int64_t w = columns.begin; w < columns.end; ++w) {
        sum += plane[row + w];
        empty = false;
      }
    });
    out[at] = empty ? T(0) : sum / divisor<T>(rows, columns);
  }
};

// Inner columns [begin, end) of a row of outputs, the last vector overlapping the one before.
template <class T, int Bytes, class Policy>
inline void inner_row(const Policy& policy, const Rows& rows, const T* plane, int64_t at,
                      int64_t begin, int64_t end) {
  constexpr int64_t lanes = Bytes / sizeof(T);
  if (end - begin >= lanes) {
    for (int64_t o = begin; o + lanes < end; o += lanes) {
      policy.template vector<Bytes>(rows, plane, at + o, o);
    }
    policy.template vector<Bytes>(rows, plane, at + end - lanes, end - lanes);
  } else if constexpr (lanes > 2) {
    inner_row<T, Bytes / 2>(policy, rows, plane, at, begin, end);
  } else {
    for (int64_t o = begin; o < end; ++o) {
      policy.one(rows, window_of(rows.geometry.axis[2], o), plane, at + o);
    }
  }
}

// Calls visit(rows, position of the row in the output) for every row of outputs.
template <class Visit>
inline void each_row(const PoolGeometry& geometry, int64_t planes, Visit visit) {
  const PoolAxis* axis = geometry.axis;
  for (int64_t plane = 0; plane < planes; ++plane) {
    for (int64_t d = 0; d < axis[0].output; ++d) {
      Window slices = window_of(axis[0], d);
      for (int64_t h = 0; h < axis[1].output; ++h) {
        int64_t at = ((plane * axis[0].output + d) * axis[1].output + h) * axis[2].output;
        visit(Rows{slices, window_of(axis[1], h), geometry}, plane * geometry.input_size(), at);
      }
    }
  }
}

template <class T, class Policy>
inline void pool(const PoolGeometry& geometry, int64_t planes, const T* x, const Policy& policy) {
  const PoolAxis& axis = geometry.axis[2];
  Window inner = inner_columns(axis);
  // Positions of wider planes do not fit the lanes of an index vector.
  if (geometry.input_size() > std::numeric_limits<int32_t>::max()) inner.end = inner.begin;
  each_row(geometry, planes, [&](const Rows& rows, int64_t plane, int64_t at) {
    bool empty = rows.slices.begin >= rows.slices.end || rows.rows.begin >= rows.rows.end;
    int64_t begin = empty ? axis.output : inner.begin < axis.output ? inner.begin : axis.output;
    int64_t end = empty ? axis.output : inner.end < begin ? begin : inner.end;
    for (int64_t o = 0; o < begin; ++o) policy.one(rows, window_of(axis, o), x + plane, at + o);
    inner_row<T, kVectorBytes>(policy, rows, x + plane, at, begin, end);
    for (int64_t o = end; o < axis.output; ++o) {
      policy.one(rows, window_of(axis, o), x + plane, at + o);
    }
  });
}

template <class T>
void max_pool(const PoolGeometry& geometry, int64_t planes, const T* x, T* out, int64_t* indices) {
  pool(geometry, planes, x, Max<T>{out, indices});
}

template <class T>
void average_pool(const PoolGeometry& geometry, int64_t planes, const T* x, T* out) {
  pool(geometry, planes, x, Average<T>{out});
}

template <class T>
void spread(const PoolGeometry& geometry, int64_t planes, const T* g, T* x) {
  __builtin_memset(x, 0, planes * geometry.input_size() * sizeof(T));
  const PoolAxis& axis = geometry.axis[2];
  each_row(geometry, planes, [&](const Rows& rows, int64_t plane, int64_t at) {
    for (int64_t o = 0; o < axis.output; ++o) {
      Window columns = window_of(axis, o);
      T share = g[at + o] / divisor<T>(rows, columns);
      rows.each([&](int64_t row) {
        T* to = x + plane + row;
        for (int64_t w = columns.begin; w < columns.end; ++w) to[w] += share;
      });
    }
  });
}

template <class T>
constexpr PoolKernels<T> kKernels = {max_pool<T>, average_pool<T>, spread<T>};

}  // namespace

extern const PoolKernels<float> pool_kernels_float = kKernels<float>;
extern const PoolKernels<double> pool_kernels_double = kKernels<double>;
extern const PoolKernels<int64_t> pool_kernels_int64 = kKernels<int64_t>;

}  // namespace flambeau::FLAMBEAU_ISA
