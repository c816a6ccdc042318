"""Convolutions against NumPy in float64: values, gradients of both orders, dtypes, errors."""

from __future__ import annotations

import itertools
import random
from typing import Any, NamedTuple

import numpy as np
import pytest

import flambeau as torch
from flambeau.autograd import gradcheck, gradgradcheck

CONV = {1: torch.conv1d, 2: torch.conv2d, 3: torch.conv3d}
TRANSPOSED = {1: torch.conv_transpose1d, 2: torch.conv_transpose2d, 3: torch.conv_transpose3d}


class Case(NamedTuple):
    """One convolution; the shapes are those of input and weight."""

    x: tuple[int, ...]
    w: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int

    @property
    def axes(self) -> int:
        return len(self.x) - 2

    @property
    def out(self) -> tuple[int, ...]:
        return tuple(
            (n + 2 * p - d * (k - 1) - 1) // s + 1
            for n, k, s, p, d in zip(
                self.x[2:], self.w[2:], self.stride, self.padding, self.dilation, strict=True
            )
        )

    def settings(self) -> dict[str, Any]:
        return {
            "stride": self.stride,
            "padding": self.padding,
            "dilation": self.dilation,
            "groups": self.groups,
        }


def windows(case: Case, x: np.ndarray) -> np.ndarray:
    """[N, groups, C / groups, *kernel, *out]: what each tap of the kernel reads."""
    padded = np.pad(x, [(0, 0), (0, 0)] + [(p, p) for p in case.padding])
    result = np.empty((*x.shape[:2], *case.w[2:], *case.out))
    for tap in itertools.product(*map(range, case.w[2:])):
        reach = tuple(
            slice(t * d, t * d + (o - 1) * s + 1, s)
            for t, d, o, s in zip(tap, case.dilation, case.out, case.stride, strict=True)
        )
        result[(slice(None), slice(None), *tap)] = padded[(..., *reach)]
    return result.reshape(x.shape[0], case.groups, -1, *result.shape[2:])


