"""Arithmetic: sums, products, quotients, powers, and what is made of them."""

from __future__ import annotations

from typing import Any

from ._records import EVERYWHERE, FUNCTION, METHOD, OUT, elementwise, scalar

# In formulas x is a number; the annotations say what the operators take.
Number = Any

_USE_XOR = "use the ^ operator or logical_xor() instead"
_USE_NOT = "to invert a mask, use the ~ operator or logical_not() instead"


@elementwise(promotion="common")
def add(input: Number, other: Number) -> Number:
    """input + other."""
    return scalar.add(input, other)


@elementwise(promotion="common", name="add")
def _add_scaled(input: Number, other: Number, *, alpha: Number = 1) -> Number:
    """input + alpha * other."""
    return input + alpha * other


@elementwise(promotion="common", aliases=("subtract",), refuses_bool=_USE_XOR)
def sub(input: Number, other: Number) -> Number:
    """input - other."""
    return scalar.sub(input, other)


@elementwise(promotion="common", name="sub", aliases=("subtract",), refuses_bool=_USE_XOR)
def _sub_scaled(input: Number, other: Number, *, alpha: Number = 1) -> Number:
    """input - alpha * other."""
    return input - alpha * other


@elementwise(promotion="common", forms=FUNCTION | METHOD, refuses_bool=_USE_XOR)
def rsub(input: Number, other: Number, *, alpha: Number = 1) -> Number:
    """other - alpha * input."""
    return other - alpha * input


@elementwise(promotion="common", aliases=("multiply",))
def mul(input: Number, other: Number) -> Number:
    """input * other."""
    return scalar.mul(input, other)


@elementwise(aliases=("divide", "true_divide"))
def div(input: Number, other: Number) -> Number:
    """input / other; integers become floating."""
    return scalar.div(input, other)


@elementwise(promotion="common", domain=(0.5, 3.0))
def floor_divide(input: Number, other: Number) -> Number:
    """The quotient rounded down to an integer."""
    return scalar.floor_divide(input, other)


@elementwise(promotion="common", domain=(0.5, 3.0))
def remainder(input: Number, other: Number) -> Number:
    """input - other * floor(input / other): has the sign of `other`, as Python's %."""
    return scalar.remainder(input, other)


@elementwise(promotion="common", domain=(0.5, 3.0))
def fmod(input: Number, other: Number) -> Number:
    """The remainder of C: has the sign of `input`."""
    return scalar.fmod(input, other)


@elementwise(promotion="common", domain=(0.5, 2.0), autocast="float32 on cuda")
def pow(input: Number, exponent: Number) -> Number:
    """input to the power of exponent."""
    return scalar.pow(input, exponent)


@elementwise(promotion="common", aliases=("negative",), refuses_bool=_USE_NOT)
def neg(input: Number) -> Number:
    """-input."""
    return scalar.neg(input)


@elementwise(promotion="common", aliases=("absolute",))
def abs(input: Number) -> Number:
    """The magnitude of each element; the gradient at 0 is 0."""
    return scalar.abs(input)


@elementwise(promotion="common")
def sign(input: Number) -> Number:
    """1 for positive elements, -1 for negative ones, 0 for 0."""
    return scalar.sign(input)


@elementwise(promotion="common")
def sgn(input: Number) -> Number:
    """1 for positive elements, -1 for negative ones, 0 for 0."""
    return scalar.sign(input)


@elementwise(promotion="common", grad_name="PowBackward0")
def square(input: Number) -> Number:
    """input * input."""
    return scalar.square(input)


@elementwise(domain=(0.5, 3.0), autocast="float32 on cuda")
def reciprocal(input: Number) -> Number:
    """1 / input."""
    return scalar.reciprocal(input)


@elementwise(promotion="common")
def maximum(input: Number, other: Number) -> Number:
    """The larger of two numbers; NaN if one is NaN. A tie halves the gradient."""
    return scalar.maximum(input, other)


@elementwise(promotion="common")
def minimum(input: Number, other: Number) -> Number:
    """The smaller of two numbers; NaN if one is NaN. A tie halves the gradient."""
    return scalar.minimum(input, other)


@elementwise(promotion="common")
def fmax(input: Number, other: Number) -> Number:
    """The larger of two numbers; of a number and NaN, the number."""
    return scalar.fmax(input, other)


@elementwise(promotion="common")
def fmin(input: Number, other: Number) -> Number:
    """The smaller of two numbers; of a number and NaN, the number."""
    return scalar.fmin(input, other)


