"""Reductions and running sums against NumPy in float64; layouts, dtypes, gradients, errors."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import flambeau
from flambeau import Tensor
from flambeau.autograd import gradcheck, gradgradcheck

RANDOM = np.random.default_rng(0)


def normal(*shape: int) -> np.ndarray:
    return RANDOM.standard_normal(shape)


def layouts(array: np.ndarray) -> dict[str, Tensor]:
    """The same values with different strides."""
    dense = flambeau.from_numpy(array.copy())
    spaced = flambeau.zeros(*[2 * n for n in array.shape], dtype=dense.dtype)
    spaced[tuple(slice(None, None, 2) for _ in array.shape)] = dense
    order = tuple(range(array.ndim))[::-1]
    return {
        "dense": dense,
        "spaced": spaced[tuple(slice(None, None, 2) for _ in array.shape)],
        "transposed": flambeau.from_numpy(np.ascontiguousarray(array.transpose(order))).permute(
            order
        ),
    }


SHAPES = [(3,), (5000,), (40, 30), (3, 300), (300, 3), (700, 600), (4, 5, 6), (2, 33, 4, 9)]
FOLDS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "sum": (lambda x, d: x.sum(d), np.sum),
    "mean": (lambda x, d: x.mean(d), np.mean),
    "amax": (lambda x, d: x.amax(d), np.max),
    "amin": (lambda x, d: x.amin(d), np.min),
    "var": (lambda x, d: x.var(d, correction=0), np.var),
    "std": (lambda x, d: x.std(d, correction=0), np.std),
    "norm": (lambda x, d: x.norm(2, d), lambda x, axis: np.sqrt((x * x).sum(axis))),
    "norm1": (lambda x, d: x.norm(1, d), lambda x, axis: np.abs(x).sum(axis)),
    "norm3": (lambda x, d: x.norm(3, d), lambda x, axis: (np.abs(x) ** 3).sum(axis) ** (1 / 3)),
    "count": (lambda x, d: (x > 0).count_nonzero(d), lambda x, axis: (x > 0).sum(axis)),
    "any": (lambda x, d: (x > 2).any(d), lambda x, axis: (x > 2).any(axis)),
    "all": (lambda x, d: (x > -2).all(d), lambda x, axis: (x > -2).all(axis)),
    "logsumexp": (lambda x, d: x.logsumexp(d), lambda x, axis: np.log(np.exp(x).sum(axis))),
}


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", FOLDS)
def test_layouts(name: str, shape: tuple[int, ...]) -> None:
    ours, numpy = FOLDS[name]
    for dtype, tolerance in ((np.float64, 1e-12), (np.float32, 3e-6)):
        array = normal(*shape).astype(dtype)
        exact = array.astype(np.float64)
        rank = len(shape)
        choices = [(d,) for d in range(rank)] + [tuple(range(rank)), (0, rank - 1)][: rank - 1 or 1]
        for dims in choices:
            expected = numpy(exact, axis=dims if len(dims) > 1 else dims[0])
            for layout, x in layouts(array).items():
                found = np.asarray(ours(x, dims).tolist())
                np.testing.assert_allclose(
                    found, expected, tolerance, tolerance * 10, err_msg=f"{layout} {dims}"
                )


def test_prod() -> None:
    array = normal(7, 300) * 0.01 + 1
    for layout, x in layouts(array).items():
        for dim in (0, 1):
            np.testing.assert_allclose(x.prod(dim).numpy(), array.prod(dim), err_msg=layout)
        assert x.prod().item() == pytest.approx(array.prod())


def test_sum_is_accurate() -> None:
    array = np.random.default_rng(1).random(3_000_001).astype(np.float32)
    x = flambeau.from_numpy(array)
    exact = array.astype(np.float64).sum()
    assert abs(x.sum().item() - exact) / exact < 1e-7
    tall = x[:3_000_000].reshape(300_000, 10)
    np.testing.assert_allclose(
        tall.sum(0).numpy(), tall.numpy().astype(np.float64).sum(0), rtol=2e-7
    )
    assert flambeau.ones(100_000, dtype=flambeau.float16).mean().item() == 1
    assert flambeau.full((4096,), 1.0, dtype=flambeau.bfloat16).sum().item() == 4096


def test_sums_do_not_depend_on_threads() -> None:
    x = flambeau.from_numpy(normal(1500, 700).astype(np.float32))
    threads = flambeau.get_num_threads()
    results = []
    for count in (1, 2, 4):
        flambeau.set_num_threads(count)
        results.append([x.sum().item(), x.sum(0).tolist(), x.sum(1).tolist(), x.var(0).tolist()])
    flambeau.set_num_threads(threads)
    assert results[0] == results[1] == results[2]


def test_dtypes_of_results() -> None:
    for dtype in (flambeau.uint8, flambeau.int8, flambeau.int16, flambeau.int32, flambeau.bool):
        x = flambeau.ones(3, dtype=dtype)
        assert x.sum().dtype is x.prod().dtype is x.cumsum(0).dtype is flambeau.int64
        assert x.max().dtype is dtype
    assert flambeau.ones(3, dtype=flambeau.uint8).any().dtype is flambeau.uint8
    assert flambeau.ones(3, dtype=flambeau.float16).sum().dtype is flambeau.float16
    assert flambeau.tensor([200, 100], dtype=flambeau.uint8).sum().item() == 300
    assert flambeau.tensor([2**62, 2**62]).sum().item() == -(2**63)


def test_nan_and_ties() -> None:
    x = flambeau.tensor([[1.0, math.nan, 3.0, math.nan], [4.0, 4.0, -math.inf, 2.0]])
    values, indices = x.max(1)
    assert math.isnan(values[0].item()) and indices.tolist() == [1, 0]
    assert x.argmin(1).tolist() == [1, 2]
    assert math.isnan(x.max().item()) and math.isnan(x.amin(0)[1].item())
    assert x.nansum(1).tolist()[0] == 4 and x[0].nanmean().item() == 2
    assert x.nanmedian(1).values[0].item() == 1
    long = flambeau.zeros(10_000)
    long[[777, 8000]] = 5.0
    assert long.argmax().item() == 777 and long.max(0).indices.item() == 777
    long[9000] = math.nan
    assert long.argmax().item() == 9000 and long.argmin().item() == 9000
    wide = long.reshape(100, 100)
    assert wide.argmax(0).tolist()[77] == 7 and wide.t().argmax(1).tolist()[0] == 90


def test_named_tuples() -> None:
    result = flambeau.tensor([[1.0, 3.0], [5.0, 2.0]]).max(dim=1)
    assert result.values.tolist() == [3, 5] and result.indices.tolist() == [1, 0]
    values, indices = result
    assert type(result).__name__ == "max" and values is result[0] and indices is result[1]
    assert flambeau.ones(2).aminmax().min.item() == 1


def test_empty() -> None:
    x = flambeau.empty(0, 3)
    assert x.sum().item() == 0 and x.prod(0).tolist() == [1, 1, 1]
    assert all(math.isnan(value) for value in x.mean(0).tolist())
    assert x.any().item() is False and x.all().item() is True
    assert x.logsumexp(0).tolist() == [-math.inf] * 3
    assert x.max(1).values.shape == (0,) and x.cumsum(0).shape == (0, 3)
    assert math.isnan(x.var().item())


ERRORS = [
    (lambda x: x.max(), RuntimeError, "Specify the reduction dim"),
    (lambda x: x.max(0), IndexError, "non-zero size"),
    (lambda x: x.argmax(), IndexError, "numel"),
    (lambda x: x.sum(2), IndexError, "Dimension out of range"),
    (lambda x: x.sum((0, -2)), RuntimeError, "multiple times"),
    (lambda x: x.long().mean(), RuntimeError, "floating"),
    (lambda x: x.int().var(), RuntimeError, "floating"),
    (lambda x: x.norm(math.inf), RuntimeError, "identity"),
    (lambda x: x.norm("nuc"), ValueError, "fro"),
    (lambda x: x.quantile(0.5), RuntimeError, "non-empty"),
    (lambda x: flambeau.ones(3).quantile(1.5), RuntimeError, "range"),
    (lambda x: x.cumsum(3), IndexError, "Dimension out of range"),
    (lambda x: x.sum_to_size(2, 3), RuntimeError, "sum_to_size"),
    (lambda x: x.sum("a"), TypeError, "sum"),
]


@pytest.mark.parametrize("case", range(len(ERRORS)))
def test_errors(case: int) -> None:
    function, error, text = ERRORS[case]
    with pytest.raises(error, match=text):
        function(flambeau.empty(0, 3))


GRADIENTS: dict[str, Callable[[Tensor], Tensor]] = {
    "sum": lambda x: x.sum((0, 2)),
    "mean": lambda x: x.mean(1, keepdim=True),
    "prod": lambda x: x.prod(1),
    "prod_all": lambda x: x.prod(),
    "max": lambda x: x.max(1).values,
    "max_all": lambda x: x.max() * x.min(),
    "amax": lambda x: x.amax((0, 2)),
    "var": lambda x: x.var((0, 1)),
    "std": lambda x: x.std(2),
    "var_mean": lambda x: flambeau.var_mean(x, 1)[0] * flambeau.var_mean(x, 1)[1],
    "norm": lambda x: x.norm(2, 1),
    "norm1": lambda x: x.norm(1),
    "norm3": lambda x: x.norm(3, (0, 1)),
    "norm_inf": lambda x: x.norm(math.inf, 2),
    "logsumexp": lambda x: x.logsumexp((0, 2)),
    "nansum": lambda x: x.nansum(1),
    "cumsum": lambda x: x.cumsum(1),
    "cumprod": lambda x: x.cumprod(1),
    "cummax": lambda x: x.cummax(1).values,
    "logcumsumexp": lambda x: x.logcumsumexp(1),
    "median": lambda x: x.median(1).values,
    "quantile": lambda x: x.quantile(0.3, 1),
}


@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients(name: str) -> None:
    x = flambeau.from_numpy(normal(2, 3, 4)).requires_grad_()
    assert gradcheck(GRADIENTS[name], (x,))
    assert gradgradcheck(GRADIENTS[name], (x,))


@pytest.mark.parametrize("zeros", [0, 1, 2])
def test_products_with_zeros(zeros: int) -> None:
    x = flambeau.from_numpy(normal(2, 5))
    x[0, 1 : 1 + zeros] = 0
    x.requires_grad_()
    assert gradcheck(lambda x: x.prod(1), (x,))
    assert gradcheck(lambda x: x.cumprod(1), (x,))


def test_gradient_of_ties_and_zeros() -> None:
    x = flambeau.tensor([2.0, 2.0, 1.0], requires_grad=True)
    x.max().backward()
    assert x.grad.tolist() == [0.5, 0.5, 0]
    x.grad = None
    x.max(0).values.backward()
    assert x.grad.tolist() == [1, 0, 0]
    zero = flambeau.zeros(3, requires_grad=True)
    (zero.norm() + zero.std()).backward()
    assert zero.grad.tolist() == [0, 0, 0]


def test_names_of_nodes() -> None:
    x = flambeau.ones(2, 3, requires_grad=True)
    assert "SumBackward0" in repr(x.sum()) and "SumBackward1" in repr(x.sum(0))
    assert "MeanBackward0" in repr(x.mean()) and "LinalgVectorNormBackward0" in repr(x.norm())
