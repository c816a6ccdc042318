// Pooling over windows: a thread for every element of the result, in the order in which they lie.
// The windows are those of ops/pooling/pooling_simd.cpp. T: the element type; INDEX: int or int64.

struct PoolAxis {
  INDEX input, output;
  INDEX kernel, stride, padding, dilation;  // kernel 0: adaptive windows
};
struct PoolGeometry {
  PoolAxis axis[3];
  INDEX include_padding;
  INDEX divisor;   // 0: the number of elements
  INDEX channels;  // that lie within a pixel; 1: planes follow one another
};

// Integers are averaged in int64, 16-bit floats in float.
template <class Element, bool floating>
struct SumOf {
  typedef int64 type;
};
template <class Element>
struct SumOf<Element, true> {
  typedef Compute<Element> type;
};
typedef typename SumOf<T, Is<T>::floating>::type Total;

// Positions of the input that one output covers: begin, begin + step, ... < end.
struct Window {
  INDEX begin, end, step;
  INDEX padded;  // length including the padding that it covers
};
DEVICE Window window_of(const PoolAxis& axis, INDEX o) {
  Window window;
  if (axis.kernel == 0) {
    window.begin = static_cast<INDEX>(static_cast<int64>(o) * axis.input / axis.output);
    window.end = static_cast<INDEX>(
        ((static_cast<int64>(o) + 1) * axis.input + axis.output - 1) / axis.output);
    window.step = 1;
    window.padded = window.end - window.begin;
    return window;
  }
  INDEX begin = o * axis.stride - axis.padding;
  const INDEX end = begin + (axis.kernel - 1) * axis.dilation + 1;
  const INDEX limit = axis.input + axis.padding;
  window.padded = (end < limit ? end : limit) - begin;
  if (begin < 0) begin += (-begin + axis.dilation - 1) / axis.dilation * axis.dilation;
  window.begin = begin;
  window.end = end < axis.input ? end : axis.input;
  window.step = axis.dilation;
  return window;
}

// The windows of the n-th output, where its plane begins, and the step between pixels.
struct Windows {
  Window slices, rows, columns;
  int64 plane;
  int64 step;
};
DEVICE Windows windows_of(const PoolGeometry& g, INDEX n) {
  Windows windows;
  windows.step = g.channels;
  const INDEX channel = n % g.channels;
  n /= g.channels;
  windows.columns = window_of(g.axis[2], n % g.axis[2].output);
  n /= g.axis[2].output;
  windows.rows = window_of(g.axis[1], n % g.axis[1].output);
  n /= g.axis[1].output;
  windows.slices = window_of(g.axis[0], n % g.axis[0].output);
  n /= g.axis[0].output;
  windows.plane = static_cast<int64>(n) * g.axis[0].input * g.axis[1].input * g.axis[2].input *
                      g.channels +
                  channel;
  return windows;
}

// Calls visit(place in the plane) for every element that the windows cover.
template <class Visit>
DEVICE void each_place(const PoolGeometry& g, const Windows& windows, Visit visit) {
  for (INDEX d = windows.slices.begin; d < windows.slices.end; d += windows.slices.step) {
    for (INDEX h = windows.rows.begin; h < windows.rows.end; h += windows.rows.step) {
      const INDEX row = (d * g.axis[1].input + h) * g.axis[2].input;
      for (INDEX w = windows.columns.begin; w < windows.columns.end; w += windows.columns.step) {
        visit(row + w);
      }
    }
  }
}

template <class Element>
DEVICE Element lowest() {
  if constexpr (Is<Element>::floating) {
    return static_cast<Element>(-kInfinity);
  } else {
    return static_cast<Element>(uint64(1) << 63);
  }
}

// The first of equal elements wins; a NaN wins over everything, the last one if there are more.
extern "C" __global__ void __launch_bounds__(256)
    max_pool(PoolGeometry g, int64 count, const T* x, T* out, int64* indices) {
  for (INDEX n = thread_index<INDEX>(); n < count; n += thread_count<INDEX>()) {
    const Windows windows = windows_of(g, n);
    Total best = lowest<Total>();
    INDEX where = -1;  // stays for a window without any element (wide dilation)
    each_place(g, windows, [&](INDEX place) {
      const Total value = convert<Total>(x[windows.plane + place * windows.step]);
      if (where < 0 || value > best || value != value) {
        best = value;
        where = place;
      }
    });
    out[n] = convert<T>(best);
    indices[n] = where;
  }
}

