"""Lengths of tensors while a compiled function is recorded (Note [Tracked sizes])."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from flambeau import Size, Tensor, _core

Number = int | float
_NUMBERS = (int, float)


class SizeNumber:
    """A number that depends on sizes, which passes for an int or a float.

    Arithmetic gives such numbers again, comparisons leave the step that their result must not
    change, and whoever wants a plain number makes it fixed: the recording is good for this size
    only. Once the recording is over it is a plain number like any other.
    """

    __slots__ = ("serial", "step", "value")

    def __init__(self, value: Number, serial: int, step: int) -> None:
        self.value = value
        self.serial = serial
        self.step = step

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return type(self.value)

    def _fixed(self) -> Any:
        """The plain number, which may then decide anything."""
        _core.size_step(self.serial, "fixed", self.step, -1, self.value)
        return self.value

    def _step_of(self, other: Any) -> int:
        if type(other) is SizeNumber and other.serial == self.serial:
            return other.step
        return _core.size_step(self.serial, "constant", -1, -1, _plain(other))

    def _sign(self, other: Any) -> None:
        value = _plain(other)
        sign = (self.value > value) - (self.value < value)
        _core.size_step(self.serial, "sign", self.step, self._step_of(other), sign)

    def __neg__(self) -> Any:
        step = _core.size_step(self.serial, "neg", self.step, -1, -self.value)
        return SizeNumber(-self.value, self.serial, step)

    def __pos__(self) -> Any:
        return self

    def __abs__(self) -> Any:
        self._sign(0)
        return self if self.value >= 0 else -self

    def __bool__(self) -> bool:
        self._sign(0)
        return bool(self.value)

    def __divmod__(self, other: Any) -> Any:
        return self // other, self % other

    def __rdivmod__(self, other: Any) -> Any:
        return other // self, other % self

    def __getattr__(self, name: str) -> Any:
        return getattr(self._fixed(), name)

    def __reduce__(self) -> Any:
        return type(self.value), (self._fixed(),)

    def __copy__(self) -> Any:
        return self

    def __deepcopy__(self, memo: Any) -> Any:
        return self


def _plain(value: Any) -> Any:
    return value.value if type(value) is SizeNumber else value


def _is_number(value: Any) -> bool:
    return type(value) is SizeNumber or type(value) in _NUMBERS


def _arithmetic(name: str, is_reversed: bool) -> Callable[[SizeNumber, Any], Any]:
    compute: Callable[[Any, Any], Any] = getattr(operator, name)

    def operate(self: SizeNumber, other: Any) -> Any:
        if isinstance(other, Tensor):
            # The other way round, so that the tensor sees the size.
            return NotImplemented
        value = _plain(other)
        is_whole = type(self.value) is int and type(value) is int
        if not _is_number(other) or (name in ("floordiv", "mod") and not is_whole):
            plain = self._fixed()
            return compute(other, plain) if is_reversed else compute(plain, other)
        left, right = (value, self.value) if is_reversed else (self.value, value)
        result = compute(left, right)
        other_step = self._step_of(other)
        a, b = (other_step, self.step) if is_reversed else (self.step, other_step)
        return SizeNumber(result, self.serial, _core.size_step(self.serial, name, a, b, result))

    return operate


def _comparison(name: str) -> Callable[[SizeNumber, Any], Any]:
    compute: Callable[[Any, Any], Any] = getattr(operator, name)

    def compare(self: SizeNumber, other: Any) -> Any:
        if not _is_number(other) and not isinstance(other, bool):
            return NotImplemented
        self._sign(other)
        return compute(self.value, _plain(other))

    return compare


def _plainly(compute: Callable[..., Any]) -> Callable[..., Any]:
    def call(self: SizeNumber, *arguments: Any) -> Any:
        return compute(self._fixed(), *map(_plain, arguments))

    return call


def _reversed(compute: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    return lambda b, a: compute(a, b)


for _name in ("add", "sub", "mul", "floordiv", "mod", "truediv"):
    setattr(SizeNumber, f"__{_name}__", _arithmetic(_name, False))
    setattr(SizeNumber, f"__r{_name}__", _arithmetic(_name, True))
for _name in ("eq", "ne", "lt", "le", "gt", "ge"):
    setattr(SizeNumber, f"__{_name}__", _comparison(_name))
# Whatever else numbers can do needs plain ones.
for _name in ("pow", "lshift", "rshift", "and_", "or_", "xor"):
    _compute = getattr(operator, _name)
    setattr(SizeNumber, f"__{_name.rstrip('_')}__", _plainly(_compute))
    setattr(SizeNumber, f"__r{_name.rstrip('_')}__", _plainly(_reversed(_compute)))
_PLAINLY: dict[str, Callable[..., Any]] = {
    "index": operator.index,
    "int": int,
    "float": float,
    "complex": complex,
    "hash": hash,
    "repr": repr,
    "str": str,
    "format": format,
    "round": round,
    "trunc": int,
    "floor": lambda value: value.__floor__(),
    "ceil": lambda value: value.__ceil__(),
    "invert": operator.invert,
}
for _name, _compute in _PLAINLY.items():
    setattr(SizeNumber, f"__{_name}__", _plainly(_compute))


def _as_array(self: SizeNumber, dtype: Any = None, copy: Any = None) -> Any:
    import numpy

    return numpy.asarray(self._fixed(), dtype=dtype)


SizeNumber.__array__ = _as_array  # type: ignore[attr-defined]


def without_sizes(value: Any) -> Any:
    """A result with plain numbers; lists and dictionaries are the same objects as before."""
    if type(value) is SizeNumber:
        return value._fixed()
    if isinstance(value, (tuple, list)):
        items = [without_sizes(item) for item in value]
        if all(a is b for a, b in zip(items, value)):
            return value
        if isinstance(value, list):
            value[:] = items
            return value
        kind = type(value)
        return (
            Size(items)
            if kind is Size
            else kind(*items)
            if hasattr(kind, "_fields")
            else kind(items)
        )
    if type(value) is dict:
        for key, item in value.items():
            value[key] = without_sizes(item)
    return value


_core._set_tracked_size_type(SizeNumber)
