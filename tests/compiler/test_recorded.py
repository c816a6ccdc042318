"""Recordings of real functions: optimised and executed, they do what eager calls do."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import pytest

import flambeau as fl
from flambeau import _core, nn
from flambeau.compiler._graph import Graph
from flambeau.compiler._lower import Lowering
from flambeau.compiler._passes import run_passes
from flambeau.compiler._record import graph_of

Step = Callable[..., Any]


def recorded(step: Step, arguments: list[Any]) -> Graph:
    recording = _core.Recording(arguments)
    try:
        result = step(*arguments)
        recording.finish([result] if isinstance(result, fl.Tensor) else list(result))
    finally:
        recording.stop()
    assert recording.failure is None
    return graph_of(recording)


def executable(graph: Graph, arguments: list[Any]) -> Any:
    lowering = Lowering(graph)
    for argument in arguments:
        lowering.builder.expect_argument(argument)
    return lowering.finish()


def close(a: Any, b: Any, tolerance: float) -> None:
    assert a.dtype == b.dtype and a.shape == b.shape
    if not fl.allclose(a, b, rtol=tolerance, atol=tolerance, equal_nan=True):
        raise AssertionError(f"{a}\n{b}")


def check_training(
    make: Callable[[], tuple[Step, list[Any], list[Any]]], steps: int = 3
) -> tuple[Graph, Graph]:
    """Compares replays with eager steps; returns the graph as recorded and as optimised."""
    step, arguments, state = make()
    step(*arguments)
    graph = recorded(step, arguments)
    before = graph.copy()
    run_passes(graph)
    run = executable(graph, arguments)
    compiled = [run.run(arguments, [])[0].item() for _ in range(steps)]
    compiled_state = [x.detach().clone() for x in state]
    step, arguments, state = make()
    step(*arguments)
    step(*arguments)
    eager = [step(*arguments).item() for _ in range(steps)]
    assert compiled == pytest.approx(eager, rel=1e-5)
    for a, b in zip(compiled_state, state):
        close(a, b.detach(), 1e-5)
    return before, graph


def cubic_fit() -> tuple[Step, list[Any], list[Any]]:
    """The seeds' first example: four scalars, gradients by autograd, updates by hand."""
    fl.manual_seed(0)
    x = fl.linspace(-math.pi, math.pi, 2000)
    parameters = [fl.randn((), requires_grad=True) for _ in range(4)]

    def step(x: Any, y: Any) -> Any:
        a, b, c, d = parameters
        loss = (a + b * x + c * x**2 + d * x**3 - y).pow(2).sum()
        loss.backward()
        with fl.no_grad():
            for parameter in parameters:
                parameter -= 1e-6 * parameter.grad
                parameter.grad = None
        return loss

    return step, [x, fl.sin(x)], parameters


def test_cubic_fit_is_one_program() -> None:
    before, after = check_training(cubic_fit)
    assert len(before.nodes) > 25
    assert [node.operator for node in after.nodes] == ["fused"]
    (node,) = after.nodes
    assert len(node.reads) == 6 and len(node.outputs) == 5  # x, y, parameters; loss, parameters


def trained(
    model: Any, loss: Callable[..., Any], arguments: list[Any], rate: float = 0.05
) -> tuple[Step, list[Any], list[Any]]:
    optimizer = fl.optim.SGD(model.parameters(), rate, momentum=0.9)

    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        result = loss(model(x), y)
        result.backward()
        optimizer.step()
        return result

    return step, arguments, [*model.parameters(), *model.buffers()]


def sine() -> tuple[Step, list[Any], list[Any]]:
    fl.manual_seed(0)
    x = fl.linspace(-3, 3, 100).unsqueeze(1)
    layers = [nn.Linear(1, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 1)]
    return trained(nn.Sequential(*layers), nn.MSELoss(), [x, fl.sin(x)])


def classifier() -> tuple[Step, list[Any], list[Any]]:
    fl.manual_seed(0)
    layers = [
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.LayerNorm(36),
        nn.Linear(36, 10),
    ]
    data = [fl.randn(8, 1, 8, 8), fl.randint(0, 10, (8,))]
    return trained(nn.Sequential(*layers), nn.CrossEntropyLoss(), data)


@pytest.mark.parametrize("make", [sine, classifier])
def test_training_steps(make: Any) -> None:
    before, after = check_training(make)
    operators = [node.operator for node in after.nodes]
    assert operators.count("update") == 1
    assert len(operators) < 0.75 * len(before.nodes)


def test_random_numbers_are_those_of_eager_steps() -> None:
    x = fl.randn(50, 8)

    def step(x: Any) -> Any:
        noisy = nn.functional.dropout(x, 0.5) + fl.randn_like(x) * 0.1
        return nn.functional.dropout(noisy.tanh(), 0.25)

    graph = recorded(step, [x])
    run_passes(graph)
    run = executable(graph, [x])
    fl.manual_seed(3)
    compiled = [run.run([x], [])[0] for _ in range(2)]
    fl.manual_seed(3)
    for result in compiled:
        close(result, step(x), 1e-6)


