"""Which layouts of convolutions the emulated cuDNN takes."""

from __future__ import annotations

import ctypes
from ctypes import byref, c_int, c_void_p
from pathlib import Path
from typing import Any

import pytest
from emulated_cuda.build import build

FLOAT, DOUBLE, HALF = 0, 1, 2
ROW_MAJOR, CHANNELS_LAST = 0, 1
NOT_SUPPORTED = 3000
X, W, Y = (2, 3, 6, 5), (4, 3, 3, 2), (2, 4, 4, 4)


@pytest.fixture(scope="module")
def cudnn() -> Any:
    folder: Path = build()
    return ctypes.CDLL(str(folder / "libcudnn.so.9"))


def strides(sizes: tuple[int, ...], form: int) -> list[int]:
    _, c, h, w = sizes
    row_major, channels_last = [c * h * w, h * w, w, 1], [c * h * w, 1, w * c, c]
    return channels_last if form == CHANNELS_LAST else row_major


def status(cudnn: Any, type: int, x: int, w: int, y: int, gap: int = 0) -> int:
    """What is said about a convolution of tensors in these formats."""
    descriptors = [c_void_p() for _ in range(4)]
    for descriptor in descriptors[:3]:
        assert cudnn.cudnnCreateTensorDescriptor(byref(descriptor)) == 0
    assert cudnn.cudnnCreateConvolutionDescriptor(byref(descriptors[3])) == 0
    for descriptor, sizes, form in ((descriptors[0], X, x), (descriptors[2], Y, y)):
        steps = strides(sizes, form)
        steps[0] += gap
        assert (
            cudnn.cudnnSetTensorNdDescriptor(
                descriptor, type, 4, (c_int * 4)(*sizes), (c_int * 4)(*steps)
            )
            == 0
        )
    assert cudnn.cudnnSetFilterNdDescriptor(descriptors[1], type, w, 4, (c_int * 4)(*W)) == 0
    pair = c_int * 2
    compute = DOUBLE if type == DOUBLE else FLOAT
    assert (
        cudnn.cudnnSetConvolutionNdDescriptor(
            descriptors[3], 2, pair(0, 0), pair(1, 1), pair(1, 1), 1, compute
        )
        == 0
    )
    found, performances = c_int(), (ctypes.c_char * 48)()
    result: int = cudnn.cudnnGetConvolutionForwardAlgorithm_v7(
        *(None, descriptors[0], descriptors[1], descriptors[3], descriptors[2], 1),
        *(byref(found), performances),
    )
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
