// Variances and norms.
#include <cmath>

#include "ops/arithmetic.h"
#include "ops/creation.h"
#include "ops/portable.h"
#include "ops/reduction.h"
#include "ops/sizes.h"
#include "ops/views.h"

namespace flambeau {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

uint64_t mask_of(const Attributes& attributes) { return attributes.ints[0]; }

// --- var, std; scalars[0] is the correction. With a second output: the mean.

template <int outputs>
void infer_moments(Call& call) {
  const Tensor& x = call.input(0);
  Dims shape = reduced_shape(x.shape(), mask_of(call.attributes), call.attributes.flag);
  call.output_count = outputs;
  for (int i = 0; i < outputs; ++i) call.expect(i, shape, x.dtype());
}

template <Finish finish, int outputs>
void run_moments(Call& call) {
  Reduction reduction{Fold::Moments, finish, call.attributes.scalars[0].to_double()};
  reduce(call.input(0), mask_of(call.attributes), reduction, &call.output(),
         outputs == 2 ? &call.output(1) : nullptr);
}

// n - correction, and what the gradient of a variance is multiplied with.
struct Divisor {
  double count, factor;
  Divisor(int64_t elements, double correction) : count(static_cast<double>(elements)) {
    double divisor = std::max(count - correction, 0.0);
    factor = 2 / divisor;
    if (!mode.tracing) return;
    int step = size_step(elements);
    int less = note_size(SizeOp::Constant, -1, -1, Scalar(correction));
    note_size(SizeOp::Sign, step, less, Scalar((count > correction) - (count < correction)));
    if (count <= correction) return;
    int left = note_size(SizeOp::Subtract, step, less, Scalar(divisor));
    int two = note_size(SizeOp::Constant, -1, -1, Scalar(2.0));
    note_size(SizeOp::Divide, two, left, Scalar(factor));
  }
};

// d var / dx = 2 (x - mean) / (n - correction); std divides that by 2 std, and has no gradient
// where it is zero.
template <Finish finish, int outputs>
void moments_gradient(Gradient& gradient) {
  const Attributes& attributes = gradient.attributes();
  uint64_t mask = mask_of(attributes);
  bool keepdim = attributes.flag;
  TensorRef x = gradient.input(0), result;
  Divisor divisor(reduced_count(x->shape(), mask), attributes.scalars[0].to_double());
  if (gradient.g(0)) {
    TensorRef g = gradient.g(0);
    if constexpr (finish == Finish::Deviation) {
      TensorRef deviation = gradient.output(0);
      g = masked_fill(div(g, mul(deviation, 2)), eq(deviation, 0), 0);
    }
    TensorRef centre = x->dim() ? mean(x, dimensions_of(mask), true) : mean(x);
    result = mul(mul(with_kept(g, mask, keepdim), divisor.factor), sub(x, centre));
  }
  if (outputs == 2 && gradient.g(1)) {
    TensorRef share = spread(div(gradient.g(1), divisor.count), mask, keepdim, x->shape());
    result = result ? add(result, share) : share;
  }
  if (result) gradient.set(0, result);
}

template <Finish finish, int outputs>
constexpr Primitive moments(const char* name) {
  return {.name = name,
          .infer = infer_moments<outputs>,
          .run = run_moments<finish, outputs>,
          .gradient = moments_gradient<finish, outputs>,
          .saved_inputs = 1,
          .saved_outputs = finish == Finish::Deviation,
          .run_cuda = run_moments<finish, outputs>};
}
const Primitive kVar = moments<Finish::Variance, 1>("var");
const Primitive kStd = moments<Finish::Deviation, 1>("std");
const Primitive kVarMean = moments<Finish::Variance, 2>("var_mean");
const Primitive kStdMean = moments<Finish::Deviation, 2>("std_mean");

TensorList apply_moments(const Primitive& primitive, const TensorRef& x,
                         const std::optional<Dims>& dims, double correction, bool keepdim) {
  require(is_floating(x->dtype()), primitive.name, "(): a tensor of a floating dtype is needed, ",
          "got torch.", dtype_name(x->dtype()), "; convert it with .float()");
  uint64_t mask = dimension_mask(primitive.name, dims, x->dim());
  Attributes attributes = reduction_attributes(mask, keepdim);
  attributes.scalars[0] = Scalar(correction);
  TensorRef inputs[] = {x};
  Call call{primitive, inputs, std::move(attributes)};
  apply(call);
  return {call.outputs.begin(), call.outputs.begin() + call.output_count};
}

// --- norm; scalars[0] is p

void infer_norm(Call& call) {
  const Tensor& x = call.input(0);
  call.expect(0, reduced_shape(x.shape(), mask_of(call.attributes), call.attributes.flag),
              x.dtype());
}

Reduction norm_of(double p) {
  if (p == 0) return {.fold = Fold::Sum, .truth = true};
  if (p == kInfinity) return {.fold = Fold::MaxAbs};
  if (p == -kInfinity) return {.fold = Fold::MinAbs};
  if (p == 1) return {.fold = Fold::SumAbs};
  if (p == 2) return {.fold = Fold::SumSquare, .finish = Finish::Root, .parameter = 2};
  return {.fold = Fold::SumPower, .finish = Finish::Root, .parameter = p, .power = p};
}

void run_norm(Call& call) {
  double p = call.attributes.scalars[0].to_double();
  reduce(call.input(0), mask_of(call.attributes), norm_of(p), &call.output());
}

// d|x|_p / dx = sign(x) (|x| / norm)^(p - 1); 0 where the norm is 0.
void norm_gradient(Gradient& gradient) {
  const Attributes& attributes = gradient.attributes();
  uint64_t mask = mask_of(attributes);
  double p = attributes.scalars[0].to_double();
  TensorRef x = gradient.input(0);
  TensorRef g = with_kept(gradient.g(), mask, attributes.flag);
  TensorRef norm = with_kept(gradient.output(), mask, attributes.flag);
  if (p == 0) return;  // counts: no gradient at all, as in PyTorch
  if (p == 1) {
    gradient.set(0, mul(g, sign(x)));
  } else if (p == 2) {
    gradient.set(0, mul(x, masked_fill(div(g, norm), eq(norm, 0), 0)));
  } else if (std::abs(p) == kInfinity) {
    TensorRef size = abs(x);
    TensorRef chosen = to_dtype(logical_or(eq(size, norm), isnan(x)), x->dtype());
    TensorRef count = x->dim() ? sum(chosen, dimensions_of(mask), true) : chosen;
    gradient.set(0, mul(mul(div(g, count), chosen), sign(x)));
  } else {
    // |x|^(p - 2) x keeps second derivatives smooth; zeros are masked where p < 2.
    TensorRef weight = p > 2 ? mul(x, pow(abs(x), p - 2))
                             : masked_fill(mul(sign(x), pow(abs(x), p - 1)), eq(x, 0), 0);
    TensorRef scale = masked_fill(div(g, pow(norm, p - 1)), eq(norm, 0), 0);
    gradient.set(0, mul(weight, scale));
  }
}

const Primitive kNorm =
    everywhere({"linalg_vector_norm", infer_norm, run_norm, norm_gradient, 1, 1});

PORTABLE(kVar, check_floating_reduction);
PORTABLE(kStd, check_floating_reduction);
PORTABLE(kVarMean, check_floating_reduction);
PORTABLE(kStdMean, check_floating_reduction);
PORTABLE(kNorm, check_floating_reduction);

}  // namespace

