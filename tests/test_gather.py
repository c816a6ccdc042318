"""Reading and writing at indices, masks, rearrangements; against NumPy."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import flambeau
from flambeau import Tensor
from flambeau.autograd import gradcheck, gradgradcheck

RANDOM = np.random.default_rng(5)
DTYPES = ["bool", "uint8", "int16", "int32", "int64", "float16", "float32", "float64"]


def pair(*shape: int, dtype: str = "float64") -> tuple[np.ndarray, Tensor]:
    array = (RANDOM.standard_normal(shape) * 9).astype(dtype)
    return array, flambeau.from_numpy(array.copy())


@pytest.mark.parametrize("dtype", DTYPES)
def test_gather_of_every_dtype(dtype: str) -> None:
    array, x = pair(5, 6, dtype=dtype)
    index = RANDOM.integers(0, 5, (3, 6))
    expected = np.take_along_axis(array, index, 0)
    np.testing.assert_array_equal(x.gather(0, flambeau.from_numpy(index)).numpy(), expected)
    turned = x.t().gather(1, flambeau.from_numpy(index.T.copy()))
    np.testing.assert_array_equal(turned.numpy(), expected.T)


@pytest.mark.parametrize("dim", [0, 1, 2])
def test_scatter(dim: int) -> None:
    array, x = pair(4, 5, 6)
    values, src = pair(4, 5, 6)
    index = np.argsort(RANDOM.random((4, 5, 6)), dim)
    expected = array.copy()
    np.put_along_axis(expected, index, values, dim)
    at = flambeau.from_numpy(index)
    np.testing.assert_array_equal(x.scatter(dim, at, src).numpy(), expected)
    view = flambeau.empty(6, 5, 4, dtype=flambeau.float64).permute(2, 1, 0)
    view.copy_(x)
    view.scatter_(dim, at, src)
    np.testing.assert_array_equal(view.numpy(), expected)
    summed = x.scatter_add(dim, at % 2, src).numpy()
    expected = array.copy()
    places = list(np.indices(index.shape))
    places[dim] = index % 2
    np.add.at(expected, tuple(places), values)
    np.testing.assert_allclose(summed, expected)


def test_scatter_add_is_deterministic_and_large() -> None:
    index = RANDOM.integers(0, 50, (20_000,))
    values, src = pair(20_000, 16, dtype="float32")
    expected = np.zeros((50, 16), np.float64)
    np.add.at(expected, index, values.astype(np.float64))
    at = flambeau.from_numpy(index)
    threads = flambeau.get_num_threads()
    results = []
    for count in (1, 3):
        flambeau.set_num_threads(count)
        results.append(flambeau.zeros(50, 16).index_add(0, at, src))
    flambeau.set_num_threads(threads)
    np.testing.assert_allclose(results[0].numpy(), expected, rtol=1e-3, atol=1e-2)
    assert flambeau.equal(results[0], results[1])


@pytest.mark.parametrize("reduce", ["sum", "prod", "mean", "amax", "amin"])
@pytest.mark.parametrize("include", [True, False])
def test_scatter_reduce(reduce: str, include: bool) -> None:
    array, x = pair(4)
    values, src = pair(9)
    index = RANDOM.integers(0, 3, 9)
    fold = {"sum": np.sum, "prod": np.prod, "mean": np.mean, "amax": np.max, "amin": np.min}[reduce]
    expected = array.copy()
    for i in set(index):
        group = values[index == i]
        expected[i] = fold(np.append(group, array[i]) if include else group)
    found = x.scatter_reduce(0, flambeau.from_numpy(index), src, reduce, include_self=include)
    np.testing.assert_allclose(found.numpy(), expected)


@pytest.mark.parametrize("dim", [0, 1, 2])
def test_index_functions(dim: int) -> None:
    array, x = pair(4, 5, 6)
    index = np.array([2, 0, 2])
    at = flambeau.from_numpy(index)
    expected = np.take(array, index, dim)
    np.testing.assert_array_equal(x.index_select(dim, at).numpy(), expected)
    turned = x.transpose(0, 2).index_select(2 - dim, at).transpose(0, 2)
    np.testing.assert_array_equal(turned.numpy(), expected)
    source, src = pair(*expected.shape)
    place = (slice(None),) * dim + (index,)
    summed = array.copy()
    np.add.at(summed, place, 3 * source)
    np.testing.assert_allclose(x.index_add(dim, at, src, alpha=3).numpy(), summed)
    written = array.copy()
    written[place] = source
    np.testing.assert_array_equal(x.index_copy(dim, at, src).numpy(), written)
    written[place] = 7
    np.testing.assert_array_equal(x.index_fill(dim, at - 3, 7).numpy().shape, written.shape)
    np.testing.assert_array_equal(x.index_fill(dim, at, 7).numpy()[place], written[place])


def test_in_place_forms_share_memory() -> None:
    x = flambeau.zeros(3, 4)
    at = flambeau.tensor([0, 2])
    pointer = x.data_ptr()
    assert x.index_add_(0, at, flambeau.ones(2, 4)) is x
    x.index_fill_(1, flambeau.tensor([3]), 5).index_copy_(0, at[:1], flambeau.ones(1, 4))
    x.scatter_(1, flambeau.tensor([[0], [1], [2]]), 9.0)
    x.masked_scatter_(x == 9, flambeau.tensor([1.0, 2.0, 3.0]))
    assert x.data_ptr() == pointer
    assert x.tolist() == [[1, 1, 1, 1], [0, 2, 0, 5], [1, 1, 3, 5]]
    x.t()[1].index_add_(0, flambeau.tensor([1]), flambeau.tensor([4.0]))
    assert x[1, 1].item() == 6


def test_writing_a_tensor_into_itself() -> None:
    x = flambeau.arange(6.0)
    x.index_copy_(0, flambeau.tensor([0, 1, 2]), x[3:])
    x.index_add_(0, flambeau.tensor([5, 4, 3, 2, 1, 0]), x)
    assert x.tolist() == [8, 8, 8, 8, 8, 8]


def test_embedding() -> None:
    array, weight = pair(7, 3)
    index = RANDOM.integers(0, 7, (4, 5))
    at = flambeau.from_numpy(index)
    np.testing.assert_array_equal(flambeau.embedding(weight, at).numpy(), array[index])
    weight.requires_grad_()
    flambeau.embedding(weight, at, padding_idx=2).sum().backward()
    expected = np.bincount(index.ravel(), minlength=7).astype(float)
    expected[2] = 0
    np.testing.assert_array_equal(weight.grad.numpy(), np.repeat(expected[:, None], 3, 1))
    assert gradcheck(lambda w: flambeau.embedding(w, at), (weight,))
    assert gradgradcheck(lambda w: flambeau.embedding(w, at, padding_idx=1).square(), (weight,))


def test_masks() -> None:
    array, x = pair(4, 6)
    mask = RANDOM.random((4, 6)) > 0.5
    at = flambeau.from_numpy(mask)
    np.testing.assert_array_equal(x.masked_select(at).numpy(), array[mask])
    np.testing.assert_array_equal(x.t().masked_select(at.t()).numpy(), array.T[mask.T])
    np.testing.assert_array_equal(x.masked_select(at[0]).numpy(), array[:, mask[0]].ravel())
    expected = array.copy()
    expected[mask] = np.arange(mask.sum())
    source = flambeau.arange(24, dtype=flambeau.float64)
    np.testing.assert_array_equal(x.masked_scatter(at, source).numpy(), expected)


def test_rearranging() -> None:
    array, x = pair(4, 5, 6)
    np.testing.assert_array_equal(x.flip(0, 2).numpy(), array[::-1, :, ::-1])
    np.testing.assert_array_equal(
        x.transpose(0, 1).flip(1).numpy(), array.transpose(1, 0, 2)[:, ::-1]
    )
    np.testing.assert_array_equal(x.roll((7, -2), (1, 0)).numpy(), np.roll(array, (7, -2), (1, 0)))
    np.testing.assert_array_equal(x.roll(11).numpy(), np.roll(array, 11))
    for diagonal in (-9, -1, 0, 2, 9):
        np.testing.assert_array_equal(x.tril(diagonal).numpy(), np.tril(array, diagonal))
        np.testing.assert_array_equal(x.mT.triu(diagonal).numpy(), np.triu(array.mT, diagonal))
        rows, columns = flambeau.tril_indices(4, 5, diagonal)
        expected = np.tril_indices(4, diagonal, 5)
        np.testing.assert_array_equal(rows.numpy(), expected[0])
        np.testing.assert_array_equal(columns.numpy(), expected[1])
    np.testing.assert_array_equal(flambeau.diag(x[0, 0], 2).numpy(), np.diag(array[0, 0], 2))
    np.testing.assert_array_equal(flambeau.diag(x[0], -1).numpy(), np.diag(array[0], -1))
    assert x[0].trace().item() == pytest.approx(np.trace(array[0]))
    embedded = flambeau.diag_embed(x, 1, 0, 2)
    np.testing.assert_array_equal(embedded.diagonal(1, 0, 2).numpy(), array)
    counts = flambeau.tensor([1, 0, 3, 2])
    np.testing.assert_array_equal(
        x.repeat_interleave(counts, 0).numpy(), np.repeat(array, [1, 0, 3, 2], 0)
    )
    hot = flambeau.nn.functional.one_hot(flambeau.tensor([[2, 0]]), 4)
    assert hot.tolist() == [[[0, 0, 1, 0], [1, 0, 0, 0]]]


X = flambeau.ones(2, 3)
AT = flambeau.tensor
ERRORS: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: X.gather(1, AT([[5]])), RuntimeError, "index 5 is out of bounds for dimension 1"),
    (lambda: X.gather(1, AT([[-1]])), RuntimeError, "index -1"),
    (lambda: X.gather(1, AT([0])), RuntimeError, "same number of dimensions"),
    (lambda: X.gather(1, AT([[0.5]])), RuntimeError, "int64"),
    (lambda: X.gather(1, flambeau.zeros(3, 1).long()), RuntimeError, "no larger"),
    (lambda: X.scatter(1, AT([[9]]), 1.0), RuntimeError, "size 3"),
    (lambda: X.scatter(1, AT([[1]]), AT([[1]])), RuntimeError, "dtype"),
    (lambda: X.scatter(1, AT([[1, 1]]), AT([[1.0]])), RuntimeError, "larger"),
    (lambda: X.scatter_reduce(1, AT([[1]]), X, "max"), RuntimeError, "reduce"),
    (lambda: X.index_select(0, AT([2])), IndexError, "index 2"),
    (lambda: X.index_select(0, AT([[0]])), IndexError, "vector"),
    (lambda: X.index_add(0, AT([7]), X[:1]), RuntimeError, "index 7"),
    (lambda: X.index_add(0, AT([0]), X), RuntimeError, "Number of indices"),
    (lambda: X.index_copy(0, AT([7]), X[:1]), IndexError, "index 7"),
    (lambda: X.index_fill(0, AT([-3]), 1), IndexError, "index -3"),
    (lambda: X.take(AT([6])), IndexError, "index 6"),
    (lambda: flambeau.embedding(X, AT([2])), IndexError, "index 2"),
    (lambda: X.masked_select(AT([1])), RuntimeError, "Bool"),
    (lambda: X.masked_scatter(X > 0, AT([1.0])), RuntimeError, "ones in mask"),
    (lambda: X.flip(0, 0), RuntimeError, "multiple times"),
    (lambda: X[0].tril(), RuntimeError, "2 dimensions"),
    (lambda: X.roll((1, 2), (0,)), RuntimeError, "align"),
    (lambda: X.repeat_interleave(AT([1, 2, 3]), 0), RuntimeError, "same size"),
    (lambda: X.repeat_interleave(-1, 0), RuntimeError, "negative"),
    (lambda: flambeau.nn.functional.one_hot(AT([3]), 2), RuntimeError, "smaller"),
]


@pytest.mark.parametrize("case", range(len(ERRORS)))
def test_errors(case: int) -> None:
    function, error, text = ERRORS[case]
    with pytest.raises(error, match=text):
        function()


def test_gradients() -> None:
    x, y = pair(3, 4)[1].requires_grad_(), pair(3, 4)[1].requires_grad_()
    at = flambeau.tensor([[0, 2, 1, 0], [1, 1, 0, 2]])
    rows = flambeau.tensor([1, 1, 0])
    functions: list[Callable[[Tensor, Tensor], Tensor]] = [
        lambda x, y: x.gather(0, at) * y[:2],
        lambda x, y: x.scatter(0, at[:1], y).square(),
        lambda x, y: x.scatter(1, at[:, :1], 2.0) * y,
        lambda x, y: x.scatter_add(0, at, y).square(),
        lambda x, y: x.scatter_reduce(0, at, y[:2], "mean").square(),
        lambda x, y: x.scatter_reduce(0, at, y[:2], "amax", include_self=False),
        lambda x, y: x.index_select(1, rows) * y.index_select(1, rows),
        lambda x, y: x.index_add(0, rows, y, alpha=2).square(),
        lambda x, y: x.index_copy(0, rows[1:], y[:2]) * y,
        lambda x, y: x.index_fill(0, rows, 0.5) * y,
        lambda x, y: x.take(at) * y.take(at),
        lambda x, y: x.put(at[0, :3], y[0, :3], accumulate=True).square(),
        lambda x, y: x.masked_select(at[:1] > 0) * y.masked_select(at[:1] > 0),
        lambda x, y: x.masked_scatter(at[:1] > 0, y).square(),
        lambda x, y: x.flip(1) * y.roll((1, 1), (0, 1)),
        lambda x, y: x.tril() @ y.triu().mT,
        lambda x, y: flambeau.diag_embed(x, 1) @ y.unsqueeze(-1)[:, :1].expand(3, 5, 1),
        lambda x, y: x[:, :3].trace() * flambeau.diag(y),
        lambda x, y: x.repeat_interleave(2, 0).square()[:3] * y,
        lambda x, y: (x * 1).index_add_(0, rows, y).square(),
        lambda x, y: (x * 1).t().scatter_(0, at.t(), 3.0) * y.t(),
    ]
    for function in functions:
        assert gradcheck(function, (x, y))
        assert gradgradcheck(function, (x, y))
