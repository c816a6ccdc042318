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


def many_primitives() -> Case:
    """One call of most primitives that files may name."""
    index = fl.tensor([[2, 0, 1], [1, 1, 0]])
    rows = fl.tensor([1, 0])

    def function(x: fl.Tensor, ids: fl.Tensor) -> list[fl.Tensor]:
        found = [
            *x.sort(1),
            *x.topk(2, 1),
            *x.max(0),
            *x.median(1),
            x.cumsum(1),
            x.gather(1, index),
            x.scatter(1, index, x),
            x.scatter_add(1, index, x * 2),
            x.index_select(0, rows),
            x.index_add(0, rows, x),
            x[rows, ids],
            x.index_put((rows, ids), fl.ones(2)),
            fl.cat([x, x.flip(0), x.roll(1, 1)], 1),
            x.tril(),
            x.std(1),
            x.norm(),
            x.logsumexp(1),
            x.argmax(),
            x.amax(),
            (x > 0).any(),
            x.prod(1),
            x.take(ids),
            x.bmm(x.mT) if x.dim() == 3 else x @ x.mT,
            F.conv_transpose2d(x[None, None], fl.ones(1, 1, 2, 2)),
            F.adaptive_avg_pool2d(x[None], (1, 2)),
            fl.rand(3) + fl.randn(3) + fl.bernoulli(fl.full((3,), 0.5)),
            fl.randperm(5),
            x.as_strided((2, 2), (1, 1)).sum() + x.diagonal().sum(),
        ]
        return found

    feed = {"x": fl.randn(2, 3), "ids": fl.tensor([2, 0])}
    return Case(
        StaticGraph(function, {"x": Input((2, 3)), "ids": Input((2,), fl.int64)}), feed, function
    )


CASES = (mlp, convolutions, gpt, training, many_primitives)
