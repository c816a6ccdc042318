"""Sums at places that indices name: more of them than are sorted in shared memory, by few bits."""

from __future__ import annotations

import pytest

import flambeau as fl
from flambeau import cuda

pytestmark = pytest.mark.skipif(not cuda.is_available(), reason="no GPU, not even an emulated one")


@pytest.mark.parametrize("rows, width", [(1, 3), (2, 1), (257, 3), (70_000, 2)])
def test_gradient_of_an_embedding(rows: int, width: int) -> None:
    fl.manual_seed(rows)
    index = fl.randint(0, rows, (3000,))
    weight, g = fl.randn(rows, width), fl.randint(-8, 8, (3000, width)).float()
    gradients = []
    for device in ("cpu", "cuda"):
        own = weight.to(device).detach().requires_grad_()
        out = fl.nn.functional.embedding(index.to(device), own, padding_idx=0)
        out.backward(g.to(device))
        assert own.grad is not None
        gradients.append(own.grad.cpu())
    assert fl.equal(*gradients)


@pytest.mark.parametrize("shape", [(5, 300), (700, 2), (1, 1)])
def test_several_indices(shape: tuple[int, int]) -> None:
    fl.manual_seed(shape[0])
    rows, columns = (fl.randint(-size, size, (2500,)) for size in shape)
    values = fl.randint(-8, 8, (2500,)).float()
    results = []
    for device in ("cpu", "cuda"):
        target = fl.zeros(*shape, device=device).t().contiguous().t()  # other strides
        where = (rows.to(device), columns.to(device))
        target.index_put_(where, values.to(device), accumulate=True)
        target.index_add_(
            0, rows[:9].abs().to(device) % shape[0], fl.ones(9, shape[1], device=device)
        )
        results.append(target.cpu())
    assert fl.equal(*results)
