"""Nested arguments and results taken apart into tensors and the rest."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from typing import Any

from flambeau import Tensor

PLAIN = (bool, int, float, complex, str, bytes, type(None), type(...), slice)
_TENSOR = "tensor"


class Kept:
    """Something that is compared by identity."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Kept) and other.value is self.value

    def __hash__(self) -> int:
        return id(self.value)


def take_apart(value: Any, tensors: list[Tensor]) -> Hashable:
    """Append the tensors in `value` to a list.

    Returns:
        What is left: equal for two values that differ in their tensors only. Numbers and
        strings count by type and value, other objects by identity.
    """
    if isinstance(value, Tensor):
        tensors.append(value)
        return _TENSOR
    kind = type(value)
    if isinstance(value, PLAIN):
        # 0.0 and -0.0 are equal, and so are True and 1: the text and the type tell them apart.
        text = repr(value) if kind in (float, complex) else None
        return (kind, text, repr(value) if kind is slice else value)
    if isinstance(value, (tuple, list)):
        return (kind, tuple(take_apart(item, tensors) for item in value))
    if kind is dict:
        items = tuple((key, take_apart(item, tensors)) for key, item in value.items())
        return (kind, items)
    return Kept(value)


def put_together(spec: Any, tensors: Iterator[Any]) -> Any:
    """The value of which `take_apart` returned `spec`, with other tensors."""
    if spec == _TENSOR:
        return next(tensors)
    if isinstance(spec, Kept):
        return spec.value
    kind, content = spec[0], spec[-1]
    if kind is slice:
        raise TypeError("compile: a slice cannot be returned; return its bounds")
    if issubclass(kind, PLAIN):
        return content
    if kind is dict:
        return {key: put_together(item, tensors) for key, item in content}
    items = [put_together(item, tensors) for item in content]
    if kind is list:
        return items
    return kind(*items) if hasattr(kind, "_fields") else kind(items)


def geometry(tensors: Sequence[Tensor]) -> Hashable:
    """What of tensors a recording depends on, beside their values."""
    return tuple((x.shape, x.stride(), x.dtype, x.requires_grad) for x in tensors)
