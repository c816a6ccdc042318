"""Reductions, sorting, indexing and products: the same values, dtypes and errors as PyTorch's.

Every case is an expression that both libraries evaluate on the same tensors.
"""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import flambeau

INFINITY = float("inf")
NAN = float("nan")


def tensors(library: Any, grad: bool = False) -> dict[str, Any]:
    """The tensors that cases name; floating ones may ask for gradients."""
    random = np.random.default_rng(3)

    def floats(*shape: int) -> Any:
        x = library.from_numpy(random.standard_normal(shape).astype(np.float32))
        return x.requires_grad_() if grad else x

    def whole(low: int, high: int, *shape: int) -> Any:
        return library.from_numpy(random.integers(low, high, shape))

    names = {
        "T": library,
        "inf": INFINITY,
        "nan": NAN,
        "x": floats(3, 4),
        "y": floats(2, 3, 4),
        "z": floats(4, 5),
        "w": floats(2, 4, 5),
        "v": floats(4),
        "u": floats(3),
        "s": floats(),
        "big": floats(70, 90),
        "long": floats(5000),
        "deep": floats(2, 3, 4, 5, 2),
        "ints": whole(-5, 5, 3, 4),
        "index": whole(0, 3, 3, 4),
        "rows": whole(0, 3, 5),
        "many": whole(0, 70, 300),
        "empty": floats(0, 3),
        "nothing": floats(3, 0),
    }
    names["mask"] = library.from_numpy(np.asarray(names["ints"]) > 0)
    names["broken"] = library.tensor([[1.0, NAN, 3.0, NAN], [2.0, 5.0, -INFINITY, 5.0]])
    names["equal"] = library.tensor([[2.0, 1.0, 2.0, 0.0], [0.0, 0.0, 3.0, 3.0]])
    if grad:
        names["equal"].requires_grad_()
    return names


def cases(*sections: str) -> list[str]:
    """The expressions of sections of ops_cases.txt."""
    found, section = [], ""
    for line in (Path(__file__).parent / "ops_cases.txt").read_text().splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif section in sections:
            found.append(line)
    return found


def evaluate(case: str, library: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return eval(case, tensors(library))
        except Exception as error:
            return error


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
    compare(evaluate(case, flambeau), evaluate(case, torch))


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
