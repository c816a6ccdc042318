"""Static graphs: declared inputs, runs, training, errors that name the input."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from saved_graphs import CASES, Case, tensors

import flambeau as fl
from flambeau import nn
from flambeau.compiler import CompileError, Input, StaticGraph
from flambeau.nn import functional as F


@pytest.mark.parametrize("make", CASES, ids=lambda make: make.__name__)
def test_runs_are_what_the_function_returns(make: Callable[[], Case]) -> None:
    fl.manual_seed(0)
    case = make()
    for seed in range(2):
        fl.manual_seed(seed)
        before = {name: t.clone() for name, t in case.graph.state_dict().items()}
        found = tensors(case.graph.run(case.feed))
        state = {name: t.clone() for name, t in case.graph.state_dict().items()}
        for name, tensor in case.graph.state_dict().items():
            tensor.copy_(before[name])
        fl.manual_seed(seed)
        expected = tensors(case.function(*case.feed.values()))
        assert len(found) == len(expected) > 0
        for a, b in zip(found, expected):
            np.testing.assert_allclose(a.numpy(), b.detach().numpy(), rtol=1e-5, atol=1e-6)
        for name, tensor in case.graph.state_dict().items():
            np.testing.assert_allclose(tensor.numpy(), state[name].numpy(), 1e-5, 1e-6)


def test_building_changes_nothing() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(), nn.Linear(4, 1))
    optimizer = fl.optim.Adam(model.parameters(), lr=0.1)

    def step(x: fl.Tensor) -> fl.Tensor:
        optimizer.zero_grad()
        loss = model(x).square().mean()
        loss.backward()
        optimizer.step()
        return loss

    fl.manual_seed(5)
    before = {name: t.clone() for name, t in model.state_dict().items()}
    following = fl.get_rng_state()
    graph = StaticGraph(step, Input((6, 3)))
    assert fl.equal(fl.get_rng_state(), following)
    assert all(fl.equal(t, before[name]) for name, t in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    rows = optimizer.state_dict()["state"].values()
    assert all(row["step"] == 0 and row["exp_avg"].abs().max() == 0 for row in rows)
    assert {"model.0.weight", "model.1.running_mean", "optimizer.state.0.exp_avg"} <= set(
        graph.state_dict()
    )


def test_training_is_as_in_eager_mode() -> None:
    def trained(static: bool) -> list[float]:
        fl.manual_seed(1)
        model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Dropout(0.2), nn.Linear(8, 3))
        optimizer = fl.optim.Adam(model.parameters(), lr=0.05)

        def step(x: fl.Tensor, y: fl.Tensor) -> fl.Tensor:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            return loss

        x, y = fl.randn(16, 4), fl.randint(3, (16,))
        run: Any = step
        if static:
            run = StaticGraph(step, {"x": Input((16, 4)), "y": Input((16,), fl.int64)}).run
        losses = []
        for turn in range(6):
            if turn == 3:
                optimizer.param_groups[0]["lr"] = 0.01
            losses.append(run(x, y).item())
        assert optimizer.state_dict()["state"][0]["step"] == 6
        return [*losses, model[0].weight.sum().item()]

    np.testing.assert_allclose(trained(True), trained(False), rtol=1e-5)


def test_feeds() -> None:
    graph = StaticGraph(lambda x, y: x + y, [Input((2,)), Input((), fl.int64, name="n")])
    assert list(graph.inputs) == ["x", "n"]
    expected = [4.0, 5.0]
    ones = np.array([1, 2], dtype=np.float32)
    for result in (
        graph.run(fl.tensor([1.0, 2.0]), fl.tensor(3)),
        graph.run({"x": ones, "n": np.array(3)}),
        graph.run([1, 2], 3),
        graph(ones, n=3),
        graph.run(fl.tensor([[1.0, 9.0], [2.0, 9.0]])[:, 0], 3),
    ):
        assert result.tolist() == expected and not result.requires_grad
    with fl.inference_mode():
        assert graph.run(ones, 3).tolist() == expected
    twice = StaticGraph(lambda x, y: x * y, [Input((2,)), Input((2,))])
    x = fl.tensor([2.0, 3.0], requires_grad=True)
    assert twice.run(x, x).tolist() == [4.0, 9.0]


@pytest.mark.parametrize(
    ("feed", "error", "text"),
    [
        ({}, TypeError, "input 'x' is missing; the inputs are x, y"),
        ({"x": fl.ones(2)}, TypeError, "input 'y' is missing"),
        ({"x": fl.ones(2), "y": fl.ones(2), "z": 1}, TypeError, "input 'z' is unknown"),
        ({"x": fl.ones(3), "y": fl.ones(2)}, RuntimeError, r"'x' must be .* \(2,\), .* \(3,\)"),
        ({"x": fl.ones(2), "y": np.ones(2)}, RuntimeError, r"'y' .*float64.*\.to\(torch.float32\)"),
        ([fl.ones(2)] * 3, TypeError, "2 inputs are required, got 3"),
    ],
)
def test_wrong_feeds_are_named(feed: Any, error: type[Exception], text: str) -> None:
    graph = StaticGraph(lambda x, y: x + y, {"x": Input((2,)), "y": Input((2,))})
    with pytest.raises(error, match=text):
        graph.run(*feed) if isinstance(feed, list) else graph.run(feed)


def test_wrong_declarations() -> None:
    with pytest.raises(TypeError, match="whole numbers"):
        Input((None, 3))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="a function or a module"):
        StaticGraph(3, [])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="must be a compiler"):
        StaticGraph(lambda x: x, {"x": (2, 3)})  # type: ignore[dict-item]
    with pytest.raises(TypeError, match="must differ"):
        StaticGraph(lambda x, y: x, [Input((), name="a"), Input((), name="a")])
    with pytest.raises(RuntimeError, match="example"):
        Input((2,), example=fl.ones(3))
    with pytest.raises(CompileError, match=r"it reads"):
        StaticGraph(lambda x: x if x.sum() > 0 else -x, Input((2,)))
    kept = []
    with pytest.raises(CompileError, match="kept elsewhere"):
        StaticGraph(lambda x: kept.append(x * 2), Input((2,)))


def test_schedulers_stay_outside() -> None:
    parameter = fl.ones(2, requires_grad=True)
    optimizer = fl.optim.SGD([parameter], lr=0.1)
    scheduler = fl.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)

    def step(x: fl.Tensor) -> None:
        optimizer.zero_grad()
        (parameter * x).sum().backward()
        optimizer.step()

    def wrong(x: fl.Tensor) -> None:
        step(x)
        scheduler.step()

    with pytest.raises(CompileError, match="scheduler"):
        StaticGraph(wrong, Input((2,)))
    for group in optimizer.param_groups:
        group["lr"] = 0.1
    graph = StaticGraph(step, Input((2,)))
    graph.run(fl.ones(2))
    optimizer.param_groups[0]["lr"] = 0.5
    graph.run(fl.ones(2))
    assert parameter.tolist() == pytest.approx([0.4, 0.4])
    assert graph.numbers is not None and 0.5 in graph.numbers


def test_replaced_memory_is_an_error() -> None:
    model = nn.Linear(2, 1)
    graph = StaticGraph(model, Input((1, 2)))
    model.weight.data.copy_(fl.ones(1, 2))  # is seen
    model.bias.data.zero_()
    assert graph.run(fl.ones(1, 2)).item() == 2
    model.weight.data = fl.zeros(1, 2)
    with pytest.raises(RuntimeError, match="build it again"):
        graph.run(fl.ones(1, 2))


def test_inside_of_a_compiled_function() -> None:
    graph = StaticGraph(lambda x: x * 2, Input((2,)))

    @fl.compile
    def function(x: fl.Tensor) -> fl.Tensor:
        return graph.run(x) + 1

    with pytest.warns(UserWarning, match="a static graph runs inside"):
        assert function(fl.ones(2)).tolist() == [3, 3]
    assert function(fl.zeros(2)).tolist() == [1, 1]
