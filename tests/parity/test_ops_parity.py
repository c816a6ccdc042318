"""Reductions, sorting, indexing and products: the same values, dtypes and errors as PyTorch's.

Every case is an expression that both libraries evaluate on the same tensors.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import flambeau

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from operator_cases import cases, evaluate, tensors


def compare(ours: Any, theirs: Any) -> None:
    if isinstance(theirs, Exception):
        assert isinstance(ours, Exception), f"no error, but PyTorch raised {theirs!r}"
        assert type(ours).__name__ == type(theirs).__name__, (ours, theirs)
        return
    if isinstance(ours, Exception):
        raise ours
    if isinstance(theirs, (tuple, list)):
        assert len(ours) == len(theirs)
        assert getattr(type(ours), "__name__", "") == getattr(type(theirs), "__name__", "")
        for one, other in zip(ours, theirs):
            compare(one, other)
        return
    assert str(ours.dtype) == str(theirs.dtype)
    assert tuple(ours.shape) == tuple(theirs.shape)
    half = theirs.dtype in (torch.float16, torch.bfloat16)
    tolerance = (1e-2 if theirs.dtype == torch.bfloat16 else 2e-3) if half else 2e-6
    if theirs.dtype == torch.float64:
        tolerance = 1e-12
    mine = np.array(ours.detach().double().tolist())
    other = np.array(theirs.detach().double().tolist())
    np.testing.assert_allclose(mine, other, rtol=tolerance, atol=tolerance * 5)


@pytest.mark.parametrize("case", cases("reductions", "sorting", "indexing", "products"))
def test_values(case: str) -> None:
    compare(evaluate(case, tensors(flambeau)), evaluate(case, tensors(torch)))


def gradients(case: str, library: Any) -> list[Any]:
    names = tensors(library, grad=True)
    out = eval(case, names)
    weight = library.arange(1.0, out.numel() + 1).reshape(out.shape).to(out.dtype) / out.numel()
    (out * weight).sum().backward()
    leaves = [name for name, value in names.items() if hasattr(value, "grad")]
    found = [names[name].grad for name in leaves]
    name = type(out.grad_fn).__name__ if library is torch else out.grad_fn.name()
    return [name, *found]


@pytest.mark.parametrize("case", cases("gradients"))
def test_gradients(case: str) -> None:
    ours, theirs = gradients(case, flambeau), gradients(case, torch)
    for mine, other in zip(ours[1:], theirs[1:], strict=True):
        assert (mine is None) == (other is None)
        if mine is not None:
            compare(mine, other)