TensorRef vector_norm(const TensorRef& x, double p, const std::optional<Dims>& dims, bool keepdim) {
  require(is_floating(x->dtype()), "linalg.vector_norm: a tensor of a floating dtype is needed, ",
          "got torch.", dtype_name(x->dtype()), "; convert it with .float()");
  uint64_t mask = dimension_mask("linalg.vector_norm", dims, x->dim());
  if (x->numel() == 0 && (p < 0 || p == kInfinity) &&
      count_elements(reduced_shape(x->shape(), mask, false)) > 0) {
    fail("linalg.vector_norm cannot compute the ", p, " norm on an empty tensor because the ",
         "operation does not have an identity; got shape ", x->shape());
  }
  Attributes attributes = reduction_attributes(mask, keepdim);
  attributes.scalars[0] = Scalar(p);
  return apply(kNorm, {x}, std::move(attributes));
}

// --- Python

static double correction_of(const std::optional<Scalar>& correction) {
  return correction ? correction->to_double() : 1;
}

#define MOMENTS_DOC(summary, returned)                                                             \
  summary                                                                                          \
      "\n\nThe mean is subtracted first; parts are joined as in Chan, Golub and LeVeque "          \
      "(1983).\n\nArgs:\n    input: a tensor of a floating dtype.\n"                               \
      "    dim (int or tuple of ints, optional): the dimensions to reduce; all if not given.\n"    \
      "    correction (number): the sum of squares is divided by max(0, n - correction); 1 gives " \
      "the unbiased estimate. The older `unbiased` (bool) stands for 1 or 0.\n"                    \
      "    keepdim (bool): whether reduced dimensions stay, with length 1.\n\nReturns:\n   "       \
      " " returned                                                                                 \
      "; NaN where n is 0, or n equals the correction.\n\n"                                        \
      "Raises:\n    IndexError: a dimension is out of range.\n    RuntimeError: the input is not " \
      "floating, or a dimension is named twice."

