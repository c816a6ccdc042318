"""Pooling on the GPU gives what the CPU gives."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
import pytest
from compare import FLOATS, INTEGERS, check_gradients, check_near, normal

import flambeau as fl
from flambeau import Tensor
from flambeau.nn import functional as F

# input, kernel, stride, padding, dilation per axis
CASES = {
    "plain": ((6, 8), (2, 2), (2, 2), (0, 0), (1, 1)),
    "overlapping": ((7, 9), (3, 4), (1, 2), (1, 2), (1, 1)),
    "apart": ((9, 9), (2, 1), (3, 3), (1, 0), (1, 1)),
    "dilated": ((9, 10), (3, 2), (2, 1), (1, 1), (2, 3)),
    "one axis": ((11,), (3,), (2,), (1,), (1,)),
    "three axes": ((5, 6, 7), (2, 3, 2), (2, 1, 3), (1, 1, 0), (1, 1, 1)),
}


def input_of(case: str, dtype: Any) -> Tensor:
    return normal(np.random.default_rng(1), 2, 3, *CASES[case][0], dtype=dtype)


@pytest.mark.parametrize("ceil_mode", [False, True], ids=["floor", "ceil"])
@pytest.mark.parametrize("case", CASES)
def test_maxima(case: str, ceil_mode: bool) -> None:
    size, kernel, stride, padding, dilation = CASES[case]
    pool = getattr(F, f"max_pool{len(size)}d")
    options = {"stride": stride, "padding": padding, "dilation": dilation, "ceil_mode": ceil_mode}
    for dtype in [*FLOATS, fl.uint8] if case == "overlapping" else [fl.float32]:
        x = input_of(case, dtype)
        expected = pool(x, kernel, return_indices=True, **options)
        got = pool(x.to("cuda"), kernel, return_indices=True, **options)
        check_near(got[0], expected[0])
        check_near(got[1], expected[1])
        if dtype != fl.uint8:
            check_gradients(lambda x: pool(x, kernel, **options), x)


@pytest.mark.parametrize("include", [False, True], ids=["inner", "padded"])
@pytest.mark.parametrize("case", [name for name in CASES if name != "dilated"])
def test_averages(case: str, include: bool) -> None:
    size, kernel, stride, padding, _ = CASES[case]
    pool = getattr(F, f"avg_pool{len(size)}d")
    for dtype in FLOATS if case == "overlapping" else [fl.float32]:
        x = input_of(case, dtype)
        for ceil_mode in (False, True):
            options = {"ceil_mode": ceil_mode, "count_include_pad": include}
            options |= {"kernel_size": kernel, "stride": stride, "padding": padding}
            check_gradients(functools.partial(pool, **options), x)
    if len(size) > 1:
        x = input_of(case, fl.float32)
        check_gradients(lambda x: pool(x, kernel, stride, padding, divisor_override=5), x)


@pytest.mark.parametrize("case", ["plain", "apart", "one axis", "three axes"])
def test_adaptive(case: str) -> None:
    axes = len(CASES[case][0])
    x = input_of(case, fl.float32)
    for size in ((3, 2, 4), (1, 1, 1), (5, 7, 3), (12, 13, 9)):
        for kind in ("avg", "max"):
            pool = getattr(F, f"adaptive_{kind}_pool{axes}d")
            check_gradients(functools.partial(pool, output_size=size[:axes]), x)


@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
def test_integers(dtype: Any) -> None:
    x = input_of("plain", dtype)
    check_near(F.max_pool2d(x.to("cuda"), 3), F.max_pool2d(x, 3))
    if dtype == fl.int64:
        check_near(F.avg_pool2d(x.to("cuda"), 3), F.avg_pool2d(x, 3))


def test_special_values_and_layouts() -> None:
    x = input_of("plain", fl.float32)
    x[0, 0, 1, 1] = x[0, 0, 2, 2] = math.nan
    x[1, 2, 3, 3] = -math.inf
    for y in (x, x.transpose(2, 3), x[:, :, 1:, ::2], x[:0], x.transpose(0, 1)):
        expected = F.max_pool2d(y, 2, 1, return_indices=True)
        for a, b in zip(F.max_pool2d(y.to("cuda"), 2, 1, return_indices=True), expected):
            check_near(a, b)
        check_near(F.avg_pool2d(y.to("cuda"), 2, 1), F.avg_pool2d(y, 2, 1))
    whole = x.to("cuda")[:, :, 1:, ::2]
    check_near(F.max_pool2d(whole, 2), F.max_pool2d(x[:, :, 1:, ::2], 2))


def test_second_order_and_unpooling() -> None:
    x = input_of("plain", fl.float64)

    def squared_slopes(x: Tensor) -> Tensor:
        y = F.max_pool2d(x, 3, 2) + F.avg_pool2d(x, 3, 2)
        (g,) = fl.autograd.grad((y * y).sum(), [x], create_graph=True)
        return (g * g).sum()

    check_gradients(squared_slopes, x)

    def unpooled(x: Tensor) -> Tensor:
        y, indices = F.max_pool2d(x, 2, return_indices=True)
        return F.max_unpool2d(y, indices, 2)

    check_gradients(unpooled, x)