# --- random functions -----------------------------------------------------------------------------


def random_function(seed: int) -> Step:
    """A function that makes the same random calls each time."""

    def function(x: Any, y: Any, p: Any) -> Any:
        rng = random.Random(seed)
        pool = [x, y, p]
        for _ in range(rng.choice([4, 10, 25])):
            pool.append(_random_call(rng, pool))
        loss = sum((z.to(fl.float32).mean() for z in pool[3:]), fl.zeros(()))
        if rng.random() < 0.5 and loss.requires_grad:
            loss.backward()
            gradient = p.grad
            with fl.no_grad():
                p -= 0.1 * p.grad
            p.grad = None
            return [loss, gradient, pool[-1]]
        return [loss, *pool[-2:]]

    return function


def _random_call(rng: random.Random, pool: list[Any]) -> Any:
    a, b = rng.choice(pool), rng.choice(pool[-4:])
    functional = nn.functional
    calls: list[Callable[[], Any]] = [
        lambda: fl.tanh(a),
        lambda: a + b,
        lambda: a * b - 0.5 * a,
        lambda: fl.where(a > 0.7 * b + 0.05, a, 1.0),
        lambda: (a < 0.13).to(fl.float32) + b,
        lambda: a.softmax(-1),
        lambda: a.log_softmax(0),
        lambda: functional.layer_norm(a, (6,)),
        lambda: a - a.mean(-1, keepdim=True),
        lambda: a / (1 + a.square().sum()),
        lambda: a * b.sum(0) * 0.1,
        lambda: fl.tanh(a @ b.t() @ b),
        lambda: fl.cat([a[:2], b[2:]]),
        lambda: a.t().contiguous().t() + b,
        lambda: a.clone().mul_(2).add_(b),
        lambda: _column_written(a, b),
        lambda: a.to(fl.float64).exp().clamp(max=3).to(fl.float32),
        lambda: a.reshape(3, 8).flip(0).reshape(4, 6).relu(),
        lambda: functional.gelu(a) + a.amax(1, keepdim=True),
        lambda: a.var(1, keepdim=True).sqrt() + b.abs(),
    ]
    return rng.choice([*calls, *_kernel_calls(a, b)])()


def _kernel_calls(a: Any, b: Any) -> list[Callable[[], Any]]:
    """Calls of kernels that are not programs."""
    functional = nn.functional
    image, other = a.reshape(1, 1, 4, 6), b.reshape(1, 1, 4, 6)
    places = fl.tensor([[0, 5, 2, 1, 1, 3]] * 4)
    return [
        lambda: functional.conv2d(image, other[:, :, :3, :3].tanh(), padding=1).view(4, 6),
        lambda: functional.max_pool2d(image, 2).repeat(1, 1, 2, 2).reshape(4, 6),
        lambda: functional.avg_pool2d(image, 3, stride=1, padding=1).view(4, 6) * b,
        lambda: a.gather(1, places) + b,
        lambda: a.scatter_add(1, places, b * 0.5).tanh(),
        lambda: a.index_select(0, places[0, :4] % 4),
        lambda: fl.zeros(4, 6).index_add_(0, places[1, :4] % 4, a) - b,
        lambda: a.cumsum(1).tanh(),
        lambda: a.cummax(0)[0] * 0.5,
        lambda: a.sort(1)[0] + b,
        lambda: a.topk(3, 1)[0].repeat(1, 2),
        lambda: fl.einsum("ij,kj->ik", a, b).tanh() @ b * 0.3,
        lambda: fl.bmm(a.reshape(2, 2, 6), b.reshape(2, 6, 2)).reshape(2, 4).t() @ b[:2] * 0.1,
        lambda: functional.pad(a, (1, 1, 1, 1))[1:5, 2:8],
        lambda: a.roll(2, 1).flip(0).tril(1),
        lambda: a.norm(dim=1, keepdim=True) + b,
        lambda: (a * 0.1 + 1).prod(1, keepdim=True) * b,
        lambda: a.expand(2, 4, 6).sum(0) * 0.5,
        lambda: functional.embedding(places[:, :1].view(4), a[:, :6]).view(4, 6) + b,
        lambda: functional.cross_entropy(a, places[:, 1] % 6, reduction="none").view(4, 1) * b,
        lambda: functional.batch_norm(a, None, None, training=True),
        lambda: functional.group_norm(a.reshape(2, 2, 6), 2).view(4, 6),
        lambda: a.logsumexp(1, keepdim=True) - b,
        lambda: a.masked_fill(b > 0.21, -0.5),
        lambda: fl.stack([a, b], 2).unbind(2)[0] + b.chunk(2, 1)[0].repeat(1, 2),
        lambda: functional.unfold(image, 3, padding=1)[0, :4, :6] + b,
        lambda: _written_at(a, b),
        lambda: a.clone().mul_(b).sub_(a),
        lambda: (a * 0.5).tanh_() * b.clone().mul_(a).div_(b.square() + 1),
        lambda: a.clone().addcmul_(a, b, value=0.2).clamp_(-2, 2),
        lambda: a.clone().lerp_(b, 0.3).sigmoid_(),
        lambda: (a.square() + 1).pow_(1.5).rsqrt_() * b,
        lambda: a.clone().scatter_(1, places[:, :2], b[:, :2]).mul_(0.5),
        lambda: a.clone().index_copy_(0, places[0, 2:3], b[:1]).mul_(a.tanh()),
        lambda: a.clone().copy_(b).cumsum_(1).tanh_(),
        lambda: (a + 0.0)[1:3].mul_(b[1:3]).repeat(2, 1),
        lambda: a.median(1, keepdim=True)[0] + b / (1 + b.std()),
        lambda: a.reshape(2, 12).t().reshape(4, 6) + b.transpose(0, 1).reshape(4, 6),
    ]


