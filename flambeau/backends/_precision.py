"""Switches that the core reads, and the precision of float32 products."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flambeau import _core

_PRECISIONS = ("highest", "high", "medium")
_precision = "highest"


class Switch:
    """An attribute that is a setting of the core.

    Args:
        name: the setting's field in core/cuda/math_settings.h.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, owner: Any, kind: type | None = None) -> bool:
        return _core.math_setting(self._name)

    def __set__(self, owner: Any, value: bool) -> None:
        _core.set_math_setting(self._name, bool(value))


@contextmanager
def settings(wanted: dict[str, bool]) -> Iterator[None]:
    """A block with other settings of the core, by their names in core/cuda/math_settings.h."""
    before = {name: _core.math_setting(name) for name in wanted}
    try:
        for name, value in wanted.items():
            _core.set_math_setting(name, bool(value))
        yield
    finally:
        for name, value in before.items():
            _core.set_math_setting(name, value)


def get_float32_matmul_precision() -> str:
    """Returns "highest", or what set_float32_matmul_precision was given."""
    if _core.math_setting("matmul_tf32"):
        return _precision if _precision != "highest" else "high"
    return "highest"


def set_float32_matmul_precision(precision: str) -> None:
    """Says how exact products of float32 matrices on GPUs must be.

    Args:
        precision: "highest": float32 throughout; "high" or "medium": TensorFloat32 may be used.
    """
    global _precision
    if precision not in _PRECISIONS:
        warnings.warn(
            f"{precision} is not one of 'highest', 'high', or 'medium'; the current "
            "setFloat32MatmulPrecision call has no effect.",
            stacklevel=2,
        )
        return
    _precision = precision
    _core.set_math_setting("matmul_tf32", precision != "highest")
