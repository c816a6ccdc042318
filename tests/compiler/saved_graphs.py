"""Functions to build static graphs from, shared by the tests of graphs and of their files."""

from __future__ import annotations

from typing import Any, NamedTuple

import flambeau as fl
from flambeau import nn
from flambeau.compiler import Input, StaticGraph
from flambeau.nn import functional as F


class Case(NamedTuple):
    """A graph, a feed for it, and the function to compare it with."""

    graph: Any
    feed: dict[str, fl.Tensor]
    function: Any
    finite: bool = True  # however the file is damaged


def tensors(result: Any) -> list[fl.Tensor]:
    """The tensors of a nested result."""
    if isinstance(result, fl.Tensor):
        return [result]
    if isinstance(result, dict):
        result = list(result.values())
    return [t for x in result for t in tensors(x)] if isinstance(result, (list, tuple)) else []


class Attention(nn.Module):
    """One block of a small GPT."""

    def __init__(self, width: int = 16, heads: int = 2) -> None:
        super().__init__()
        self.tokens = nn.Embedding(20, width)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.heads = heads

    def forward(self, ids: fl.Tensor) -> fl.Tensor:
        """Maps ids (batch, length) to (batch, length, width)."""
        x = self.tokens(ids)
        batch, length, width = x.shape
        parts = self.qkv(self.norm1(x)).reshape(batch, length, 3, self.heads, -1)
        q, k, v = parts.permute(2, 0, 3, 1, 4).unbind(0)
        scores = q @ k.mT / (width // self.heads) ** 0.5
        mask = fl.ones(length, length, dtype=fl.bool).tril()
        weights = scores.masked_fill(~mask, float("-inf")).softmax(-1)
        mixed = (weights @ v).transpose(1, 2).reshape(batch, length, width)
        x = x + self.out(mixed)
        return x + self.down(F.gelu(self.up(self.norm2(x))))


def mlp() -> Case:
    model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3), nn.Softmax(dim=1))
    return Case(StaticGraph(model, Input((4, 6), name="x")), {"x": fl.randn(4, 6)}, model)


def convolutions() -> Case:
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 6, 3, stride=2, padding=1),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(6, 3),
    )
    model.eval()
    x = fl.randn(2, 1, 8, 8)
    return Case(StaticGraph(model, {"input": Input(tuple(x.shape))}), {"input": x}, model)


def gpt() -> Case:
    model = Attention()
    ids = fl.randint(20, (2, 5))
    return Case(StaticGraph(model, Input((2, 5), fl.int64)), {"ids": ids}, model)


def training(momentum: bool = True) -> Case:
    """A step of a convolutional network with dropout; an update like Adam's by hand."""
    model = nn.Sequential(
        nn.Conv2d(1, 3, 3),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.25),
        nn.Linear(27, 4),
    )
    parameters = list(model.parameters())
    means = [fl.zeros_like(p) for p in parameters]
    squares = [fl.zeros_like(p) for p in parameters]

    def step(x: fl.Tensor, y: fl.Tensor) -> dict[str, Any]:
        for p in parameters:
            p.grad = None
        scores = model(x)
        loss = F.cross_entropy(scores, y)
        loss.backward()
        with fl.no_grad():
            for p, m, v in zip(parameters, means, squares):
                m.lerp_(p.grad, 0.1)
                v.mul_(0.99).addcmul_(p.grad, p.grad, value=0.01)
                p.addcdiv_(m, v.sqrt().add_(1e-6), value=-0.01)
        return {"loss": loss, "scores": (scores, [3, "three", None])}

    inputs = {"x": Input((5, 1, 8, 8)), "y": Input((5,), fl.int64)}
    feed = {"x": fl.randn(5, 1, 8, 8), "y": fl.randint(4, (5,))}
    return Case(StaticGraph(step, inputs), feed, step)


