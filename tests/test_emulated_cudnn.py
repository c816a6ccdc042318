"""Which layouts of convolutions, and which attributes, the emulated cuDNN takes."""

from __future__ import annotations

import ctypes
from ctypes import byref, c_double, c_float, c_int, c_int64, c_void_p
from typing import Any

import pytest
from emulated_cuda.build import build

FLOAT, DOUBLE, HALF = 0, 1, 2
ROW_MAJOR, CHANNELS_LAST = 0, 1
BAD_PARAM, NOT_FINALIZED, BAD_TYPE, NOT_SUPPORTED = 2000, 2004, 2010, 3000
DATA_TYPE, INT64, FLOAT_TYPE, DOUBLE_TYPE, MODE, DESCRIPTOR = 1, 3, 4, 5, 7, 15
CONVOLUTION, FORWARD, GRAPH, TENSOR = 1, 10, 15, 17
X, W, Y = (2, 3, 6, 5), (4, 3, 3, 2), (2, 4, 4, 4)


@pytest.fixture(scope="module")
def cudnn() -> Any:
    return ctypes.CDLL(str(build() / "libcudnn.so.9"))


def create(cudnn: Any, kind: int) -> c_void_p:
    descriptor = c_void_p()
    assert cudnn.cudnnBackendCreateDescriptor(kind, byref(descriptor)) == 0
    return descriptor


def put(cudnn: Any, descriptor: c_void_p, attribute: int, type: int, *values: Any) -> int:
    kinds = {INT64: c_int64, FLOAT_TYPE: c_float, DOUBLE_TYPE: c_double, DESCRIPTOR: c_void_p}
    array = (kinds.get(type, c_int) * len(values))(*values)
    status: int = cudnn.cudnnBackendSetAttribute(
        descriptor, attribute, type, c_int64(len(values)), array
    )
    return status


def tensor(cudnn: Any, type: int, sizes: tuple[int, ...], form: int, gap: int) -> c_void_p:
    _, c, h, w = sizes
    strides = [c * h * w, h * w, w, 1] if form == ROW_MAJOR else [c * h * w, 1, w * c, c]
    strides[0] += gap
    made = create(cudnn, TENSOR)
    for attribute, kind, values in (
        (900, INT64, [16]),
        (901, DATA_TYPE, [type]),
        (902, INT64, sizes),
        (903, INT64, strides),
        (906, INT64, [1]),
    ):
        assert put(cudnn, made, attribute, kind, *values) == 0
    assert cudnn.cudnnBackendFinalize(made) == 0
    return made


def status(cudnn: Any, type: int, x: int, w: int, y: int, gap: int = 0) -> int:
    """What is said about a convolution of tensors in these formats."""
    scale = DOUBLE_TYPE if type == DOUBLE else FLOAT_TYPE
    convolution = create(cudnn, CONVOLUTION)
    assert put(cudnn, convolution, 100, DATA_TYPE, DOUBLE if type == DOUBLE else FLOAT) == 0
    assert put(cudnn, convolution, 101, MODE, 1) == 0
    for attribute, value in ((102, 1), (103, 1), (104, 0), (105, 0)):
        assert put(cudnn, convolution, attribute, INT64, value, value) == 0
    assert put(cudnn, convolution, 106, INT64, 2) == 0
    assert cudnn.cudnnBackendFinalize(convolution) == 0
    operation = create(cudnn, FORWARD)
    assert put(cudnn, operation, 700, scale, 1) == put(cudnn, operation, 701, scale, 0) == 0
    parts = [convolution, tensor(cudnn, type, W, w, 0), tensor(cudnn, type, X, x, gap)]
    for i, part in enumerate([*parts, tensor(cudnn, type, Y, y, gap)]):
        assert put(cudnn, operation, 702 + i, DESCRIPTOR, part) == 0
    assert cudnn.cudnnBackendFinalize(operation) == 0
    graph = create(cudnn, GRAPH)
    assert put(cudnn, graph, 801, DESCRIPTOR, operation) == 0
    result: int = cudnn.cudnnBackendFinalize(graph)
    return result


def test_one_order_for_all_three(cudnn: Any) -> None:
    for type in (FLOAT, HALF, DOUBLE):
        assert status(cudnn, type, ROW_MAJOR, ROW_MAJOR, ROW_MAJOR) == 0
    for type in (FLOAT, HALF):
        assert status(cudnn, type, CHANNELS_LAST, CHANNELS_LAST, CHANNELS_LAST) == 0


def test_what_is_refused(cudnn: Any) -> None:
    for which in range(3):
        forms = [CHANNELS_LAST] * 3
        forms[which] = ROW_MAJOR
        assert status(cudnn, FLOAT, *forms) == NOT_SUPPORTED
        assert status(cudnn, FLOAT, *(1 - form for form in forms)) == NOT_SUPPORTED
    last = [CHANNELS_LAST] * 3
    assert status(cudnn, DOUBLE, *last) == NOT_SUPPORTED
    assert status(cudnn, FLOAT, *last, gap=1) == NOT_SUPPORTED
    assert status(cudnn, FLOAT, ROW_MAJOR, ROW_MAJOR, ROW_MAJOR, gap=1) == NOT_SUPPORTED


def test_attributes(cudnn: Any) -> None:
    unknown = c_void_p()
    assert cudnn.cudnnBackendCreateDescriptor(99, byref(unknown)) == NOT_SUPPORTED
    made = create(cudnn, TENSOR)
    assert put(cudnn, made, 902, FLOAT_TYPE, 1.0) == BAD_TYPE
    assert put(cudnn, made, 801, DESCRIPTOR, made) == BAD_PARAM  # not one of a tensor
    assert put(cudnn, made, 900, INT64, 16, 16) == BAD_PARAM  # one number
    assert cudnn.cudnnBackendFinalize(made) == BAD_PARAM  # nearly nothing is set
    done = tensor(cudnn, FLOAT, X, ROW_MAJOR, 0)
    assert put(cudnn, done, 906, INT64, 2) == BAD_PARAM  # it is finished
    graph = create(cudnn, GRAPH)
    assert put(cudnn, graph, 801, DESCRIPTOR, made) == 0
    assert cudnn.cudnnBackendFinalize(graph) == NOT_FINALIZED
    assert cudnn.cudnnBackendDestroyDescriptor(done) == 0
    assert cudnn.cudnnBackendDestroyDescriptor(done) == BAD_PARAM
