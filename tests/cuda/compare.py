"""Runs the same calls on the CPU and on the GPU."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import flambeau as fl
from flambeau import Tensor, _core

FLOATS = [fl.float32, fl.float64, fl.float16, fl.bfloat16]
INTEGERS = [fl.uint8, fl.int8, fl.int16, fl.int32, fl.int64]
# What rounding may cost, relative to the largest element.
NEAR = {fl.float32: 2e-6, fl.float64: 1e-14, fl.float16: 4e-3, fl.bfloat16: 3e-2}


@contextlib.contextmanager
def setting(name: str, value: bool) -> Iterator[None]:
    """A scope with a switch of core/cuda/math_settings.h."""
    before = _core.math_setting(name)
    _core.set_math_setting(name, value)
    try:
        yield
    finally:
        _core.set_math_setting(name, before)


def normal(random: np.random.Generator, *shape: int, dtype: Any = fl.float32) -> Tensor:
    """Numbers around zero; small integers for integer types."""
    return fl.tensor(random.standard_normal(shape) * (1 if dtype in FLOATS else 3)).to(dtype)


def check_near(got: Tensor, expected: Tensor, scale: float = 0.0) -> None:
    """`scale`: how large numbers were on the way, if that is more than the result's."""
    assert got.device.type == "cuda" and expected.device.type == "cpu"
    assert got.dtype == expected.dtype and got.shape == expected.shape
    a, b = got.cpu().to(fl.float64).numpy(), expected.to(fl.float64).numpy()
    if not got.is_floating_point():
        assert (a == b).all()
        return
    assert (np.isnan(a) == np.isnan(b)).all() and (np.isinf(a) == np.isinf(b)).all()
    finite = np.isfinite(b)
    a, b = a[finite], b[finite]
    if a.size:
        error = np.abs(a - b).max()
        assert error <= NEAR[got.dtype] * max(np.abs(b).max(), scale), error


def check_gradients(
    function: Callable[..., Tensor], *inputs: Tensor | None, scale: float = 0.0
) -> None:
    """Value and gradients of a function of tensors."""
    results = []
    weights = None
    for device in ("cpu", "cuda"):
        leaves = [x if x is None else x.detach().to(device).requires_grad_() for x in inputs]
        out = function(*leaves)
        if weights is None:
            weights = normal(np.random.default_rng(7), *out.shape).to(out.dtype)
        out.backward(weights.to(device))
        results.append([out.detach(), *(x.grad for x in leaves if x is not None)])
    for expected, got in zip(*results, strict=True):
        assert expected is not None and got is not None
        check_near(got, expected, scale)
