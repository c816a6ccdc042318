"""Reductions on the GPU give what those on the CPU give; sums but for their rounding."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from programs import DTYPES, wide_indices

import flambeau as fl
from flambeau import Tensor

random = np.random.default_rng(0)


def normal(*shape: int) -> Tensor:
    return fl.tensor(random.standard_normal(shape).astype(np.float32))


def outcome(function: Any, tensor: Tensor) -> list[Tensor]:
    result = function(tensor)
    return list(result) if isinstance(result, tuple) else [result]


def check(function: Any, x: Tensor, view: Any = lambda v: v, tolerance: float = 0) -> None:
    """`tolerance` is relative to the largest result."""
    expected, got = outcome(function, view(x)), outcome(function, view(x.cuda()))
    for a, b in zip(got, expected):
        assert a.device.type == "cuda" and a.dtype == b.dtype and a.shape == b.shape
        a = a.cpu()
        if tolerance == 0 or not a.is_floating_point():
            assert a.equal(b) or bool(((a == b) | (a.isnan() & b.isnan())).all())
            continue
        a, b = a.double(), b.double()
        assert a.isnan().equal(b.isnan())
        a, b = a.nan_to_num(0), b.nan_to_num(0)
        scale = max(1.0, float(b.abs().max())) if b.numel() else 1.0
        assert bool(((a - b).abs() <= tolerance * scale).all()), (a - b).abs().max()


ROUNDED: dict[str, Any] = {
    "sum": lambda x, **k: x.sum(**k),
    "mean": lambda x, **k: x.mean(**k),
    "var": lambda x, **k: x.var(**k),
    "std_mean": lambda x, **k: fl.std_mean(x, **k),
    "norm": lambda x, **k: x.norm(**k),
    "norm of order 3": lambda x, **k: x.norm(3, **k),
    "norm of order 1": lambda x, **k: x.norm(1, **k),
}
EXACT: dict[str, Any] = {
    "amax": lambda x, **k: x.amax(**k),
    "amin": lambda x, **k: x.amin(**k),
    "largest": lambda x, **k: x.norm(math.inf, **k),
    "smallest": lambda x, **k: x.norm(-math.inf, **k),
    "count_nonzero": lambda x, **k: (x > 1).count_nonzero(**k),
}
PLACES: dict[str, Any] = {
    "argmax": lambda x, **k: x.argmax(**k),
    "argmin": lambda x, **k: x.argmin(**k),
    "max": lambda x, **k: x.max(**k),
    "min": lambda x, **k: x.min(**k),
}
# Short rows, long rows, few and many columns, narrow matrices, parts that are joined afterwards.
SHAPES = [((7, 9), 1), ((37, 1000), 1), ((3, 70_001), 1), ((1000, 37), 0), ((20_000, 3), 0)]


@pytest.mark.parametrize("shape, dim", SHAPES, ids=str)
def test_matrices(shape: tuple[int, ...], dim: int) -> None:
    x = normal(*shape)
    for function in ROUNDED.values():
        check(lambda v, f=function: f(v, dim=dim), x, tolerance=3e-6)
    for function in (*EXACT.values(), *PLACES.values()):
        check(lambda v, f=function: f(v, dim=dim), x)


@pytest.mark.parametrize("name", ["sum", "var", "amax", "argmax"])
def test_layouts(name: str) -> None:
    function = {**ROUNDED, **EXACT, **PLACES}[name]
    x = normal(12, 10, 9, 7) + 1  # sums that do not cancel
    views = [
        *(lambda v: v, lambda v: v.permute(3, 1, 0, 2), lambda v: v[:, ::2, 1:8, ::3]),
        *(lambda v: v[:, :1].expand(12, 10, 9, 7), lambda v: v.transpose(0, 1)),
    ]
    dims = [0, 2, 3] if name == "argmax" else [0, 3, (0, 2), (1, 3), (0, 1, 2)]
    for view in views:
        for dim in dims:
            check(lambda v, d=dim: function(v, dim=d, keepdim=True), x, view, tolerance=3e-6)
        check(lambda v: function(v), x, view, tolerance=3e-6)


def test_wide_indices() -> None:
    with wide_indices():
        for name in ("sum", "argmax"):
            test_layouts(name)
        check(lambda v: v.var(dim=0), normal(700, 9), tolerance=3e-6)


def test_channels() -> None:
    """What batch normalisation asks for: all but one dimension, packs in the innermost."""
    for shape in ((6, 5, 8, 4), (6, 5, 3, 3)):
        x = normal(*shape)
        for name in ("sum", "var", "amax"):
            function = {**ROUNDED, **EXACT}[name]
            check(lambda v, f=function: f(v, dim=(0, 2, 3)), x, tolerance=3e-6)
            check(lambda v, f=function: f(v[1:].half(), dim=(0, 2, 3)), x, tolerance=1e-3)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_dtypes(dtype: Any) -> None:
    x = (normal(33, 40) * 20).to(dtype)
    tolerance = fl.finfo(dtype).eps * 2 if x.is_floating_point() else 0
    for dim in (0, 1):
        check(lambda v, d=dim: v.sum(dim=d), x, tolerance=tolerance)
        check(lambda v, d=dim: v.any(dim=d), x)
        check(lambda v, d=dim: v.all(dim=d), x)
        check(lambda v, d=dim: v.count_nonzero(dim=d), x)
        if dtype != fl.bool:
            check(lambda v, d=dim: v.amax(dim=d), x)
            check(lambda v, d=dim: v.min(dim=d), x)
            check(lambda v, d=dim: v.argmax(dim=d), x)
    check(lambda v: v.prod(dim=1), (normal(9, 5) * 2).to(dtype), tolerance=tolerance * 8)


def test_integers_wrap_around() -> None:
    x = fl.full((1000,), 2**62)
    check(lambda v: v.sum(), x)
    check(lambda v: v.prod(), x[:3] - 12345)


def test_nan_infinity_and_ties() -> None:
    x = normal(6, 3000)
    x[0, 5] = x[0, 2000] = math.nan
    x[1, 7] = x[2, 9] = math.inf
    x[3] = 1
    x[4, ::2] = -math.inf
    x[5] = math.nan
    for function in (*EXACT.values(), *PLACES.values()):
        check(lambda v, f=function: f(v, dim=1), x)
        check(lambda v, f=function: f(v, dim=0), x.t().contiguous())
    check(lambda v: v.nansum(dim=1), x, tolerance=3e-6)
    check(lambda v: v.nanmean(dim=1), x[3:], tolerance=3e-6)


def test_empty() -> None:
    x = fl.zeros(3, 0)
    for function in (lambda v: v.sum(dim=1), lambda v: v.sum(dim=0), lambda v: v.mean(dim=1)):
        check(function, x)
    check(lambda v: v.prod(dim=1), x)
    check(lambda v: v.all(dim=1), x)
    check(lambda v: v.var(dim=1), x)


def test_sums_are_accurate_and_repeatable() -> None:
    x = fl.rand(2_000_003) + 1000
    exact = float(x.double().sum())
    a, b = x.cuda().sum(), x.cuda().sum()
    assert abs(float(a) - exact) <= 2e-7 * exact and a.equal(b)
    variance = float(x.double().var())
    assert abs(float(x.cuda().var()) - variance) <= 1e-4 * variance


def test_gradients() -> None:
    x = normal(5, 6)
    for function in (*ROUNDED.values(), *EXACT.values()):
        grads = []
        for t in (x.clone(), x.cuda()):
            t.requires_grad_()
            out = function(t, dim=1)
            out = out[0] if isinstance(out, tuple) else out
            if not out.requires_grad:
                continue
            out.sum().backward()
            grads.append(t.grad.cpu())
        if grads:
            assert float((grads[0] - grads[1]).abs().max()) < 1e-5


def test_trace_and_broadcast_gradients() -> None:
    check(lambda v: v.trace(), normal(8, 5), tolerance=1e-6)
    x, bias = normal(6, 5).cuda(), normal(5).cuda().requires_grad_()
    (x * bias).sum().backward()
    assert float((bias.grad.cpu() - x.cpu().sum(0)).abs().max()) < 1e-5


def test_logsumexp() -> None:
    x = normal(6, 50)
    x[2] = -math.inf
    x[3, 4] = math.inf
    for dim in (0, 1):
        check(lambda v, d=dim: v.logsumexp(dim=d), x, tolerance=3e-6)