def choices() -> Case:
    """Reductions, sorts and whatever else picks elements."""

    def function(x: fl.Tensor) -> list[fl.Tensor]:
        return [
            *x.sort(1),
            *x.sort(0, stable=True),
            *x.topk(2, 1),
            *x.kthvalue(2, 1),
            *x.max(0),
            *x.min(1),
            *x.median(1),
            *x.nanmedian(1),
            *x.mode(1),
            *x.cummax(1),
            *x.cummin(0),
            *fl.var_mean(x, 1),
            *fl.std_mean(x, 0),
            x.median() + x.nanmedian() + x.max() + x.min(),
            x.sum() + x.mean() + x.prod() + x.nansum() + x.nanmean(),
            x.mean(1) + x.prod(1) + x.sum(1) + x.std(1) + x.var(1) + x.logsumexp(1),
            x.norm() + x.norm(3) + x.trace(),
            x.argmax() + x.argmin(1),
            x.count_nonzero(1),
            x.amax() + x.amin(),
            (x > 0).any() & (x > 1).all(1),
            x.cumsum(1) + x.cumprod(0) + x.logcumsumexp(1),
            x.tril() + x.triu(1),
            fl.diag_embed(x, 1),
            x.flip(0),
            x.roll((1, 2), (0, 1)),
            fl.cat([x, x * 2], 1),
            x.clone().copy_(x[0]),
            x.clone().fill_(2.0).mul_(x),
            x.double(),
        ]

    return Case(StaticGraph(function, Input((3, 3))), {"x": fl.randn(3, 3)}, function)


def indices() -> Case:
    """Reads and writes at positions, and what their gradients need."""
    index = fl.tensor([[2, 0, 1], [1, 1, 0]])
    once = fl.tensor([[2, 0, 1], [1, 2, 0]])  # twice the same place: either value may stay
    rows, flat = fl.tensor([1, 0]), fl.tensor([0, 5])
    mask = fl.tensor([[True, False, True], [False, True, False]])

    def function(x: fl.Tensor, ids: fl.Tensor) -> list[fl.Tensor]:
        x = x.clone().requires_grad_()
        found = [
            x.gather(1, index),
            x.scatter(1, once, x),
            x.scatter(1, index, 2.0),
            x.scatter(1, index, x, reduce="add"),
            x.scatter_add(1, index, x * 2),
            x.scatter_reduce(1, index, x, "amax"),
            x.index_select(0, rows),
            x.index_add(0, rows, x),
            x.index_copy(0, rows, x * 3),
            x.index_fill(1, ids, 7.0),
            x.index_put((rows, ids), fl.ones(2)),
            x[rows, ids],
            x.take(flat),
            x.put(flat, fl.ones(2)),
            x.detach().masked_scatter(mask, x.detach() + 1),
            F.embedding(ids % 2, x),
            x.as_strided((2, 2), (1, 1)),
            x.unfold(1, 2, 1),
            x.expand(4, 2, 3).sum((0, 2)),
        ]
        loss = sum((y.square().sum() for y in found), fl.zeros(()))
        (gradient,) = fl.autograd.grad(loss, [x])
        return [*(y.detach() for y in found), gradient]

    inputs = {"x": Input((2, 3)), "ids": Input((2,), fl.int64)}
    feed = {"x": fl.randn(2, 3), "ids": fl.tensor([2, 0])}
    return Case(StaticGraph(function, inputs), feed, function)


