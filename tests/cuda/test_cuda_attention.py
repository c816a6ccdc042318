"""Attention by cuDNN and by our kernel gives what its definition in products and softmax gives."""

from __future__ import annotations

import ctypes
import functools
import math
import os
from typing import Any

import numpy as np
import pytest
from compare import check_gradients, check_near, normal, setting

import flambeau as fl
from flambeau import Tensor, _core
from flambeau.nn import functional as F
from flambeau.nn.attention import SDPBackend, sdpa_kernel

attend = F.scaled_dot_product_attention
DTYPES = [fl.float32, fl.float16, fl.bfloat16]
EMULATED = "emulated_cuda" in os.environ.get("FLAMBEAU_CUDA_LIBRARIES", "")


@pytest.fixture(params=[True, False], ids=["cudnn", "own"], autouse=True)
def library(request: pytest.FixtureRequest) -> Any:
    ours = not request.param
    with (
        setting("attention_cudnn", request.param),
        setting("attention_flash", ours),
        setting("attention_efficient", ours),
    ):
        yield request.param


def executed() -> int:
    """Graphs that the emulated cuDNN has executed."""
    folder = os.environ["FLAMBEAU_CUDA_LIBRARIES"].split(":")[0]
    return int(ctypes.CDLL(f"{folder}/libcudnn.so.9").emulated_cudnn_executed())


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


def test_scores_take_no_memory(library: bool) -> None:
    if library:
        return
    inputs = [x.to("cuda").requires_grad_() for x in projections((70, 8), (80, 8), (80, 8))]
    before = fl.cuda.memory_allocated()
    out = attend(*inputs)
    # The result and the sums of its rows; blocks have 512 bytes or multiples of that.
    assert out.requires_grad and fl.cuda.memory_allocated() - before <= 70 * 9 * 4 + 1024


@pytest.mark.skipif(not EMULATED, reason="asks the emulated cuDNN what it did")
def test_who_computes(library: bool) -> None:
    def calls(*inputs: Tensor, **options: Any) -> int:
        before = executed()
        leaves = [x.to("cuda").requires_grad_() for x in inputs]
        out = attend(*leaves, **options)
        out.backward(fl.ones_like(out))
        return executed() - before

    shapes = (2, 3, 5, 16), (2, 3, 7, 16), (2, 3, 7, 8)
    half = projections(*shapes, dtype=fl.float16)
    both = 2 if library else 0
    assert calls(*half) == calls(*half, is_causal=True) == both
    assert calls(*(x.bfloat16() for x in half)) == both
    assert calls(*half, attn_mask=fl.ones(5, 7, dtype=fl.bool, device="cuda")) == 0
    assert calls(*projections(*shapes)) == 0  # float32
    odd = projections((1, 2, 5, 12), (1, 2, 5, 12), (1, 2, 5, 12), dtype=fl.float16)
    assert calls(*odd) == 0
    shared = projections((2, 3, 5, 8), (1, 3, 7, 8), (2, 3, 7, 8), dtype=fl.float16)
    assert calls(*shared) == 0  # keys of one batch for all
    assert calls(*projections((5, 8), (7, 8), (7, 8), dtype=fl.float16)) == both
    with fl.backends.cudnn.flags(enabled=False):
        assert calls(*half) == 0


@pytest.mark.parametrize("causal", [False, True], ids=["all", "causal"])
def test_layouts_of_16_bit_floats(causal: bool) -> None:
    # As models have them: heads inside of rows, queries, keys and values beside each other.
    joined = normal(np.random.default_rng(6), 2, 9, 3 * 2 * 16, dtype=fl.float16)

    def self_attention(x: Tensor) -> Tensor:
        q, k, v = (y.view(2, 9, 2, 16).transpose(1, 2) for y in x.chunk(3, -1))
        return attend(q, k, v, is_causal=causal).transpose(1, 2).reshape(2, 9, 32)

    check_gradients(self_attention, joined, scale=1.0)
    # An address, and a step, that are no multiples of 16 bytes.
    flat = normal(np.random.default_rng(7), 3 * 10 * 20 + 1, dtype=fl.float16)

    def apart(x: Tensor) -> Tensor:
        wide = x[1:].view(3, 10, 20)
        return attend(wide[0, :, :16], wide[1, :, :16], wide[2, :, :16], is_causal=causal)

    check_gradients(apart, flat, scale=1.0)
    check_gradients(lambda x: attend(*x[:-1].view(3, 10, 20)[..., :8], is_causal=causal), flat)


