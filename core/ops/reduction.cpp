// Sums, means, products, counts and truth values along dimensions.
#include "ops/reduction.h"

#include <bit>

#include "ops/arithmetic.h"
#include "ops/creation.h"
#include "ops/gather.h"
#include "ops/portable.h"
#include "ops/sizes.h"
#include "ops/views.h"
#include "tensor/copy.h"

namespace flambeau {

uint64_t dimension_mask(const char* op, const std::optional<Dims>& dims, int64_t rank) {
  require(rank <= 64, op, ": tensors of at most 64 dimensions, got ", rank, "; reshape it first");
  if (!dims || dims->empty()) return rank == 64 ? ~0ull : (1ull << rank) - 1;
  uint64_t mask = 0;
  for (int64_t dim : *dims) {
    int64_t d = wrap_dimension(dim, rank, op);
    if (rank == 0) continue;
    require(!(mask >> d & 1), op, ": dim ", d, " appears multiple times in the list of dims ",
            *dims, "; name every dimension once");
    mask |= 1ull << d;
  }
  return mask;
}

Dims reduced_shape(const Dims& shape, uint64_t mask, bool keepdim) {
  Dims result;
  for (int64_t d = 0; d < shape.size(); ++d) {
    bool folded = mask >> d & 1;
    if (!folded || keepdim) result.push_back(folded ? 1 : shape[d]);
  }
  return result;
}

Dims dimensions_of(uint64_t mask) {
  Dims result;
  for (; mask; mask &= mask - 1) result.push_back(std::countr_zero(mask));
  return result;
}

int64_t reduced_count(const Dims& shape, uint64_t mask) {
  int64_t count = 1;
  for (; mask; mask &= mask - 1) count *= shape[std::countr_zero(mask)];
  return count;
}

void require_elements(const char* op, const Tensor& x, uint64_t mask) {
  if (x.numel() != 0 || count_elements(reduced_shape(x.shape(), mask, false)) == 0) return;
  for (int64_t d : dimensions_of(mask)) {
    if (x.size(d) == 0) {
      fail(ErrorKind::Index, op, "(): Expected reduction dim ", d, " to have non-zero size, got a ",
           "tensor of shape ", x.shape(), "; test numel() first");
    }
  }
}

TensorRef with_kept(const TensorRef& result, uint64_t mask, bool keepdim) {
  if (keepdim) return result;
  TensorRef kept = result;
  for (; mask; mask &= mask - 1) kept = unsqueeze(kept, std::countr_zero(mask));
  return kept;
}

TensorRef spread(const TensorRef& result, uint64_t mask, bool keepdim, const Dims& shape) {
  if (result->dim() == 0) return expand(result, shape);
  return expand(with_kept(result, mask, keepdim), shape);
}

Attributes reduction_attributes(uint64_t mask, bool keepdim) {
  Attributes attributes;
  attributes.ints.push_back(static_cast<int64_t>(mask));
  attributes.flag = keepdim;
  return attributes;
}

void picked_gradient(Gradient& gradient) {
  if (!gradient.needs(0) || !gradient.g(0)) return;
  int64_t dim = gradient.attributes().ints[0];
  bool keepdim = gradient.attributes().flag || gradient.input_shape(0).empty();
  const TensorRef& g = gradient.g(0);
  TensorRef at = gradient.output(1);
  TensorRef blank = zeros(gradient.input_shape(0), g->dtype(), g->device());
  gradient.set(0, keepdim ? scatter(blank, dim, at, g)
                          : scatter(blank, dim, unsqueeze(at, dim), unsqueeze(g, dim)));
}

namespace {

uint64_t mask_of(const Attributes& attributes) { return attributes.ints[0]; }

// Outputs of the input's dtype.
void infer_same(Call& call) {
  const Tensor& x = call.input(0);
  uint64_t mask = mask_of(call.attributes);
  call.expect(0, reduced_shape(x.shape(), mask, call.attributes.flag), x.dtype());
}

// Sums of integers are int64.
void infer_sum(Call& call) {
  infer_same(call);
  if (!is_floating(call.specs[0].dtype)) call.specs[0].dtype = DType::Int64;
}

template <Fold fold>
void run_fold(Call& call) {
  reduce(call.input(0), mask_of(call.attributes), {fold}, &call.output());
}

// The gradient of a sum reaches every element.
void sum_gradient(Gradient& gradient) {
  const Attributes& attributes = gradient.attributes();
  gradient.set(0,
               spread(gradient.g(), mask_of(attributes), attributes.flag, gradient.input_shape(0)));
}

const Primitive kSum = everywhere({"sum", infer_sum, run_fold<Fold::Sum>, sum_gradient});
const Primitive kSumDims = everywhere({.name = "sum",
                                       .infer = infer_sum,
                                       .run = run_fold<Fold::Sum>,
                                       .gradient = sum_gradient,
                                       .grad_name = "SumBackward1"});

// --- mean

void run_mean(Call& call) {
  const Tensor& x = call.input(0);
  uint64_t mask = mask_of(call.attributes);
  Reduction reduction{Fold::Sum, Finish::Divide,
                      static_cast<double>(reduced_count(x.shape(), mask))};
  reduce(x, mask, reduction, &call.output());
}

void mean_gradient(Gradient& gradient) {
  const Attributes& attributes = gradient.attributes();
  const Dims& shape = gradient.input_shape(0);
  int64_t elements = reduced_count(shape, mask_of(attributes));
  size_step(elements);  // the divisor
  double count = static_cast<double>(elements);
  TensorRef g = div(gradient.g(), count);
  gradient.set(0, spread(g, mask_of(attributes), attributes.flag, shape));
}

const Primitive kMean = everywhere({"mean", infer_same, run_mean, mean_gradient});
const Primitive kMeanDims = everywhere({.name = "mean",
                                        .infer = infer_same,
                                        .run = run_mean,
                                        .gradient = mean_gradient,
                                        .grad_name = "MeanBackward1"});

// --- prod

// The product of the others is out / x, except where zeros take part: with one zero only its own
// gradient is not zero, with more all are. Written without branches on values.
void prod_gradient(Gradient& gradient) {
  const Attributes& attributes = gradient.attributes();
  uint64_t mask = mask_of(attributes);
  TensorRef x = gradient.input(0);
  Dims dims = dimensions_of(mask);
  TensorRef zero = eq(x, 0);
  TensorRef filled = masked_fill(x, zero, 1);
  TensorRef product = x->dim() ? prod(filled, dims, true) : filled;
  TensorRef count = x->dim() ? sum(zero, dims, true) : to_dtype(zero, DType::Int64);
  TensorRef others = where(zero, mul(product, to_dtype(eq(count, 1), x->dtype())),
                           mul(div(product, filled), to_dtype(eq(count, 0), x->dtype())));
  gradient.set(0, mul(with_kept(gradient.g(), mask, attributes.flag), others));
}

const Primitive kProd = everywhere({"prod", infer_sum, run_fold<Fold::Product>, prod_gradient, 1});
const Primitive kProdDim = everywhere({.name = "prod",
                                       .infer = infer_sum,
                                       .run = run_fold<Fold::Product>,
                                       .gradient = prod_gradient,
                                       .saved_inputs = 1,
                                       .grad_name = "ProdBackward1"});

// --- NaN-blind sums, counts, truth

void nansum_gradient(Gradient& gradient) {
  const Attributes& attributes = gradient.attributes();
  TensorRef x = gradient.input(0);
  TensorRef g = spread(gradient.g(), mask_of(attributes), attributes.flag, x->shape());
  gradient.set(0, masked_fill(g, isnan(x), 0));
}

const Primitive kNansum =
    everywhere({"nansum", infer_sum, run_fold<Fold::SumNotNan>, nansum_gradient, 1});
const Primitive kCountNotNan =
    everywhere({"count_not_nan", infer_same, run_fold<Fold::CountNotNan>});

void infer_count(Call& call) {
  infer_same(call);
  call.specs[0].dtype = DType::Int64;
}
void infer_truth(Call& call) {
  infer_same(call);
  if (call.specs[0].dtype != DType::UInt8) call.specs[0].dtype = DType::Bool;
}
template <Fold fold>
void run_truth(Call& call) {
  Reduction reduction{fold};
  reduction.truth = true;
  reduce(call.input(0), mask_of(call.attributes), reduction, &call.output());
}

const Primitive kCountNonzero = everywhere({"count_nonzero", infer_count, run_truth<Fold::Sum>});
const Primitive kAny = everywhere({"any", infer_truth, run_truth<Fold::Max>});
const Primitive kAll = everywhere({"all", infer_truth, run_truth<Fold::Min>});

// --- sum_to

void infer_sum_to(Call& call) {
  DType dtype = call.input(0).dtype();
  call.expect(0, call.attributes.ints, is_floating(dtype) ? dtype : DType::Int64);
}

uint64_t broadcast_mask(const Dims& from, const Dims& to) {
  int64_t lead = from.size() - to.size();
  uint64_t mask = (1ull << lead) - 1;
  for (int64_t d = lead; d < from.size(); ++d) {
    if (to[d - lead] == 1) mask |= 1ull << d;
  }
  return mask;
}

void run_sum_to(Call& call) {
  const Tensor& x = call.input(0);
  reduce(x, broadcast_mask(x.shape(), call.attributes.ints), {Fold::Sum}, &call.output());
}

void sum_to_gradient(Gradient& gradient) {
  gradient.set(0, expand(gradient.g(), gradient.input_shape(0)));
}

const Primitive kSumTo = everywhere({.name = "sum_to",
                                     .infer = infer_sum_to,
                                     .run = run_sum_to,
                                     .gradient = sum_to_gradient,
                                     .grad_name = "SumBackward1"});

// --- logsumexp

// log(sum(exp(x - m))) + m with m the maximum; infinite maxima are left out of the shift.
void run_logsumexp(Call& call) {
  Unrecorded scope;
  const TensorRef& x = call.inputs[0];
  uint64_t mask = mask_of(call.attributes);
  const Dims& shape = x->shape();
  Dims dims = dimensions_of(mask);
  if (x->numel() == 0 || dims.empty()) {
    copy(call.output(), x->numel() == 0 ? *log(sum(exp(x), dims, call.attributes.flag)) : *x);
    return;
  }
  TensorRef top = amax(x, dims, true);
  TensorRef shift = masked_fill(top, eq(abs(top), std::numeric_limits<double>::infinity()), 0);
  TensorRef result = add(log(sum(exp(sub(x, shift)), dims, true)), shift);
  copy(call.output(), *view(contiguous(result), reduced_shape(shape, mask, call.attributes.flag)));
}

void logsumexp_gradient(Gradient& gradient) {
  const Attributes& attributes = gradient.attributes();
  uint64_t mask = mask_of(attributes);
  TensorRef out = with_kept(gradient.output(), mask, attributes.flag);
  TensorRef finite = masked_fill(out, eq(out, -std::numeric_limits<double>::infinity()), 0);
  TensorRef share = exp(sub(gradient.input(0), finite));
  gradient.set(0, mul(with_kept(gradient.g(), mask, attributes.flag), share));
}

const Primitive kLogsumexp =
    everywhere({"logsumexp", infer_same, run_logsumexp, logsumexp_gradient, 1, 1});

void check_sum_to(const Call& call) {
  need_inputs(call, 1, 1);
  const Dims &from = call.input(0).shape(), &to = call.attributes.ints;
  int64_t lead = from.size() - to.size();
  bool fits = lead >= 0 && from.size() < 64;
  for (int64_t d = 0; fits && d < to.size(); ++d) fits = to[d] == 1 || to[d] == from[lead + d];
  need(call, fits, "the shape to sum to does not broadcast to that of the input");
}
PORTABLE(kSum, check_reduction);
PORTABLE_AS(kSumDims, "sum.dims", check_reduction);
PORTABLE(kMean, check_floating_reduction);
PORTABLE_AS(kMeanDims, "mean.dims", check_floating_reduction);
PORTABLE(kProd, check_reduction);
PORTABLE_AS(kProdDim, "prod.dim", check_reduction);
PORTABLE(kNansum, check_floating_reduction);
PORTABLE(kCountNotNan, check_floating_reduction);
PORTABLE(kCountNonzero, check_reduction);
PORTABLE(kAny, check_reduction);
PORTABLE(kAll, check_reduction);
PORTABLE(kSumTo, check_sum_to);
PORTABLE(kLogsumexp, check_floating_reduction);

TensorRef all_of(const Primitive& primitive, const TensorRef& x) {
  return apply(primitive, {x},
               reduction_attributes(dimension_mask(primitive.name, {}, x->dim()), false));
}
TensorRef dims_of(const Primitive& primitive, const TensorRef& x, const std::optional<Dims>& dims,
                  bool keepdim) {
  uint64_t mask = dimension_mask(primitive.name, dims, x->dim());
  return apply(primitive, {x}, reduction_attributes(mask, keepdim));
}
// The input in the dtype asked for.
TensorRef cast(const TensorRef& x, const std::optional<DType>& dtype) {
  return dtype ? to_dtype(x, *dtype) : x;
}

void require_floating(const char* op, DType dtype) {
  require(is_floating(dtype), op, "(): could not infer output dtype. Input dtype must be a ",
          "floating point dtype, got torch.", dtype_name(dtype),
          "; convert it with .float() or pass dtype=");
}

}  // namespace

TensorRef sum(const TensorRef& x) { return all_of(kSum, x); }
TensorRef sum(const TensorRef& x, const Dims& dims, bool keepdim) {
  return dims_of(kSumDims, x, dims, keepdim);
}
TensorRef mean(const TensorRef& x) { return all_of(kMean, x); }
TensorRef mean(const TensorRef& x, const Dims& dims, bool keepdim) {
  return dims_of(kMeanDims, x, dims, keepdim);
}
TensorRef prod(const TensorRef& x, const Dims& dims, bool keepdim) {
  return dims_of(kProdDim, x, dims, keepdim);
}
TensorRef any(const TensorRef& x) { return all_of(kAny, x); }
TensorRef all(const TensorRef& x) { return all_of(kAll, x); }
TensorRef logsumexp(const TensorRef& x, const Dims& dims, bool keepdim) {
  return dims_of(kLogsumexp, is_floating(x->dtype()) ? x : to_dtype(x, default_dtype()), dims,
                 keepdim);
}

TensorRef sum_to(const TensorRef& x, const Dims& shape) {
  if (x->shape() == shape) return x;
  Attributes attributes;
  attributes.ints = shape;
  return apply(kSumTo, {x}, std::move(attributes));
}

// --- Python

#define REDUCED_DIMS                                                                        \
  "    dim (int or tuple of ints, optional): the dimensions to reduce; all if not given.\n" \
  "    keepdim (bool): whether reduced dimensions stay, with length 1.\n"
#define REDUCED_DIMS_ERRORS \
  "Raises:\n    IndexError: a dimension is out of range.\n    RuntimeError: one is named twice."

static TensorRef sum_operator(const TensorRef& input, const std::optional<Dims>& dim, bool keepdim,
                              const std::optional<DType>& dtype) {
  TensorRef x = cast(input, dtype);
  TensorRef result = dim ? dims_of(kSumDims, x, dim, keepdim) : dims_of(kSum, x, dim, keepdim);
  return cast(result, dtype);
}
OPERATOR_FORMS(
    sum_operator, "sum", "input, dim=None, keepdim=False, *, dtype=None", kUsual,
    "Sum of the elements, of all or along dimensions.\n\n"
    "Args:\n    input: a tensor of any dtype.\n" REDUCED_DIMS
    "    dtype (dtype, optional): the elements are converted to it before they are added."
    "\n\nReturns:\n    A tensor of the input's dtype; int64 for integers and bool."
    "\n\n" REDUCED_DIMS_ERRORS
    "\n\nExample:\n    >>> torch.ones(2, 3).sum(1)\n    tensor([3., 3.])")
    .autocast("float32 on cuda");

static TensorRef mean_operator(const TensorRef& input, const std::optional<Dims>& dim, bool keepdim,
                               const std::optional<DType>& dtype) {
  TensorRef x = cast(input, dtype);
  require_floating("mean", x->dtype());
  return dims_of(dim ? kMeanDims : kMean, x, dim, keepdim);
}
OPERATOR_FORMS(mean_operator, "mean", "input, dim=None, keepdim=False, *, dtype=None", kUsual,
               "Mean of the elements, of all or along dimensions.\n\n"
               "Args:\n    input: a tensor of a floating dtype.\n" REDUCED_DIMS
               "    dtype (dtype, optional): the elements are converted to it first.\n\n"
               "Returns:\n    A tensor of the input's dtype; NaN where there are no elements.\n\n"
               "Raises:\n    IndexError: a dimension is out of range.\n"
               "    RuntimeError: the input is not floating, or a dimension is named twice.");

static TensorRef prod_operator(const TensorRef& input, const std::optional<int64_t>& dim,
                               bool keepdim, const std::optional<DType>& dtype) {
  TensorRef x = cast(input, dtype);
  TensorRef result = dim ? dims_of(kProdDim, x, Dims{*dim}, keepdim) : all_of(kProd, x);
  return cast(result, dtype);
}
OPERATOR_FORMS(prod_operator, "prod", "input, dim=None, keepdim=False, *, dtype=None", kUsual,
               "Product of the elements, of all or along one dimension.\n\n"
               "Args:\n    input: a tensor of any dtype.\n"
               "    dim (int, optional): the dimension to reduce; all if not given.\n"
               "    keepdim (bool): whether the dimension stays, with length 1.\n"
               "    dtype (dtype, optional): the elements are converted to it first.\n\n"
               "Returns:\n    A tensor of the input's dtype; int64 for integers and bool.\n\n"
               "Raises:\n    IndexError: the dimension is out of range.")
    .autocast("float32");

static TensorRef nansum(const TensorRef& input, const std::optional<Dims>& dim, bool keepdim,
                        const std::optional<DType>& dtype) {
  TensorRef x = cast(input, dtype);
  if (!is_floating(x->dtype())) return sum_operator(x, dim, keepdim, dtype);
  return dims_of(kNansum, x, dim, keepdim);
}
OPERATOR(nansum, "input, dim=None, keepdim=False, *, dtype=None",
         "Sum of the elements with NaN counted as zero.\n\n"
         "Args:\n    input: a tensor of any dtype.\n" REDUCED_DIMS
         "    dtype (dtype, optional): the elements are converted to it first.\n\n"
         "Returns:\n    A tensor of the input's dtype; int64 for integers and "
         "bool.\n\n" REDUCED_DIMS_ERRORS);

static TensorRef nanmean(const TensorRef& input, const std::optional<Dims>& dim, bool keepdim,
                         const std::optional<DType>& dtype) {
  TensorRef x = cast(input, dtype);
  require_floating("nanmean", x->dtype());
  return div(dims_of(kNansum, x, dim, keepdim), dims_of(kCountNotNan, x, dim, keepdim));
}
OPERATOR(nanmean, "input, dim=None, keepdim=False, *, dtype=None",
         "Mean of the elements that are not NaN.\n\n"
         "Args:\n    input: a tensor of a floating dtype.\n" REDUCED_DIMS
         "    dtype (dtype, optional): the elements are converted to it first.\n\n"
         "Returns:\n    A tensor of the input's dtype; NaN where every element "
         "is.\n\n" REDUCED_DIMS_ERRORS);

static TensorRef count_nonzero(const TensorRef& input, const std::optional<Dims>& dim) {
  return dims_of(kCountNonzero, input, dim, false);
}
OPERATOR(
    count_nonzero, "input, dim=None",
    "Number of elements that are not zero.\n\n"
    "Args:\n    input: a tensor of any dtype.\n"
    "    dim (int or tuple of ints, optional): the dimensions to count along; all if not "
    "given.\n\nReturns:\n    An int64 tensor without those dimensions.\n\n" REDUCED_DIMS_ERRORS);

// An empty list of dimensions reduces nothing here, unlike elsewhere.
static TensorRef truth(const Primitive& primitive, const TensorRef& x,
                       const std::optional<Dims>& dims, bool keepdim) {
  bool nothing = dims && dims->empty();
  return apply(
      primitive, {x},
      reduction_attributes(nothing ? 0 : dimension_mask(primitive.name, dims, x->dim()), keepdim));
}
static TensorRef any_operator(const TensorRef& input, const std::optional<Dims>& dim,
                              bool keepdim) {
  return truth(kAny, input, dim, keepdim);
}
OPERATOR_FORMS(any_operator, "any", "input, dim=None, keepdim=False", kUsual,
               "Whether any element is true (not zero).\n\n"
               "Args:\n    input: a tensor of any dtype.\n" REDUCED_DIMS
               "\nReturns:\n    A bool tensor (uint8 for uint8); False where there are no "
               "elements.\n\n" REDUCED_DIMS_ERRORS);
static TensorRef all_operator(const TensorRef& input, const std::optional<Dims>& dim,
                              bool keepdim) {
  return truth(kAll, input, dim, keepdim);
}
OPERATOR_FORMS(all_operator, "all", "input, dim=None, keepdim=False", kUsual,
               "Whether all elements are true (not zero).\n\n"
               "Args:\n    input: a tensor of any dtype.\n" REDUCED_DIMS
               "\nReturns:\n    A bool tensor (uint8 for uint8); True where there are no "
               "elements.\n\n" REDUCED_DIMS_ERRORS);

static TensorRef logsumexp_operator(const TensorRef& input, const Dims& dim, bool keepdim) {
  return logsumexp(input, dim, keepdim);
}
OPERATOR_FORMS(logsumexp_operator, "logsumexp", "input, dim, keepdim=False", kUsual,
               "Logarithm of the sum of exponentials, without overflow.\n\n"
               "Args:\n    input: a tensor; integers become the default dtype.\n"
               "    dim (int or tuple of ints): the dimensions to reduce.\n"
               "    keepdim (bool): whether they stay, with length 1.\n\n"
               "Returns:\n    max + log(sum(exp(input - max))); -inf where there are no elements."
               "\n\n" REDUCED_DIMS_ERRORS)
    .autocast("float32 on cuda");

static TensorRef sum_to_size(const TensorRef& input, const Dims& size) {
  int64_t lead = input->dim() - size.size();
  bool fits = lead >= 0;
  for (int64_t d = 0; fits && d < size.size(); ++d) {
    fits = size[d] == 1 || size[d] == input->size(lead + d);
  }
  require(fits, "sum_to_size: a size from which ", input->shape(), " can be expanded, got ", size,
          "; its dimensions must be equal or 1");
  return sum_to(input, size);
}
OPERATOR_FORMS(sum_to_size, "sum_to_size", "input, size", kMethod,
               "Sum down to a size from which the input could be expanded.\n\n"
               "Args:\n    input: a tensor.\n    size (ints): the size of the result.\n\n"
               "Returns:\n    A tensor of that size.\n\n"
               "Raises:\n    RuntimeError: the sizes do not fit.");

}  // namespace flambeau
