// Running sums, products, extremes along a dimension.
#include <cmath>

#include "base/thread_pool.h"
#include "ops/arithmetic.h"
#include "ops/creation.h"
#include "ops/cuda_runs.h"
#include "ops/gather.h"
#include "ops/portable.h"
#include "ops/reduction.h"
#include "ops/views.h"

namespace flambeau {
namespace {

// Attributes: ints[0] is the dimension; flag: from the end to the start (gradients need that).

void infer_scan(Call& call) { call.expect(0, call.input(0).shape(), call.input(0).dtype()); }

void infer_extreme_scan(Call& call) {
  infer_scan(call);
  call.output_count = 2;
  call.expect(1, call.input(0).shape(), DType::Int64);
}

// Calls body(first element, step, inner) for strips of neighbouring lines: `inner` lines, of which
// elements of one line are `step` apart.
template <class Body>
void for_each_strip(const Tensor& x, int64_t dim, int64_t length, Body&& body) {
  if (x.numel() == 0) return;
  int64_t inner = 1;
  for (int64_t d = dim + 1; d < x.dim(); ++d) inner *= x.size(d);
  int64_t width = std::min<int64_t>(inner, 256), strips = (inner + width - 1) / width;
  int64_t blocks = x.numel() / (length * inner);
  int64_t grain = std::max<int64_t>(1, kGrain / (4 * length * width));
  parallel_for(blocks * strips, grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      int64_t column = i % strips * width;
      body(i / strips * length * inner + column, inner, std::min(width, inner - column));
    }
  });
}

int64_t length_of(const Tensor& x, int64_t dim) { return x.dim() ? x.size(dim) : 1; }

// Sums and products of float32 run in double, of the rest in their own compute type.
template <class T>
using Running = std::conditional_t<std::is_same_v<T, float>, double, Compute<T>>;

template <class Combine>
void run_scan(Call& call, Combine combine, double start) {
  Unrecorded scope;
  TensorRef x = contiguous(call.inputs[0]);
  int64_t dim = call.attributes.ints[0], length = length_of(*x, dim);
  bool backward = call.attributes.flag;
  visit_dtype(x->dtype(), [&]<class T>() {
    using A = Running<T>;
    const T* from = x->data<T>();
    T* to = call.output().data<T>();
    for_each_strip(*x, dim, length, [&](int64_t first, int64_t step, int64_t width) {
      if (width == 1) {
        A running = static_cast<A>(start);
        for (int64_t k = 0; k < length; ++k) {
          int64_t at = first + (backward ? length - 1 - k : k) * step;
          running = static_cast<A>(combine(running, convert<A>(from[at])));
          to[at] = convert<T>(running);
        }
        return;
      }
      A running[256];
      std::fill(running, running + width, static_cast<A>(start));
      for (int64_t k = 0; k < length; ++k) {
        int64_t at = first + (backward ? length - 1 - k : k) * step;
        for (int64_t j = 0; j < width; ++j) {
          running[j] = static_cast<A>(combine(running[j], convert<A>(from[at + j])));
          to[at + j] = convert<T>(running[j]);
        }
      }
    });
  });
}

void run_cumsum(Call& call) {
  run_scan(call, [](auto a, auto b) { return a + b; }, 0);
}
void run_cumprod(Call& call) {
  run_scan(call, [](auto a, auto b) { return a * b; }, 1);
}
// log(exp(a) + exp(b)) without overflow; equal infinities stay.
void run_logcumsumexp(Call& call) {
  run_scan(
      call,
      [](auto a, auto b) {
        double low = std::min<double>(a, b), high = std::max<double>(a, b);
        if (std::isnan(static_cast<double>(a)) || std::isnan(static_cast<double>(b)))
          return a + b + 0.0;
        if (low == high && std::isinf(high)) return high;
        return high + std::log1p(std::exp(low - high));
      },
      -std::numeric_limits<double>::infinity());
}

extern const Primitive kCumsum, kCumprod, kLogcumsumexp;

TensorRef scan(const Primitive& primitive, const TensorRef& x, int64_t dim, bool backward) {
  Attributes attributes;
  attributes.ints.push_back(dim);
  attributes.flag = backward;
  return apply(primitive, {x}, std::move(attributes));
}

void cumsum_gradient(Gradient& gradient) {
  const Attributes& attributes = gradient.attributes();
  gradient.set(0, scan(kCumsum, gradient.g(), attributes.ints[0], !attributes.flag));
}

