"""Memory formats: strides of results and gradients as PyTorch's.

Every case is an expression that both libraries evaluate; `x`, `y` and so on are tensors of one
value in different layouts.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch

import flambeau

VALUES = np.random.default_rng(0).standard_normal((2, 4, 6, 8)).astype(np.float32)
VOLUMES = np.random.default_rng(1).standard_normal((2, 4, 6, 8, 6)).astype(np.float32)
WEIGHTS = np.random.default_rng(2).standard_normal((6, 4, 3, 3)).astype(np.float32)
CUBES = np.random.default_rng(3).standard_normal((6, 4, 3, 3, 3)).astype(np.float32)


def names(library: Any) -> dict[str, Any]:
    x = library.tensor(VALUES)
    last = x.contiguous(memory_format=library.channels_last)
    return {
        "torch": library,
        "F": library.nn.functional,
        "channels_last": library.channels_last,
        "channels_last_3d": library.channels_last_3d,
        "x": x,
        "last": last,
        "flat": x[:, :1].contiguous(),
        "flat_last": last[:, :1].contiguous(memory_format=library.channels_last),
        "pixel": last[:, :, :1, :1].contiguous(memory_format=library.channels_last),
        "gapped": last[:, :, ::2, 1:],
        "turned": x.permute(3, 1, 0, 2),
        "turned_gapped": x.permute(3, 1, 0, 2)[:, :2],
        "matrix": x[0, 0].t(),
        "row": x[:1],
        "channel": library.tensor(VALUES[0, :, :1, :1]),
        "volume": library.tensor(VOLUMES).contiguous(memory_format=library.channels_last_3d),
        "w": library.tensor(WEIGHTS),
        "w_last": library.tensor(WEIGHTS).contiguous(memory_format=library.channels_last),
        "cube": library.tensor(CUBES),
    }


LAYOUTS = "x last flat flat_last pixel gapped turned turned_gapped matrix volume".split()
COPIES = [
    "{}.clone()",
    "{}.to(torch.float64)",
    "{}.double()",
    "torch.empty_like({})",
    "torch.zeros_like({})",
    "torch.ones_like({}, dtype=torch.int64)",
    "torch.full_like({}, 2.0)",
    "torch.rand_like({})",
    "torch.zeros_like({}, memory_format=torch.contiguous_format)",
    "{}.clone(memory_format=torch.contiguous_format)",
    "{}.contiguous()",
    "{}.to(memory_format=torch.preserve_format)",
    "{}.to(memory_format=torch.contiguous_format)",
    "{}.to(torch.float16, copy=True)",
    "-{}",
    "{0} + {0}",
    "{} * 2 + 1",
    "2 - {}",
    "{} > 0",
    "torch.where({0} > 0, {0}, 0.0)",
    "{}.clamp(0, 1)",
    "torch.exp({})",
    "F.gelu({})",
]
ELEMENTWISE = COPIES[-9:]
FORMATS = [
    "{}.contiguous(memory_format=channels_last)",
    "{}.to(memory_format=channels_last)",
    "{}.to(torch.float64, memory_format=channels_last)",
    "{}.cpu(memory_format=channels_last)",
    "{}.double(memory_format=channels_last)",
    "{}.clone(memory_format=channels_last)",
    "torch.empty_like({}, memory_format=channels_last)",
    "torch.rand_like({}, memory_format=channels_last)",
    "{}.contiguous(memory_format=channels_last_3d)",
    "{}.to(memory_format=channels_last_3d)",
]
MIXED = [
    "x + last",
    "last + x",
    "last * channel",
    "channel * last",
    "last + row",
    "row + last",
    "last + last[:1]",
    "x.permute(0, 2, 3, 1) * last.permute(0, 2, 3, 1)",
    "turned + 1",
    "matrix + matrix.contiguous()",
    "matrix * matrix[:, :1]",
    "gapped + gapped",
    "last[0] * last[1]",
    "torch.cat([last, last], 1)",
    "torch.cat([last, x], 1)",
    "torch.cat([last, last], 0)",
    "torch.cat([last, last[:, :, :3]], 2)",
    "torch.cat([flat_last, flat_last], 1)",
    "torch.cat([volume, volume], 1)",
    "last.flip(2)",
    "last.flip((1, 3))",
    "last.roll(1, 3)",
    "volume.flip(0)",
    "turned.roll((1, 2), (0, 3))",
    "gapped.flip(1)",
    "matrix.flip(0)",
    "torch.empty(2, 3, 4, 5, memory_format=channels_last)",
    "torch.empty((2, 3, 4, 5, 6), memory_format=channels_last_3d)",
    "torch.empty(2, 0, 4, 5, memory_format=channels_last)",
]
LAYERS = [
    "F.conv2d(last, w)",
    "F.conv2d(x, w_last)",
    "F.conv2d(last, w_last, padding=1, stride=2)",
    "F.conv2d(last.double(), w.double())",
    "F.conv2d(last, w[:, :2], groups=2)",
    "F.conv_transpose2d(last, w.transpose(0, 1).contiguous())",
    "F.conv3d(volume, cube)",
    "F.max_pool2d(last, 2)",
    "F.max_pool2d(last, 3, 1, 1)",
    "F.max_pool3d(volume, 2)",
    "F.avg_pool2d(last, 2)",
    "F.avg_pool2d(last, 3, 2, 1)",
    "F.adaptive_avg_pool2d(last, 3)",
    "F.adaptive_avg_pool2d(last, 4)",
    "F.adaptive_max_pool2d(last, 3)",
    "F.batch_norm(last, torch.zeros(4), torch.ones(4), torch.ones(4), torch.ones(4), True)",
    "F.batch_norm(last, torch.zeros(4), torch.ones(4), torch.ones(4), torch.ones(4))",
    "F.batch_norm(volume, torch.zeros(4), torch.ones(4), torch.ones(4), torch.ones(4), True)",
    "F.interpolate(last, scale_factor=2)",
    "F.interpolate(last, size=(9, 5), mode='bilinear')",
    "F.interpolate(last, size=(3, 4), mode='area')",
    "F.interpolate(volume, scale_factor=2, mode='trilinear')",
    "F.pad(last, (1, 2, 0, 1))",
    "F.pad(last, (1, 2, 0, 1), mode='reflect')",
    "F.group_norm(last, 2)",
    "F.relu(last)",
    "F.silu(last)",
    "F.leaky_relu(last)",
]


def evaluate(case: str, library: Any) -> Any:
    try:
        return eval(case, names(library))
    except Exception as error:
        return error


def check_same(ours: Any, theirs: Any) -> None:
    if isinstance(theirs, Exception):
        assert type(ours) is type(theirs), ours
        return
    if isinstance(ours, Exception):
        raise ours
    assert ours.shape == tuple(theirs.shape) and ours.stride() == theirs.stride()
    for form in ("channels_last", "channels_last_3d", "contiguous_format"):
        expected = theirs.is_contiguous(memory_format=getattr(torch, form))
        assert ours.is_contiguous(memory_format=getattr(flambeau, form)) == expected


@pytest.mark.parametrize("case", COPIES + FORMATS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_copies(case: str, layout: str) -> None:
    if layout in ("flat", "flat_last", "pixel") and (case in ELEMENTWISE or "rand_like" in case):
        pytest.skip("contiguous as well: such results are contiguous to the letter then")
    case = case.format(layout)
    check_same(evaluate(case, flambeau), evaluate(case, torch))


@pytest.mark.parametrize("case", MIXED)
def test_mixed(case: str) -> None:
    check_same(evaluate(case, flambeau), evaluate(case, torch))


@pytest.mark.parametrize("case", LAYERS)
def test_layers(case: str) -> None:
    results = []
    for library in (flambeau, torch):
        named = names(library)
        leaves = [named[name] for name in ("x", "last", "volume", "w", "w_last", "cube")]
        for leaf in leaves:
            leaf.requires_grad_()
        out = eval(case, named)
        (out * out * out).sum().backward()
        results.append((out, [leaf.grad for leaf in leaves]))
    (ours, mine), (theirs, others) = results
    check_same(ours, theirs)
    np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), rtol=2e-5, atol=2e-5)
    for grad, other in zip(mine, others):
        assert (grad is None) == (other is None)
        if grad is not None:
            check_same(grad, other)
            scale = float(other.abs().max())
            np.testing.assert_allclose(grad.numpy(), other.numpy(), rtol=1e-4, atol=1e-4 * scale)


def test_random_layouts() -> None:
    """Copies of random views, and what is made of two of them: strides and values."""
    draw = random.Random(4)
    for _ in range(300):
        rank = draw.randrange(2, 6)
        lengths = [draw.choice([2, 3, 4]) for _ in range(rank)]
        orders = [draw.sample(range(rank), rank) for _ in range(2)]
        gaps = [draw.random() < 0.3 for _ in range(2)]
        found = []
        for library in (flambeau, torch):
            views = []
            for order, gap in zip(orders, gaps):
                shape = [lengths[order.index(d)] for d in range(rank)]
                whole = [2 * n if gap and d == rank - 1 else n for d, n in enumerate(shape)]
                view = library.zeros(whole)[..., : shape[-1]]
                # The dimensions of `view` in the order that gives the shape `lengths`.
                views.append(view.permute(order))
            a, b = views
            b = b[:, :1] if gaps[0] != gaps[1] else b
            results = (a.clone(), library.zeros_like(b), a + b, b * a, a * 2, a.double(), a > b)
            found.append([(x.stride(), x.tolist()) for x in results])
        assert found[0] == found[1], (lengths, orders, gaps)
