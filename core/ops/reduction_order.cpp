// Largest and smallest elements and where they are.
#include "ops/arithmetic.h"
#include "ops/creation.h"
#include "ops/portable.h"
#include "ops/reduction.h"
#include "ops/views.h"

namespace flambeau {

static uint64_t mask_of(const Attributes& attributes) { return attributes.ints[0]; }

void shared_gradient(Gradient& gradient) {
  const Attributes& attributes = gradient.attributes();
  uint64_t mask = mask_of(attributes);
  TensorRef x = gradient.input(0), out = with_kept(gradient.output(), mask, attributes.flag);
  TensorRef chosen = to_dtype(logical_or(eq(x, out), isnan(x)), x->dtype());
  TensorRef share = chosen;
  if (x->dim()) share = div(chosen, sum(chosen, dimensions_of(mask), true));
  gradient.set(0, mul(with_kept(gradient.g(), mask, attributes.flag), share));
}

namespace {

void infer_extreme(Call& call) {
  const Tensor& x = call.input(0);
  uint64_t mask = mask_of(call.attributes);
  call.expect(0, reduced_shape(x.shape(), mask, call.attributes.flag), x.dtype());
}

template <Fold fold>
void run_extreme(Call& call) {
  reduce(call.input(0), mask_of(call.attributes), {fold}, &call.output());
}

template <Fold fold>
constexpr Primitive extreme(const char* name, const char* grad_name = nullptr) {
  return {.name = name,
          .infer = infer_extreme,
          .run = run_extreme<fold>,
          .gradient = shared_gradient,
          .saved_inputs = 1,
          .saved_outputs = 1,
          .grad_name = grad_name,
          .run_cuda = run_extreme<fold>};
}
const Primitive kMax = extreme<Fold::Max>("max", "MaxBackward1");
const Primitive kMin = extreme<Fold::Min>("min", "MinBackward1");
const Primitive kAmax = extreme<Fold::Max>("amax");
const Primitive kAmin = extreme<Fold::Min>("amin");

// Values and positions along dimension ints[0].
void infer_along(Call& call) {
  const Tensor& x = call.input(0);
  uint64_t mask = x.dim() ? 1ull << call.attributes.ints[0] : 0;
  Dims shape = reduced_shape(x.shape(), mask, call.attributes.flag);
  call.output_count = 2;
  call.expect(0, shape, x.dtype());
  call.expect(1, shape, DType::Int64);
}

template <Fold fold>
void run_along(Call& call) {
  uint64_t mask = call.input(0).dim() ? 1ull << call.attributes.ints[0] : 0;
  reduce(call.input(0), mask, {fold}, &call.output(), &call.output(1));
}

const Primitive kMaxAlong =
    everywhere({"max", infer_along, run_along<Fold::ArgMax>, picked_gradient, 0, 2});
const Primitive kMinAlong =
    everywhere({"min", infer_along, run_along<Fold::ArgMin>, picked_gradient, 0, 2});

// Positions alone; over all elements they count in the order of the dense tensor.
void infer_position(Call& call) {
  const Tensor& x = call.input(0);
  Dims shape = reduced_shape(x.shape(), mask_of(call.attributes), call.attributes.flag);
  call.expect(0, shape, DType::Int64);
}

template <Fold fold>
void run_position(Call& call) {
  uint64_t mask = mask_of(call.attributes);
  const TensorRef& x = call.inputs[0];
  bool one = (mask & (mask - 1)) == 0;
  Unrecorded scope;
  TensorRef dense = one ? x : contiguous(x);
  reduce(*dense, mask, {fold}, nullptr, &call.output());
}

const Primitive kArgmax = everywhere({"argmax", infer_position, run_position<Fold::ArgMax>});
const Primitive kArgmin = everywhere({"argmin", infer_position, run_position<Fold::ArgMin>});

void check_position(const Call& call) {
  check_choice(call);
  uint64_t mask = mask_of(call.attributes), all = (1ull << call.input(0).dim()) - 1;
  need(call, (mask & (mask - 1)) == 0 || mask == all, "one dimension or all are required");
}
PORTABLE(kMax, check_choice);
PORTABLE(kMin, check_choice);
PORTABLE(kAmax, check_choice);
PORTABLE(kAmin, check_choice);
PORTABLE_AS(kMaxAlong, "max.dim", check_choice_along);
PORTABLE_AS(kMinAlong, "min.dim", check_choice_along);
PORTABLE(kArgmax, check_position);
PORTABLE(kArgmin, check_position);

TensorRef all_of(const Primitive& primitive, const TensorRef& x) {
  require(x->numel() > 0, primitive.name, "(): Expected reduction dim to be specified for ",
          "input.numel() == 0, got a tensor of shape ", x->shape(),
          ". Specify the reduction dim with the 'dim' argument.");
  uint64_t mask = dimension_mask(primitive.name, {}, x->dim());
  return apply(primitive, {x}, reduction_attributes(mask, false));
}

TensorRef dims_of(const Primitive& primitive, const TensorRef& x, const std::optional<Dims>& dims,
                  bool keepdim) {
  if ((!dims || dims->empty()) && x->numel() == 0) return all_of(primitive, x);
  uint64_t mask = dimension_mask(primitive.name, dims, x->dim());
  require_elements(primitive.name, *x, mask);
  return apply(primitive, {x}, reduction_attributes(mask, keepdim));
}

TensorList along(const Primitive& primitive, const TensorRef& x, int64_t dim, bool keepdim) {
  dim = wrap_dimension(dim, x->dim(), primitive.name);
  if (x->dim()) require_elements(primitive.name, *x, 1ull << dim);
  TensorRef inputs[] = {x};
  Call call{primitive, inputs, reduction_attributes(dim, keepdim)};
  apply(call);
  return {call.outputs[0], call.outputs[1]};
}

TensorRef position(const Primitive& primitive, const TensorRef& x, std::optional<int64_t> dim,
                   bool keepdim) {
  std::optional<Dims> dims;
  if (dim) dims = Dims{*dim};
  if (!dim && x->numel() == 0) {
    fail(ErrorKind::Index, primitive.name, "(): Expected reduction dim to be specified for ",
         "input.numel() == 0, got a tensor of shape ", x->shape(), "; pass dim=");
  }
  return dims_of(primitive, x, dims, keepdim);
}

const char* const kPicked[] = {"values", "indices"};

}  // namespace

TensorRef amax(const TensorRef& x, const Dims& dims, bool keepdim) {
  return dims_of(kAmax, x, dims, keepdim);
}
TensorRef amin(const TensorRef& x, const Dims& dims, bool keepdim) {
  return dims_of(kAmin, x, dims, keepdim);
}
TensorList max_along(const TensorRef& x, int64_t dim, bool keepdim) {
  return along(kMaxAlong, x, dim, keepdim);
}
TensorList min_along(const TensorRef& x, int64_t dim, bool keepdim) {
  return along(kMinAlong, x, dim, keepdim);
}

// --- Python

#define EXTREME_DOC(word)                                                                         \
  word " element.\n\nArgs:\n    input: a tensor of any dtype, not empty.\n\nReturns:\n    A 0-d " \
       "tensor of the input's dtype; NaN if any element is. Equal elements share the gradient."   \
       "\n\nRaises:\n    RuntimeError: the input has no elements."
#define EXTREME_ALONG_DOC(word)                                                              \
  word " elements along a dimension, and where they are.\n\n"                                \
       "Args:\n    input: a tensor of any dtype.\n    dim (int): the dimension to reduce.\n" \
       "    keepdim (bool): whether it stays, with length 1.\n\n"                            \
       "Returns:\n    A named tuple (values, indices): tensors of the input's dtype and of " \
       "int64. The first of equal elements is taken; a NaN counts as the extreme.\n\n"       \
       "Raises:\n    IndexError: the dimension is out of range, or has no elements."
#define EXTREME_BOTH_DOC(word)                                                                 \
  word " of two tensors, element by element (torch." word                                      \
       "imum).\n\n"                                                                            \
       "Args:\n    input, other: tensors of shapes that broadcast.\n\nReturns:\n    A tensor " \
       "of the common shape and dtype.\n\nRaises:\n    RuntimeError: the shapes do not broadcast."

static TensorRef max_all(const TensorRef& input) { return all_of(kMax, input); }
OPERATOR_FORMS(max_all, "max", "input", kUsual, EXTREME_DOC("Largest"));
static Result max_dim(const TensorRef& input, int64_t dim, bool keepdim) {
  return Result::named("max", kPicked, max_along(input, dim, keepdim));
}
OPERATOR_FORMS(max_dim, "max", "input, dim, keepdim=False", kUsual, EXTREME_ALONG_DOC("Largest"));
static TensorRef max_both(const TensorRef& input, const TensorRef& other) {
  return maximum(input, other);
}
OPERATOR_FORMS(max_both, "max", "input, other", kUsual, EXTREME_BOTH_DOC("max"));

static TensorRef min_all(const TensorRef& input) { return all_of(kMin, input); }
OPERATOR_FORMS(min_all, "min", "input", kUsual, EXTREME_DOC("Smallest"));
static Result min_dim(const TensorRef& input, int64_t dim, bool keepdim) {
  return Result::named("min", kPicked, min_along(input, dim, keepdim));
}
OPERATOR_FORMS(min_dim, "min", "input, dim, keepdim=False", kUsual, EXTREME_ALONG_DOC("Smallest"));
static TensorRef min_both(const TensorRef& input, const TensorRef& other) {
  return minimum(input, other);
}
OPERATOR_FORMS(min_both, "min", "input, other", kUsual, EXTREME_BOTH_DOC("min"));

#define AMAX_DOC(word)                                                                          \
  word " elements along one or several dimensions. Equal elements share the gradient.\n\n"      \
       "Args:\n    input: a tensor of any dtype.\n    dim (int or tuple of ints): the "         \
       "dimensions to reduce; all if empty.\n    keepdim (bool): whether they stay, with "      \
       "length 1.\n\nReturns:\n    A tensor of the input's dtype.\n\nRaises:\n    IndexError: " \
       "a dimension is out of range or has no elements.\n    RuntimeError: one is named twice."

static TensorRef amax_operator(const TensorRef& input, const Dims& dim, bool keepdim) {
  return amax(input, dim, keepdim);
}
OPERATOR_FORMS(amax_operator, "amax", "input, dim=(), keepdim=False", kUsual, AMAX_DOC("Largest"));
static TensorRef amin_operator(const TensorRef& input, const Dims& dim, bool keepdim) {
  return amin(input, dim, keepdim);
}
OPERATOR_FORMS(amin_operator, "amin", "input, dim=(), keepdim=False", kUsual, AMAX_DOC("Smallest"));

static Result aminmax(const TensorRef& input, const std::optional<int64_t>& dim, bool keepdim) {
  static const char* const kFields[] = {"min", "max"};
  require(dim || input->numel() > 0, "aminmax(): cannot compute aminmax over an empty dimension, ",
          "got a tensor of shape ", input->shape(), "; pass dim=");
  Dims dims = dim ? Dims{*dim} : Dims{};
  return Result::named("aminmax", kFields,
                       {amin(input, dims, keepdim), amax(input, dims, keepdim)});
}
OPERATOR(aminmax, "input, *, dim=None, keepdim=False",
         "Smallest and largest elements in one call.\n\n"
         "Args:\n    input: a tensor of any dtype.\n"
         "    dim (int, optional): the dimension to reduce; all if not given.\n"
         "    keepdim (bool): whether it stays, with length 1.\n\n"
         "Returns:\n    A named tuple (min, max) of tensors of the input's dtype.\n\n"
         "Raises:\n    RuntimeError, IndexError: there is nothing to reduce.");

#define POSITION_DOC(word)                                                               \
  "Index of the first " word                                                             \
  " element.\n\n"                                                                        \
  "Args:\n    input: a tensor of any dtype.\n    dim (int, optional): the dimension to " \
  "search along; without it the index counts through the flattened tensor.\n"            \
  "    keepdim (bool): whether the dimension stays, with length 1.\n\n"                  \
  "Returns:\n    An int64 tensor; a NaN counts as the " word                             \
  " element.\n\n"                                                                        \
  "Raises:\n    IndexError: the dimension is out of range, or has no elements."

static TensorRef argmax(const TensorRef& input, const std::optional<int64_t>& dim, bool keepdim) {
  return position(kArgmax, input, dim, keepdim);
}
OPERATOR(argmax, "input, dim=None, keepdim=False", POSITION_DOC("largest"));
static TensorRef argmin(const TensorRef& input, const std::optional<int64_t>& dim, bool keepdim) {
  return position(kArgmin, input, dim, keepdim);
}
OPERATOR(argmin, "input, dim=None, keepdim=False", POSITION_DOC("smallest"));

}  // namespace flambeau
