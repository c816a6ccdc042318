"""Random chains of layers give the same for channels last, contiguous inputs and compiled steps."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import flambeau as fl
from flambeau import Tensor
from flambeau.nn import functional as F

Step = Callable[[Tensor, Tensor, Tensor], Tensor]  # of values, of earlier values, and weights


def changed_in_place(x: Tensor) -> Tensor:
    z = x.clone()
    z.mul_(0.5).add_(1)
    z[:, ::2] = z[:, ::2] * 2
    return z


STEPS: list[Step] = [
    lambda x, y, w: F.relu(x),
    lambda x, y, w: x * w[0, :1, :1, :1],
    lambda x, y, w: F.conv2d(x, 0.3 * w[:, :1].expand(4, x.shape[1], 3, 3), padding=1),
    lambda x, y, w: F.conv_transpose2d(x, 0.2 * w[:1, :1].expand(x.shape[1], 3, 3, 3)),
    lambda x, y, w: F.max_pool2d(x, 2, 1) if min(x.shape[2:]) > 2 else x,
    lambda x, y, w: F.avg_pool2d(x, 3, 1, 1),
    lambda x, y, w: F.adaptive_avg_pool2d(x, (3, 4)),
    lambda x, y, w: F.adaptive_max_pool2d(x, (3, 3)),
    lambda x, y, w: fl.cat([x, x * 2], 1)[:, 1 : x.shape[1] + 1],
    lambda x, y, w: x + y if x.shape == y.shape else x + 1,
    lambda x, y, w: y * x if x.shape == y.shape else x * 0.5,
    lambda x, y, w: x.permute(0, 1, 3, 2),
    lambda x, y, w: x.flip(2),
    lambda x, y, w: fl.maximum(x, x.roll(1, 3)),
    lambda x, y, w: x - x.mean((2, 3), keepdim=True),
    lambda x, y, w: x[:, :, 1:] if x.shape[2] > 3 else x,
    lambda x, y, w: F.pad(x, (0, 1, 1, 0)) if x.shape[2] < 10 else x,
    lambda x, y, w: F.interpolate(x, size=(5, 6)),
    lambda x, y, w: F.batch_norm(x, None, None, training=True),
    lambda x, y, w: fl.where(x > 0, x, x * 0.1),
    lambda x, y, w: x.softmax(1),
    lambda x, y, w: x.contiguous(memory_format=fl.channels_last),
    lambda x, y, w: x.contiguous(),
    lambda x, y, w: x.flatten(2).reshape(x.shape),
    lambda x, y, w: changed_in_place(x),
    lambda x, y, w: x.transpose(0, 1).exp().clamp(max=3).transpose(0, 1),
    lambda x, y, w: fl.zeros_like(x).copy_(x) + x.sum(1, keepdim=True) * 0.1,
    lambda x, y, w: F.gelu(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2),
]


def results(run: Any, calls: int, order: Any, x: Tensor, w: Tensor) -> list[tuple[Any, Any]]:
    leaves = [each.contiguous(memory_format=order).requires_grad_() for each in (x, w)]
    for _ in range(calls):
        found = run(*leaves)
    return [
        ([n for n, length in zip(y.stride(), y.shape, strict=True) if length > 1], y.numpy())
        for y in found
    ]


@pytest.mark.parametrize("seed", range(80))
def test_chains(seed: int) -> None:
    draw = random.Random(seed)
    chain = [(draw.choice(STEPS), draw.randrange(9)) for _ in range(draw.randint(2, 7))]

    def step(x: Tensor, w: Tensor) -> list[Tensor]:
        values = [x]
        for function, earlier in chain:
            values.append(function(values[-1], values[earlier % len(values)], w))
        loss = (values[-1] * values[-1]).sum() + (w * w).sum()
        return [values[-1].detach(), *fl.autograd.grad(loss, [x, w])]

    fl.manual_seed(seed)
    shape = (2, draw.choice([1, 3, 4]), draw.choice([4, 6]), draw.choice([5, 6]))
    x, w = fl.randn(shape, dtype=fl.float64), fl.randn(4, 4, 3, 3, dtype=fl.float64)
    expected = results(step, 1, fl.contiguous_format, x, w)
    eager = results(step, 1, fl.channels_last, x, w)
    compiled = results(fl.compile(step, fullgraph=True), 4, fl.channels_last, x, w)
    for (_, wanted), (steps, got), (same_steps, same) in zip(
        expected, eager, compiled, strict=True
    ):
        tolerance = 1e-9 * max(float(np.abs(wanted).max()), 1e-3)
        np.testing.assert_allclose(got, wanted, rtol=1e-8, atol=tolerance)
        np.testing.assert_allclose(same, wanted, rtol=1e-8, atol=tolerance)
        assert steps == same_steps
