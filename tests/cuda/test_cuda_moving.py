"""Gathering, sorting, scanning and rearranging on the GPU: all dtypes, layouts, long lines."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from test_cuda_tensors import DTYPES, on_both

import flambeau as fl

WIDTHS = [fl.uint8, fl.bfloat16, fl.int32, fl.float64]  # kernels that move see widths only
FLOATS = [fl.float16, fl.bfloat16, fl.float32, fl.float64]
random = np.random.default_rng(5)


def values(dtype: Any, *shape: int) -> fl.Tensor:
    """Numbers with ties, and in floats NaN, infinities and both zeros."""
    x = fl.tensor(random.integers(-6, 7, shape)).to(dtype)
    if x.is_floating_point() and x.numel() > 8:
        flat = x.view(-1)
        for place, special in enumerate([float("nan"), float("inf"), -float("inf"), -0.0, 0.0]):
            flat[place * (x.numel() // 6) + place] = special
    return x


def places(bound: int, *shape: int) -> fl.Tensor:
    return fl.tensor(random.integers(0, bound, shape))


def distinct(count: int, bound: int) -> fl.Tensor:
    return fl.tensor(random.permutation(bound)[:count].copy())


@pytest.mark.parametrize("dtype", WIDTHS, ids=str)
def test_moves(dtype: Any) -> None:
    x, row = values(dtype, 5, 16, 3), values(dtype, 5, 1, 3)
    layouts = [x, x.transpose(0, 2), x[:, ::2], x[1:, 3:9], x.expand(2, 5, 16, 3)[1]]
    for view in layouts:
        on_both(lambda x: x.flip(0, 2), view)
        on_both(lambda x: x.roll((2, -5), (0, 1)), view)
        on_both(lambda x: x.roll(3), view)
        on_both(lambda x: x.tril(-1), view)
        on_both(lambda x: x.triu(1), view)
        on_both(lambda x: fl.cat([x, x.flip(1), x[:, :1]], 1), view)
        on_both(lambda x: fl.stack([x, x], 2), view)
        on_both(lambda x: x.diag_embed(1), view)
    on_both(lambda x, row: fl.cat([x, row] * 70, 1), x, row)  # more than one launch takes
    on_both(lambda x: fl.cat([x[..., :1].double(), x], 2), x)
    on_both(lambda x: fl.cat([x[:0], x, x.new_empty(0)]), x)


@pytest.mark.parametrize("dtype", WIDTHS, ids=str)
def test_reading_and_writing_at_places(dtype: Any) -> None:
    x = values(dtype, 6, 8, 4)
    rows, few = places(6, 7), distinct(4, 6)
    source = values(dtype, 4, 8, 4)
    for shown in (x, x.transpose(0, 2).contiguous().transpose(0, 2), x.flip(0)[:, :, 1:].clone()):
        on_both(lambda x, i: x.index_select(0, i), shown, rows)
        on_both(lambda x, i: x.index_select(2, i % 3), shown, rows)
        on_both(lambda x, i: x[i, :, i % 3], shown, rows)
        on_both(lambda x, i: x[:, i % 8, i % 3], shown, rows)
        on_both(lambda x, i: x[i[:, None] % 6, i % 8], shown, rows)
        on_both(lambda x, i: x.take(i * 3 - 20), shown, rows)
        on_both(lambda x, i: x.index_fill(0, i, 1), shown, few)
        on_both(lambda x, i: fl.nn.functional.embedding(i, x[:, 0]), shown, rows)
        on_both(lambda x: x[x > 0], shown)
        on_both(lambda x: x.nonzero(), shown)
        on_both(lambda x: x.masked_scatter(x > 0, x.flip(0)), shown)
        on_both(lambda x, i: x.gather(1, i[:, None, None].expand(6, 3, 3)), shown, rows[:6])
    on_both(lambda x, i, s: x.index_copy(0, i, s), x, few, source)
    on_both(lambda x, i, s: x.clone().index_put_((i,), s), x, few, source)
    on_both(lambda x, i, s: x.put(i * 30, s[0, 0, :4]), x, few, source)
    on_both(lambda x, i, s: x.scatter(0, i[:, None, None].expand(4, 8, 4), s), x, few, source)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_adding_at_places(dtype: Any) -> None:
    x, source, rows = values(dtype, 5, 6).nan_to_num(1, 2, 3), values(dtype, 9, 6), places(5, 9)
    source = source.nan_to_num(1, 2, 3)
    on_both(lambda x, i, s: x.index_add(0, i, s), x, rows, source)
    on_both(lambda x, i, s: x.t().index_add(1, i, s.t()), x, rows, source)
    on_both(lambda x, i, s: x.index_put((i,), s, accumulate=True), x, rows, source)
    on_both(lambda x, i, s: x.scatter_add(0, i[:, None].expand(9, 6), s), x, rows, source)
    on_both(lambda x, i, s: x.put(i * 3, s[:, 0], accumulate=True), x, rows, source)
    for how in ("prod", "amax", "amin"):
        on_both(
            lambda x, i, s: x.scatter_reduce(0, i[:, None].expand(9, 6), s, how),  # noqa: B023
            *(x.sign() if how == "prod" and dtype != fl.bool else x, rows),
            source.sign() if how == "prod" and dtype != fl.bool else source,
        )


def test_gradients_of_reading_are_the_same_every_time() -> None:
    weight = fl.randn(11, 40).to("cuda").requires_grad_()
    index = places(11, 500).to("cuda")
    found = []
    for _ in range(3):
        weight.grad = None
        (fl.nn.functional.embedding(index, weight).sin() + weight[index]).sum().backward()
        found.append(weight.grad.cpu())
    assert fl.equal(found[0], found[1]) and fl.equal(found[0], found[2])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_sorting(dtype: Any) -> None:
    for x in (
        values(dtype, 7, 33),
        values(dtype, 33, 7).t(),
        values(dtype, 1),
        values(dtype, 3, 0),
    ):
        for descending in (False, True):
            on_both(lambda x: x.sort(-1, descending, stable=True), x)  # noqa: B023
            on_both(lambda x: x.argsort(0, descending), x)  # noqa: B023
        if x.shape[-1]:
            on_both(lambda x: x.topk((x.shape[-1] + 1) // 2), x)
            on_both(lambda x: x.topk(1, 0, largest=False), x)
            on_both(lambda x: x.kthvalue((x.shape[-1] + 1) // 2), x)
            on_both(lambda x: x.median(-1), x)
            on_both(lambda x: x.nanmedian(-1), x)
            on_both(lambda x: x.mode(-1), x)
            on_both(lambda x: x.median(), x)
    x = values(dtype, 60)
    on_both(lambda x: x.unique(return_inverse=True, return_counts=True), x)
    on_both(lambda x: x.unique_consecutive(return_counts=True), x)
    slices = values(dtype, 24, 2, 3)
    slices[7:12] = slices[3:4]
    slices[20] = slices[19]
    both = {"return_inverse": True, "return_counts": True}
    for dim in (0, 1, -1):
        on_both(lambda x, dim=dim: x.unique(dim=dim, **both), slices)
        on_both(lambda x, dim=dim: x.unique_consecutive(dim=dim, **both), slices)
    on_both(lambda x: x.unique(dim=0), slices[0, 0, 0])
    on_both(lambda x: x.repeat(1, 40, 1).unique(dim=0), slices)  # wide: compared on the CPU


@pytest.mark.parametrize("dtype", [fl.uint8, fl.int16, fl.int64, fl.float32, fl.float64], ids=str)
def test_sorting_long_lines(dtype: Any) -> None:
    x = fl.tensor(random.standard_normal((2, 5000)) * 1000).to(dtype)
    on_both(lambda x: x.sort(), x)
    on_both(lambda x: x.sort(descending=True), x)
    on_both(lambda x: x.topk(20), x)
    on_both(lambda x: x.median(1), x)
    on_both(lambda x: x.mode(1), x)
    on_both(lambda x: x.t().kthvalue(2500, 0), x)
    on_both(lambda x: x.reshape(-1).unique(return_inverse=True, return_counts=True), x)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_scans(dtype: Any) -> None:
    for x in (
        values(dtype, 4, 37),
        values(dtype, 4, 37).t(),
        values(dtype, 2, 3, 4).transpose(0, 1),
    ):
        for dim in (0, -1):
            on_both(lambda x: x.cummax(dim), x)  # noqa: B023
            on_both(lambda x: x.cummin(dim), x)  # noqa: B023
            exact = x.nan_to_num(1, 2, 3) if x.is_floating_point() else x
            on_both(lambda x: x.cumsum(dim), exact)  # noqa: B023
            on_both(lambda x: x.sign().cumprod(dim) if dtype != fl.bool else x, exact)  # noqa: B023


@pytest.mark.parametrize("length", [1000, 5000, 40000])
def test_scans_of_long_lines(length: int) -> None:
    x = fl.tensor(random.integers(-9, 10, (1, length)))
    on_both(lambda x: x.cumsum(1), x)
    on_both(lambda x: x.flip(1).cummax(1), x)
    on_both(lambda x: x.double().cummin(1), x)
    y = fl.tensor(random.standard_normal((2, length))).float().requires_grad_()
    for function in (fl.cumsum, fl.logcumsumexp):
        found = []
        for place in ("cpu", "cuda"):
            leaf = y.detach().to(place).requires_grad_()
            out = function(leaf, 1)
            out.backward(fl.linspace(-1, 1, length, device=place).expand(2, length))
            found.append((out.detach().cpu().numpy(), leaf.grad.cpu().numpy()))
        for a, b in zip(*found, strict=True):
            np.testing.assert_allclose(b, a, rtol=2e-4, atol=2e-3)


def test_counting_and_searching() -> None:
    whole = places(20, 300)
    on_both(lambda x: x.bincount(minlength=25), whole)
    on_both(lambda x: x.bincount(x.double()), whole)
    on_both(lambda x: fl.histc(x.float(), 7), whole)
    on_both(lambda x: fl.histc(x.float(), 7, 2, 9), whole)
    on_both(lambda x: fl.nn.functional.one_hot(x), whole)
    on_both(lambda x: x.repeat_interleave(x), whole)
    on_both(lambda x: fl.repeat_interleave(x[:9].reshape(3, 3), x[:3], dim=1), whole)
    edges = fl.tensor([1.0, 3.0, 3.0, 7.5, float("inf")])
    for right in (False, True):
        on_both(lambda e, x: fl.searchsorted(e, x.float(), right=right), edges, whole)  # noqa: B023
        on_both(lambda e, x: fl.bucketize(x, e, out_int32=True), edges, whole)
    on_both(lambda x: fl.quantile(x.float(), 0.3), whole)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_overlapping_views(dtype: Any) -> None:
    found = []
    for place in ("cpu", "cuda"):
        x = fl.arange(12.0).to(dtype).to(place).requires_grad_()
        windows = x.unfold(0, 4, 2)
        (windows * fl.arange(4.0, device=place).to(dtype)).sum().backward()
        x.as_strided((3, 3), (1, 2)).sum().backward()
        found.append(x.grad.double().tolist())
    assert found[0] == found[1]
