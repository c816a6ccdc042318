"""Convolutions on the GPU give what the CPU gives, by cuDNN and by kernels of our own."""

from __future__ import annotations

import ctypes
import functools
import os
from typing import Any

import numpy as np
import pytest
from compare import FLOATS, check_gradients, check_near, normal, setting

import flambeau as fl
from flambeau import Tensor, _core
from flambeau.nn import functional as F

EMULATED = "emulated_cuda" in os.environ.get("FLAMBEAU_CUDA_LIBRARIES", "")


@pytest.fixture(params=[True, False], ids=["cudnn", "own"], autouse=True)
def library(request: pytest.FixtureRequest) -> Any:
    with setting("cudnn", request.param), setting("cudnn_tf32", False):
        yield request.param


# batch, in and out channels, groups; input, kernel, stride, padding, dilation per axis
CASES = {
    "plain": (2, 3, 7, 1, (6, 7), (3, 2), (1, 1), (0, 0), (1, 1)),
    "padded": (1, 2, 6, 1, (5, 5), (3, 3), (1, 1), (1, 2), (1, 1)),
    "strided": (2, 2, 5, 1, (9, 8), (3, 3), (2, 3), (1, 1), (1, 1)),
    "dilated": (1, 3, 5, 1, (9, 9), (3, 2), (1, 2), (2, 0), (2, 3)),
    "pointwise": (2, 5, 9, 1, (4, 4), (1, 1), (1, 1), (0, 0), (1, 1)),
    "groups": (2, 4, 12, 2, (6, 5), (2, 3), (1, 2), (1, 1), (1, 1)),
    "depthwise": (2, 6, 6, 6, (7, 7), (3, 3), (2, 1), (1, 1), (1, 2)),
    "few rows": (1, 4, 8, 4, (6, 6), (3, 3), (1, 1), (1, 1), (1, 1)),
    "one axis": (3, 4, 6, 1, (11,), (4,), (3,), (2,), (1,)),
    "three axes": (1, 3, 5, 1, (4, 5, 6), (2, 3, 2), (1, 2, 1), (1, 0, 1), (1, 1, 2)),
    "tiles": (2, 70, 66, 1, (9, 9), (1, 2), (1, 1), (0, 1), (1, 1)),
}