@elementwise(promotion="common", aliases=("clip",), grad_name="ClampBackward1")
def clamp(input: Number, min: Number, max: Number) -> Number:
    """input limited to [min, max]; the bounds pass the gradient."""
    return scalar.clamp_max(scalar.clamp_min(input, min), max)


@elementwise(promotion="common", name="clamp", aliases=("clip",), grad_name="ClampBackward1")
def _clamp_below(input: Number, min: Number) -> Number:
    """max(input, min); the bound passes the gradient."""
    return scalar.clamp_min(input, min)


@elementwise(promotion="common", name="clamp", aliases=("clip",), grad_name="ClampBackward1")
def _clamp_above(input: Number, max: Number) -> Number:
    """min(input, max); the bound passes the gradient."""
    return scalar.clamp_max(input, max)


@elementwise(promotion="common")
def clamp_min(input: Number, min: Number) -> Number:
    """max(input, min); the bound passes the gradient."""
    return scalar.clamp_min(input, min)


@elementwise(promotion="common")
def clamp_max(input: Number, max: Number) -> Number:
    """min(input, max); the bound passes the gradient."""
    return scalar.clamp_max(input, max)


@elementwise(promotion="common")
def lerp(input: Number, end: Number, weight: Number) -> Number:
    """input + weight * (end - input), from the nearer end so that both ends are exact."""
    step = end - input
    near = scalar.lt(scalar.abs(weight), 0.5)
    return scalar.select(near, input + weight * step, end - step * (1 - weight))


@elementwise(promotion="common")
def addcmul(input: Number, tensor1: Number, tensor2: Number, *, value: Number = 1) -> Number:
    """input + value * tensor1 * tensor2."""
    return input + value * (tensor1 * tensor2)


@elementwise(domain=(0.5, 3.0))
def addcdiv(input: Number, tensor1: Number, tensor2: Number, *, value: Number = 1) -> Number:
    """input + value * tensor1 / tensor2."""
    return input + value * (tensor1 / tensor2)


@elementwise(domain=(0.2, 3.0))
def copysign(input: Number, other: Number) -> Number:
    """The magnitude of input with the sign of other."""
    return scalar.copysign(input, other)


@elementwise(forms=EVERYWHERE)
def ldexp(input: Number, other: Number) -> Number:
    """input * 2^other."""
    return input * scalar.exp2(other)


@elementwise(aliases=("arctan2",), domain=(0.5, 3.0))
def atan2(input: Number, other: Number) -> Number:
    """The angle of the point (other, input), between -pi and pi."""
    return scalar.atan2(input, other)


@elementwise(domain=(0.5, 3.0))
def hypot(input: Number, other: Number) -> Number:
    """sqrt(input^2 + other^2) without overflow on the way."""
    return scalar.hypot(input, other)


@elementwise(forms=FUNCTION | METHOD | OUT)
def logaddexp(input: Number, other: Number) -> Number:
    """log(exp(input) + exp(other)), safe for large numbers."""
    same = scalar.logical_and(scalar.isinf(input), scalar.eq(input, other))
    gap = scalar.select(same, 0, input - other)
    return scalar.maximum(input, other) + scalar.log1p(scalar.exp(-scalar.abs(gap))) * (1 - same)


@elementwise(forms=FUNCTION | METHOD | OUT)
def logaddexp2(input: Number, other: Number) -> Number:
    """log2(2^input + 2^other), safe for large numbers."""
    same = scalar.logical_and(scalar.isinf(input), scalar.eq(input, other))
    gap = scalar.select(same, 0, input - other)
    larger = scalar.maximum(input, other)
    return larger + scalar.log1p(scalar.exp2(-scalar.abs(gap))) * (1.4426950408889634 * (1 - same))


@elementwise(domain=(0.5, 3.0))
def xlogy(input: Number, other: Number) -> Number:
    """input * log(other), and 0 where input is 0."""
    safe = scalar.select(scalar.logical_and(scalar.eq(input, 0), scalar.le(other, 0)), 1, other)
    return input * scalar.log(safe)


@elementwise(promotion="common", grad_name="WhereBackward0")
def heaviside(input: Number, values: Number) -> Number:
    """0 for negative elements, 1 for positive ones, `values` for 0."""
    return scalar.select(scalar.eq(input, 0), values, scalar.gt(input, 0))


@elementwise(forms=FUNCTION | METHOD | OUT)
def nextafter(input: Number, other: Number) -> Number:
    """The next floating number after input in the direction of other."""
    return scalar.nextafter(input, other)