DEVICE Total divisor_of(const PoolGeometry& g, const Windows& windows) {
  if (g.divisor != 0) return static_cast<Total>(g.divisor);
  const Window* each[3] = {&windows.slices, &windows.rows, &windows.columns};
  int64 product = 1;
#pragma unroll
  for (int i = 0; i < 3; ++i) {
    product *= g.include_padding ? each[i]->padded : each[i]->end - each[i]->begin;
  }
  return static_cast<Total>(product);
}

extern "C" __global__ void __launch_bounds__(256)
    average_pool(PoolGeometry g, int64 count, const T* x, T* out) {
  for (INDEX n = thread_index<INDEX>(); n < count; n += thread_count<INDEX>()) {
    const Windows windows = windows_of(g, n);
    Total sum = 0;
    bool empty = true;
    each_place(g, windows, [&](INDEX place) {
      sum += convert<Total>(x[windows.plane + place * windows.step]);
      empty = false;
    });
    out[n] = empty ? convert<T>(Total(0)) : convert<T>(sum / divisor_of(g, windows));
  }
}

// The outputs [first, last] whose windows cover position i of the input.
struct Covering {
  INDEX first, last;
};
DEVICE Covering covering(const PoolAxis& axis, INDEX i) {
  Covering outputs;
  if (axis.kernel == 0) {
    const int64 at = static_cast<int64>(i) * axis.output;
    outputs.first = static_cast<INDEX>(at / axis.input);
    outputs.last =
        static_cast<INDEX>((at + axis.output + axis.input - 1) / axis.input - 1);
  } else {
    const INDEX reach = i + axis.padding;
    outputs.first =
        reach < axis.kernel ? 0 : (reach - axis.kernel) / axis.stride + 1;
    outputs.last = reach / axis.stride;
  }
  if (outputs.last >= axis.output) outputs.last = axis.output - 1;
  return outputs;
}

// The adjoint of average_pool, which has no dilation: `count` elements of x.
extern "C" __global__ void __launch_bounds__(256)
    spread(PoolGeometry g, int64 count, const T* gradient, T* x) {
  for (INDEX n = thread_index<INDEX>(); n < count; n += thread_count<INDEX>()) {
    const INDEX channel = n % g.channels;
    INDEX rest = n / g.channels;
    const Covering columns = covering(g.axis[2], rest % g.axis[2].input);
    rest /= g.axis[2].input;
    const Covering rows = covering(g.axis[1], rest % g.axis[1].input);
    rest /= g.axis[1].input;
    const Covering slices = covering(g.axis[0], rest % g.axis[0].input);
    const int64 plane = rest / g.axis[0].input;
    Total sum = 0;
    for (INDEX d = slices.first; d <= slices.last; ++d) {
      for (INDEX h = rows.first; h <= rows.last; ++h) {
        for (INDEX w = columns.first; w <= columns.last; ++w) {
          Windows windows;
          windows.slices = window_of(g.axis[0], d);
          windows.rows = window_of(g.axis[1], h);
          windows.columns = window_of(g.axis[2], w);
          const int64 at =
              ((plane * g.axis[0].output + d) * g.axis[1].output + h) * g.axis[2].output + w;
          sum += convert<Total>(gradient[at * g.channels + channel]) / divisor_of(g, windows);
        }
      }
    }
    x[n] = convert<T>(sum);
  }
}

// Between planes of `large` and `small` elements; positions that lie in no plane belong to windows
// without elements. Of the large tensor, the element that belongs to the n-th of the small one:
DEVICE int64 place_in(INDEX n, INDEX channels, INDEX small, int64 large, int64 place) {
  return (n / channels / small * large + place) * channels + n % channels;
}
// `to` is zero at first.
extern "C" __global__ void __launch_bounds__(256)
    pool_scatter(const T* from, const int64* indices, int64 count, int64 large, int64 small,
                 int64 channels, Total* to) {
  for (INDEX n = thread_index<INDEX>(); n < count; n += thread_count<INDEX>()) {
    const int64 place = indices[n];
    if (place < 0 || place >= large) continue;
    atomic_add(to + place_in(n, channels, small, large, place), convert<Total>(from[n]));
  }
}
extern "C" __global__ void __launch_bounds__(256)
    pool_gather(const T* from, const int64* indices, int64 count, int64 large, int64 small,
                int64 channels, T* to) {
  for (INDEX n = thread_index<INDEX>(); n < count; n += thread_count<INDEX>()) {
    const int64 place = indices[n];
    const bool valid = place >= 0 && place < large;
    to[n] = valid ? from[place_in(n, channels, small, large, place)] : convert<T>(Total(0));
  }
}