def reference(case: Case, x: np.ndarray, w: np.ndarray) -> np.ndarray:
    taps = windows(case, x)
    inner = int(np.prod(taps.shape[2 : 3 + case.axes]))
    columns = taps.reshape(x.shape[0], case.groups, inner, -1)
    rows = w.reshape(case.groups, w.shape[0] // case.groups, inner)
    return (rows @ columns).reshape(x.shape[0], w.shape[0], *case.out)


def random_case(seed: int) -> Case:
    draw = random.Random(seed)
    axes, groups = draw.choice([1, 2, 2, 2, 3]), draw.choice([1, 1, 1, 2, 3])
    kernel = [draw.randint(1, 4) for _ in range(axes)]
    dilation = [draw.randint(1, 3) for _ in range(axes)]
    padding = [draw.randint(0, 3) for _ in range(axes)]
    extra = [0, 1, 2, 5, 9] if axes < 3 else [0, 1, 3]
    shape = [
        max(d * (k - 1) + 1 - 2 * p, 1) + draw.choice(extra)
        for k, d, p in zip(kernel, dilation, padding, strict=True)
    ]
    channels, outputs = groups * draw.choice([1, 2, 5]), groups * draw.choice([1, 3, 8, 20])
    return Case(
        (draw.choice([1, 2, 17]), channels, *shape),
        (outputs, channels // groups, *kernel),
        tuple(draw.randint(1, 3) for _ in range(axes)),
        tuple(padding),
        tuple(dilation),
        groups,
    )


CASES = [random_case(seed) for seed in range(60)]
# Sizes at which the kernels take their other paths: many channels, many positions, one row.
CASES += [
    Case((2, 40, 9, 9), (70, 40, 3, 3), (1, 1), (1, 1), (1, 1), 1),
    Case((1, 3, 40, 150), (2, 3, 5, 5), (2, 2), (2, 2), (1, 1), 1),
    Case((3, 16, 20, 20), (16, 1, 3, 3), (1, 1), (1, 1), (1, 1), 16),
    Case((2, 130, 1, 1), (33, 130, 1, 1), (1, 1), (0, 0), (1, 1), 1),
    Case((1, 1, 3000), (9, 1, 25), (1,), (12,), (1,), 1),
    Case((2, 3, 32, 32), (12, 3, 8, 8), (8, 8), (0, 0), (1, 1), 1),
    # Products: pointwise kernels, and gradients of weights in all their forms.
    Case((3, 24, 9, 9), (40, 24, 1, 1), (1, 1), (0, 0), (1, 1), 1),
    Case((5, 16, 6, 9), (20, 16, 3, 2), (2, 1), (1, 2), (1, 3), 1),
    Case((17, 32, 4, 5), (130, 32, 3, 3), (1, 1), (1, 1), (1, 1), 1),
    Case((2, 32, 3, 4, 5), (16, 32, 2, 2, 3), (1, 1, 2), (1, 0, 1), (1, 1, 1), 1),
    Case((2, 3, 30, 31), (64, 3, 7, 7), (2, 2), (3, 3), (1, 1), 1),
    Case((2, 30, 25, 25), (33, 30, 3, 3), (1, 1), (1, 1), (1, 1), 1),
    Case((9, 32, 7, 8), (257, 32, 1, 1), (2, 1), (0, 0), (1, 1), 1),
]


def close(actual: torch.Tensor, expected: np.ndarray, tolerance: float) -> None:
    assert tuple(actual.shape) == expected.shape
    scale = np.abs(expected).max(initial=1e-6)
    difference = np.abs(actual.detach().double().numpy() - expected).max(initial=0.0)
    assert difference <= tolerance * scale


@pytest.mark.parametrize("case", CASES, ids=str)
def test_values_and_gradients(case: Case) -> None:
    generator = np.random.default_rng(0)
    x, w = generator.standard_normal(case.x), generator.standard_normal(case.w)
    bias = generator.standard_normal(case.w[0])
    y = reference(case, x, w) + bias.reshape(-1, *[1] * case.axes)
    g = generator.standard_normal(y.shape)
    for dtype, tolerance in ((torch.float64, 1e-13), (torch.float32, 3e-6)):
        tx, tw, tb = (torch.from_numpy(a).to(dtype).requires_grad_() for a in (x, w, bias))
        out = CONV[case.axes](tx, tw, tb, **case.settings())
        assert out.grad_fn.name() == "ConvolutionBackward0"
        close(out, y, tolerance)
        out.backward(torch.from_numpy(g).to(dtype))
        close(tb.grad, g.sum(axis=(0, *range(2, g.ndim))), tolerance)
        # The gradients are the adjoints of a bilinear function: <g, conv(u, w)> = <u, grad x>.
        u, v = generator.standard_normal(case.x), generator.standard_normal(case.w)
        for direction, gradient, moved in (
            (u, tx.grad, reference(case, u, w)),
            (v, tw.grad, reference(case, x, v)),
        ):
            product = float((g * moved).sum())
            scale = np.linalg.norm(g) * np.linalg.norm(moved) + 1.0
            inner = float((gradient.double().numpy() * direction).sum())
            assert abs(inner - product) <= 10 * tolerance * scale


@pytest.mark.parametrize("case", CASES[:20], ids=str)
def test_transposed_is_the_input_gradient(case: Case) -> None:
    generator = np.random.default_rng(1)
    w = torch.from_numpy(generator.standard_normal(case.w))
    g = torch.from_numpy(generator.standard_normal((case.x[0], case.w[0], *case.out)))
    x = torch.zeros(case.x, dtype=torch.float64, requires_grad=True)
    CONV[case.axes](x, w, None, **case.settings()).backward(g)
    extra = tuple(
        n + 2 * p - d * (k - 1) - 1 - (o - 1) * s
        for n, k, s, p, d, o in zip(
            case.x[2:], case.w[2:], case.stride, case.padding, case.dilation, case.out, strict=True
        )
    )
    y = TRANSPOSED[case.axes](g, w, None, output_padding=extra, **case.settings())
    close(y, x.grad.numpy(), 1e-13)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"stride": 2, "padding": 1},
        {"dilation": 2, "padding": (1, 2)},
        {"groups": 2},
        {"padding": "same"},
    ],
    ids=str,
)
def test_gradcheck(settings: dict[str, Any]) -> None:
    torch.manual_seed(0)
    groups = settings.get("groups", 1)
    x = torch.randn(1, 2, 4, 3, dtype=torch.float64, requires_grad=True)
    w = torch.randn(2, 2 // groups, 2, 2, dtype=torch.float64, requires_grad=True)
    b = torch.randn(2, dtype=torch.float64, requires_grad=True)

    def function(x: torch.Tensor, w: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.conv2d(x, w, b, **settings)

    assert gradcheck(function, (x, w, b))
    assert gradgradcheck(function, (x, w, b))


def test_gradcheck_transposed() -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 2, 2, 2, dtype=torch.float64, requires_grad=True)
    w = torch.randn(2, 2, 3, 2, dtype=torch.float64, requires_grad=True)
    b = torch.randn(4, dtype=torch.float64, requires_grad=True)

    def function(x: torch.Tensor, w: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.conv_transpose2d(x, w, b, stride=2, padding=1, output_padding=1, groups=2)

    assert gradcheck(function, (x, w, b))
    assert gradgradcheck(function, (x, w, b))


def test_same_padding_puts_the_smaller_part_first() -> None:
    x = torch.arange(4.0).reshape(1, 1, 4)
    assert torch.conv1d(x, torch.ones(1, 1, 2), padding="same").tolist() == [[[1.0, 3.0, 5.0, 3.0]]]
    assert torch.conv1d(x, torch.ones(1, 1, 2), padding="valid").shape == (1, 1, 3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_short_floats_are_summed_in_float(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    x, w = torch.randn(2, 8, 6, 6).to(dtype), torch.randn(4, 8, 3, 3).to(dtype)
    y = torch.conv2d(x, w)
    assert y.dtype == dtype
    assert torch.equal(y, torch.conv2d(x.float(), w.float()).to(dtype))


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.int8, torch.uint8])
def test_integers(dtype: torch.dtype) -> None:
    x = torch.arange(2 * 2 * 5).reshape(2, 2, 5).to(dtype)
    w = torch.arange(6 * 3).reshape(6, 1, 3).to(dtype)
    y = torch.conv1d(x, w, padding=1, groups=2)
    assert y.dtype == dtype
    expected = torch.conv1d(x.double(), w.double(), padding=1, groups=2)
    assert torch.equal(y, expected.long().to(dtype))
    back = torch.conv_transpose1d(y.double(), w.double(), groups=2)
    assert torch.equal(torch.conv_transpose1d(y.long(), w.long(), groups=2), back.long())


def test_unbatched_empty_and_strided_inputs() -> None:
    torch.manual_seed(0)
    x, w = torch.randn(3, 6, 5), torch.randn(4, 3, 3, 3)
    assert torch.equal(torch.conv2d(x, w), torch.conv2d(x[None], w)[0])
    assert torch.conv2d(torch.randn(0, 3, 6, 5), w).shape == (0, 4, 4, 3)
    strided = x.permute(0, 2, 1)
    assert torch.equal(torch.conv2d(strided, w), torch.conv2d(strided.contiguous(), w))
    empty = torch.randn(0, 3, 6, 5, requires_grad=True)
    weight = torch.randn(4, 3, 3, 3, requires_grad=True)
    torch.conv2d(empty, weight).sum().backward()
    assert torch.equal(weight.grad, torch.zeros(4, 3, 3, 3))


@pytest.mark.parametrize(("channels", "kernel"), [(20, 3), (32, 3), (3, 5), (32, 1)])
def test_results_do_not_depend_on_the_number_of_threads(channels: int, kernel: int) -> None:
    torch.manual_seed(0)
    x = torch.randn(5, channels, 15, 15, requires_grad=True)
    w = torch.randn(24, channels, kernel, kernel, requires_grad=True)
    threads, results = torch.get_num_threads(), []
    for count in (1, 3):
        torch.set_num_threads(count)
        x.grad = w.grad = None
        y = torch.conv2d(x, w, padding=kernel // 2)
        y.backward(torch.ones_like(y))
        results.append((y.detach(), x.grad, w.grad))
    torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            lambda x, w: torch.conv2d(x[:, :2], w),
            "conv2d: expected input with 3 channels because weight has shape [8, 3, 3, 3]",
        ),
        (lambda x, w: torch.conv2d(x[0, 0], w), "expected input of 3 (unbatched) or 4 (batched)"),
        (lambda x, w: torch.conv2d(x, w[0]), "expected weight of 4 dimensions"),
        (lambda x, w: torch.conv2d(x[..., :2], w), "expected a kernel that fits the input"),
        (lambda x, w: torch.conv2d(x, w, torch.ones(7)), "expected bias of shape [8]"),
        (lambda x, w: torch.conv2d(x, w, groups=3), "divisible by groups=3"),
        (lambda x, w: torch.conv2d(x, w, groups=0), "expected groups of at least 1"),
        (lambda x, w: torch.conv2d(x, w, stride=0), "expected stride of at least 1"),
        (lambda x, w: torch.conv2d(x, w, stride=(1, 1, 1)), "expected stride to be one number or"),
        (lambda x, w: torch.conv2d(x, w, padding=-1), "expected padding of at least 0"),
        (lambda x, w: torch.conv2d(x, w, padding="half"), "'same' or 'valid'"),
        (lambda x, w: torch.conv2d(x, w, stride=2, padding="same"), "needs stride 1"),
        (lambda x, w: torch.conv2d(x.double(), w), "of one dtype"),
        (lambda x, w: torch.conv_transpose2d(x, w), "expected input with 8 channels"),
        (
            lambda x, w: torch.conv_transpose2d(torch.ones(8, 4, 4), w, output_padding=1),
            "expected output_padding smaller than",
        ),
        (
            lambda x, w: torch.conv_transpose2d(torch.ones(8, 2, 2), w, padding=2),
            "an input large enough for an output",
        ),
    ],
)
def test_errors(call: Any, text: str) -> None:
    with pytest.raises(RuntimeError) as caught:
        call(torch.ones(1, 3, 8, 8), torch.ones(8, 3, 3, 3))
    assert text in str(caught.value)


def test_bool_is_not_implemented() -> None:
    ones = torch.ones(1, 1, 3, 3, dtype=torch.bool)
    with pytest.raises(NotImplementedError, match="conv2d"):
        torch.conv2d(ones, ones)
