"""Functions of one number: powers, logarithms, angles, rounding, special functions."""

from __future__ import annotations

from typing import Any

from ._records import FUNCTION, OUT, elementwise, scalar

Number = Any

_PI = 3.141592653589793


@elementwise(autocast="float32 on cuda")
def exp(input: Number) -> Number:
    """e to the power of each element. At most 1.1 ULP off in float32."""
    return scalar.exp(input)


@elementwise()
def exp2(input: Number) -> Number:
    """2 to the power of each element."""
    return scalar.exp2(input)


@elementwise(autocast="float32 on cuda")
def expm1(input: Number) -> Number:
    """exp(input) - 1, accurate near 0."""
    return scalar.expm1(input)


@elementwise(domain=(0.1, 4.0), autocast="float32 on cuda")
def log(input: Number) -> Number:
    """The natural logarithm; NaN for negative elements, -inf for 0."""
    return scalar.log(input)


@elementwise(domain=(0.1, 4.0), autocast="float32 on cuda")
def log2(input: Number) -> Number:
    """The logarithm to the base 2."""
    return scalar.log2(input)


@elementwise(domain=(0.1, 4.0), autocast="float32 on cuda")
def log10(input: Number) -> Number:
    """The logarithm to the base 10."""
    return scalar.log10(input)


@elementwise(domain=(-0.8, 4.0), autocast="float32 on cuda")
def log1p(input: Number) -> Number:
    """log(1 + input), accurate near 0."""
    return scalar.log1p(input)


@elementwise(domain=(0.1, 4.0))
def sqrt(input: Number) -> Number:
    """The square root; NaN for negative elements."""
    return scalar.sqrt(input)


@elementwise(domain=(0.1, 4.0), autocast="float32 on cuda")
def rsqrt(input: Number) -> Number:
    """1 / sqrt(input)."""
    return scalar.rsqrt(input)


@elementwise()
def sin(input: Number) -> Number:
    """The sine of angles in radians."""
    return scalar.sin(input)


@elementwise()
def cos(input: Number) -> Number:
    """The cosine of angles in radians."""
    return scalar.cos(input)


@elementwise(domain=(-1.2, 1.2), autocast="float32 on cuda")
def tan(input: Number) -> Number:
    """The tangent of angles in radians."""
    return scalar.tan(input)


@elementwise(aliases=("arcsin",), domain=(-0.9, 0.9), autocast="float32 on cuda")
def asin(input: Number) -> Number:
    """The angle whose sine is input."""
    return scalar.asin(input)


@elementwise(aliases=("arccos",), domain=(-0.9, 0.9), autocast="float32 on cuda")
def acos(input: Number) -> Number:
    """The angle whose cosine is input."""
    return scalar.acos(input)


@elementwise(aliases=("arctan",))
def atan(input: Number) -> Number:
    """The angle whose tangent is input."""
    return scalar.atan(input)


@elementwise(autocast="float32 on cuda")
def sinh(input: Number) -> Number:
    """The hyperbolic sine."""
    return scalar.sinh(input)


@elementwise(autocast="float32 on cuda")
def cosh(input: Number) -> Number:
    """The hyperbolic cosine."""
    return scalar.cosh(input)


@elementwise()
def tanh(input: Number) -> Number:
    """The hyperbolic tangent. At most 2.5 ULP off in float32."""
    return scalar.tanh(input)


@elementwise(aliases=("arcsinh",))
def asinh(input: Number) -> Number:
    """The inverse of sinh."""
    return scalar.asinh(input)


@elementwise(aliases=("arccosh",), domain=(1.1, 4.0))
def acosh(input: Number) -> Number:
    """The inverse of cosh."""
    return scalar.acosh(input)


@elementwise(aliases=("arctanh",), domain=(-0.9, 0.9))
def atanh(input: Number) -> Number:
    """The inverse of tanh."""
    return scalar.atanh(input)


@elementwise()
def sigmoid(input: Number) -> Number:
    """1 / (1 + exp(-input))."""
    return scalar.sigmoid(input)


@elementwise(domain=(0.1, 0.9))
def logit(input: Number) -> Number:
    """log(input / (1 - input)), the inverse of sigmoid."""
    return scalar.log(input / (1 - input))


@elementwise(name="logit", domain=(0.1, 0.9))
def _logit_bounded(input: Number, *, eps: Number) -> Number:
    """log(x / (1 - x)) of input limited to [eps, 1 - eps]."""
    x = scalar.clamp_max(scalar.clamp_min(input, eps), 1 - eps)
    return scalar.log(x / (1 - x))


@elementwise()
def erf(input: Number) -> Number:
    """2 / sqrt(pi) times the integral of exp(-t^2) from 0 to input."""
    return scalar.erf(input)


@elementwise()
def erfc(input: Number) -> Number:
    """1 - erf(input), accurate for large elements."""
    return scalar.erfc(input)


@elementwise(domain=(-0.9, 0.9), autocast="float32 on cuda")
def erfinv(input: Number) -> Number:
    """The inverse of erf."""
    return scalar.erfinv(input)


@elementwise(domain=(0.3, 4.0))
def lgamma(input: Number) -> Number:
    """The logarithm of the magnitude of the gamma function."""
    return scalar.lgamma(input)


@elementwise(domain=(0.3, 4.0))
def digamma(input: Number) -> Number:
    """The derivative of lgamma."""
    return scalar.digamma(input)


@elementwise(forms=FUNCTION | OUT, domain=(1.0, 3.0))
def polygamma(n: Number, input: Number) -> Number:
    """The n-th derivative of digamma."""
    return scalar.polygamma(n, input)


@elementwise(promotion="common")
def floor(input: Number) -> Number:
    """The largest integer that is not above input."""
    return scalar.floor(input)


@elementwise(promotion="common")
def ceil(input: Number) -> Number:
    """The smallest integer that is not below input."""
    return scalar.ceil(input)


@elementwise(promotion="common")
def round(input: Number) -> Number:
    """The nearest integer; halves go to the even one."""
    return scalar.round(input)


@elementwise(promotion="common", aliases=("fix",))
def trunc(input: Number) -> Number:
    """The integer part."""
    return scalar.trunc(input)


@elementwise(promotion="common")
def frac(input: Number) -> Number:
    """input - trunc(input)."""
    return input - scalar.trunc(input)


@elementwise()
def deg2rad(input: Number) -> Number:
    """Degrees to radians."""
    return input * (_PI / 180)


@elementwise()
def rad2deg(input: Number) -> Number:
    """Radians to degrees."""
    return input * (180 / _PI)


@elementwise()
def sinc(input: Number) -> Number:
    """sin(pi x) / (pi x), and 1 for 0."""
    zero = scalar.eq(input, 0)
    x = scalar.select(zero, 1, input) * _PI
    return scalar.select(zero, 1, scalar.sin(x) / x)
