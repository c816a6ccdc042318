"""Activation functions; kinks take PyTorch's subgradients."""

from __future__ import annotations

from typing import Any

from ._records import EVERYWHERE, FUNCTION, IN_PLACE, OUT, elementwise, scalar

Number = Any

_FORMS = FUNCTION | IN_PLACE | OUT


def _between(x: Number, low: Number, high: Number) -> Number:
    # Unlike clamp, the bounds pass no gradient.
    return scalar.select(scalar.le(x, low), low, scalar.select(scalar.ge(x, high), high, x))


@elementwise(promotion="common", forms=EVERYWHERE, refuses_bool="convert it with .float()")
def relu(input: Number) -> Number:
    """max(input, 0); the gradient at 0 is 0."""
    return scalar.relu(input)


@elementwise(promotion="common", forms=_FORMS, grad_name="HardtanhBackward0")
def relu6(input: Number) -> Number:
    """min(max(input, 0), 6)."""
    return _between(input, 0, 6)


@elementwise(promotion="common", forms=_FORMS)
def hardtanh(input: Number, min_val: Number = -1.0, max_val: Number = 1.0) -> Number:
    """input limited to [min_val, max_val]; no gradient at the bounds."""
    return _between(input, min_val, max_val)


@elementwise(forms=_FORMS)
def leaky_relu(input: Number, negative_slope: Number = 0.01) -> Number:
    """input where it is positive, else negative_slope * input."""
    return scalar.select(scalar.gt(input, 0), input, input * negative_slope)


@elementwise(forms=_FORMS)
def elu(input: Number, alpha: Number = 1.0) -> Number:
    """input where it is positive, else alpha * (exp(input) - 1)."""
    return scalar.select(
        scalar.gt(input, 0), input, alpha * scalar.expm1(scalar.clamp_max(input, 0))
    )


@elementwise(forms=_FORMS, grad_name="EluBackward0")
def selu(input: Number) -> Number:
    """ELU with the slope and scale that keep mean 0 and variance 1 (Klambauer et al., 2017)."""
    scale, alpha = 1.0507009873554805, 1.6732632423543772
    negative = (scale * alpha) * scalar.expm1(scalar.clamp_max(input, 0))
    return scalar.select(scalar.gt(input, 0), scale * input, negative)


@elementwise(forms=_FORMS)
def celu(input: Number, alpha: Number = 1.0) -> Number:
    """max(input, 0) + min(alpha * (exp(input / alpha) - 1), 0) (Barron, 2017)."""
    negative = alpha * scalar.expm1(scalar.clamp_max(input, 0) / alpha)
    return scalar.select(scalar.gt(input, 0), input, negative)


@elementwise(forms=_FORMS)
def silu(input: Number) -> Number:
    """input * sigmoid(input)."""
    return input * scalar.sigmoid(input)


@elementwise(forms=FUNCTION | OUT, autocast="float32 on cuda")
def softplus(input: Number, beta: Number = 1, threshold: Number = 20) -> Number:
    """log(1 + exp(beta * input)) / beta; input itself where beta * input > threshold."""
    x = input * beta
    bounded = scalar.clamp_max(x, threshold)
    return scalar.select(scalar.gt(x, threshold), input, scalar.log1p(scalar.exp(bounded)) / beta)


@elementwise(forms=_FORMS)
def mish(input: Number) -> Number:
    """input * tanh(softplus(input)) (Misra, 2019)."""
    return input * scalar.tanh(softplus(input))


@elementwise(forms=FUNCTION | OUT)
def gelu(input: Number) -> Number:
    """input times the normal distribution function of input (Hendrycks and Gimpel, 2016)."""
    return input * 0.5 * (1 + scalar.erf(input * 0.7071067811865476))


@elementwise(forms=FUNCTION, grad_name="LogSigmoidBackward0")
def logsigmoid(input: Number) -> Number:
    """log(sigmoid(input)), safe for large negative elements."""
    return scalar.minimum(input, 0) - scalar.log1p(scalar.exp(-scalar.abs(input)))


@elementwise(forms=FUNCTION, grad_name="DivBackward0")
def softsign(input: Number) -> Number:
    """input / (1 + |input|)."""
    return input / (1 + scalar.abs(input))


@elementwise(forms=FUNCTION, grad_name="SubBackward0")
def tanhshrink(input: Number) -> Number:
    """input - tanh(input)."""
    return input - scalar.tanh(input)


@elementwise(forms=FUNCTION | OUT)
def softshrink(input: Number, lambd: Number = 0.5) -> Number:
    """Moves input towards 0 by lambd, and to 0 what is nearer."""
    return scalar.select(
        scalar.gt(input, lambd),
        input - lambd,
        scalar.select(scalar.lt(input, -lambd), input + lambd, input * 0),
    )


@elementwise(forms=FUNCTION | OUT)
def hardshrink(input: Number, lambd: Number = 0.5) -> Number:
    """0 where |input| <= lambd, else input."""
    return scalar.select(scalar.le(scalar.abs(input), lambd), 0, input)


@elementwise(promotion="common", forms=_FORMS)
def threshold(input: Number, threshold: Number, value: Number) -> Number:
    """input where it is above the threshold, else value."""
    return scalar.select(scalar.le(input, threshold), value, input)


@elementwise(forms=_FORMS)
def hardsigmoid(input: Number) -> Number:
    """input / 6 + 1 / 2 limited to [0, 1]."""
    return _between(input + 3, 0, 6) / 6


@elementwise(forms=_FORMS)
def hardswish(input: Number) -> Number:
    """input * hardsigmoid(input)."""
    middle = scalar.select(scalar.le(input, 3), input * (input + 3) / 6, input)
    return scalar.select(scalar.lt(input, -3), 0, middle)
