// Operators over whole rows, written as formulas: one pass over memory each way.
#include "ops/rows.h"

#include <limits>

#include "ops/views.h"
#include "program/symbol.h"

namespace flambeau {

namespace {

using symbolic::Symbol;

// exp(x - m) / sum(exp(x - m)) with the row's maximum m; dx = out (g - sum(g out)).
const Pointwise& softmax_operator() {
  static const Pointwise& op = *[] {
    using namespace symbolic;
    Builder builder, derivative;
    Symbol x(builder, builder.input(0));
    Symbol e = symbolic::exp(x - stop(row_max(x)));
    Symbol result = e * symbolic::reciprocal(row_sum(e));
    ProgramRef program = builder.finish(1, {&result.value, 1});
    Symbol out(derivative, derivative.input(1)), g(derivative, derivative.input(2));
    Symbol dx = out * (g - row_sum(g * out));
    program->derivative = derivative.finish(3, {&dx.value, 1});
    return new Pointwise("softmax", std::move(program), Promotion::Floating, 1);
  }();
  return op;
}

// (x - m) - log(sum(exp(x - m))); dx = g - exp(out) sum(g).
const Pointwise& log_softmax_operator() {
  static const Pointwise& op = *[] {
    using namespace symbolic;
    Builder builder, derivative;
    Symbol x(builder, builder.input(0));
    Symbol shifted = x - stop(row_max(x));
    Symbol result = shifted - symbolic::log(row_sum(symbolic::exp(shifted)));
    ProgramRef program = builder.finish(1, {&result.value, 1});
    Symbol out(derivative, derivative.input(1)), g(derivative, derivative.input(2));
    Symbol dx = g - symbolic::exp(out) * row_sum(g);
    program->derivative = derivative.finish(3, {&dx.value, 1});
    return new Pointwise("log_softmax", std::move(program), Promotion::Floating, 1);
  }();
  return op;
}

// Scales and shifts by those of weight and bias that are there.
struct Affine {
  Builder builder;
  Symbol x{builder, builder.input(0)};
  int next = 1;
  Symbol next_operand() { return {builder, builder.input(next++)}; }
  Symbol number() { return {builder, builder.input(next++, Extent::Uniform)}; }
};

Symbol row_mean(const Symbol& x) {
  using namespace symbolic;
  return row_sum(x) / Symbol(*x.builder, x.builder->apply(Instruction::row_count));
}

// Ba et al. (2016), eq. 4: (x - mean) / sqrt(variance + eps) * weight + bias.
const Pointwise* make_layer_norm(bool weight, bool bias) {
  using namespace symbolic;
  Affine formula;
  Symbol scale = weight ? formula.next_operand() : Symbol(1);
  Symbol shift = bias ? formula.next_operand() : Symbol(0);
  int operands = formula.next;
  Symbol eps = formula.number();
  Symbol deviation = formula.x - row_mean(formula.x);
  Symbol variance = row_mean(symbolic::square(deviation));
  Symbol result = deviation * symbolic::rsqrt(variance + eps);
  if (weight && bias) {
    result = symbolic::fma(result, scale, shift);
  } else if (weight || bias) {
    result = weight ? result * scale : result + shift;
  }
  return new Pointwise("layer_norm", formula.builder.finish(formula.next, {&result.value, 1}),
                       Promotion::First, operands, "NativeLayerNormBackward0");
}

// Zhang and Sennrich (2019), eq. 4: x / sqrt(mean(x^2) + eps) * weight.
const Pointwise* make_rms_norm(bool weight) {
  using namespace symbolic;
  Affine formula;
  Symbol scale = weight ? formula.next_operand() : Symbol(1);
  int operands = formula.next;
  Symbol eps = formula.number();
  Symbol mean = row_mean(symbolic::square(formula.x));
  Symbol result = formula.x * symbolic::rsqrt(mean + eps);
  if (weight) result = result * scale;
  return new Pointwise("rms_norm", formula.builder.finish(formula.next, {&result.value, 1}),
                       Promotion::First, operands, "FusedRmsNormBackward0");
}

void check_normalized(const char* name, const TensorRef& x, const Dims& shape) {
  int64_t lead = x->dim() - shape.size();
  bool fits = lead >= 0 && !shape.empty();
  for (int64_t d = 0; fits && d < shape.size(); ++d) fits = x->size(lead + d) == shape[d];
  require(fits, name, ": Given normalized_shape=", shape, ", expected input with shape [*, ",
          "normalized_shape], but got input of size ", x->shape());
  require(is_floating(x->dtype()), name, ": expected a floating tensor, got torch.",
          dtype_name(x->dtype()), "; convert it with .float()");
}

void check_parameter(const char* name, const char* which, const TensorRef& parameter,
                     const Dims& shape) {
  require(!parameter || parameter->shape() == shape, name, ": Expected ", which,
          " to be of same shape as normalized_shape, but got ", which, " of shape ",
          parameter ? parameter->shape() : Dims{}, " and normalized_shape = ", shape);
}

TensorRef normalize(const Pointwise& op, const TensorRef& x, const Dims& shape,
                    std::initializer_list<const TensorRef*> parameters, double eps) {
  int64_t length = count_elements(shape);
  bool flat = shape.size() == 1;
  Dims rows(x->shape().begin(), x->shape().end() - shape.size());
  rows.push_back(length);
  std::vector<Operand> operands{flat ? x : reshape(x, rows)};
  for (const TensorRef* parameter : parameters) {
    if (*parameter) operands.push_back(flat ? *parameter : reshape(*parameter, {length}));
  }
  operands.push_back(Scalar(eps));
  TensorRef result = pointwise(op, operands);
  return flat ? result : reshape(result, x->shape());
}

TensorRef along(const Pointwise& op, const TensorRef& x, int64_t dim) {
  require(is_floating(x->dtype()), op.name, ": expected a floating tensor, got torch.",
          dtype_name(x->dtype()), "; convert it with .float() or pass dtype=torch.float32");
  const Operand operands[] = {x};
  int64_t axis = wrap_dimension(dim, std::max<int64_t>(1, x->dim()), op.name);
  return pointwise_rows(op, operands, axis);
}

}  // namespace

TensorRef softmax(const TensorRef& x, int64_t dim) { return along(softmax_operator(), x, dim); }
TensorRef log_softmax(const TensorRef& x, int64_t dim) {
  return along(log_softmax_operator(), x, dim);
}

TensorRef layer_norm(const TensorRef& x, const Dims& normalized_shape, const TensorRef& weight,
                     const TensorRef& bias, double eps) {
  static const Pointwise* const operators[] = {
      make_layer_norm(false, false), make_layer_norm(true, false), make_layer_norm(false, true),
      make_layer_norm(true, true)};
  check_normalized("layer_norm", x, normalized_shape);
  check_parameter("layer_norm", "weight", weight, normalized_shape);
  check_parameter("layer_norm", "bias", bias, normalized_shape);
  int which = (weight ? 1 : 0) + (bias ? 2 : 0);
  return normalize(*operators[which], x, normalized_shape, {&weight, &bias}, eps);
}

TensorRef rms_norm(const TensorRef& x, const Dims& normalized_shape, const TensorRef& weight,
                   double eps) {
  static const Pointwise* const operators[] = {make_rms_norm(false), make_rms_norm(true)};
  check_normalized("rms_norm", x, normalized_shape);
  check_parameter("rms_norm", "weight", weight, normalized_shape);
  return normalize(*operators[weight ? 1 : 0], x, normalized_shape, {&weight}, eps);
}

static TensorRef softmax_operator_call(const TensorRef& input, int64_t dim,
                                       std::optional<DType> dtype) {
  return softmax(dtype ? to_dtype(input, *dtype) : input, dim);
}
OPERATOR_FORMS(softmax_operator_call, "softmax", "input, dim, dtype=None", kUsual,
               R"(exp(x) / sum(exp(x)) along `dim`, without overflow.

Args:
    input: floating tensor of any shape.
    dim: the dimension whose values sum to one.
    dtype: convert the input to this dtype first.

Returns:
    Tensor of the shape of `input`.

Example:
    >>> torch.softmax(torch.tensor([0.0, 0.0]), 0)
    tensor([0.5000, 0.5000])
)")
    .autocast("float32 on cuda");

static TensorRef log_softmax_operator_call(const TensorRef& input, int64_t dim,
                                           std::optional<DType> dtype) {
  return log_softmax(dtype ? to_dtype(input, *dtype) : input, dim);
}
OPERATOR_FORMS(log_softmax_operator_call, "log_softmax", "input, dim, dtype=None", kUsual,
               R"(x - log(sum(exp(x))) along `dim`, without overflow.

Args:
    input: floating tensor of any shape.
    dim: the dimension over which probabilities sum to one.
    dtype: convert the input to this dtype first.

Returns:
    Tensor of the shape of `input`.
)")
    .autocast("float32 on cuda");

static TensorRef layer_norm_call(const TensorRef& input, const Dims& normalized_shape,
                                 const std::optional<TensorRef>& weight,
                                 const std::optional<TensorRef>& bias, double eps) {
  return layer_norm(input, normalized_shape, weight.value_or(nullptr), bias.value_or(nullptr), eps);
}
OPERATOR_FORMS(layer_norm_call, "layer_norm",
               "input, normalized_shape, weight=None, bias=None, eps=1e-05", kFunction,
               R"(Normalises over the last dimensions (Ba et al., 2016).

Args:
    input: floating tensor (..., *normalized_shape).
    normalized_shape: the shape of one normalised group.
    weight, bias: scale and shift of that shape, or None.
    eps: added to the variance.

Returns:
    Tensor of the shape of `input`.

Raises:
    RuntimeError: shapes that do not fit.
)")
    .autocast("float32 on cuda");

static TensorRef rms_norm_call(const TensorRef& input, const Dims& normalized_shape,
                               const std::optional<TensorRef>& weight,
                               const std::optional<double>& eps) {
  double smallest = input->dtype() == DType::Float64 ? std::numeric_limits<double>::epsilon()
                                                     : std::numeric_limits<float>::epsilon();
  return rms_norm(input, normalized_shape, weight.value_or(nullptr), eps.value_or(smallest));
}
OPERATOR_FORMS(rms_norm_call, "rms_norm", "input, normalized_shape, weight=None, eps=None",
               kFunction,
               R"(x / sqrt(mean(x^2) + eps) over the last dimensions (Zhang and Sennrich, 2019).

Args:
    input: floating tensor (..., *normalized_shape).
    normalized_shape: the shape of one normalised group.
    weight: scale of that shape, or None.
    eps: added to the mean square; by default the dtype's epsilon.

Returns:
    Tensor of the shape of `input`.
)");

}  // namespace flambeau
