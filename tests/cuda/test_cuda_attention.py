"""Attention's kernel gives what its definition in products and softmax gives."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
import pytest
from compare import check_gradients, check_near, normal

import flambeau as fl
from flambeau import Tensor, _core
from flambeau.nn import functional as F

attend = F.scaled_dot_product_attention
DTYPES = [fl.float32, fl.float16, fl.bfloat16]


def projections(*shapes: tuple[int, ...], dtype: Any = fl.float32) -> list[Tensor]:
    random = np.random.default_rng(1)
    return [normal(random, *shape, dtype=dtype) for shape in shapes]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("causal", [False, True], ids=["all", "causal"])
def test_lengths(dtype: Any, causal: bool) -> None:
    for queries, keys in ((1, 1), (5, 70), (70, 5), (33, 40)):
        inputs = projections((2, queries, 8), (2, keys, 8), (2, keys, 8), dtype=dtype)
        check_gradients(lambda q, k, v: attend(q, k, v, is_causal=causal), *inputs, scale=1.0)


@pytest.mark.parametrize("features", [(16, 16), (33, 5), (64, 64), (128, 128), (80, 200)], ids=str)
def test_features(features: tuple[int, int]) -> None:
    head, value = features
    inputs = projections((1, 2, 20, head), (1, 2, 35, head), (1, 2, 35, value))
    check_gradients(attend, *inputs, scale=1.0)


def test_the_most_features() -> None:
    inputs = projections((17, 256), (18, 256), (18, 256))
    check_gradients(attend, *inputs, scale=1.0)
    q, k, v = projections((3, 257), (4, 257), (4, 8))
    check_near(attend(q.to("cuda"), k.to("cuda"), v.to("cuda")), attend(q, k, v))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_masks(dtype: Any) -> None:
    q, k, v = projections((2, 3, 6, 8), (2, 3, 20, 8), (2, 3, 20, 8), dtype=dtype)
    random = np.random.default_rng(2)
    for shape in ((6, 20), (20,), (1, 20), (6, 1), (2, 1, 1, 20), (1, 3, 6, 20), (2, 3, 6, 20)):
        chosen = normal(random, *shape) > -0.3
        chosen[..., 0] = True
        if shape[0] == 6:
            chosen[2] = False  # a query that sees nothing
        added = normal(random, *shape, dtype=dtype).masked_fill(~chosen, -math.inf)
        for mask in (chosen, added):
            check_gradients(
                lambda q, k, v, mask=mask: attend(q, k, v, mask.to(q.device)), q, k, v, scale=1.0
            )


def test_layouts_and_broadcasting() -> None:
    shapes = (2, 5, 3, 8), (2, 9, 3, 8), (2, 9, 3, 8)
    q, k, v = projections(*shapes)

    def by_heads(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return attend(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2))

    check_gradients(by_heads, q, k, v, scale=1.0)
    # Features that do not lie next to each other.
    turned = projections((2, 8, 5), (2, 8, 9), (2, 4, 9))
    check_gradients(lambda q, k, v: attend(q.mT, k.mT, v.mT), *turned, scale=1.0)
    q, k, v = projections((2, 1, 5, 8), (3, 9, 8), (1, 1, 9, 4))
    check_gradients(attend, q, k, v, scale=1.0)
    # More dimensions, walked over in different ways, than the kernel has.
    q, k, v = projections((2, 1, 2, 1, 2, 3, 8), (1, 2, 1, 2, 1, 4, 8), (2, 1, 1, 2, 2, 4, 8))
    check_gradients(attend, q, k, v, scale=1.0)
    q, k, v = projections((2, 4, 5, 8), (2, 2, 9, 8), (2, 2, 9, 8))
    check_gradients(lambda q, k, v: attend(q, k, v, enable_gqa=True, scale=0.2), q, k, v, scale=1.0)


def test_empty() -> None:
    for queries, keys, batch in ((0, 3, 2), (3, 4, 0)):
        check_gradients(attend, *projections((batch, queries, 8), *((batch, keys, 8),) * 2))
    q, k, v = projections((2, 3, 8), (2, 0, 8), (2, 0, 8))
    check_near(attend(q.to("cuda"), k.to("cuda"), v.to("cuda")), fl.zeros(2, 3, 8))


def test_large_scores() -> None:
    q, k, v = projections((4, 8), (40, 8), (40, 8))
    check_gradients(lambda q, k, v: attend(q * 100, k * 10, v), q, k, v, scale=1000.0)


def test_second_order() -> None:
    inputs = projections((2, 5, 8), (2, 6, 8), (2, 6, 4))
    mask = fl.tensor(np.random.default_rng(3).random((5, 6)) > 0.3)

    def squared_slopes(*inputs: Tensor, masked: bool) -> Tensor:
        seen = mask.to(inputs[0].device) if masked else None
        out = attend(*inputs, attn_mask=seen, is_causal=not masked)
        slopes = fl.autograd.grad((out * out).sum(), inputs, create_graph=True)
        return fl.stack([(slope * slope).sum() for slope in slopes]).sum()

    for masked in (False, True):
        check_gradients(functools.partial(squared_slopes, masked=masked), *inputs, scale=10.0)


def test_what_the_kernel_leaves_alone() -> None:
    q, k, v = projections((2, 5, 8), (2, 6, 8), (2, 6, 8))
    mask = normal(np.random.default_rng(4), 5, 6)
    check_gradients(lambda q, k, v, mask: attend(q, k, v, mask), q, k, v, mask)  # mask's gradient
    doubles = [x.double() for x in (q, k, v)]
    check_gradients(attend, *doubles)
    with pytest.raises(RuntimeError):
        attend(q.to("cuda"), k[..., :4].to("cuda"), v.to("cuda"))


@pytest.mark.parametrize("kind", ["all", "causal", "masked"])
def test_the_primitive_without_the_kernel(kind: str) -> None:
    # As on a GPU with too little shared memory, and for graphs that move to the CPU.
    fused, causal, mask = _core.private["fused_attention"], kind == "causal", None
    if kind == "masked":
        mask = fl.tensor(np.random.default_rng(5).random((5, 6)) > 0.5)
        mask[1] = False
    results = []
    for function in (
        lambda q, k, v: fused(q, k, v, mask, causal, 0.3),
        lambda q, k, v: attend(q, k, v, mask, is_causal=causal, scale=0.3),
    ):
        inputs = [x.requires_grad_() for x in projections((2, 5, 8), (6, 8), (2, 6, 4))]
        out = function(*inputs)
        results.append([out, *fl.autograd.grad(out, inputs, fl.ones_like(out))])
    for a, b in zip(*results, strict=True):
        assert fl.allclose(a, b, atol=1e-6)


def test_scores_take_no_memory() -> None:
    inputs = [x.to("cuda").requires_grad_() for x in projections((70, 8), (80, 8), (80, 8))]
    before = fl.cuda.memory_allocated()
    out = attend(*inputs)
    # The result and the sums of its rows; blocks have 512 bytes or multiples of that.
    assert out.requires_grad and fl.cuda.memory_allocated() - before <= 70 * 9 * 4 + 1024