// With P the running product of the factors that are not zero and c the number of zeros so far: a
// factor that is not zero takes part in products with c == 0, the first zero in those with c == 1.
void cumprod_gradient(Gradient& gradient) {
  int64_t dim = gradient.attributes().ints[0];
  TensorRef x = gradient.input(0), g = gradient.g();
  TensorRef zero = eq(x, 0);
  TensorRef filled = masked_fill(x, zero, 1);
  TensorRef weighted = mul(g, scan(kCumprod, filled, dim, false));
  TensorRef count = scan(kCumsum, to_dtype(zero, DType::Int64), dim, false);
  TensorRef none = scan(kCumsum, where(eq(count, 0), weighted, 0), dim, true);
  TensorRef one = scan(kCumsum, where(eq(count, 1), weighted, 0), dim, true);
  TensorRef first = where(eq(count, 1), one, 0);
  gradient.set(0, where(zero, first, div(none, filled)));
}

// d out_k / d x_j = exp(x_j - out_k) for j <= k; positive and negative g are summed apart, in
// logarithms.
void logcumsumexp_gradient(Gradient& gradient) {
  const Attributes& attributes = gradient.attributes();
  int64_t dim = attributes.ints[0];
  bool back = !attributes.flag;
  TensorRef x = gradient.input(0), out = gradient.output(), g = gradient.g();
  double none = -std::numeric_limits<double>::infinity();
  auto part = [&](const TensorRef& share) {
    TensorRef size = where(gt(share, 0), share, 1);
    TensorRef logs = where(gt(share, 0), sub(log(size), out), none);
    return exp(add(scan(kLogcumsumexp, logs, dim, back), x));
  };
  gradient.set(0, sub(part(g), part(neg(g))));
}

const Primitive kCumsum{.name = "cumsum",
                        .infer = infer_scan,
                        .run = run_cumsum,
                        .gradient = cumsum_gradient,
                        .run_cuda = run_cumsum_cuda};
const Primitive kCumprod{.name = "cumprod",
                         .infer = infer_scan,
                         .run = run_cumprod,
                         .gradient = cumprod_gradient,
                         .saved_inputs = 1,
                         .run_cuda = run_cumprod_cuda};
const Primitive kLogcumsumexp{.name = "logcumsumexp",
                              .infer = infer_scan,
                              .run = run_logcumsumexp,
                              .gradient = logcumsumexp_gradient,
                              .saved_inputs = 1,
                              .saved_outputs = 1,
                              .run_cuda = run_logcumsumexp_cuda};

// --- cummax, cummin: the last of equal extremes; a NaN stays.

template <class Takes>
void run_extreme_scan(Call& call, Takes takes) {
  Unrecorded scope;
  TensorRef x = contiguous(call.inputs[0]);
  int64_t dim = call.attributes.ints[0], length = length_of(*x, dim);
  visit_dtype(x->dtype(), [&]<class T>() {
    using A = Compute<T>;
    const T* from = x->data<T>();
    T* to = call.output(0).data<T>();
    int64_t* where = call.output(1).data<int64_t>();
    for_each_strip(*x, dim, length, [&](int64_t first, int64_t step, int64_t width) {
      for (int64_t j = 0; j < width; ++j) {
        T best = from[first + j];
        int64_t place = 0;
        for (int64_t k = 0; k < length; ++k) {
          int64_t at = first + k * step + j;
          A fresh = convert<A>(from[at]), old = convert<A>(best);
          if (fresh != fresh || takes(fresh, old)) {
            best = from[at];
            place = k;
          }
          to[at] = best;
          where[at] = place;
        }
      }
    });
  });
}

void run_cummax(Call& call) {
  run_extreme_scan(call, [](auto fresh, auto old) { return fresh >= old; });
}
void run_cummin(Call& call) {
  run_extreme_scan(call, [](auto fresh, auto old) { return fresh <= old; });
}

void extreme_scan_gradient(Gradient& gradient) {
  if (!gradient.g(0)) return;
  TensorRef blank = zeros(gradient.input_shape(0), gradient.g(0)->dtype(), gradient.device());
  gradient.set(
      0, scatter_add(blank, gradient.attributes().ints[0], gradient.output(1), gradient.g(0)));
}

const Primitive kCummax{.name = "cummax",
                        .infer = infer_extreme_scan,
                        .run = run_cummax,
                        .gradient = extreme_scan_gradient,
                        .saved_outputs = 2,
                        .run_cuda = run_cummax_cuda};
