"""Memory formats on the GPU: results keep channels last, and cuDNN gets them as they lie."""

from __future__ import annotations

import ctypes
import os
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from compare import check_gradients, check_near, normal, setting

import flambeau as fl
from flambeau import Tensor, nn
from flambeau.nn import functional as F

EMULATED = "emulated_cuda" in os.environ.get("FLAMBEAU_CUDA_LIBRARIES", "")
LAST, LAST_3D = fl.channels_last, fl.channels_last_3d


def last(seed: int, *shape: int, dtype: Any = fl.float32) -> Tensor:
    form = LAST if len(shape) == 4 else LAST_3D
    return normal(np.random.default_rng(seed), *shape, dtype=dtype).contiguous(memory_format=form)


def is_last(x: Tensor) -> bool:
    return x.is_contiguous(memory_format=LAST if x.dim() == 4 else LAST_3D)


def emulated_cudnn() -> Any:
    folder = os.environ["FLAMBEAU_CUDA_LIBRARIES"].split(":")[0]
    return ctypes.CDLL(f"{folder}/libcudnn.so.9")


def test_moving_and_copying() -> None:
    x = last(0, 2, 3, 4, 5)
    on_gpu = x.to("cuda")
    assert on_gpu.stride() == x.stride()
    assert on_gpu.cpu().stride() == x.stride() and fl.equal(on_gpu.cpu(), x)
    plain = x.contiguous()
    for moved in (
        plain.to("cuda", memory_format=LAST),
        plain.cuda(memory_format=LAST),
        plain.cuda().contiguous(memory_format=LAST),
        plain.cuda().to(memory_format=LAST),
        plain.cuda().clone(memory_format=LAST),
    ):
        assert moved.stride() == x.stride()
        assert fl.equal(moved.cpu().contiguous(), plain)
    assert fl.equal(on_gpu.contiguous().cpu(), plain)
    assert plain.cuda().cpu(memory_format=LAST).stride() == x.stride()
    assert on_gpu.double().stride() == on_gpu.half().stride() == x.stride()
    assert fl.equal(on_gpu.double().cpu(), x.double())
    assert plain.cuda().to(fl.float64, memory_format=LAST).stride() == x.stride()
    for made in (fl.zeros_like(on_gpu), fl.rand_like(on_gpu), on_gpu.clone()):
        assert made.stride() == x.stride()
    assert fl.equal(on_gpu.clone().cpu(), x)
    empty = fl.empty(2, 3, 4, 5, device="cuda", memory_format=LAST)
    assert empty.stride() == x.stride()
    pinned = x.pin_memory()
    assert pinned.is_pinned() and pinned.stride() == x.stride() and fl.equal(pinned, x)
    sent = pinned.to("cuda", non_blocking=True)
    assert sent.stride() == x.stride() and fl.equal(sent.cpu(), x)
    gapped = on_gpu[:, :, ::2, 1:]
    assert fl.equal(gapped.contiguous(memory_format=LAST).cpu(), x[:, :, ::2, 1:])


def test_elementwise() -> None:
    x, channel = last(1, 2, 3, 4, 5), normal(np.random.default_rng(2), 3, 1, 1)
    functions: list[Callable[[Tensor, Tensor], Tensor]] = [
        lambda x, c: x * 2 + 1,
        lambda x, c: F.gelu(x),
        lambda x, c: x * c,
        lambda x, c: c * x - x.flip(0).contiguous(),
        lambda x, c: x.permute(2, 0, 3, 1) * 2,
        lambda x, c: fl.where(x > 0, x, c),
    ]
    for function in functions:
        expected = function(x, channel)
        got = function(x.cuda(), channel.cuda())
        assert got.stride() == expected.stride()
        check_near(got, expected)
        check_gradients(lambda x, c, f=function: f(x, c) + 0 * c.sum(), x, channel)
    y = x.cuda()
    y.mul_(2).add_(channel.cuda())
    check_near(y, x * 2 + channel)


