"""Programs that several tests run or compile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import flambeau as fl
from flambeau import _core

scalar: Any = type(
    "Scalar", (), {k: staticmethod(v) for k, v in _core.program.instructions.items()}
)
trace = _core.program.trace
NAMES = sorted(_core.program.instructions)
ROWS = {"row_sum", "row_max", "row_min"}
DTYPES = [
    *(fl.bool, fl.uint8, fl.int8, fl.int16, fl.int32, fl.int64),
    *(fl.float16, fl.bfloat16, fl.float32, fl.float64),
]


@contextmanager
def wide_indices() -> Iterator[None]:
    """Kernels that are made inside have 64-bit indices, as for more than 2^30 elements."""
    before = _core.program.cuda_index_limit(1)
    try:
        yield
    finally:
        _core.program.cuda_index_limit(before)


def fields(**values: Any) -> dict[str, Any]:
    return values


def arity(name: str) -> int:
    for count in (1, 2, 3):
        try:
            trace(_core.program.instructions[name], "e" * count)
        except (TypeError, RuntimeError):
            continue
        return count
    raise AssertionError(name)


def exists_for(name: str, dtype: Any) -> bool:
    try:
        trace(_core.program.instructions[name], "e" * arity(name)).run(
            [fl.ones(1, dtype=dtype)] * arity(name)
        )
    except RuntimeError:
        return False
    return True


ELEMENTWISE = [n for n in NAMES if n not in ROWS and n not in ("row_count", "spread", "stop")]


def softmax(x: Any) -> Any:
    e = scalar.exp(x - scalar.row_max(x))
    return e / scalar.row_sum(e)


def norm(x: Any, weight: Any, epsilon: Any) -> Any:
    centred = x - scalar.row_sum(x) / scalar.row_count(x)
    variance = scalar.row_sum(centred * centred) / scalar.row_count(x)
    return centred * scalar.rsqrt(variance + epsilon) * weight, variance
