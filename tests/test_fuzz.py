"""No argument crashes an operator: random ones at every operator, only Python errors may come."""

from __future__ import annotations

import resource
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import flambeau as torch
from flambeau import _core

ALLOWED = (
    TypeError,
    ValueError,
    RuntimeError,
    IndexError,
    NotImplementedError,
    OverflowError,
    ZeroDivisionError,
    MemoryError,
)
DTYPES = ("float32", "float64", "float16", "bfloat16", "int64", "int32", "int8", "uint8", "bool")

shapes = st.lists(st.integers(0, 4), max_size=4).map(tuple)


@st.composite
def tensors(draw: Any) -> torch.Tensor:
    shape, dtype = draw(shapes), getattr(torch, draw(st.sampled_from(DTYPES)))
    x = torch.zeros(shape, dtype=torch.float64).uniform_(-4, 4)
    if draw(st.integers(0, 7)) == 0:
        x = x / 0
    x = x.to(dtype)
    layout = draw(st.integers(0, 3))
    if layout == 1 and x.dim() >= 2:
        x = x.transpose(0, -1)
    if layout == 2 and x.dim() >= 1:
        x = x[::2]
    if layout == 3 and dtype.is_floating_point:
        x = x.detach().requires_grad_()
    return x


integers = st.integers(-3, 5)
anything = st.one_of(
    tensors(),
    tensors(),
    tensors(),
    integers,
    st.floats(allow_nan=True, width=32),
    st.booleans(),
    st.none(),
    st.lists(integers, max_size=4),
    st.lists(tensors(), max_size=3),
    st.sampled_from(["mean", "sum", "floor", "ij,jk", "", "zeros"]),
    st.sampled_from([getattr(torch, name) for name in DTYPES]),
    st.sampled_from([2**63 - 1, -(2**63), 2**40, 1e300]),
)
OPERATORS = dict(_core.functions) | {"functional." + n: f for n, f in _core.functional.items()}
OPERATORS |= {"Tensor." + n: f for n, f in vars(torch.Tensor).items() if type(f) is type(torch.exp)}


@pytest.fixture(autouse=True, scope="module")
def limited_memory() -> Iterator[None]:
    """Whatever asks for too much gets an error instead of the machine's last page."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (16 << 30, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.parametrize("name", sorted(OPERATORS))
@settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(data=st.data())
def test_no_argument_crashes(name: str, data: Any) -> None:
    arguments = data.draw(st.lists(anything, max_size=5))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            result = OPERATORS[name](*arguments)
            if isinstance(result, torch.Tensor) and result.requires_grad and result.numel():
                result.sum().backward()
        except ALLOWED:
            pass
