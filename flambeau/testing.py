"""Comparisons for tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flambeau
from flambeau import Tensor

# Relative and absolute tolerances, by the dtype that is compared.
_TOLERANCES = {
    "float16": (1e-3, 1e-5),
    "bfloat16": (1.6e-2, 1e-5),
    "float32": (1.3e-6, 1e-5),
    "float64": (1e-7, 1e-7),
}
_Message = str | Callable[[str], str] | None


def assert_close(
    actual: Any,
    expected: Any,
    *,
    rtol: float | None = None,
    atol: float | None = None,
    equal_nan: bool = False,
    check_device: bool = True,
    check_dtype: bool = True,
    check_stride: bool = False,
    msg: _Message = None,
) -> None:
    """Asserts that |actual - expected| <= atol + rtol |expected| for all elements.

    Args:
        actual, expected: tensors, NumPy arrays, numbers, or sequences and mappings of them, of
            equal shapes and structure.
        rtol, atol: both or neither; by default what the less precise dtype allows, 0 for integers.
        equal_nan: whether NaN is close to NaN.
        check_device, check_dtype, check_stride: whether these must be equal, too.
        msg: the text of the error, or a function that makes it from the usual one.

    Raises:
        AssertionError: they are not close; says where, and by how much.
        ValueError: only one of rtol and atol was given.

    Example:
        >>> flambeau.testing.assert_close(flambeau.ones(2) / 3, flambeau.full((2,), 0.3333333))
    """
    if (rtol is None) != (atol is None):
        raise ValueError("assert_close: give both rtol and atol, or neither")

    def compare(a: Any, b: Any, where: str) -> None:
        problem = _difference(
            _as_tensor(a), _as_tensor(b), rtol, atol, equal_nan, check_device, check_dtype
        )
        if problem is None and check_stride and _as_tensor(a).stride() != _as_tensor(b).stride():
            problem = f"The strides are not equal: {a.stride()} and {b.stride()}"
        if problem is not None:
            text = problem + (f"\n\nThe failure occurred for item {where}" if where else "")
            raise AssertionError(msg(text) if callable(msg) else msg or text)

    _walk(actual, expected, "", compare)


def _walk(actual: Any, expected: Any, where: str, compare: Callable[[Any, Any, str], None]) -> None:
    if isinstance(actual, Mapping) and isinstance(expected, Mapping):
        if actual.keys() != expected.keys():
            raise AssertionError(
                f"The keys of the mappings do not match: {sorted(map(str, actual))} and "
                f"{sorted(map(str, expected))}"
            )
        for key in actual:
            _walk(actual[key], expected[key], f"{where}[{key!r}]", compare)
    elif _is_sequence(actual) and _is_sequence(expected):
        if len(actual) != len(expected):
            raise AssertionError(
                f"The length of the sequences mismatch: {len(actual)} != {len(expected)}"
            )
        for i, (a, b) in enumerate(zip(actual, expected)):
            _walk(a, b, f"{where}[{i}]", compare)
    else:
        compare(actual, expected, where)


def _is_sequence(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _as_tensor(value: Any) -> Tensor:
    if isinstance(value, Tensor):
        return value.detach()
    if isinstance(value, float):
        return flambeau.tensor(value, dtype=flambeau.float64)
    try:
        return flambeau.as_tensor(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(
            f"assert_close: tensors, arrays, numbers, or sequences and mappings of them are "
            f"compared, got {type(value).__name__}"
        ) from error


def _difference(
    a: Tensor,
    b: Tensor,
    rtol: float | None,
    atol: float | None,
    equal_nan: bool,
    check_device: bool,
    check_dtype: bool,
) -> str | None:
    """What is wrong, or None."""
    if a.shape != b.shape:
        return f"The values for attribute 'shape' do not match: {a.shape} != {b.shape}."
    if check_device and a.device != b.device:
        return f"The values for attribute 'device' do not match: {a.device} != {b.device}."
    if check_dtype and a.dtype != b.dtype:
        return f"The values for attribute 'dtype' do not match: {a.dtype} != {b.dtype}."
    if rtol is None or atol is None:
        pairs = [_TOLERANCES.get(x.dtype.name, (0.0, 0.0)) for x in (a, b)]
        rtol, atol = max(p[0] for p in pairs), max(p[1] for p in pairs)
    a, b = a.cpu(), b.cpu()
    if a.is_floating_point() or b.is_floating_point() or rtol or atol:
        a, b = a.double(), b.double()
        close = flambeau.isclose(a, b, rtol=rtol, atol=atol, equal_nan=equal_nan)
    else:
        close = a == b  # exactly: not all of int64 is in float64
    if bool(close.all()):
        return None
    return _describe(a, b, ~close, rtol, atol)


def _describe(a: Tensor, b: Tensor, wrong: Tensor, rtol: float, atol: float) -> str:
    count, total = int(wrong.sum()), wrong.numel()
    difference = flambeau.where(wrong, (a.double() - b.double()).abs(), 0.0).reshape(a.shape)
    relative = difference / b.double().abs()
    relative = flambeau.where(wrong, relative, 0.0)
    if a.dim() == 0:
        return (
            f"Scalars are not close!\n\nExpected {b.item()} but got {a.item()}.\n"
            f"Absolute difference: {difference.item()} (up to {atol} allowed)\n"
            f"Relative difference: {relative.item()} (up to {rtol} allowed)"
        )
    lines = [
        "Tensor-likes are not close!",
        "",
        f"Mismatched elements: {count} / {total} ({100 * count / total:.1f}%)",
    ]
    for name, values, allowed in (("absolute", difference, atol), ("relative", relative, rtol)):
        # A NaN is the greatest difference of all.
        place = int(values.nan_to_num(nan=float("inf")).argmax())
        greatest = values.flatten()[place].item()
        index: tuple[int, ...] = ()
        for length in reversed(a.shape):
            place, i = divmod(place, length)
            index = (i, *index)
        lines.append(
            f"Greatest {name} difference: {greatest} at index {index} (up to {allowed} allowed)"
        )
    return "\n".join(lines)
