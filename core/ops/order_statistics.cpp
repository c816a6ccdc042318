// Medians, modes and quantiles.
#include "ops/arithmetic.h"
#include "ops/creation.h"
#include "ops/cuda_runs.h"
#include "ops/gather.h"
#include "ops/portable.h"
#include "ops/reduction.h"
#include "ops/sort.h"
#include "ops/views.h"
#include "tensor/copy.h"

namespace flambeau {
namespace {

// --- median along a dimension: ints[0] is the dimension, flag keepdim

void infer_picked(Call& call) {
  const Tensor& x = call.input(0);
  uint64_t mask = x.dim() ? 1ull << call.attributes.ints[0] : 0;
  Dims shape = reduced_shape(x.shape(), mask, call.attributes.flag);
  call.output_count = 2;
  call.expect(0, shape, x.dtype());
  call.expect(1, shape, DType::Int64);
}

template <class T>
bool is_nan(T value) {
  if constexpr (std::is_integral_v<T>)
    return false;
  else
    return convert<double>(value) != convert<double>(value);
}

// The place of the lower median of a line: the first NaN if there is one, unless they are ignored.
template <class T, class Items>
int64_t median_position(const T* values, Items& items, int64_t count, bool ignore_nan) {
  int64_t nans = 0, first = -1;
  for (int64_t i = 0; i < count; ++i) {
    if (!is_nan(values[i])) continue;
    if (nans++ == 0) first = i;
  }
  if (nans > 0 && (!ignore_nan || nans == count)) return first;
  auto place = items.begin() + (count - nans - 1) / 2;
  std::nth_element(items.begin(), place, items.end());
  return SortItem<T>::position(*place);
}

template <bool ignore_nan>
void run_median(Call& call) {
  Unrecorded scope;
  const TensorRef& x = call.inputs[0];
  Lines lines(x, call.attributes.ints[0]);
  visit_dtype(x->dtype(), [&]<class T>() {
    for_each_line<T>(lines, false, [&](const T* values, auto& items, auto&, int64_t line) {
      int64_t position = median_position(values, items, lines.length, ignore_nan);
      call.output(0).data<T>()[line] = values[position];
      call.output(1).data<int64_t>()[line] = position;
    });
  });
}

const Primitive kMedianAlong{.name = "median",
                             .infer = infer_picked,
                             .run = run_median<false>,
                             .gradient = picked_gradient,
                             .saved_outputs = 2,
                             .grad_name = "MedianBackward1",
                             .run_cuda = run_median_cuda};
const Primitive kNanmedianAlong{.name = "nanmedian",
                                .infer = infer_picked,
                                .run = run_median<true>,
                                .gradient = picked_gradient,
                                .saved_outputs = 2,
                                .grad_name = "NanmedianBackward1",
                                .run_cuda = run_nanmedian_cuda};

// --- median of all elements; attributes of a reduction

void infer_all(Call& call) { call.expect(0, {}, call.input(0).dtype()); }

template <bool ignore_nan>
void run_median_all(Call& call) {
  Unrecorded scope;
  TensorRef x = reshape(call.inputs[0], {-1});
  Lines lines(x, 0);
  visit_dtype(x->dtype(), [&]<class T>() {
    T& out = *call.output().data<T>();
    if (x->numel() == 0) {
      out = convert<T>(std::numeric_limits<double>::quiet_NaN());
      return;
    }
    for_each_line<T>(lines, false, [&](const T* values, auto& items, auto&, int64_t) {
      out = values[median_position(values, items, lines.length, ignore_nan)];
    });
  });
}

constexpr Primitive median_of_all(const char* name, void (*run)(Call&), void (*run_cuda)(Call&)) {
  return {.name = name,
          .infer = infer_all,
          .run = run,
          .gradient = shared_gradient,
          .saved_inputs = 1,
          .saved_outputs = 1,
          .run_cuda = run_cuda};
}
const Primitive kMedian = median_of_all("median", run_median_all<false>, run_median_all_cuda);
const Primitive kNanmedian =
    median_of_all("nanmedian", run_median_all<true>, run_nanmedian_all_cuda);

// --- mode: the most frequent element, the smallest of several; its last position

void run_mode(Call& call) {
  Unrecorded scope;
  const TensorRef& x = call.inputs[0];
  Lines lines(x, call.attributes.ints[0]);
  visit_dtype(x->dtype(), [&]<class T>() {
    using Item = SortItem<T>;
    for_each_line<T>(lines, false, [&](const T* values, auto& items, auto& scratch, int64_t line) {
      sort_items(items.data(), scratch.data(), lines.length);
      int64_t best = 0, last = 0;
      for (int64_t begin = 0, end = 0; begin < lines.length; begin = end) {
        while (end < lines.length && Item::key(items[end]) == Item::key(items[begin])) ++end;
        if (end - begin > best) {
          best = end - begin;
          last = end - 1;
        }
      }
      int64_t position = Item::position(items[last]);
      call.output(0).data<T>()[line] = values[position];
      call.output(1).data<int64_t>()[line] = position;
    });
  });
}

const Primitive kMode{.name = "mode",
                      .infer = infer_picked,
                      .run = run_mode,
                      .gradient = picked_gradient,
                      .saved_outputs = 2,
                      .run_cuda = run_mode_cuda};

PORTABLE(kMedian, check_inputs<1>);
PORTABLE_AS(kMedianAlong, "median.dim", check_choice_along);
PORTABLE(kNanmedian, check_inputs<1>);
PORTABLE_AS(kNanmedianAlong, "nanmedian.dim", check_choice_along);
PORTABLE(kMode, check_choice_along);

Result picked_along(const Primitive& primitive, const TensorRef& x, int64_t dim, bool keepdim) {
  static const char* const kFields[] = {"values", "indices"};
  dim = wrap_dimension(dim, x->dim(), primitive.name);
  if (x->dim()) require_elements(primitive.name, *x, 1ull << dim);
  TensorRef inputs[] = {x};
  Call call{primitive, inputs, reduction_attributes(dim, keepdim)};
  apply(call);
  return Result::named(primitive.name, kFields, {call.outputs[0], call.outputs[1]});
}

// --- quantile

// Picks between neighbours of a sorted line (last dimension) at fractional places.
TensorRef interpolate(const TensorRef& sorted, const TensorRef& place,
                      const std::string& interpolation) {
  int64_t last = std::max<int64_t>(sorted->shape().back() - 1, 0);
  TensorRef below = to_dtype(place, DType::Int64);
  TensorRef weight = sub(place, below);
  TensorRef above = minimum(add(below, 1), last);
  if (interpolation == "lower") return gather(sorted, -1, below);
  if (interpolation == "higher") {
    return gather(sorted, -1, where(gt(weight, 0), above, below));
  }
  if (interpolation == "nearest") {  // halves go to the even place
    TensorRef up =
        logical_or(gt(weight, 0.5), logical_and(eq(weight, 0.5), eq(remainder(below, 2), 1)));
    return gather(sorted, -1, where(up, above, below));
  }
  TensorRef low = gather(sorted, -1, below), high = gather(sorted, -1, above);
  // Where the weight is 0 the upper neighbour must not count, infinite or not.
  TensorRef step = masked_fill(sub(high, low), eq(weight, 0), 0);
  if (interpolation == "midpoint") return add(low, mul(step, 0.5));
  return add(low, mul(step, to_dtype(weight, sorted->dtype())));
}

void check_quantile(const char* op, const TensorRef& x, const TensorRef& q,
                    const std::string& interpolation) {
  require(x->numel() > 0, op, "() input tensor must be non-empty, got shape ", x->shape());
  require(x->dtype() == DType::Float32 || x->dtype() == DType::Float64, op,
          "() input tensor must be either float or double dtype, got torch.",
          dtype_name(x->dtype()), "; convert it with .float()");
  require(q->dim() <= 1, op, "() q must be a scalar or 1D tensor, got shape ", q->shape());
  require(q->dtype() == x->dtype(), op, "() q tensor must be same dtype as the input tensor, got ",
          "torch.", dtype_name(q->dtype()), " and torch.", dtype_name(x->dtype()));
  static const char* const kWays[] = {"linear", "lower", "higher", "midpoint", "nearest"};
  bool known = false;
  for (const char* way : kWays) known = known || interpolation == way;
  require(known, op, "() interpolation must be one of linear, lower, higher, midpoint or nearest, ",
          "but got ", interpolation);
  Unrecorded scope;
  TensorRef flat = on_host(*to_dtype(q, DType::Float64));
  for (int64_t i = 0; i < flat->numel(); ++i) {
    double value = flat->data<double>()[i];
    require(value >= 0 && value <= 1, op, "() q must be in the range [0, 1] but got ", value);
  }
}

TensorRef quantile_of(const char* op, const TensorRef& input, const TensorRef& q,
                      std::optional<int64_t> dim, bool keepdim, const std::string& interpolation,
                      bool ignore_nan) {
  check_quantile(op, input, q, interpolation);
  int64_t rank = input->dim();
  TensorRef x = input;
  if (!dim || rank == 0) {
    x = reshape(input, {-1});
  } else {
    int64_t d = wrap_dimension(*dim, rank, op);
    x = transpose(unsqueeze(input, -1), d, -1);  // dimension d stays, with length 1
  }
  TensorRef sorted = sort(x, -1)[0];
  TensorRef unknown = isnan(sorted);
  int64_t length = x->shape().back();
  TensorRef place;  // (..., number of q)
  if (ignore_nan) {
    TensorRef known = sub(length, sum(unknown, {-1}, true));
    place = mul(maximum(sub(known, 1), 0), q);
  } else {
    TensorRef broken = unsqueeze(select(unknown, -1, length - 1), -1);
    place = where(broken, length - 1, mul(q, length - 1));
  }
  if (place->dim() < sorted->dim()) place = unsqueeze(place, -1);
  Dims shape = sorted->shape();
  shape.back() = q->dim() ? q->numel() : 1;
  TensorRef result = interpolate(sorted, expand(place, shape), interpolation);
  // Now (..., q); q comes first, and dims that were reduced go or stay.
  Dims kept;
  if (q->dim()) kept.push_back(q->numel());
  for (int64_t d = 0; d < rank; ++d) {
    bool folded = !dim || d == wrap_dimension(*dim, rank, op);
    if (!folded)
      kept.push_back(input->size(d));
    else if (keepdim)
      kept.push_back(1);
  }
  if (q->dim()) {
    Dims order{result->dim() - 1};
    for (int64_t d = 0; d < result->dim() - 1; ++d) order.push_back(d);
    result = permute(result, order);
  }
  return reshape(result, kept);
}

TensorRef number_like(const TensorRef& x, double q) { return full({}, q, x->dtype(), x->device()); }

}  // namespace

// --- Python

#define MEDIAN_DOC(nan)                                                                       \
  "Lower median of all elements.\n\nArgs:\n    input: a tensor of any dtype.\n\nReturns:\n  " \
  "  A 0-d tensor; " nan                                                                      \
  ". With an even number of elements the lower of the two in the "                            \
  "middle."
#define MEDIAN_ALONG_DOC(nan)                                                                  \
  "Lower medians along a dimension, and where they are.\n\nArgs:\n    input: a tensor of any " \
  "dtype.\n    dim (int): the dimension to reduce.\n    keepdim (bool): whether it stays, "    \
  "with length 1.\n\nReturns:\n    A named tuple (values, indices); " nan                      \
  ".\n\nRaises:\n    IndexError: the dimension is out of range, or has no elements."
#define NAN_SPREADS "NaN if any element is"
#define NAN_IGNORED "NaN only where every element is"

static TensorRef median_all(const TensorRef& input) {
  return apply(kMedian, {input},
               reduction_attributes(dimension_mask("median", {}, input->dim()), false));
}
OPERATOR_FORMS(median_all, "median", "input", kUsual, MEDIAN_DOC(NAN_SPREADS));
static Result median_dim(const TensorRef& input, int64_t dim, bool keepdim) {
  return picked_along(kMedianAlong, input, dim, keepdim);
}
OPERATOR_FORMS(median_dim, "median", "input, dim, keepdim=False", kUsual,
               MEDIAN_ALONG_DOC(NAN_SPREADS));
static TensorRef nanmedian_all(const TensorRef& input) {
  return apply(kNanmedian, {input},
               reduction_attributes(dimension_mask("nanmedian", {}, input->dim()), false));
}
OPERATOR_FORMS(nanmedian_all, "nanmedian", "input", kUsual, MEDIAN_DOC(NAN_IGNORED));
static Result nanmedian_dim(const TensorRef& input, int64_t dim, bool keepdim) {
  return picked_along(kNanmedianAlong, input, dim, keepdim);
}
OPERATOR_FORMS(nanmedian_dim, "nanmedian", "input, dim, keepdim=False", kUsual,
               MEDIAN_ALONG_DOC(NAN_IGNORED));

static Result mode_operator(const TensorRef& input, int64_t dim, bool keepdim) {
  return picked_along(kMode, input, dim, keepdim);
}
OPERATOR_FORMS(mode_operator, "mode", "input, dim=-1, keepdim=False", kUsual,
               "Most frequent elements along a dimension, and where they are last.\n\n"
               "Args:\n    input: a tensor of any dtype.\n    dim (int): the dimension to reduce.\n"
               "    keepdim (bool): whether it stays, with length 1.\n\n"
               "Returns:\n    A named tuple (values, indices); of equally frequent elements the "
               "smallest.\n\nRaises:\n    IndexError: the dimension is out of range, or has no "
               "elements.");

#define QUANTILE_DOC(nan)                                                                      \
  "Quantiles along a dimension.\n\nArgs:\n    input: a tensor of float32 or float64.\n"        \
  "    q (number or tensor): between 0 and 1; 0-d or 1-D.\n    dim (int, optional): the "      \
  "dimension to reduce; all if not given.\n    keepdim (bool): whether it stays, with length " \
  "1.\n    interpolation (str): between neighbours: linear, lower, higher, midpoint or "       \
  "nearest.\n\nReturns:\n    A tensor with the q first if they are 1-D; " nan                  \
  ".\n\nRaises:\n    RuntimeError: q is out of range, or the dtypes do not fit."
#define QUANTILE_SIGNATURE "input, q, dim=None, keepdim=False, *, interpolation='linear'"

static TensorRef quantile_number(const TensorRef& input, double q,
                                 const std::optional<int64_t>& dim, bool keepdim,
                                 const std::string& interpolation) {
  return quantile_of("quantile", input, number_like(input, q), dim, keepdim, interpolation, false);
}
OPERATOR_FORMS(quantile_number, "quantile", QUANTILE_SIGNATURE, kUsual, QUANTILE_DOC(NAN_SPREADS))
    .autocast("float32 on cpu");
static TensorRef quantile_tensor(const TensorRef& input, const TensorRef& q,
                                 const std::optional<int64_t>& dim, bool keepdim,
                                 const std::string& interpolation) {
  return quantile_of("quantile", input, q, dim, keepdim, interpolation, false);
}
OPERATOR_FORMS(quantile_tensor, "quantile", QUANTILE_SIGNATURE, kUsual, QUANTILE_DOC(NAN_SPREADS))
    .autocast("float32 on cpu");
static TensorRef nanquantile_number(const TensorRef& input, double q,
                                    const std::optional<int64_t>& dim, bool keepdim,
                                    const std::string& interpolation) {
  return quantile_of("nanquantile", input, number_like(input, q), dim, keepdim, interpolation,
                     true);
}
OPERATOR_FORMS(nanquantile_number, "nanquantile", QUANTILE_SIGNATURE, kUsual,
               QUANTILE_DOC(NAN_IGNORED))
    .autocast("float32 on cpu");
static TensorRef nanquantile_tensor(const TensorRef& input, const TensorRef& q,
                                    const std::optional<int64_t>& dim, bool keepdim,
                                    const std::string& interpolation) {
  return quantile_of("nanquantile", input, q, dim, keepdim, interpolation, true);
}
OPERATOR_FORMS(nanquantile_tensor, "nanquantile", QUANTILE_SIGNATURE, kUsual,
               QUANTILE_DOC(NAN_IGNORED))
    .autocast("float32 on cpu");

}  // namespace flambeau