def products() -> Case:
    """Products, convolutions, pools, and their gradients."""

    def function(x: fl.Tensor, w: fl.Tensor) -> list[fl.Tensor]:
        x, w = x.clone().requires_grad_(), w.clone().requires_grad_()
        images = x[None]  # (1, 2, 6, 6)
        found = [
            F.conv2d(images, w, fl.ones(3), stride=2, padding=1),
            F.conv_transpose2d(images, w.transpose(0, 1), padding=1, output_padding=0),
            F.conv1d(x.transpose(0, 1), w[..., 0]),
            F.max_pool2d(images, 2),
            F.max_pool3d(images, 2),
            F.avg_pool2d(images, 3, 2, 1),
            F.avg_pool3d(images, (1, 2, 2)),
            F.adaptive_max_pool2d(images, (2, 3)),
            F.adaptive_max_pool3d(images, (1, 2, 3)),
            F.adaptive_avg_pool2d(images, (2, 4)),
            F.adaptive_avg_pool3d(images, (1, 2, 4)),
            x @ x.mT,
            x.bmm(x),
            fl.baddbmm(x, x, x),
            fl.addmm(x[0], x[0], x[1]),
            x[0] @ x[1],
            x[0] @ x[1, 0],
            x[0, 0].dot(x[1, 1]),
            (images @ x[0]).sum(),
        ]
        loss = sum((y.square().sum() for y in found), fl.zeros(()))
        return [*(y.detach() for y in found), *fl.autograd.grad(loss, [x, w])]

    feed = {"x": fl.randn(2, 6, 6), "w": fl.randn(3, 2, 3, 3)}
    inputs = {"x": Input((2, 6, 6)), "w": Input((3, 2, 3, 3))}
    return Case(StaticGraph(function, inputs), feed, function)


def draws() -> Case:
    """Random numbers."""

    def function(p: fl.Tensor) -> list[fl.Tensor]:
        return [
            fl.rand(3),
            fl.randn(20),
            fl.randint(5, (3,)),
            fl.randperm(7),
            fl.bernoulli(p),
            fl.bernoulli(p, 0.25),
            fl.empty(3).uniform_(1, 2),
            fl.empty(3).normal_(1, 2),
            fl.empty(3).exponential_(),
            fl.empty(3).geometric_(0.5),
            fl.empty(3).log_normal_(),
            fl.empty(3).cauchy_(),
            fl.empty(3).random_(4),
            fl.empty(3).bernoulli_(0.5),
            fl.empty(3).bernoulli_(p),
            F.dropout(p, 0.5),
        ]

    return Case(StaticGraph(function, Input((3,))), {"p": fl.rand(3)}, function)


def branches() -> Case:
    """A training step with loops of fixed length, in one another, and branches."""
    weight = (fl.randn(3, 3) * 0.3).requires_grad_()

    def cell(h: fl.Tensor, x: fl.Tensor) -> tuple[fl.Tensor, fl.Tensor]:
        h = (h @ weight + x).tanh()
        total, steps = fl.scan(lambda c, a: (c + a.sin(), c * a), fl.zeros(()), h)
        return h + total * 0.1, steps

    def step(x: fl.Tensor) -> fl.Tensor:
        weight.grad = None
        h, steps = fl.scan(cell, fl.zeros(3), x)
        loss = steps.square().sum()
        loss = loss + fl.cond(h.sum() > 0, lambda h: (h * 3).sum(), lambda h: (h * h).sum(), (h,))
        loss.backward()
        with fl.no_grad():
            weight.sub_(weight.grad * 0.1)
        noise = fl.cond(h.sum() > 9, lambda h: h, lambda h: h + fl.rand(3), (h.detach(),))
        return loss, noise

    return Case(StaticGraph(step, Input((4, 3))), {"x": fl.randn(4, 3)}, step)


def loops() -> Case:
    """Loops of unknown length, with a gradient."""

    def function(x: fl.Tensor, limit: fl.Tensor) -> list[fl.Tensor]:
        y = x.clone().requires_grad_()
        steps, z = fl.while_loop(
            lambda n, z: (n < limit) & (z.sum() < 100),
            lambda n, z: (n + 1, z * y.cos() + 1),
            (fl.tensor(0), y * 2),
        )
        (gradient,) = fl.autograd.grad(z.sum(), [y])
        return [steps, z.detach(), gradient]

    inputs = {"x": Input((3,)), "limit": Input((), fl.int64)}
    feed = {"x": fl.rand(3), "limit": fl.tensor(5)}
    return Case(StaticGraph(function, inputs), feed, function, finite=False)


CASES = (
    *(mlp, convolutions, gpt, training, choices, indices, products, draws),
    *(branches, loops),
)