def _written_at(a: Any, b: Any) -> Any:
    c = a.clone()
    c[fl.tensor([0, 2]), 1:] = b[2:, 1:] * 2
    c[1] += b[0]
    return c.masked_fill_(c > 1.7, 0.3)


def _column_written(a: Any, b: Any) -> Any:
    c = a.clone()
    c[:, 1] = b[:, 2]
    c[1:3].mul_(0.5)
    return c


@pytest.mark.parametrize("seed", range(200))
def test_random_functions(seed: int) -> None:
    step = random_function(seed)
    fl.manual_seed(seed)
    arguments = [fl.randn(4, 6), fl.randn(4, 6)]
    start = fl.randn(4, 6)
    parameter = start.clone().requires_grad_()

    def function(x: Any, y: Any) -> Any:
        return step(x, y, parameter)

    function(*arguments)
    graph = recorded(function, arguments)
    run_passes(graph)
    run = executable(graph, arguments)
    others = [fl.randn(4, 6), fl.randn(4, 6)]
    with fl.no_grad():
        parameter.copy_(start)
    compiled = run.run(others, [])
    moved = parameter.detach().clone()
    with fl.no_grad():
        parameter.copy_(start)
    for a, b in zip(compiled, function(*others), strict=True):
        close(a.detach(), b.detach(), 2e-5)
    close(moved, parameter.detach(), 2e-5)


def _whole_call(rng: random.Random, pool: list[Any]) -> Any:
    a, b = rng.choice(pool), rng.choice(pool[-4:])
    whole = [fl.int64, fl.int32, fl.int16, fl.uint8]
    calls: list[Callable[[], Any]] = [
        lambda: a + b,
        lambda: a * b,
        lambda: a - b.to(rng.choice(whole)),
        lambda: (a > b) & (b != 3),
        lambda: fl.where(a == b, a, 7),
        lambda: a.to(rng.choice(whole)) // 3,
        lambda: a.to(rng.choice(whole)) % 5 + 1,
        lambda: a.bool() | b.bool(),
        lambda: ~a.to(fl.int32),
        lambda: a.to(fl.int64).sum(1, keepdim=True) + b,
        lambda: a.to(fl.float64).mul(0.37).to(rng.choice(whole)),
        lambda: a.to(fl.int64).amax(-1, keepdim=True) - b.to(fl.int32),
        lambda: (a.to(fl.float32) / 2).round().to(fl.int64),
        lambda: a.to(fl.int32).clone().add_(b.to(fl.int32)).clamp(-50, 1 << 20),
        lambda: a.bool().sum() + b.to(fl.int64),
        lambda: a.bool().to(fl.float32).mean(1, keepdim=True).gt(0.4) | b.bool(),
        lambda: (a.bool() + b.bool()).to(rng.choice(whole)),
    ]
    return rng.choice(calls)()


@pytest.mark.parametrize("seed", range(100))
def test_random_functions_of_whole_numbers_are_exact(seed: int) -> None:
    def function(x: Any, y: Any) -> Any:
        rng = random.Random(seed)
        pool = [x, y]
        for _ in range(rng.choice([4, 10, 25])):
            pool.append(_whole_call(rng, pool))
        return [fl.stack([z.to(fl.float64).mean() for z in pool[2:]]), *pool[-2:]]

    fl.manual_seed(seed)
    arguments = [fl.randint(-9, 200, (4, 6)), fl.randint(0, 90, (4, 6), dtype=fl.int32)]
    graph = recorded(function, arguments)
    run_passes(graph)
    run = executable(graph, arguments)
    others = [fl.randint(-9, 200, (4, 6)), fl.randint(0, 90, (4, 6), dtype=fl.int32)]
    for a, b in zip(run.run(others, []), function(*others), strict=True):
        assert a.dtype == b.dtype
        close(a, b, 1e-12)