def random_view(draw: random.Random, lengths: list[int]) -> Tensor:
    """A tensor of this shape in any order of its dimensions, sometimes with gaps."""
    order = draw.sample(range(len(lengths)), len(lengths))
    shape = [lengths[order.index(d)] for d in range(len(lengths))]
    gap = draw.choice([0, 0, 1])
    numbers = fl.arange(float(np.prod(shape[:-1]) * (shape[-1] + gap)))
    return numbers.reshape([*shape[:-1], shape[-1] + gap])[..., : shape[-1]].permute(order)


def steps(x: Tensor) -> list[int]:
    """Strides of the dimensions that have any."""
    return [stride for length, stride in zip(x.shape, x.stride(), strict=True) if length > 1]


def test_random_layouts() -> None:
    draw = random.Random(3)
    for _ in range(60):
        lengths = [draw.choice([1, 2, 3, 9]) for _ in range(draw.choice([2, 3, 4]))]
        a, b = random_view(draw, lengths), random_view(draw, lengths)
        row = b[:1]
        results = []
        for x, y, z in ((a, b, row), (a.cuda(), b.cuda(), row.cuda())):
            into = fl.zeros_like(y).copy_(x)
            whole = y.clone()
            whole[..., : max(lengths[-1] // 2, 1)] = x[..., : max(lengths[-1] // 2, 1)]
            filled = fl.full_like(x, 3.0)
            filled[-1:].zero_()
            kept = [x.clone(), into, whole, filled, x + y, x * z, x.contiguous(), x.double()]
            results.append(kept)
        for expected, got in zip(*results, strict=True):
            assert fl.equal(got.cpu(), expected)
            assert steps(got) == steps(expected)


CONVOLUTIONS: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "plain": ((2, 3, 6, 7), (8, 3, 3, 2), {}),
    "strided": ((2, 4, 9, 8), (6, 4, 3, 3), {"stride": (2, 3), "padding": (1, 2)}),
    "dilated": ((1, 3, 9, 9), (5, 3, 3, 2), {"dilation": (2, 3)}),
    "pointwise": ((2, 5, 4, 4), (9, 5, 1, 1), {}),
    "groups": ((2, 4, 6, 5), (12, 2, 2, 3), {"groups": 2}),
    "depthwise": ((2, 6, 7, 7), (6, 1, 3, 3), {"groups": 6, "padding": 1}),
    "one channel": ((2, 1, 6, 6), (4, 1, 3, 3), {}),
    "one pixel": ((3, 5, 1, 1), (4, 5, 1, 1), {}),
    "three axes": ((1, 3, 4, 5, 6), (5, 3, 2, 3, 2), {"padding": (1, 0, 1)}),
}


@pytest.mark.parametrize("cudnn", [True, False], ids=["cudnn", "own"])
@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_convolutions(case: str, cudnn: bool) -> None:
    shape, kernel, options = CONVOLUTIONS[case]
    axes = len(shape) - 2
    x, w = last(3, *shape), last(4, *kernel)
    bias = normal(np.random.default_rng(5), kernel[0])
    convolve, transposed = getattr(F, f"conv{axes}d"), getattr(F, f"conv_transpose{axes}d")
    with setting("cudnn", cudnn), setting("cudnn_tf32", False):
        for inputs in ((x, w, bias), (x, w.contiguous()), (x.contiguous(), w, bias)):
            check_gradients(lambda *each: convolve(*each, **options), *inputs)
            got = convolve(*(each.cuda() for each in inputs), **options)
            assert got.stride() == convolve(*inputs, **options).stride()
            assert is_last(got) or case in ("pointwise", "depthwise", "one channel")
        y = convolve(x, w, **options)
        check_gradients(lambda y, w: transposed(y, w, **options), y, w)
        if case in ("plain", "groups"):
            for dtype in (fl.float64, fl.float16, fl.bfloat16):
                check_gradients(
                    lambda *each: convolve(*each, **options),
                    *(each.to(dtype) for each in (x, w, bias)),
                )
    fl.cuda.synchronize()


@pytest.mark.skipif(not EMULATED, reason="asks the emulated cuDNN what it did")
def test_cudnn_gets_channels_last() -> None:
    cudnn = emulated_cudnn()
    x, w = last(6, 2, 3, 6, 6).cuda(), last(7, 4, 3, 3, 3).cuda()
    plain_x, plain_w = x.contiguous(), w.contiguous()
    F.conv2d(plain_x, plain_w)
    assert cudnn.emulated_cudnn_last_channels_last() == 0
    for inputs in ((x, w), (x, plain_w), (plain_x, w)):
        leaves = [each.detach().requires_grad_() for each in inputs]
        out = F.conv2d(*leaves)
        assert cudnn.emulated_cudnn_last_channels_last() == 1
        out.sum().backward()
        assert cudnn.emulated_cudnn_last_channels_last() == 1
        for leaf in leaves:
            assert leaf.grad is not None and leaf.grad.stride() == leaf.stride()
    # Double precision has no algorithm with channels last.
    F.conv2d(x.double(), w.double())
    assert cudnn.emulated_cudnn_last_channels_last() == 0
    # A plan for each order.
    from flambeau import _core

    before = _core.cuda_plan_counts()[1]
    big, kernel = last(8, 1, 2, 9, 9).cuda(), last(9, 3, 2, 2, 2).cuda()
    F.conv2d(big, kernel)
    F.conv2d(big.contiguous(), kernel.contiguous())
    F.conv2d(big, kernel)
    assert _core.cuda_plan_counts()[1] == min(before + 2, 1024)  # which is the most


LAYERS: dict[str, Callable[[Tensor], Tensor]] = {
    "max_pool2d": lambda x: F.max_pool2d(x, 3, 2, 1),
    "avg_pool2d": lambda x: F.avg_pool2d(x, 3, 2, 1),
    "adaptive_avg_pool2d": lambda x: F.adaptive_avg_pool2d(x, (3, 4)),
    "adaptive_max_pool2d": lambda x: F.adaptive_max_pool2d(x, (3, 4)),
    "batch_norm": lambda x: F.batch_norm(x, None, None, training=True),
    "nearest": lambda x: F.interpolate(x, scale_factor=2),
    "bilinear": lambda x: F.interpolate(x, (5, 9), mode="bilinear"),
    "pad": lambda x: F.pad(x, (1, 2, 0, 1), value=3.0),
    "group_norm": lambda x: F.group_norm(x, 5),
    "cat": lambda x: fl.cat([x, x * 2], 1),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers(name: str) -> None:
    x = last(10, 2, 5, 8, 7)
    check_gradients(LAYERS[name], x, scale=4.0)
    leaf = x.cuda().requires_grad_()
    out = LAYERS[name](leaf)
    out.sum().backward()
    assert is_last(out) and leaf.grad is not None and is_last(leaf.grad)


def test_pools_of_volumes_and_positions() -> None:
    volume = last(11, 2, 3, 4, 5, 6)
    check_gradients(lambda x: F.max_pool3d(x, 2), volume)
    check_gradients(lambda x: F.avg_pool3d(x, 2, 1, 1), volume)
    out, places = F.max_pool2d(last(12, 2, 3, 6, 6).cuda(), 2, return_indices=True)
    assert is_last(out) and is_last(places)
    expected = F.max_pool2d(last(12, 2, 3, 6, 6), 2, return_indices=True)[1]
    assert fl.equal(places.cpu(), expected)
    half = last(13, 2, 3, 6, 6, dtype=fl.float16)
    check_gradients(lambda x: F.max_pool2d(x, 2, 1), half)


def net() -> nn.Module:
    fl.manual_seed(4)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 6, 3),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 4),
    )


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_training(compiled: bool) -> None:
    losses = []
    for device, form in (("cpu", fl.contiguous_format), ("cuda", LAST)):
        model = net().to(device, memory_format=form)
        optimizer = fl.optim.AdamW(model.parameters(), 0.01)
        x = normal(np.random.default_rng(14), 4, 3, 10, 10).to(device, memory_format=form)
        target = fl.arange(4, device=device)

        def step(
            x: Tensor, target: Tensor, model: Any = model, optimizer: Any = optimizer
        ) -> Tensor:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), target)
            loss.backward()
            optimizer.step()
            return loss.detach()

        run = fl.compile(step) if compiled and device == "cuda" else step
        losses.append([float(run(x, target)) for _ in range(7)])
    assert model[0].weight.stride() == (27, 1, 9, 3)
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-3)
