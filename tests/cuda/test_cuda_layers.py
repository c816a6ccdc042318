"""Layers, losses and optimizers on the GPU give what they give on the CPU."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import flambeau as fl
from flambeau import nn, optim
from flambeau.nn import functional as F


def near(got: fl.Tensor, expected: fl.Tensor) -> None:
    assert got.is_cuda and got.dtype == expected.dtype and got.shape == expected.shape
    numbers = [np.array(x.detach().double().tolist()) for x in (got, expected)]
    np.testing.assert_allclose(*numbers, rtol=2e-5, atol=2e-5)


def both(x: Any) -> Any:
    """The same on the GPU, with a gradient of its own."""
    if isinstance(x, (tuple, list)):
        return type(x)(both(each) for each in x)
    if not isinstance(x, fl.Tensor):
        return x
    moved = x.detach().to("cuda")
    return moved.requires_grad_(x.requires_grad)


def flat(result: Any) -> list[fl.Tensor]:
    if isinstance(result, fl.Tensor):
        return [result]
    return [x for each in result if each is not None for x in flat(each)]


def total(result: Any) -> fl.Tensor:
    parts = [x for x in flat(result) if x.is_floating_point()]
    return sum((x * x).sum() for x in parts)


def floats(*shape: int) -> fl.Tensor:
    return fl.randn(*shape).requires_grad_()


def whole(high: int, *shape: int) -> fl.Tensor:
    return fl.randint(0, high, shape)


MODULES: dict[str, tuple[Callable[[], nn.Module], Callable[[], tuple[Any, ...]]]] = {
    "linear": (lambda: nn.Linear(5, 3), lambda: (floats(4, 5),)),
    "bilinear": (lambda: nn.Bilinear(3, 4, 2), lambda: (floats(5, 3), floats(5, 4))),
    "embedding": (lambda: nn.Embedding(7, 3, padding_idx=2), lambda: (whole(7, 4, 5),)),
    "embedding max_norm": (lambda: nn.Embedding(7, 3, max_norm=1.0), lambda: (whole(7, 6),)),
    "embedding_bag": (lambda: nn.EmbeddingBag(7, 3, mode="sum"), lambda: (whole(7, 4, 5),)),
    "layer_norm": (lambda: nn.LayerNorm(6), lambda: (floats(4, 6),)),
    "rms_norm": (lambda: nn.RMSNorm(6), lambda: (floats(4, 6),)),
    "group_norm": (lambda: nn.GroupNorm(2, 4), lambda: (floats(3, 4, 5),)),
    "batch_norm": (lambda: nn.BatchNorm1d(4), lambda: (floats(6, 4),)),
    "batch_norm2d": (lambda: nn.BatchNorm2d(3), lambda: (floats(2, 3, 4, 4),)),
    "instance_norm": (lambda: nn.InstanceNorm1d(3), lambda: (floats(2, 3, 5),)),
    "local_response": (lambda: nn.LocalResponseNorm(2), lambda: (floats(2, 4, 3, 3),)),
    "conv1d": (lambda: nn.Conv1d(2, 3, 3, padding=1), lambda: (floats(2, 2, 7),)),
    "conv2d": (lambda: nn.Conv2d(2, 3, 3, stride=2), lambda: (floats(2, 2, 7, 7),)),
    "conv_transpose": (lambda: nn.ConvTranspose2d(2, 3, 3), lambda: (floats(1, 2, 4, 4),)),
    "max_pool": (lambda: nn.MaxPool2d(2), lambda: (floats(1, 2, 6, 6),)),
    "avg_pool": (lambda: nn.AvgPool2d(2), lambda: (floats(1, 2, 6, 6),)),
    "adaptive_pool": (lambda: nn.AdaptiveAvgPool2d(2), lambda: (floats(1, 2, 5, 7),)),
    "upsample": (lambda: nn.Upsample(scale_factor=2), lambda: (floats(1, 2, 3, 3),)),
    "bilinear upsample": (
        lambda: nn.Upsample(scale_factor=2, mode="bilinear"),
        lambda: (floats(1, 2, 3, 3),),
    ),
    "pixel_shuffle": (lambda: nn.PixelShuffle(2), lambda: (floats(1, 4, 3, 3),)),
    "unfold": (lambda: nn.Unfold(2), lambda: (floats(1, 2, 4, 4),)),
    "fold": (lambda: nn.Fold((4, 4), 2), lambda: (floats(1, 8, 9),)),
    "padding": (lambda: nn.ReflectionPad2d(1), lambda: (floats(1, 2, 4, 4),)),
    "zero padding": (lambda: nn.ZeroPad2d(1), lambda: (floats(1, 2, 4, 4),)),
    "rnn": (lambda: nn.RNN(3, 4), lambda: (floats(5, 2, 3),)),
    "lstm": (
        lambda: nn.LSTM(3, 4, num_layers=2, bidirectional=True, batch_first=True),
        lambda: (floats(2, 5, 3),),
    ),
    "gru": (lambda: nn.GRU(3, 4), lambda: (floats(5, 2, 3),)),
    "lstm cell": (lambda: nn.LSTMCell(3, 4), lambda: (floats(2, 3),)),
    "attention": (
        lambda: nn.MultiheadAttention(8, 2, batch_first=True),
        lambda: tuple(floats(2, 5, 8) for _ in range(3)),
    ),
    "encoder": (
        lambda: nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True),
        lambda: (floats(2, 5, 8),),
    ),
    "decoder": (
        lambda: nn.TransformerDecoderLayer(8, 2, 16, dropout=0.0),
        lambda: (floats(4, 2, 8), floats(5, 2, 8)),
    ),
    "glu": (nn.GLU, lambda: (floats(3, 6),)),
    "prelu": (nn.PReLU, lambda: (floats(3, 6),)),
    "softmax": (lambda: nn.Softmax(1), lambda: (floats(3, 6),)),
    "cosine": (nn.CosineSimilarity, lambda: (floats(3, 6), floats(3, 6))),
    "pairwise": (nn.PairwiseDistance, lambda: (floats(3, 6), floats(3, 6))),
}


@pytest.mark.parametrize("name", MODULES)
def test_layers(name: str) -> None:
    make, inputs = MODULES[name]
    fl.manual_seed(1)
    module, given = make(), inputs()
    other, moved = copy.deepcopy(module).to("cuda"), both(given)
    assert all(p.is_cuda for p in [*other.parameters(), *other.buffers()])
    expected, got = module(*given), other(*moved)
    for a, b in zip(flat(got), flat(expected), strict=True):
        near(a, b)
    if not any(x.requires_grad for x in flat(expected)):
        return
    total(expected).backward()
    total(got).backward()
    for a, b in zip([*flat(moved), *other.parameters()], [*flat(given), *module.parameters()]):
        assert (a.grad is None) == (b.grad is None)
        if a.grad is not None:
            near(a.grad, b.grad)
    for a, b in zip(other.buffers(), module.buffers(), strict=True):
        near(a, b)


CLASSES = (lambda: floats(4, 5), lambda: whole(5, 4))
SAME = (lambda: floats(4, 5), lambda: fl.randn(4, 5))
SHARES = (lambda: fl.rand(4, 5).requires_grad_(), lambda: fl.rand(4, 5))
SIGNS = (lambda: floats(4), lambda: fl.randn(4).sign())
LOSSES: dict[str, tuple[Callable[..., Any], Any]] = {
    "cross_entropy": (F.cross_entropy, CLASSES),
    "weighted": (
        lambda x, y: F.cross_entropy(x, y, weight=fl.arange(1.0, 6.0, device=x.device)),
        CLASSES,
    ),
    "smoothed": (lambda x, y: F.cross_entropy(x, y, label_smoothing=0.1), CLASSES),
    "ignoring": (lambda x, y: F.cross_entropy(x, y, ignore_index=2), CLASSES),
    "nll": (lambda x, y: F.nll_loss(x.log_softmax(1), y), CLASSES),
    "multi_margin": (F.multi_margin_loss, CLASSES),
    "mse": (F.mse_loss, SAME),
    "l1": (F.l1_loss, SAME),
    "smooth_l1": (F.smooth_l1_loss, SAME),
    "huber": (F.huber_loss, SAME),
    "kl": (lambda x, y: F.kl_div(x.log_softmax(1), y.softmax(1), reduction="batchmean"), SAME),
    "poisson": (F.poisson_nll_loss, SAME),
    "bce": (F.binary_cross_entropy, SHARES),
    "bce_logits": (F.binary_cross_entropy_with_logits, SHARES),
    "multilabel": (F.multilabel_soft_margin_loss, SHARES),
    "soft_margin": (F.soft_margin_loss, SIGNS),
    "hinge": (F.hinge_embedding_loss, SIGNS),
    "triplet": (lambda x, y: F.triplet_margin_loss(x, y, x.flip(0)), SAME),
    "cosine_embedding": (lambda x, y: F.cosine_embedding_loss(x, y, y[:, 0].sign()), SAME),
}


@pytest.mark.parametrize("name", LOSSES)
def test_losses(name: str) -> None:
    function, makers = LOSSES[name]
    fl.manual_seed(2)
    given = tuple(make() for make in makers)
    moved = both(given)
    expected, got = function(*given), function(*moved)
    near(got, expected)
    expected.backward()
    got.backward()
    near(moved[0].grad, given[0].grad)


OPTIMIZERS: dict[str, Callable[[Any], optim.Optimizer]] = {
    "SGD": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
    "Adam": lambda p: optim.Adam(p, lr=0.1, amsgrad=True),
    "AdamW": lambda p: optim.AdamW(p, lr=0.1),
    "Adamax": lambda p: optim.Adamax(p, lr=0.1),
    "NAdam": lambda p: optim.NAdam(p, lr=0.1),
    "RAdam": lambda p: optim.RAdam(p, lr=0.1),
    "Adagrad": lambda p: optim.Adagrad(p, lr=0.1),
    "Adadelta": lambda p: optim.Adadelta(p, lr=0.1),
    "RMSprop": lambda p: optim.RMSprop(p, lr=0.1, momentum=0.5, centered=True),
    "Rprop": lambda p: optim.Rprop(p, lr=0.1),
    "ASGD": lambda p: optim.ASGD(p, lr=0.1),
    "LBFGS": lambda p: optim.LBFGS(p, lr=0.1),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers(name: str) -> None:
    fl.manual_seed(3)
    module = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2))
    other = copy.deepcopy(module).cuda()
    x, y = fl.randn(8, 4), fl.randn(8, 2)
    used = []
    for model in (module, other):
        place = next(model.parameters()).device
        optimizer = OPTIMIZERS[name](model.parameters())

        def closure() -> Any:
            optimizer.zero_grad()  # noqa: B023
            loss = F.mse_loss(model(x.to(place)), y.to(place))  # noqa: B023
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)  # noqa: B023
            return loss

        for _ in range(3):
            if name == "LBFGS":
                optimizer.step(closure)
            else:
                closure()
                optimizer.step()
        used.append(optimizer)
    for a, b in zip(other.parameters(), module.parameters(), strict=True):
        near(a, b)
    # The state is where the parameters are, and follows them when it is loaded.
    rows = [row for row in used[1].state.values() if name != "LBFGS"]
    assert all(v.is_cuda for row in rows for v in row.values() if isinstance(v, fl.Tensor))
    fresh = OPTIMIZERS[name](other.parameters())
    fresh.load_state_dict(used[0].state_dict())
    rows = [row for row in fresh.state.values() if name != "LBFGS"]
    assert all(v.is_cuda for row in rows for v in row.values() if isinstance(v, fl.Tensor))


def test_packed_sequences() -> None:
    fl.manual_seed(4)
    module, x = nn.LSTM(3, 4), fl.randn(5, 3, 3)
    other = copy.deepcopy(module).to("cuda")
    found = []
    for model, place in ((module, "cpu"), (other, "cuda")):
        packed = nn.utils.rnn.pack_padded_sequence(x.to(place), [2, 5, 3], enforce_sorted=False)
        out, (h, _) = model(packed)
        padded, lengths = nn.utils.rnn.pad_packed_sequence(out)
        assert lengths.tolist() == [2, 5, 3]
        found.append((padded, h))
    near(found[1][0], found[0][0])
    near(found[1][1], found[0][1])


def test_modules_can_be_made_there() -> None:
    made = nn.Sequential(
        nn.Linear(2, 3, device="cuda"),
        nn.BatchNorm1d(3, device="cuda"),
        nn.LSTM(3, 2, device="cuda"),
        nn.MultiheadAttention(4, 2, device="cuda"),
        nn.Embedding(3, 2, device="cuda", dtype=fl.float16),
        nn.Conv2d(1, 2, 3, device="cuda"),
    )
    assert all(t.is_cuda for t in [*made.parameters(), *made.buffers()])
    assert all(t.is_cpu for t in made.cpu().parameters())
