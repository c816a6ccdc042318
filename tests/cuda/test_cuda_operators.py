"""Operators on the GPU give what they give on the CPU: values, gradients, errors.

The cases are those that are compared with PyTorch (tests/parity/ops_cases.txt) and the records of
the elementwise operators.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import flambeau as fl

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import operator_cases
import test_elementwise as elementwise

# The results of these depend on the order in which threads write, as in PyTorch.
ANY_ORDER = {"x.scatter(0, index, x.flip(0))"}
# What the CPU finds out by reading, and the GPU leaves out or reports later (Note [Errors from
# kernels]).
CHECKED_LATER = ("output_size=4",)
FACTORIES = ("tensor", "zeros", "ones", "full", "arange", "eye", "linspace", "logspace", "empty")


class OnGpu:
    """Flambeau, whose new tensors are on the GPU."""

    def __getattr__(self, name: str) -> Any:
        found = getattr(fl, name)
        if name not in FACTORIES and not name.endswith(("tril_indices", "triu_indices")):
            return found
        return lambda *args, **options: found(*args, **{"device": "cuda", **options})


def compare(expected: Any, got: Any) -> None:
    if isinstance(expected, Exception):
        assert type(got).__name__ == type(expected).__name__, (got, expected)
    elif isinstance(got, Exception):
        raise got
    elif isinstance(expected, (tuple, list)):
        assert type(got).__name__ == type(expected).__name__ and len(got) == len(expected)
        for one, other in zip(expected, got, strict=True):
            compare(one, other)
    elif not isinstance(expected, fl.Tensor):
        assert got == expected or got != got
    else:
        assert got.is_cuda and got.dtype == expected.dtype and got.shape == expected.shape
        tolerance = {fl.float16: 2e-3, fl.bfloat16: 2e-2, fl.float64: 1e-12}
        near = tolerance.get(expected.dtype, 4e-6) if expected.is_floating_point() else 0
        numbers = [np.array(x.detach().double().tolist()) for x in (got, expected)]
        np.testing.assert_allclose(*numbers, rtol=near, atol=near * 5)


def waited_for(result: Any) -> Any:
    """The result, or the error that kernels have reported."""
    try:
        fl.zeros(1, device="cuda").item()
    except (IndexError, RuntimeError) as error:
        return error
    return result


def gradients(case: str, library: Any, device: str) -> list[Any]:
    names = operator_cases.tensors(library, grad=True, device=device)
    if library is not fl:
        names["T"] = library
    out = eval(case, names)
    weight = fl.arange(1.0, out.numel() + 1, device=device).reshape(out.shape).to(out.dtype)
    (out * (weight / out.numel())).sum().backward()
    return [value.grad for value in names.values() if isinstance(value, fl.Tensor)]


def chunks(lines: list[str]) -> list[Any]:
    """Ten cases make a test: half of the time would go to pytest otherwise."""
    return [pytest.param(lines[i : i + 10], id=str(i)) for i in range(0, len(lines), 10)]


@pytest.mark.parametrize("lines", chunks(operator_cases.cases("reductions", "sorting", "indexing")))
def test_values(lines: list[str]) -> None:
    on_cpu = operator_cases.tensors(fl)
    on_gpu = {**operator_cases.tensors(fl, device="cuda"), "T": OnGpu()}
    for case in lines:
        if case in ANY_ORDER or any(part in case for part in CHECKED_LATER):
            continue
        expected = operator_cases.evaluate(case, on_cpu)
        try:
            compare(expected, waited_for(operator_cases.evaluate(case, on_gpu)))
        except Exception as error:
            raise AssertionError(case) from error


@pytest.mark.parametrize("lines", chunks(operator_cases.cases("gradients")))
def test_gradients(lines: list[str]) -> None:
    for case in lines:
        try:
            expected, got = gradients(case, fl, "cpu"), gradients(case, OnGpu(), "cuda")
            for one, other in zip(expected, got, strict=True):
                assert (one is None) == (other is None)
                if one is not None:
                    compare(one, other)
        except Exception as error:
            raise AssertionError(case) from error


@pytest.mark.parametrize("record", elementwise.RECORDS)
def test_elementwise(record: Any) -> None:
    operands = elementwise.samples(record, (3, 5), fl.float32)
    for strided in (False, True):
        given = [x.t().contiguous().t() if strided else x for x in operands]
        compare(elementwise.call(record, given), elementwise.call(record, to_gpu(given)))


@pytest.mark.parametrize("record", elementwise.FLOATING)
def test_elementwise_gradients(record: Any) -> None:
    found = []
    for device in ("cpu", "cuda"):
        operands = [x.to(device) for x in elementwise.samples(record, (4,), fl.float32)]
        leaves = [x.requires_grad_() if x.is_floating_point() else x for x in operands]
        out = elementwise.call(record, leaves)
        if out.requires_grad and record.name != "nextafter":
            out.backward(fl.linspace(0.5, 1.5, 4, device=device))
        found.append([x.grad for x in leaves])
    for expected, got in zip(*found, strict=True):
        assert (expected is None) == (got is None)
        if expected is not None:
            compare(expected, got)


def to_gpu(tensors: list[Any]) -> list[Any]:
    """Copies of the same layout."""
    return [x.t().to("cuda").t() if not x.is_contiguous() else x.to("cuda") for x in tensors]
