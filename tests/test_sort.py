"""Sorting, selecting, unique elements, searching and counting."""

import math

import numpy as np
import pytest

import flambeau
from flambeau.autograd import gradcheck

RANDOM = np.random.default_rng(2)
DTYPES = ["bool", "uint8", "int8", "int16", "int32", "int64", "float32", "float64"]


def numbers(dtype: str, *shape: int) -> np.ndarray:
    return (RANDOM.standard_normal(shape) * 40).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(7,), (3000,), (9000,), (5, 40), (40, 5), (3, 4, 5)], ids=str)
def test_sort(dtype: str, shape: tuple[int, ...]) -> None:
    array = numbers(dtype, *shape)
    x = flambeau.from_numpy(array)
    for dim in range(len(shape)):
        values, indices = x.sort(dim, stable=True)
        np.testing.assert_array_equal(values.numpy(), np.sort(array, dim))
        np.testing.assert_array_equal(indices.numpy(), np.argsort(array, dim, kind="stable"))
        values, indices = x.sort(dim, descending=True, stable=True)
        np.testing.assert_array_equal(values.numpy(), np.flip(np.sort(array, dim), dim))
        np.testing.assert_array_equal(np.take_along_axis(array, indices.numpy(), dim), values)


def test_sort_nan_and_signed_zero() -> None:
    x = flambeau.tensor([1.0, math.nan, -0.0, 0.0, math.inf, -math.inf, math.nan])
    values, indices = x.sort(stable=True)
    assert indices.tolist() == [5, 2, 3, 0, 4, 1, 6]
    assert math.copysign(1, values[1].item()) == -1
    assert x.sort(descending=True, stable=True).indices.tolist() == [1, 6, 4, 0, 2, 3, 5]
    half = flambeau.tensor([2.0, math.nan, -1.0], dtype=flambeau.bfloat16)
    assert half.argsort().tolist() == [2, 0, 1]


@pytest.mark.parametrize("largest", [True, False])
def test_topk(largest: bool) -> None:
    array = numbers("float32", 6, 500)
    values, indices = flambeau.from_numpy(array).topk(17, largest=largest)
    expected = np.sort(array, 1)
    expected = expected[:, ::-1][:, :17] if largest else expected[:, :17]
    np.testing.assert_array_equal(values.numpy(), expected)
    np.testing.assert_array_equal(np.take_along_axis(array, indices.numpy(), 1), expected)


def test_order_statistics() -> None:
    array = numbers("float64", 4, 9)
    x = flambeau.from_numpy(array)
    np.testing.assert_array_equal(x.kthvalue(3, 1).values.numpy(), np.sort(array, 1)[:, 2])
    np.testing.assert_array_equal(x.median(1).values.numpy(), np.median(array, 1))
    for q in (0.0, 0.2, 0.55, 1.0):
        for way in ("linear", "lower", "higher", "midpoint", "nearest"):
            np.testing.assert_allclose(
                x.quantile(q, 1, interpolation=way).numpy(), np.quantile(array, q, 1, method=way)
            )
    many = x.quantile(flambeau.tensor([0.1, 0.5], dtype=flambeau.float64), 0)
    np.testing.assert_allclose(many.numpy(), np.quantile(array, [0.1, 0.5], 0))
    assert flambeau.tensor([3, 1, 1, 3, 2]).mode().values.item() == 1


def test_unique() -> None:
    array = RANDOM.integers(-20, 20, (30, 7))
    x = flambeau.from_numpy(array)
    ours = x.unique(return_inverse=True, return_counts=True)
    for found, expected in zip(ours, np.unique(array, return_inverse=True, return_counts=True)):
        np.testing.assert_array_equal(found.numpy(), expected.reshape(found.shape))
    rows = flambeau.from_numpy(array % 2).unique(dim=0, return_counts=True)
    expected_rows, counts = np.unique(array % 2, axis=0, return_counts=True)
    np.testing.assert_array_equal(rows[0].numpy(), expected_rows)
    np.testing.assert_array_equal(rows[1].numpy(), counts)
    runs = flambeau.tensor([1, 1, 2, 2, 1]).unique_consecutive(return_counts=True)
    assert [run.tolist() for run in runs] == [[1, 2, 1], [2, 2, 1]]
    assert flambeau.tensor([math.nan, math.nan]).unique().shape == (2,)


def test_nonzero() -> None:
    array = RANDOM.integers(0, 3, (4, 5, 6))
    x = flambeau.from_numpy(array)
    np.testing.assert_array_equal(x.nonzero().numpy(), np.argwhere(array))
    np.testing.assert_array_equal(
        x.permute(2, 0, 1).nonzero().numpy(), np.argwhere(array.transpose(2, 0, 1))
    )
    for found, expected in zip(x.nonzero(as_tuple=True), np.nonzero(array)):
        np.testing.assert_array_equal(found.numpy(), expected)


def test_searching_and_counting() -> None:
    edges = np.sort(numbers("float32", 30))
    values = np.concatenate([numbers("float32", 50), edges[:3]])
    for right, side in ((False, "left"), (True, "right")):
        found = flambeau.searchsorted(
            flambeau.from_numpy(edges), flambeau.from_numpy(values), right=right
        )
        np.testing.assert_array_equal(found.numpy(), np.searchsorted(edges, values, side))
    places = RANDOM.integers(0, 9, 40)
    np.testing.assert_array_equal(
        flambeau.from_numpy(places).bincount().numpy(), np.bincount(places)
    )
    x = numbers("float64", 100)
    found = flambeau.from_numpy(x).histc(10, -50, 50)
    np.testing.assert_array_equal(found.numpy(), np.histogram(x, 10, (-50, 50))[0])


ERRORS = [
    (lambda x: x.sort(3), IndexError, "Dimension out of range"),
    (lambda x: x.topk(9), RuntimeError, "out of range"),
    (lambda x: x.topk(-1), RuntimeError, "out of range"),
    (lambda x: x.kthvalue(0), RuntimeError, "out of range"),
    (lambda x: flambeau.searchsorted(x, x[0]), RuntimeError, "boundaries"),
    (lambda x: flambeau.searchsorted(x[0], x, sorter=flambeau.tensor([0, 9, 1])), IndexError, "9"),
    (lambda x: x[0].bincount(), NotImplementedError, "integer"),
    (lambda x: (-x[0]).long().bincount(), RuntimeError, "non-negative"),
    (lambda x: x.histc(0), RuntimeError, "bins"),
    (lambda x: x.histc(3, 5, 1), RuntimeError, "larger"),
]


@pytest.mark.parametrize("case", range(len(ERRORS)))
def test_errors(case: int) -> None:
    function, error, text = ERRORS[case]
    with pytest.raises(error, match=text):
        function(flambeau.ones(2, 3))


def test_gradients() -> None:
    x = flambeau.from_numpy(numbers("float64", 4, 5)).requires_grad_()
    assert gradcheck(lambda x: x.sort(0).values, (x,))
    assert gradcheck(lambda x: x.topk(3, 1).values, (x,))
    assert gradcheck(lambda x: x.kthvalue(2, 0).values, (x,))
    assert gradcheck(lambda x: x.quantile(0.4, 1), (x,))
