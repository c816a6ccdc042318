"""flambeau.compile: what it keeps, what it shows, and threads."""

from __future__ import annotations

import threading
import warnings
from typing import Any

import pytest

import flambeau as torch
from flambeau import nn
from flambeau.compiler import CompiledModule
from flambeau.compiler._compile import KEPT_EXECUTABLES, CompiledFunction


def executables(function: Any) -> int:
    assert isinstance(function, CompiledFunction)
    return len(function._entries)


def training_step(seed: int = 0) -> tuple[Any, nn.Module]:
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 1))
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)

    def step(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(net(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return step, net


def test_new_shapes_need_one_recording_and_the_cache_is_bounded() -> None:
    function = torch.compile(lambda x: (x * 2).sum())
    for _ in range(2):
        function(torch.ones(3))
    assert executables(function) == 1
    for length in range(4, 30):
        assert function(torch.ones(length)).item() == 2 * length
    assert executables(function) == KEPT_EXECUTABLES
    assert function(torch.ones(3)).item() == 6


def test_a_step_is_few_steps() -> None:
    step, _ = training_step()
    step = torch.compile(step, fullgraph=True)
    x, y = torch.randn(8, 4), torch.randn(8, 1)
    with pytest.raises(RuntimeError, match="no executable; call it twice first"):
        step.report()
    for _ in range(4):
        step(x, y)
    assert len(step.graph.nodes) < len(step.recorded_graph.nodes) / 2
    text = str(step.report())
    assert "update" in text and "us" in text and "mm" in text
    assert step.graph.to_svg().startswith("<svg")


def test_looking_changes_nothing() -> None:
    step, net = training_step()
    step = torch.compile(step)
    x, y = torch.randn(8, 4), torch.randn(8, 1)
    for _ in range(4):
        step(x, y)
    before = [p.detach().clone() for p in net.parameters()]
    gradients = [p.grad for p in net.parameters()]
    state = torch.get_rng_state()
    step.report()
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))
    assert all(p.grad is g for p, g in zip(net.parameters(), gradients, strict=True))
    assert torch.equal(state, torch.get_rng_state())


def test_threads_share_an_executable() -> None:
    w = torch.randn(64, 64)
    function = torch.compile(lambda x: (x @ w).tanh().sum(1))
    inputs = [torch.randn(64, 64) for _ in range(8)]
    expected = [function(x).clone() for x in inputs]
    wrong: list[int] = []

    def work(number: int) -> None:
        for _ in range(200):
            if not torch.allclose(function(inputs[number]), expected[number], atol=1e-5):
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert executables(function) == 1


def test_a_module_keeps_its_face() -> None:
    net = nn.Sequential(nn.Linear(4, 2), nn.ReLU())
    compiled = torch.compile(net)
    assert isinstance(compiled, CompiledModule)
    assert [name for name, _ in compiled.named_parameters()] == [
        "_orig_mod.0.weight",
        "_orig_mod.0.bias",
    ]
    compiled.eval()
    assert not net.training
    x = torch.randn(3, 4)
    for _ in range(4):
        assert torch.allclose(compiled(x), net(x))
    torch.compiler.reset()
    assert not compiled._compiled._entries


def test_methods_and_decorators() -> None:
    class Scaler:
        def __init__(self, factor: float) -> None:
            self.factor = factor

        @torch.compile(fullgraph=True)
        def scale(self, x: torch.Tensor) -> torch.Tensor:
            return x * self.factor

    two, three = Scaler(2.0), Scaler(3.0)
    for _ in range(4):
        assert two.scale(torch.ones(2)).tolist() == [2.0, 2.0]
        assert three.scale(torch.ones(2)).tolist() == [3.0, 3.0]


def test_compiled_inside_compiled() -> None:
    inner = torch.compile(lambda x: x * 2)
    outer = torch.compile(lambda x: inner(x) + 1, fullgraph=True)
    for _ in range(4):
        assert inner(torch.ones(2)).tolist() == [2.0, 2.0]
        assert outer(torch.ones(2)).tolist() == [3.0, 3.0]


def test_is_compiling_and_disable() -> None:
    seen = []

    @torch.compiler.disable
    def outside(x: torch.Tensor) -> torch.Tensor:
        return x + 1

    assert not torch.compiler.is_compiling()
    function = torch.compile(lambda x: (seen.append(torch.compiler.is_compiling()), outside(x))[1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert function(torch.ones(1)).tolist() == [2.0]
    assert seen == [True]


def test_assertions_inside() -> None:
    def checked(x: Any) -> Any:  # as pytest rewrites it
        assert x.dim() == 1 and x.requires_grad is False
        return x * 2

    compiled = torch.compile(checked, fullgraph=True)
    for _ in range(4):
        assert torch.equal(compiled(torch.arange(3.0)), torch.tensor([0.0, 2.0, 4.0]))
    assert executables(compiled) == 1


def test_wrong_use() -> None:
    with pytest.raises(TypeError, match="a function or a module is required, got int"):
        torch.compile(3)
    function = torch.compile(lambda x, y: x @ y)
    for _ in range(3):
        function(torch.ones(2, 2), torch.ones(2, 2))
    with pytest.raises(RuntimeError, match="shape"):
        function(torch.ones(2, 2), torch.ones(3, 2))
    index = torch.compile(lambda t, i: t[i])
    for _ in range(3):
        index(torch.ones(4), torch.tensor([1, 2]))
    with pytest.raises(IndexError, match="out of"):
        index(torch.ones(4), torch.tensor([1, 9]))


def test_second_derivative_through_a_module_raises() -> None:
    net = torch.compile(nn.Sequential(nn.Linear(2, 3), nn.Tanh()))
    x = torch.ones(1, 2, requires_grad=True)
    for _ in range(3):
        y = net(x).sum()
    with pytest.raises(RuntimeError, match="no second derivative"):
        torch.autograd.grad(y, x, create_graph=True)


def test_train_and_eval_have_an_executable_each() -> None:
    net = nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.5))
    compiled = torch.compile(net)
    x = torch.ones(2, 4)
    for i in range(24):
        compiled.train(i % 6 < 3)
        compiled(x)
    assert len(compiled._compiled._entries) == 2
    handle = net[0].register_forward_hook(lambda module, inputs, output: output + 1)
    assert torch.allclose(compiled.eval()(x), net(x))
    handle.remove()
    assert torch.allclose(compiled(x), net(x))