// The three forms of PyTorch: (input, dim, *, correction), (input, dim, unbiased), (input,
// unbiased).
#define MOMENTS_OPERATORS(name, primitive, Returned, pack, documentation)                   \
  static Returned name##_unbiased(const TensorRef& input, bool unbiased) {                  \
    return pack(apply_moments(primitive, input, {}, unbiased, false));                      \
  }                                                                                         \
  OPERATOR_FORMS(name##_unbiased, #name, "input, unbiased", kUsual, documentation);         \
  static Returned name##_dims(const TensorRef& input, const std::optional<Dims>& dim,       \
                              bool unbiased, bool keepdim) {                                \
    return pack(apply_moments(primitive, input, dim, unbiased, keepdim));                   \
  }                                                                                         \
  OPERATOR_FORMS(name##_dims, #name, "input, dim, unbiased=True, keepdim=False", kUsual,    \
                 documentation);                                                            \
  static Returned name##_operator(const TensorRef& input, const std::optional<Dims>& dim,   \
                                  const std::optional<Scalar>& correction, bool keepdim) {  \
    return pack(apply_moments(primitive, input, dim, correction_of(correction), keepdim));  \
  }                                                                                         \
  OPERATOR_FORMS(name##_operator, #name, "input, dim=None, *, correction=1, keepdim=False", \
                 kUsual, documentation)

static TensorRef one_of(TensorList results) { return std::move(results[0]); }
static TensorList both_of(TensorList results) { return results; }

MOMENTS_OPERATORS(var, kVar, TensorRef, one_of,
                  MOMENTS_DOC("Variance along dimensions.", "A tensor of the input's dtype"));
MOMENTS_OPERATORS(std, kStd, TensorRef, one_of,
                  MOMENTS_DOC("Standard deviation along dimensions.",
                              "A tensor of the input's dtype"));
MOMENTS_OPERATORS(var_mean, kVarMean, TensorList, both_of,
                  MOMENTS_DOC("Variance and mean along dimensions, in one pass.",
                              "A tuple (variance, mean)"));
MOMENTS_OPERATORS(std_mean, kStdMean, TensorList, both_of,
                  MOMENTS_DOC("Standard deviation and mean along dimensions, in one pass.",
                              "A tuple (standard deviation, mean)"));

static TensorRef vector_norm_operator(const TensorRef& input, const Scalar& ord,
                                      const std::optional<Dims>& dim, bool keepdim,
                                      const std::optional<DType>& dtype) {
  return vector_norm(dtype ? to_dtype(input, *dtype) : input, ord.to_double(), dim, keepdim);
}
OPERATOR_FORMS(vector_norm_operator, "linalg_vector_norm",
               "input, ord=2, dim=None, keepdim=False, *, dtype=None", kPrivate,
               "Vector norm: (sum of |x|^ord)^(1/ord); for inf and -inf the largest and smallest "
               "|x|, for 0 the number of elements that are not zero.\n\n"
               "Args:\n    input: a tensor of a floating dtype.\n    ord (number): the order.\n"
               "    dim (int or tuple of ints, optional): the dimensions to reduce; all if not "
               "given.\n    keepdim (bool): whether they stay, with length 1.\n"
               "    dtype (dtype, optional): the elements are converted to it first.\n\n"
               "Returns:\n    A tensor of the input's dtype.\n\n"
               "Raises:\n    RuntimeError: the input is not floating, or the norm of nothing has "
               "no value.")
    .autocast("float32 on cuda");

static TensorRef norm_number(const TensorRef& input, const std::optional<Scalar>& p,
                             const std::optional<Dims>& dim, bool keepdim,
                             const std::optional<DType>& dtype) {
  return vector_norm(dtype ? to_dtype(input, *dtype) : input, p ? p->to_double() : 2, dim, keepdim);
}
#define NORM_DOC                                                                                   \
  "Norm of a tensor read as one vector, or along dimensions.\n\n"                                  \
  "Args:\n    input: a tensor of a floating dtype.\n    p (number or \"fro\"): the order; "        \
  "\"fro\" "                                                                                       \
  "is 2.\n    dim (int or tuple of ints, optional): the dimensions to reduce; all if not given.\n" \
  "    keepdim (bool): whether they stay, with length 1.\n"                                        \
  "    dtype (dtype, optional): the elements are converted to it first.\n\n"                       \
  "Returns:\n    (sum of |x|^p)^(1/p); the gradient at zero is zero.\n\n"                          \
  "Raises:\n    RuntimeError: the input is not floating.\n    ValueError: an unknown p.\n\n"       \
  "Example:\n    >>> torch.tensor([3., 4.]).norm()\n    tensor(5.)"
OPERATOR_FORMS(norm_number, "norm", "input, p=2, dim=None, keepdim=False, dtype=None", kUsual,
               NORM_DOC)
    .autocast("float32 on cuda");
static TensorRef norm_name(const TensorRef& input, const std::string& p,
                           const std::optional<Dims>& dim, bool keepdim,
                           const std::optional<DType>& dtype) {
  if (p != "fro") {
    fail(ErrorKind::Value, "norm: p is a number or \"fro\", got \"", p,
         "\"; for matrix norms see linalg.matrix_norm");
  }
  return vector_norm(dtype ? to_dtype(input, *dtype) : input, 2, dim, keepdim);
}
OPERATOR_FORMS(norm_name, "norm", "input, p, dim=None, keepdim=False, dtype=None", kUsual, NORM_DOC)
    .autocast("float32 on cuda");

}  // namespace flambeau