const Primitive kCummin{.name = "cummin",
                        .infer = infer_extreme_scan,
                        .run = run_cummin,
                        .gradient = extreme_scan_gradient,
                        .saved_outputs = 2,
                        .run_cuda = run_cummin_cuda};

PORTABLE(kCumsum, check_dimension);
PORTABLE(kCumprod, check_dimension);
PORTABLE(kLogcumsumexp, check_dimension);
PORTABLE(kCummax, check_dimension);
PORTABLE(kCummin, check_dimension);

Result extreme_scan(const Primitive& primitive, const TensorRef& x, int64_t dim) {
  static const char* const kFields[] = {"values", "indices"};
  TensorRef inputs[] = {x};
  Attributes attributes;
  attributes.ints.push_back(wrap_dimension(dim, x->dim(), primitive.name));
  Call call{primitive, inputs, std::move(attributes)};
  apply(call);
  return Result::named(primitive.name, kFields, {call.outputs[0], call.outputs[1]});
}

// Integers are summed as int64.
TensorRef sum_input(const TensorRef& x, const std::optional<DType>& dtype) {
  if (dtype) return to_dtype(x, *dtype);
  return is_floating(x->dtype()) ? x : to_dtype(x, DType::Int64);
}

}  // namespace

TensorRef cumsum(const TensorRef& x, int64_t dim) {
  return scan(kCumsum, sum_input(x, {}), wrap_dimension(dim, x->dim(), "cumsum"), false);
}
TensorRef cumprod(const TensorRef& x, int64_t dim) {
  return scan(kCumprod, sum_input(x, {}), wrap_dimension(dim, x->dim(), "cumprod"), false);
}

// --- Python

#define SCAN_DOC(what, returned)                                                                \
  what "\n\nArgs:\n    input: a tensor.\n    dim (int): the dimension to run along.\n" returned \
       "\n\nRaises:\n    IndexError: the dimension is out of range."
#define SCAN_DTYPE                                                                           \
  "    dtype (dtype, optional): the elements are converted to it first.\n\nReturns:\n    A " \
  "tensor of the input's shape and dtype; int64 for integers and bool."
#define SCAN_PAIR                                                                              \
  "\nReturns:\n    A named tuple (values, indices) of tensors of the input's shape. The last " \
  "of equal elements is taken; a NaN stays."

static TensorRef cumsum_operator(const TensorRef& input, int64_t dim,
                                 const std::optional<DType>& dtype) {
  return cumsum(sum_input(input, dtype), dim);
}
OPERATOR_FORMS(cumsum_operator, "cumsum", "input, dim, *, dtype=None", kUsual | kInPlace,
               SCAN_DOC("Running sums along a dimension.", SCAN_DTYPE))
    .autocast("float32 on cuda");
static TensorRef cumprod_operator(const TensorRef& input, int64_t dim,
                                  const std::optional<DType>& dtype) {
  return cumprod(sum_input(input, dtype), dim);
}
OPERATOR_FORMS(cumprod_operator, "cumprod", "input, dim, *, dtype=None", kUsual | kInPlace,
               SCAN_DOC("Running products along a dimension.", SCAN_DTYPE))
    .autocast("float32 on cuda");

static TensorRef logcumsumexp(const TensorRef& input, int64_t dim) {
  if (!is_floating(input->dtype())) {
    fail(ErrorKind::NotImplemented, "logcumsumexp: a tensor of a floating dtype is needed, got ",
         "torch.", dtype_name(input->dtype()), "; convert it with .float()");
  }
  return scan(kLogcumsumexp, input, wrap_dimension(dim, input->dim(), "logcumsumexp"), false);
}
OPERATOR(logcumsumexp, "input, dim",
         SCAN_DOC("Logarithms of the running sums of exponentials, without overflow.",
                  "\nReturns:\n    A tensor of the input's shape and dtype."));

static Result cummax(const TensorRef& input, int64_t dim) {
  return extreme_scan(kCummax, input, dim);
}
OPERATOR(cummax, "input, dim",
         SCAN_DOC("Largest elements so far along a dimension, and where they are.", SCAN_PAIR));
static Result cummin(const TensorRef& input, int64_t dim) {
  return extreme_scan(kCummin, input, dim);
}
OPERATOR(cummin, "input, dim",
         SCAN_DOC("Smallest elements so far along a dimension, and where they are.", SCAN_PAIR));

}  // namespace flambeau
