"""Pooling against loops in NumPy: values, positions, gradients, errors."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest

import flambeau as torch
from flambeau.autograd import gradcheck, gradgradcheck

MAX = {1: torch.max_pool1d, 2: torch.max_pool2d, 3: torch.max_pool3d}
AVERAGE = {1: torch.avg_pool1d, 2: torch.avg_pool2d, 3: torch.avg_pool3d}
ADAPTIVE_MAX = {
    1: torch.adaptive_max_pool1d,
    2: torch.adaptive_max_pool2d,
    3: torch.adaptive_max_pool3d,
}
ADAPTIVE_AVERAGE = {
    1: torch.adaptive_avg_pool1d,
    2: torch.adaptive_avg_pool2d,
    3: torch.adaptive_avg_pool3d,
}


class Axis(NamedTuple):
    """One spatial axis of a pool."""

    length: int
    kernel: int
    stride: int
    padding: int
    dilation: int


def output_length(axis: Axis, ceil_mode: bool) -> int:
    room = axis.length + 2 * axis.padding - axis.dilation * (axis.kernel - 1) - 1
    count = (math.ceil if ceil_mode else math.floor)(room / axis.stride) + 1
    if ceil_mode and (count - 1) * axis.stride >= axis.length + axis.padding:
        count -= 1
    return count


def taps(axis: Axis, place: int) -> list[int]:
    """Positions that output `place` covers, those in the padding included."""
    begin = place * axis.stride - axis.padding
    return [begin + k * axis.dilation for k in range(axis.kernel)]


def random_axes(seed: int, dilated: bool) -> list[Axis]:
    draw = random.Random(seed)
    result = []
    for _ in range(draw.choice([1, 2, 2, 3])):
        kernel, dilation = draw.randint(1, 4), draw.choice([1, 1, 2]) if dilated else 1
        length = dilation * (kernel - 1) + 1 + draw.choice([0, 1, 3, 8, 19])
        padding = draw.randint(0, kernel // 2)
        result.append(Axis(length, kernel, draw.randint(1, 3), padding, dilation))
    return result


def each_window(
    axes: list[Axis], ceil_mode: bool
) -> Iterator[tuple[tuple[int, ...], list[tuple[int, ...]]]]:
    """Places of the output with the positions of their windows."""
    counts = [output_length(axis, ceil_mode) for axis in axes]
    for place in itertools.product(*map(range, counts)):
        lines = [taps(axis, at) for axis, at in zip(axes, place, strict=True)]
        yield place, list(itertools.product(*lines))


def inside(axes: list[Axis], positions: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
    return [
        p for p in positions if all(0 <= i < axis.length for i, axis in zip(p, axes, strict=True))
    ]


def arguments(axes: list[Axis]) -> dict[str, Any]:
    return {
        "kernel_size": [axis.kernel for axis in axes],
        "stride": [axis.stride for axis in axes],
        "padding": [axis.padding for axis in axes],
    }


@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize("seed", range(12))
def test_max(seed: int, ceil_mode: bool) -> None:
    axes = random_axes(seed, dilated=True)
    shape = [axis.length for axis in axes]
    x = np.random.default_rng(seed).integers(-9, 9, (2, 3, *shape)).astype(np.float64)
    if seed % 3 == 0:
        x[np.random.default_rng(seed).random(x.shape) < 0.05] = np.nan
    counts = [output_length(axis, ceil_mode) for axis in axes]
    values, indices = np.empty((2, 3, *counts)), np.empty((2, 3, *counts), dtype=np.int64)
    for place, positions in each_window(axes, ceil_mode):
        for n, c in itertools.product(range(2), range(3)):
            best, where = -math.inf, -1
            for position in inside(axes, positions):
                value = x[(n, c, *position)]
                if where < 0 or value > best or math.isnan(value):
                    best, where = value, int(np.ravel_multi_index(position, shape))
            values[(n, c, *place)], indices[(n, c, *place)] = best, where
    for dtype in (torch.float64, torch.float32):
        tx = torch.from_numpy(x).to(dtype).requires_grad_()
        settings = {**arguments(axes), "dilation": [axis.dilation for axis in axes]}
        out, found = MAX[len(axes)](tx, ceil_mode=ceil_mode, return_indices=True, **settings)
        np.testing.assert_array_equal(out.detach().numpy(), values)
        np.testing.assert_array_equal(found.numpy(), indices)
        g = np.random.default_rng(1).standard_normal(values.shape)
        out.backward(torch.from_numpy(g).to(dtype))
        expected = np.zeros((6, math.prod(shape)))
        for plane, (where, from_g) in enumerate(
            zip(indices.reshape(6, -1), g.reshape(6, -1), strict=True)
        ):
            np.add.at(expected[plane], where[where >= 0], from_g[where >= 0])
        np.testing.assert_allclose(tx.grad.numpy(), expected.reshape(x.shape), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize("seed", range(12))
def test_average(seed: int, ceil_mode: bool) -> None:
    axes = random_axes(100 + seed, dilated=False)
    count_include_pad, divisor = seed % 2 == 0, 3 if seed % 4 == 1 and len(axes) > 1 else None
    x = np.random.default_rng(seed).standard_normal((2, 3, *(axis.length for axis in axes)))
    counts = [output_length(axis, ceil_mode) for axis in axes]
    expected, gradient = np.zeros((2, 3, *counts)), np.zeros(x.shape)
    g = np.random.default_rng(1).standard_normal(expected.shape)
    for place, positions in each_window(axes, ceil_mode):
        elements = inside(axes, positions)
        limits = [axis.length + axis.padding for axis in axes]
        padded = [p for p in positions if all(i < n for i, n in zip(p, limits, strict=True))]
        share = divisor or (len(padded) if count_include_pad else len(elements))
        for position in elements:
            expected[(..., *place)] += x[(..., *position)] / share
            gradient[(..., *position)] += g[(..., *place)] / share
    extra = {"divisor_override": divisor} if divisor else {}
    tx = torch.from_numpy(x).requires_grad_()
    out = AVERAGE[len(axes)](
        tx, ceil_mode=ceil_mode, count_include_pad=count_include_pad, **arguments(axes), **extra
    )
    np.testing.assert_allclose(out.detach().numpy(), expected, rtol=1e-12, atol=1e-12)
    out.backward(torch.from_numpy(g))
    np.testing.assert_allclose(tx.grad.numpy(), gradient, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("wanted", [(1, 1), (3, 4), (7, 5), (6, 3), (9, 13)])
def test_adaptive(wanted: tuple[int, int]) -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, 7, 12))
    average, largest = np.empty((2, 3, *wanted)), np.empty((2, 3, *wanted))
    for place in itertools.product(*map(range, wanted)):
        window = tuple(
            slice(i * n // count, -(-(i + 1) * n // count))
            for i, n, count in zip(place, x.shape[2:], wanted, strict=True)
        )
        average[(..., *place)] = x[(..., *window)].mean(axis=(2, 3))
        largest[(..., *place)] = x[(..., *window)].max(axis=(2, 3))
    out = torch.adaptive_avg_pool2d(torch.from_numpy(x), wanted)
    np.testing.assert_allclose(out.numpy(), average, rtol=1e-12)
    values, indices = torch.adaptive_max_pool2d(torch.from_numpy(x), wanted)
    np.testing.assert_array_equal(values.numpy(), largest)
    flat = np.take_along_axis(x.reshape(2, 3, -1), indices.numpy().reshape(2, 3, -1), -1)
    np.testing.assert_array_equal(flat.reshape(largest.shape), largest)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: torch.max_pool2d(x, 3, 2, 1),
        lambda x: torch.max_pool1d(x[0], 2),
        lambda x: torch.avg_pool2d(x, 3, 2, 1, True, False),
        lambda x: torch.avg_pool3d(x, (1, 2, 2)),
        lambda x: torch.adaptive_avg_pool2d(x, (2, 3)),
        lambda x: torch.adaptive_max_pool2d(x, (2, 3))[0],
    ],
)
def test_gradcheck(function: Callable[[torch.Tensor], torch.Tensor]) -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 2, 4, 3, dtype=torch.float64, requires_grad=True)
    assert gradcheck(function, (x,))
    assert gradgradcheck(function, (x,))


def test_names_of_the_gradients() -> None:
    x = torch.randn(1, 2, 4, 4, 4, requires_grad=True)
    assert torch.max_pool3d(x, 2).grad_fn.name() == "MaxPool3DWithIndicesBackward0"
    assert torch.max_pool2d(x[0], 2).grad_fn.name() == "MaxPool2DWithIndicesBackward0"
    assert torch.avg_pool2d(x[0], 2).grad_fn.name() == "AvgPool2DBackward0"
    assert torch.adaptive_avg_pool2d(x[0], 1).grad_fn.name() == "MeanBackward1"
    assert torch.adaptive_avg_pool2d(x[0], 3).grad_fn.name() == "AdaptiveAvgPool2DBackward0"


def test_dtypes_empty_and_strided_inputs() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 6, 6)
    for dtype in (torch.float16, torch.bfloat16):
        low = x.to(dtype)
        assert torch.equal(torch.max_pool2d(low, 2), torch.max_pool2d(low.float(), 2).to(dtype))
        assert torch.equal(torch.avg_pool2d(low, 2), torch.avg_pool2d(low.float(), 2).to(dtype))
    whole = torch.arange(36, dtype=torch.int32).reshape(1, 6, 6)
    assert torch.max_pool2d(whole, 3).tolist() == [[[14, 17], [32, 35]]]
    assert torch.avg_pool2d(whole.long(), 3).tolist() == [[[7, 10], [25, 28]]]
    assert torch.max_pool2d(x[:0], 2).shape == (0, 3, 3, 3)
    assert torch.adaptive_avg_pool2d(x, 0).shape == (2, 3, 0, 0)
    strided = x.transpose(2, 3)
    assert torch.equal(
        torch.max_pool2d(strided, 3, 1), torch.max_pool2d(strided.contiguous(), 3, 1)
    )


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda x: torch.max_pool2d(x[0, 0], 2), "max_pool2d: expected input of 3 (unbatched)"),
        (lambda x: torch.max_pool2d(x, 2, padding=2), "padding of at most half of the window"),
        (lambda x: torch.max_pool2d(x, 0), "expected kernel_size of at least 1"),
        (lambda x: torch.max_pool2d(x, 2, 0), "expected stride of at least 1"),
        (lambda x: torch.max_pool2d(x, 2, dilation=0), "expected dilation of at least 1"),
        (lambda x: torch.max_pool2d(x, (2, 2, 2)), "expected kernel_size to be one number or 2"),
        (lambda x: torch.max_pool2d(x, 6), "expected a window that fits the input"),
        (lambda x: torch.max_pool2d(x[:, :, :0], 2), "empty in the batch at most"),
        (lambda x: torch.avg_pool2d(x, 2, divisor_override=0), "divisor that is not zero"),
        (lambda x: torch.avg_pool2d(x.int(), 2), "expected a floating or int64 input"),
        (lambda x: torch.adaptive_avg_pool2d(x, -1), "expected output_size of at least 0"),
    ],
)
def test_errors(call: Callable[[torch.Tensor], Any], text: str) -> None:
    with pytest.raises(RuntimeError) as caught:
        call(torch.ones(2, 3, 5, 5))
    assert text in str(caught.value)