def test_choice_of_a_way() -> None:
    q, k, v = (x.to("cuda") for x in projections((2, 6, 8), (2, 6, 8), (2, 6, 8), dtype=fl.float16))
    expected = attend(q.float(), k.float(), v.float()).cpu().half()
    for backends in (
        SDPBackend.MATH,
        SDPBackend.CUDNN_ATTENTION,
        [SDPBackend.FLASH_ATTENTION, SDPBackend.MATH],
    ):
        with sdpa_kernel(backends):
            check_near(attend(q, k, v), expected)
    everything = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
    with sdpa_kernel(everything), sdpa_kernel(SDPBackend.MATH):
        enabled = fl.backends.cuda
        assert enabled.math_sdp_enabled() and not enabled.cudnn_sdp_enabled()
        assert not enabled.flash_sdp_enabled() and not enabled.mem_efficient_sdp_enabled()
        assert _core.private["fused_attention"](q, k, v, None, False, 1.0) is None
    with sdpa_kernel(everything):
        assert fl.backends.cuda.flash_sdp_enabled() and fl.backends.cuda.mem_efficient_sdp_enabled()
    with sdpa_kernel(everything), fl.backends.cuda.sdp_kernel(enable_flash=False):
        assert not enabled.flash_sdp_enabled() and enabled.mem_efficient_sdp_enabled()
    with pytest.raises(AssertionError, match="SDPBackend are required"), sdpa_kernel([]):
        pass


@pytest.mark.skipif(not EMULATED, reason="asks the emulated cuDNN what it did")
def test_plans_are_made_for_what_comes_back(library: bool) -> None:
    q, k, v = (x.to("cuda") for x in projections((4, 8), (11, 8), (11, 8), dtype=fl.float16))
    with setting("attention_flash", True):
        before, counts = executed(), []
        for _ in range(4):
            attend(q, k, v)
            counts.append(executed() - before)
    assert counts == ([0, 0, 1, 2] if library else [0, 0, 0, 0])


@pytest.mark.skipif(not EMULATED, reason="asks the emulated cuDNN what it did")
def test_gradients_in_one_order(library: bool) -> None:
    folder = os.environ["FLAMBEAU_CUDA_LIBRARIES"].split(":")[0]
    cudnn = ctypes.CDLL(f"{folder}/libcudnn.so.9")
    inputs = [x.to("cuda").requires_grad_() for x in projections(*((3, 8),) * 3, dtype=fl.float16)]
    for deterministic, engine in ((False, 1), (True, 3)):
        with fl.backends.cudnn.flags(enabled=True, deterministic=deterministic):
            attend(*inputs).sum().backward()
        # Engine 1 adds in any order.
        assert not library or cudnn.emulated_cudnn_last_engine() == engine


def test_plans_of_attention_are_bounded(library: bool) -> None:
    if not library:
        return
    x = fl.ones(1, 300, 8, device="cuda", dtype=fl.float16)
    for length in range(1, 301):
        attend(x[:, :1], x[:, :length], x[:, :length])
    assert _core.cuda_plan_counts()[2] == 256
    fl.cuda.synchronize()


def test_compiled(library: bool) -> None:
    joined = normal(np.random.default_rng(8), 2, 9, 3 * 16, dtype=fl.float16).to("cuda")

    def slopes(x: Tensor) -> Tensor:
        x = x.detach().requires_grad_()
        q, k, v = [y.view(2, 9, 2, 8).transpose(1, 2) for y in x.chunk(3, -1)]
        out = attend(q, k, v, is_causal=True)
        return fl.autograd.grad(out, x, out)[0]

    compiled = fl.compile(slopes)
    for factor in (1.0, 0.5, 2.0, -1.0, 0.25):  # the last ones are one CUDA graph
        assert fl.equal(compiled(joined * factor), slopes(joined * factor))