def operands(random: np.random.Generator, case: str, dtype: Any) -> tuple[list[Tensor], Any]:
    batch, channels, rows, groups, size, kernel, stride, padding, dilation = CASES[case]
    x = normal(random, batch, channels, *size, dtype=dtype)
    w = normal(random, rows, channels // groups, *kernel, dtype=dtype)
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    return [x, w, normal(random, rows, dtype=dtype)], options


@pytest.mark.parametrize("case", CASES)
def test_values_and_gradients(case: str) -> None:
    random = np.random.default_rng(1)
    axes = len(CASES[case][4])
    for dtype in FLOATS if case in ("strided", "few rows") else FLOATS[:1]:
        inputs, options = operands(random, case, dtype)
        convolve = functools.partial(getattr(F, f"conv{axes}d"), **options)
        check_gradients(convolve, *inputs)
        check_gradients(convolve, *inputs[:2])


@pytest.mark.parametrize("case", CASES)
def test_transposed(case: str) -> None:
    random = np.random.default_rng(2)
    axes = len(CASES[case][4])
    for dtype in FLOATS if case == "groups" else FLOATS[:1]:
        (x, w, _), options = operands(random, case, dtype)
        with fl.no_grad():
            y = getattr(F, f"conv{axes}d")(x, w, **options)
        transposed = functools.partial(getattr(F, f"conv_transpose{axes}d"), **options)
        check_gradients(transposed, y, w, normal(random, x.shape[1], dtype=dtype))
        pairs = zip(options["stride"], options["dilation"], strict=True)
        extra = tuple(max(stride, dilation) - 1 for stride, dilation in pairs)
        check_gradients(functools.partial(transposed, output_padding=extra), y, w)


def test_layouts_and_named_padding() -> None:
    random = np.random.default_rng(3)
    x, w = normal(random, 2, 6, 5, 4), normal(random, 3, 4, 2, 2)
    x = x.transpose(1, 3)  # [2, 4, 5, 6]
    check_near(F.conv2d(x.to("cuda"), w.to("cuda")), F.conv2d(x, w))
    got = F.conv2d(x.contiguous().to("cuda")[:, :, 1:, ::2], w.to("cuda"))
    check_near(got, F.conv2d(x[:, :, 1:, ::2], w))
    # An even kernel: the padding differs at both ends.
    check_gradients(lambda x, w: F.conv2d(x, w, padding="same"), x, w)


@pytest.mark.parametrize("dtype", [fl.uint8, fl.int32, fl.int64], ids=str)
def test_integers(dtype: Any) -> None:
    random = np.random.default_rng(4)
    x, w, b = (normal(random, *s, dtype=dtype) for s in ((2, 3, 6, 6), (7, 3, 3, 3), (7,)))
    check_near(F.conv2d(x.to("cuda"), w.to("cuda"), b.to("cuda")), F.conv2d(x, w, b))


def test_empty() -> None:
    w = fl.ones(6, 2, 3, 3)
    check_gradients(lambda x, w: F.conv2d(x, w), fl.ones(0, 2, 5, 5), w)
    no_channels = fl.ones(6, 0, 3, 3)
    check_gradients(lambda x, w: F.conv2d(x, w), fl.ones(2, 0, 5, 5), no_channels)


def test_second_order() -> None:
    random = np.random.default_rng(5)
    x, w = normal(random, 2, 3, 5, 5), normal(random, 6, 3, 3, 3)

    def squared_slopes(x: Tensor, w: Tensor) -> Tensor:
        y = F.conv2d(x, w, padding=1, stride=2)
        gx, gw = fl.autograd.grad((y * y).sum(), [x, w], create_graph=True)
        return (gx * gx).sum() + (gw * gw).sum()

    check_gradients(squared_slopes, x, w)


def test_many_parts_of_the_weight_gradient() -> None:
    random = np.random.default_rng(6)
    x, w = normal(random, 3, 1, 40, 40), normal(random, 6, 1, 2, 2)
    check_gradients(lambda x, w: F.conv2d(x, w), x, w)


@pytest.mark.skipif(not EMULATED, reason="asks the emulated cuDNN what it did")
def test_switches(library: bool) -> None:
    if not library:
        return
    folder = os.environ["FLAMBEAU_CUDA_LIBRARIES"].split(":")[0]
    cudnn = ctypes.CDLL(f"{folder}/libcudnn.so.9")
    x, w = fl.ones(2, 3, 5, 5, device="cuda"), fl.ones(4, 3, 3, 3, device="cuda")
    # Its engines: 0 cannot be built, 1 and 3 round for tensor cores, 1 and 2 add in any order.
    F.conv2d(x, w)
    assert cudnn.emulated_cudnn_last_engine() == 2
    F.conv2d(x.half(), w.half())
    assert cudnn.emulated_cudnn_last_engine() == 1
    with fl.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
        F.conv2d(x, w)
    assert cudnn.emulated_cudnn_last_engine() == 4
    executed = cudnn.emulated_cudnn_executed()
    with fl.backends.cudnn.flags(enabled=True, benchmark=True, deterministic=True):
        F.conv2d(x, w)
        # Both engines run twice to be timed.
        assert cudnn.emulated_cudnn_executed() == executed + 2 * 2 + 1
        F.conv2d(x, w)
        assert cudnn.emulated_cudnn_executed() == executed + 2 * 2 + 2
    assert cudnn.emulated_cudnn_last_engine() in (3, 4)
    executed = cudnn.emulated_cudnn_executed()
    with fl.backends.cudnn.flags(enabled=False):
        F.conv2d(x.double(), w.double())
    assert cudnn.emulated_cudnn_executed() == executed
    before = _core.cuda_plan_counts()[1]
    F.conv2d(x, w)
    assert _core.cuda_plan_counts()[1] == before


def test_plans_are_bounded(library: bool) -> None:
    if not library:
        return
    x, w = fl.ones(1, 1, 1, 1100, device="cuda"), fl.ones(1, 1, 1, 1, device="cuda")
    for length in range(1, 1101):
        F.conv2d(x[..., :length], w)
    assert _core.cuda_plan_counts()[1] == 1024
    fl.cuda.synchronize()
