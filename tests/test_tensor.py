"""Tensors: creation, views, indexing, NumPy, number protocol, errors."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import flambeau as torch

GRID = np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5)


@pytest.mark.parametrize(
    "index",
    [
        0,
        -1,
        slice(1, None),
        (slice(None), 1),
        (..., 2),
        (0, ..., slice(None, None, 2)),
        (None, 1, None, slice(1, 3)),
        ([0, 1], [2, 0]),
        (slice(None), [0, 2], slice(1, 3)),
        ([0, 1], slice(None), [1, 2]),
        (1, [[0, 1], [2, 0]]),
        (slice(None), np.array([True, False, True])),
        (..., np.array([0, -1])),
        (np.arange(120).reshape(2, 3, 4, 5) % 7 == 0,),
        (0, np.array([True, False, True]), slice(None), [1, 2]),
    ],
)
def test_indexing_as_numpy(index: Any) -> None:
    x = torch.from_numpy(GRID.copy())
    if isinstance(index, tuple) and any(isinstance(i, np.ndarray) for i in index):
        index = tuple(torch.tensor(i) if isinstance(i, np.ndarray) else i for i in index)
    plain = index
    if isinstance(index, tuple):
        plain = tuple(i.numpy() if isinstance(i, torch.Tensor) else i for i in index)
    np.testing.assert_array_equal(x[index].numpy(), GRID[plain])
    expected = GRID.copy()
    expected[plain] = -1
    x[index] = -1
    np.testing.assert_array_equal(x.numpy(), expected)
    values = torch.rand(GRID[plain].shape)
    expected[plain] = values.numpy()
    x[index] = values
    np.testing.assert_array_equal(x.numpy(), expected)


@pytest.mark.parametrize(
    ("index", "kind"),
    [
        (2, IndexError),
        ((0, 0, 0, 0, 0), IndexError),
        ([5], IndexError),
        (slice(None, None, -1), ValueError),
        ("a", (IndexError, TypeError)),
        (1.5, (IndexError, TypeError)),
        ((..., ...), IndexError),
    ],
)
def test_bad_indices(index: Any, kind: Any) -> None:
    x = torch.from_numpy(GRID.copy())
    with pytest.raises(kind):
        x[index]


def test_gradient_of_indexing() -> None:
    x = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    rows = torch.tensor([0, 2, 0])
    assert torch.autograd.gradcheck(lambda t: t[rows] * t[0, 1:].sum(), x)
    assert torch.autograd.gradcheck(lambda t: t[:, rows].t()[1:] ** 2, x)
    assert torch.autograd.gradgradcheck(lambda t: t[rows, rows] ** 2, x)


@pytest.mark.parametrize(
    "view",
    [
        lambda x: x.view(6, 20),
        lambda x: x.permute(3, 0, 2, 1),
        lambda x: x.transpose(1, -1),
        lambda x: x[:, 1:, ::2],
        lambda x: x.select(2, 1),
        lambda x: x.diagonal(0, 1, 2),
        lambda x: x.unfold(3, 2, 2),
        lambda x: x.unsqueeze(1).expand(2, 7, 3, 4, 5),
        lambda x: x.narrow(3, 1, 2),
        lambda x: x.movedim(0, 2),
        lambda x: x.as_strided((3, 2), (1, 2), 4),
    ],
)
def test_views_share_memory_and_pass_gradients(view: Any) -> None:
    x = torch.from_numpy(GRID.copy())
    assert view(x).untyped_storage().data_ptr() == x.untyped_storage().data_ptr()
    small = torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda t: view(t) * 2, small)


def test_view_refuses_what_needs_a_copy() -> None:
    x = torch.zeros(3, 4).t()
    with pytest.raises(RuntimeError, match="reshape"):
        x.view(12)
    assert x.reshape(12).shape == (12,)
    with pytest.raises(RuntimeError, match="invalid for input of size 12"):
        x.reshape(5, -1)


def test_numpy_shares_memory() -> None:
    array = np.zeros((3, 4))
    x = torch.from_numpy(array)
    x[1, 2] = 7
    assert array[1, 2] == 7
    x.t().numpy()[0, 0] = 5
    assert array[0, 0] == 5
    assert torch.from_numpy(array[:, ::2]).shape == (3, 2)
    with pytest.raises(ValueError, match="negative"):
        torch.from_numpy(array[::-1])
    with pytest.raises(RuntimeError, match="detach"):
        torch.ones(2, requires_grad=True).numpy()
    assert np.asarray(torch.ones(2)).dtype == np.float32
    assert isinstance(np.ones(2) + torch.ones(2), torch.Tensor)
    assert isinstance(2 * torch.ones(2) + np.ones(2), torch.Tensor)


def test_data() -> None:
    assert torch.tensor([[1, 2], [3, 4]]).dtype is torch.int64
    assert torch.tensor([1, 2.5]).dtype is torch.float32
    assert torch.tensor([True, 2]).dtype is torch.int64
    assert torch.tensor([]).shape == (0,)
    assert torch.tensor(np.float64(3)).dtype is torch.float64
    with pytest.raises(ValueError, match="length"):
        torch.tensor([[1, 2], [3]])
    with pytest.raises(TypeError):
        torch.tensor(["a"])
    with pytest.raises(TypeError):
        torch.tensor(None)


@pytest.mark.parametrize("make", [torch.zeros, torch.empty, torch.ones])
def test_impossible_sizes(make: Any) -> None:
    with pytest.raises(RuntimeError, match="negative"):
        make(-1)
    with pytest.raises(RuntimeError):
        make(10**15)
    with pytest.raises(RuntimeError):
        make(2**62, 2**62)


def test_numbers() -> None:
    x = torch.tensor(3)
    assert int(x) == 3
    assert float(x) == 3.0
    assert [10, 20, 30, 40][x] == 40
    assert bool(torch.tensor([1.0]))
    assert len(torch.zeros(4, 2)) == 4
    with pytest.raises(RuntimeError, match="ambiguous"):
        bool(torch.zeros(2))
    with pytest.raises(TypeError):
        len(x)
    with pytest.raises(RuntimeError, match="one-element"):
        torch.zeros(2).item()


def test_copies() -> None:
    x = torch.randn(3, requires_grad=True)
    x.note = "kept"
    y = copy.deepcopy(x)
    assert y.note == "kept"
    assert y.requires_grad
    assert y.tolist() == x.tolist()
    z = pickle.loads(pickle.dumps(x.detach()))
    assert z.tolist() == x.tolist()
    assert pickle.loads(pickle.dumps(torch.float32)) is torch.float32


def test_unknown_devices() -> None:
    with pytest.raises(RuntimeError, match="device"):
        torch.device("nowhere")


def test_identity_of_attributes() -> None:
    x = torch.ones(2, requires_grad=True)
    (x * 2).sum().backward()
    assert x.grad is x.grad
    assert x.shape == (2,)
    assert repr(x.shape) == "torch.Size([2])"
