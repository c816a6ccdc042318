"""Modules that are made of other functions run on the GPU as they do on the CPU."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from compare import check_near, normal

import flambeau as fl
from flambeau import Tensor, nn


def inputs_of(*shapes: tuple[int, ...]) -> list[Tensor]:
    random = np.random.default_rng(1)
    return [normal(random, *shape) for shape in shapes]


def tensors_in(result: Any) -> list[Tensor]:
    if isinstance(result, Tensor):
        return [result]
    if isinstance(result, (tuple, list)):
        return [tensor for part in result for tensor in tensors_in(part)]
    return []


def check_module(module: nn.Module, *inputs: Any, call: Callable[..., Any] | None = None) -> None:
    """Results, and gradients of inputs and parameters, in training."""
    results = []
    for device in ("cpu", "cuda"):
        placed = copy.deepcopy(module).to(device)
        leaves = [
            x.detach().to(device).requires_grad_(x.is_floating_point())
            if isinstance(x, Tensor)
            else x
            for x in inputs
        ]
        outs = tensors_in((call or (lambda m, *x: m(*x)))(placed, *leaves))
        floating = [out for out in outs if out.requires_grad]
        fl.autograd.backward(floating, [fl.ones_like(out) for out in floating])
        slopes = [x.grad for x in leaves if isinstance(x, Tensor) and x.grad is not None]
        slopes += [p.grad for p in placed.parameters() if p.grad is not None]
        results.append([*(out.detach() for out in outs), *slopes])
    assert results[0]
    for expected, got in zip(*results, strict=True):
        check_near(got, expected, 20.0)


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU], ids=lambda kind: kind.__name__)
def test_recurrent(kind: Any) -> None:
    (x,) = inputs_of((5, 2, 4))
    check_module(kind(4, 3, num_layers=2, bidirectional=True), x)
    check_module(kind(4, 3, batch_first=True), x)
    check_module(kind(4, 3), x[:, 0])
    lengths = fl.tensor([5, 3])
    pack, unpack = nn.utils.rnn.pack_padded_sequence, nn.utils.rnn.pad_packed_sequence
    check_module(kind(4, 3), x, call=lambda module, x: unpack(module(pack(x, lengths))[0])[0])


@pytest.mark.parametrize(
    "kind", [nn.RNNCell, nn.LSTMCell, nn.GRUCell], ids=lambda kind: kind.__name__
)
def test_cells(kind: Any) -> None:
    x, h = inputs_of((2, 4), (2, 3))
    check_module(kind(4, 3), x)
    if kind is not nn.LSTMCell:
        check_module(kind(4, 3), x, h)


def test_attention_modules() -> None:
    x, y = inputs_of((6, 2, 8), (5, 2, 8))
    check_module(nn.MultiheadAttention(8, 2), x, y, y)
    without_weights = nn.MultiheadAttention(8, 2, bias=False, add_bias_kv=True)
    check_module(without_weights, x, call=lambda m, x: m(x, x, x, need_weights=False)[0])
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0)
    check_module(nn.TransformerEncoder(layer, 2), x)
    causal = nn.Transformer.generate_square_subsequent_mask(6)
    check_module(layer, x, call=lambda m, x: m(x, src_mask=causal.to(x.device), is_causal=True))
    check_module(nn.TransformerDecoderLayer(8, 2, 16, dropout=0.0), x, y)
    check_module(nn.Transformer(8, 2, 1, 1, 16, dropout=0.0), x, y)


def test_normalisation() -> None:
    (x,) = inputs_of((4, 6, 5, 3))
    for module in (
        nn.BatchNorm2d(6), nn.GroupNorm(3, 6), nn.InstanceNorm2d(6, affine=True),
        nn.LayerNorm([5, 3]), nn.LocalResponseNorm(2), nn.RMSNorm(3),
    ):  # fmt: skip
        check_module(module, x)
        check_module(module.eval(), x)


def test_images() -> None:
    (x,) = inputs_of((2, 4, 5, 6))
    for mode in ("nearest", "bilinear", "bicubic", "area", "nearest-exact"):
        check_module(nn.Upsample(size=(7, 9), mode=mode), x)
    for pad in (
        nn.ReflectionPad2d(2), nn.ReplicationPad2d(2), nn.CircularPad2d(1),
        nn.ZeroPad2d((1, 2, 0, 1)), nn.ConstantPad2d(1, 3.5),
    ):  # fmt: skip
        check_module(pad, x)
    for module in (
        nn.PixelShuffle(2), nn.PixelUnshuffle(1), nn.ChannelShuffle(2), nn.Fold((5, 6), 2),
        nn.Unfold(2, padding=1), nn.LPPool2d(2, 2),
    ):  # fmt: skip
        if not isinstance(module, nn.Fold):
            check_module(module, x)
    check_module(nn.Fold((5, 6), 2), *inputs_of((2, 12, 20)))


def test_losses() -> None:
    x, y = inputs_of((4, 6), (4, 6))
    classes = fl.tensor([1, 0, 5, 2])
    check_module(nn.CrossEntropyLoss(label_smoothing=0.1), x, classes)
    check_module(nn.NLLLoss(), x, classes)
    for loss in (
        nn.MSELoss(),
        nn.SmoothL1Loss(),
        nn.HuberLoss(),
        nn.KLDivLoss(reduction="batchmean"),
    ):
        check_module(loss, x, y)


def test_embeddings() -> None:
    indices = fl.tensor([[1, 2, 0], [4, 4, 3]])
    check_module(nn.Embedding(5, 3, padding_idx=0), indices)
    check_module(nn.EmbeddingBag(5, 3, mode="mean"), indices)
    x, y = inputs_of((4, 3), (4, 5))
    check_module(nn.Bilinear(3, 5, 2), x, y)
