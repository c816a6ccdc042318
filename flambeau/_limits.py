"""Limits of number types, and settings of the core."""

from __future__ import annotations

from typing import Any

from flambeau import _core
from flambeau._core import Tensor, dtype

# dtype: (exponent bits, mantissa bits)
_FORMATS = {"float16": (5, 10), "bfloat16": (8, 7), "float32": (8, 23), "float64": (11, 52)}


class finfo:
    """Limits of a floating-point type.

    Args:
        type: the dtype; the default dtype if None.

    Raises:
        TypeError: the dtype is no floating-point type.
    """

    def __init__(self, type: dtype | None = None) -> None:
        chosen = _core.get_default_dtype() if type is None else type
        if not chosen.is_floating_point:
            raise TypeError(
                f"torch.finfo() requires a floating point input type, got {chosen}. "
                "Use torch.iinfo to handle torch.iinfo"
            )
        exponent, mantissa = _FORMATS[chosen.name]
        bias = 2 ** (exponent - 1) - 1
        self.dtype = chosen.name
        self.bits = chosen.itemsize * 8
        self.eps = 2.0**-mantissa
        self.max = (2.0 - self.eps) * 2.0**bias
        self.min = -self.max
        self.tiny = self.smallest_normal = 2.0 ** (1 - bias)
        self.resolution = 10.0 ** -int(mantissa * 0.30103)

    def __repr__(self) -> str:
        return (
            f"finfo(resolution={self.resolution:g}, min={self.min:g}, max={self.max:g}, "
            f"eps={self.eps:g}, smallest_normal={self.tiny:g}, tiny={self.tiny:g}, "
            f"dtype={self.dtype})"
        )


class iinfo:
    """Limits of an integer type.

    Args:
        type: the dtype.

    Raises:
        TypeError: the dtype is no integer type.
    """

    def __init__(self, type: dtype) -> None:
        if type.is_floating_point or type is _core.bool:
            raise TypeError(f"torch.iinfo() requires an integer input type, got {type}")
        self.dtype = type.name
        self.bits = type.itemsize * 8
        self.min = -(2 ** (self.bits - 1)) if type.is_signed else 0
        self.max = 2 ** (self.bits - type.is_signed) - 1

    def __repr__(self) -> str:
        return f"iinfo(min={self.min}, max={self.max}, dtype={self.dtype})"


def result_type(tensor1: Any, tensor2: Any) -> dtype:
    """Returns the dtype of an operation on two operands (tensors or numbers)."""
    empty = [
        x[:0].reshape(-1) if isinstance(x, Tensor) and x.dim() else x for x in (tensor1, tensor2)
    ]
    if not any(isinstance(x, Tensor) for x in empty):
        raise TypeError("result_type: at least one operand must be a Tensor")
    result: dtype = (empty[0] + empty[1]).dtype
    return result


def get_num_threads() -> int:
    """Returns how many threads a parallel operation uses."""
    return _core.thread_count()


def set_num_threads(count: int) -> None:
    """Sets how many threads a parallel operation uses.

    Raises:
        RuntimeError: count is not positive.
    """
    if not isinstance(count, int) or isinstance(count, bool):
        raise TypeError(f"set_num_threads expects an int, but got {type(count).__name__}")
    if count <= 0:
        raise RuntimeError(f"set_num_threads: expected a positive number of threads, got {count}")
    _core.set_thread_count(count)
