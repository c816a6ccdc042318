"""Comparisons, tests, logic, bits and choices."""

from __future__ import annotations

from typing import Any

from ._records import FUNCTION, METHOD, OUT, USUAL, elementwise, scalar

Number = Any


@elementwise(promotion="compare")
def eq(input: Number, other: Number) -> Number:
    """input == other."""
    return scalar.eq(input, other)


@elementwise(promotion="compare", aliases=("not_equal",))
def ne(input: Number, other: Number) -> Number:
    """input != other."""
    return scalar.ne(input, other)


@elementwise(promotion="compare", aliases=("less",))
def lt(input: Number, other: Number) -> Number:
    """input < other."""
    return scalar.lt(input, other)


@elementwise(promotion="compare", aliases=("less_equal",))
def le(input: Number, other: Number) -> Number:
    """input <= other."""
    return scalar.le(input, other)


@elementwise(promotion="compare", aliases=("greater",))
def gt(input: Number, other: Number) -> Number:
    """input > other."""
    return scalar.gt(input, other)


@elementwise(promotion="compare", aliases=("greater_equal",))
def ge(input: Number, other: Number) -> Number:
    """input >= other."""
    return scalar.ge(input, other)


@elementwise(promotion="compare_floating", forms=FUNCTION | METHOD)
def isclose(
    input: Number,
    other: Number,
    rtol: Number = 1e-05,
    atol: Number = 1e-08,
    equal_nan: Number = False,
) -> Number:
    """|input - other| <= atol + rtol * |other|."""
    near = scalar.le(scalar.abs(input - other), atol + scalar.abs(rtol * other))
    both_nan = scalar.logical_and(scalar.isnan(input), scalar.isnan(other))
    return (
        scalar.eq(input, other)
        | (near & scalar.isfinite(input) & scalar.isfinite(other))
        | (both_nan & equal_nan)
    )


@elementwise(promotion="compare")
def logical_and(input: Number, other: Number) -> Number:
    """Both are not zero."""
    return scalar.logical_and(input, other)


@elementwise(promotion="compare")
def logical_or(input: Number, other: Number) -> Number:
    """At least one is not zero."""
    return scalar.logical_or(input, other)


@elementwise(promotion="compare")
def logical_xor(input: Number, other: Number) -> Number:
    """Exactly one is not zero."""
    return scalar.logical_xor(input, other)


@elementwise(promotion="compare")
def logical_not(input: Number) -> Number:
    """input is zero."""
    return scalar.logical_not(input)


@elementwise(promotion="compare", forms=FUNCTION | METHOD)
def isnan(input: Number) -> Number:
    """input is not a number."""
    return scalar.isnan(input)


@elementwise(promotion="compare", forms=FUNCTION | METHOD)
def isinf(input: Number) -> Number:
    """input is infinite."""
    return scalar.isinf(input)


@elementwise(promotion="compare", forms=FUNCTION | METHOD)
def isfinite(input: Number) -> Number:
    """input is neither infinite nor NaN."""
    return scalar.isfinite(input)


@elementwise(promotion="compare", forms=USUAL)
def isposinf(input: Number) -> Number:
    """input is positive infinity."""
    return scalar.isinf(input) & scalar.gt(input, 0)


@elementwise(promotion="compare", forms=USUAL)
def isneginf(input: Number) -> Number:
    """input is negative infinity."""
    return scalar.isinf(input) & scalar.lt(input, 0)


@elementwise(promotion="compare", forms=USUAL)
def signbit(input: Number) -> Number:
    """input has a negative sign (that of -0.0 counts)."""
    return scalar.signbit(input)


@elementwise(promotion="integral")
def bitwise_and(input: Number, other: Number) -> Number:
    """input & other."""
    return scalar.bitwise_and(input, other)


@elementwise(promotion="integral")
def bitwise_or(input: Number, other: Number) -> Number:
    """input | other."""
    return scalar.bitwise_or(input, other)


@elementwise(promotion="integral")
def bitwise_xor(input: Number, other: Number) -> Number:
    """input ^ other."""
    return scalar.bitwise_xor(input, other)


@elementwise(promotion="integral")
def bitwise_not(input: Number) -> Number:
    """~input; for bool, the logical inverse."""
    return scalar.bitwise_not(input)


@elementwise(promotion="integral", domain=(0, 5))
def bitwise_left_shift(input: Number, other: Number) -> Number:
    """input << other."""
    return scalar.bitwise_left_shift(input, other)


@elementwise(promotion="integral", domain=(0, 5))
def bitwise_right_shift(input: Number, other: Number) -> Number:
    """input >> other, with the sign."""
    return scalar.bitwise_right_shift(input, other)


@elementwise(promotion="common", forms=FUNCTION | OUT, conditions=1)
def where(condition: Number, input: Number, other: Number) -> Number:
    """input where condition is true, else other."""
    return scalar.select(condition, input, other)


@elementwise(promotion="first", conditions=2)
def masked_fill(input: Number, mask: Number, value: Number) -> Number:
    """value where mask is true, else input."""
    return scalar.select(mask, value, input)
