"""DLPack beside PyTorch's: values, layouts and errors, and tensors handed from one to the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import flambeau

DTYPES = "bool uint8 int8 int16 int32 int64 float16 bfloat16 float32 float64".split()
VIEWS: dict[str, Callable[[Any], Any]] = {
    "whole": lambda x: x,
    "part": lambda x: x[1:, ::2],
    "turned": lambda x: x.T,
    "0-d": lambda x: x[1, 2, ...],
    "empty": lambda x: x[:, :0],
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("view", VIEWS)
def test_between_the_two(dtype: str, view: str) -> None:
    numbers = [[0, 1, 2], [3, 4, 5]]
    ours = VIEWS[view](flambeau.tensor(numbers).to(getattr(flambeau, dtype)))
    theirs = torch.from_dlpack(ours)
    assert str(theirs.dtype) == str(ours.dtype) and tuple(theirs.shape) == tuple(ours.shape)
    assert theirs.tolist() == ours.tolist()
    back = flambeau.from_dlpack(theirs)
    assert back.tolist() == ours.tolist() and back.dtype == ours.dtype
    if ours.numel():
        assert theirs.data_ptr() == ours.data_ptr() == back.data_ptr()
        theirs.zero_()
        assert not back.any()


@pytest.mark.parametrize("dtype", [d for d in DTYPES if d != "bfloat16"])
@pytest.mark.parametrize("view", VIEWS)
def test_numpy_through_both(dtype: str, view: str) -> None:
    array = VIEWS[view](np.array([[0, 1, 2], [3, 4, 5]]).astype(dtype))
    for library in (torch, flambeau):
        x = library.from_dlpack(array)
        assert x.tolist() == array.tolist()
        again = np.from_dlpack(x)
        assert again.dtype == array.dtype and again.tolist() == array.tolist()
        assert x.numel() == 0 or again.ctypes.data == x.data_ptr()


ERRORS: dict[str, Callable[[Any], Any]] = {
    "gradient": lambda T: T.ones(2, requires_grad=True).__dlpack__(),
    "gradient, old": lambda T: T.utils.dlpack.to_dlpack(T.ones(2, requires_grad=True)),
    "stream on the CPU": lambda T: T.ones(2).__dlpack__(stream=5),
    "stream of another type": lambda T: T.ones(2).__dlpack__(stream="a"),
    "stream None": lambda T: T.ones(2).__dlpack__(stream=None),
    "no tensor": lambda T: T.utils.dlpack.to_dlpack(3),
    "a number": lambda T: T.from_dlpack(3),
    "a list": lambda T: T.from_dlpack([1]),
    "copy of a capsule": lambda T: T.from_dlpack(T.ones(2).__dlpack__(), copy=True),
    "no device": lambda T: T.from_dlpack(T.ones(2), device=3.5),
    "unknown device": lambda T: T.ones(2).__dlpack__(dl_device=(7, 0)),
    "no copy": lambda T: T.from_dlpack(T.ones(2), device="cpu", copy=False).shape,
    "copy": lambda T: T.from_dlpack(T.ones(2), copy=True).tolist(),
    "array interface": lambda T: T.ones(2).__cuda_array_interface__,
    "has array interface": lambda T: hasattr(T.ones(2), "__cuda_array_interface__"),
    "device": lambda T: tuple(T.ones(2).__dlpack_device__()),
    "capsule": lambda T: repr(T.ones(2).__dlpack__(max_version=(1, 0)))[:36],
    "old capsule": lambda T: repr(T.ones(2).__dlpack__())[:26],
}


def _outcome(call: Callable[[Any], Any], library: Any) -> Any:
    try:
        found = call(library)
    except Exception as error:
        return type(error).__name__
    return "capsule" if type(found).__name__ == "PyCapsule" else found


@pytest.mark.parametrize("case", ERRORS)
def test_errors(case: str) -> None:
    assert _outcome(ERRORS[case], flambeau) == _outcome(ERRORS[case], torch)


def test_used_capsules() -> None:
    for library in (torch, flambeau):
        capsule = library.ones(2).__dlpack__()
        library.from_dlpack(capsule)
        with pytest.raises(RuntimeError):
            library.from_dlpack(capsule)
