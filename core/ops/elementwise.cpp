// Forms of elementwise operators whose arguments choose between formulas.
#include <cmath>
#include <limits>

#include "ops/arithmetic.h"
#include "program/activation.h"
#include "program/symbol.h"

namespace flambeau {

static TensorRef div_rounded(const TensorOrScalar& input, const TensorOrScalar& other,
                             const std::optional<std::string>& rounding_mode) {
  require(input.tensor || other.tensor, "div: one operand must be a tensor");
  if (!rounding_mode) return div(input, other);
  if (*rounding_mode == "floor") return floor_divide(input, other);
  require(*rounding_mode == "trunc",
          "div: expected rounding_mode to be one of None, 'trunc', or 'floor' but found '",
          *rounding_mode, "'");
  static const Pointwise& truncated = pointwise_of(Instruction::trunc_divide);
  return pointwise(truncated, {Operand(input), Operand(other)});
}

#define FLAMBEAU_DIV(name)                                                               \
  OPERATOR_FORMS(div_rounded, name, "input, other, *, rounding_mode", kUsual | kInPlace, \
                 "input / other; rounding_mode 'floor' rounds down, 'trunc' towards zero.")
FLAMBEAU_DIV("div");
FLAMBEAU_DIV("divide");

template <class Bound>
static TensorRef clamp_optional(const TensorRef& input, const std::optional<Bound>& min,
                                const std::optional<Bound>& max) {
  require(min || max, "clamp: At least one of 'min' or 'max' must not be None");
  TensorRef result = input;
  static const Pointwise& from_below = pointwise_of(Instruction::clamp_min);
  static const Pointwise& from_above = pointwise_of(Instruction::clamp_max);
  if (min) result = pointwise(from_below, {result, Operand(*min)});
  if (max) result = pointwise(from_above, {result, Operand(*max)});
  return result;
}

#define FLAMBEAU_CLAMP(name)                                                                      \
  OPERATOR_FORMS(clamp_optional<Scalar>, name, "input, min=None, max=None", kUsual | kInPlace,    \
                 "input limited to [min, max]; None is no limit.");                               \
  OPERATOR_FORMS(clamp_optional<TensorRef>, name, "input, min=None, max=None", kUsual | kInPlace, \
                 "input limited to [min, max]; None is no limit.")
FLAMBEAU_CLAMP("clamp");
FLAMBEAU_CLAMP("clip");

static TensorRef gelu_approximate(const TensorRef& input, const std::string& approximate) {
  static const Pointwise& tanh_form =
      *new Pointwise("gelu", gelu_by_tanh(), Promotion::Floating, 1);
  static const Pointwise& erf_form = *[] {
    using namespace symbolic;
    Builder builder;
    Symbol x(builder, builder.input(0));
    Symbol result = x * 0.5 * (1 + erf(x * 0.7071067811865476));
    return new Pointwise("gelu", builder.finish(1, {&result.value, 1}), Promotion::Floating, 1);
  }();
  require(approximate == "none" || approximate == "tanh",
          "gelu: approximate argument must be either none or tanh, got '", approximate, "'");
  return unary(approximate == "tanh" ? tanh_form : erf_form, input);
}
OPERATOR_FORMS(gelu_approximate, "gelu", "input, *, approximate", kFunction | kOut,
               "GELU; approximate='tanh' takes the tanh approximation of the distribution.");

static TensorRef round_decimals(const TensorRef& input, int64_t decimals) {
  static const Pointwise& rounded = pointwise_of(Instruction::round);
  if (decimals == 0) return unary(rounded, input);
  Scalar power(std::pow(10.0, static_cast<double>(std::abs(decimals))));
  return decimals > 0 ? div(unary(rounded, mul(input, power)), power)
                      : mul(unary(rounded, div(input, power)), power);
}
OPERATOR_FORMS(round_decimals, "round", "input, *, decimals", kUsual | kInPlace,
               "Rounds to a number of decimal places; halves go to the even digit.");

static double largest(DType dtype) {
  switch (dtype) {
    case DType::Float16:
      return 65504.0;
    case DType::BFloat16:
      return 3.3895313892515355e38;
    case DType::Float32:
      return std::numeric_limits<float>::max();
    default:
      return std::numeric_limits<double>::max();
  }
}

static TensorRef nan_to_num(const TensorRef& input, std::optional<double> nan,
                            std::optional<double> posinf, std::optional<double> neginf) {
  if (!is_floating(input->dtype())) return mul(input, 1);
  static const Pointwise& op = *[] {
    using namespace symbolic;
    Builder builder;
    Symbol x(builder, builder.input(0));
    Symbol number(builder, builder.input(1, Extent::Uniform));
    Symbol positive(builder, builder.input(2, Extent::Uniform));
    Symbol negative(builder, builder.input(3, Extent::Uniform));
    Symbol finite = symbolic::select(isinf(x), symbolic::select(gt(x, 0), positive, negative), x);
    Symbol result = symbolic::select(symbolic::isnan(x), number, finite);
    return new Pointwise("nan_to_num", builder.finish(4, {&result.value, 1}), Promotion::Common, 1);
  }();
  double limit = largest(input->dtype());
  return pointwise(op, {input, Scalar(nan.value_or(0.0)), Scalar(posinf.value_or(limit)),
                        Scalar(neginf.value_or(-limit))});
}
OPERATOR_FORMS(nan_to_num, "nan_to_num", "input, nan=0.0, posinf=None, neginf=None",
               kUsual | kInPlace,
               "Replaces NaN by `nan`, infinities by `posinf` and `neginf` (None: the dtype's "
               "largest and smallest numbers).");

}  // namespace flambeau
