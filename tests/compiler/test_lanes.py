"""Steps that run beside each other: the pass alone, memory, and values under load."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from graphs import argument, captured, check_same, product, program

import flambeau as fl
from flambeau.compiler._graph import Fork, Graph, Node, Value, dependencies
from flambeau.compiler._passes import lanes as pass_
from flambeau.compiler._passes.lanes import lanes
from flambeau.compiler._passes.memory_plan import memory_plan


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two threads, and lanes for steps of any size."""
    monkeypatch.setattr(pass_, "HANDING_OVER", 150.0)
    monkeypatch.setattr(pass_, "BYTES", 1e9)
    count = fl.get_num_threads()
    fl.set_num_threads(2)
    yield
    fl.set_num_threads(count)


def branch(x: Value, *names: str) -> list[Node]:
    nodes = [program(names[0], x)]
    for name in names[1:]:
        nodes.append(program(name, nodes[-1].outputs[0]))
    return nodes


def test_independent_chains_become_a_fork() -> None:
    x, w = argument(0, 4, 4), captured(4, 4)
    a, b = product(x, w), product(w, x)
    c, d = program("tanh", a.outputs[0]), program("neg", b.outputs[0])
    both = program("add", c.outputs[0], d.outputs[0])
    graph = Graph([a, b, c, d, both], [both.outputs[0]])
    before = graph.copy()
    lanes(graph)
    check_same(before, graph)
    assert graph.forks == [Fork(0, 2, 4)]
    assert str(graph) == (
        "graph:\n"
        "  arg0: f32[4, 4]  (argument)\n"
        "  p0: f32[4, 4]  (captured)\n"
        "  b0: f32[4, 4] = mm(arg0, p0)\n"
        "  b1: f32[4, 4] = tanh(b0)\n"
        "  b2: f32[4, 4] = mm(p0, arg0)\n"
        "  b3: f32[4, 4] = neg(b2)\n"
        "  b4: f32[4, 4] = add(b1, b3)\n"
        "return b4\n"
    )


def test_what_it_does_not_pay_for_stays_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    x, w = argument(0, 4, 4), captured(4, 4)
    a, b = product(x, w), product(w, x)
    monkeypatch.setattr(pass_, "HANDING_OVER", 4000.0)
    graph = Graph([a, b], [a.outputs[0], b.outputs[0]])
    lanes(graph)
    assert graph.forks == [] and graph.nodes == [a, b]
    monkeypatch.setattr(pass_, "HANDING_OVER", 150.0)
    monkeypatch.setattr(pass_, "BYTES", 1e-3)  # what the last step reads has to move
    last = program("add", a.outputs[0], b.outputs[0])
    graph = Graph([a, b, last], [last.outputs[0]])
    lanes(graph)
    assert graph.forks == []


def test_random_and_dependent_steps_stay_in_order() -> None:
    x = argument(0, 8)
    draws = [Node("rand", [], [program("neg", x).outputs[0]], random=True) for _ in range(2)]
    graph = Graph(draws, [node.outputs[0] for node in draws])
    lanes(graph)
    assert graph.forks == [] and graph.nodes == draws
    chain = branch(x, "tanh", "neg", "square")
    graph = Graph(chain, [chain[-1].outputs[0]])
    lanes(graph)
    assert graph.forks == []
    state = captured(8)
    onto = [program("add", state, x, out=state) for _ in range(2)]
    graph = Graph(onto)
    lanes(graph)
    assert graph.forks == []


def test_forward_and_backward_do_not_mix() -> None:
    x = argument(0, 8)
    nodes = [program("tanh", x), program("neg", x)]
    nodes[1].backward = True
    graph = Graph(nodes, [node.outputs[0] for node in nodes], differentiable=True)
    lanes(graph)
    assert graph.forks == []


def test_steps_beside_each_other_share_no_memory() -> None:
    x = argument(0, 64)
    shared = program("square", x)
    names = ("tanh", "neg", "square", "tanh")
    one, other = branch(shared.outputs[0], *names), branch(shared.outputs[0], *names[::-1])
    last = program("add", one[-1].outputs[0], other[-1].outputs[0])
    graph = Graph([shared, *one, *other, last], [last.outputs[0]])
    lanes(graph)
    assert graph.forks == [Fork(1, 5, 9)]
    plan = memory_plan(graph)
    places = [
        {plan.offsets[v.buffer] for node in graph.nodes[begin:end] for v in node.outputs}
        for begin, end in [(1, 5), (5, 9)]
    ]
    assert places[0].isdisjoint(places[1])
    assert plan.offsets[shared.outputs[0].buffer] not in places[0] | places[1]
    assert dependencies(graph.nodes)[5] == {0}


def wide_step(seed: int) -> tuple[Any, Any, list[Any]]:
    """A step with branches of many kinds of steps, and what it changes."""
    fl.manual_seed(seed)
    nn = fl.nn
    q, k, v = (nn.Linear(24, 24) for _ in range(3))
    out = nn.Linear(24, 7)
    parameters = [p for module in (q, k, v, out) for p in module.parameters()]
    optimizer = fl.optim.SGD(parameters, lr=0.01, momentum=0.9)

    def step(x: Any) -> Any:
        optimizer.zero_grad()
        attention = (fl.tanh(q(x)) @ k(x).t()).softmax(-1)
        y = out(fl.nn.functional.dropout(attention @ v(x), 0.1))
        loss = fl.nn.functional.cross_entropy(y, fl.arange(20) % 7)
        loss.backward()
        optimizer.step()
        return loss

    return step, fl.randn(20, 24), parameters


def test_results_are_those_of_one_thread() -> None:
    def run(count: int) -> list[Any]:
        fl.set_num_threads(count)
        step, x, parameters = wide_step(0)
        compiled = fl.compile(step, fullgraph=True)
        losses = [compiled(x) for _ in range(200)]
        forks = compiled._last().compiled.executed.forks
        assert len(forks) > 1
        lanes = {step.lane for step in compiled.report().steps}
        assert {"", "1a", "1b"} <= lanes
        return [*losses, *parameters]

    for a, b in zip(run(1), run(2), strict=True):
        assert fl.equal(a, b)


def test_executables_with_forks_on_several_threads_of_python() -> None:
    def losses(compiled: bool, seed: int) -> list[float]:
        step, x, _ = wide_step(seed)
        run = fl.compile(step, fullgraph=True) if compiled else step
        return [run(x).item() for _ in range(3)]

    def module(seed: int) -> tuple[Any, Any]:
        fl.manual_seed(seed)
        w, x = fl.randn(3, 24, 24), fl.randn(20, 24)
        return lambda x: (x @ w[0]).tanh() @ ((x @ w[1]).sin() + (x @ w[2])).t(), x

    assert losses(True, 1) == pytest.approx(losses(False, 1), rel=1e-5)
    pairs = [module(seed) for seed in range(4)]
    expected = [function(x) for function, x in pairs]
    compiled = [fl.compile(function, fullgraph=True) for function, _ in pairs]
    for run, (_, x) in zip(compiled, pairs, strict=True):
        for _ in range(3):
            run(x)
        assert run._last().compiled.executed.forks
    wrong: list[int] = []

    def work(number: int) -> None:
        for _ in range(300):
            for place in (number, (number + 1) % 4):
                if not fl.equal(compiled[place](pairs[place][1]), expected[place]):
                    wrong.append(place)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_an_error_in_a_lane_reaches_the_caller() -> None:
    table, index = fl.randn(10, 24), fl.tensor([1, 2, 3])
    w = fl.randn(24, 24)

    @fl.compile
    def look(x: Any, index: Any) -> Any:
        return (x @ w).tanh().sum() + (table[index].sin() @ w).sum()

    x = fl.randn(8, 24)
    for _ in range(4):
        expected = look(x, index)
    with pytest.raises(IndexError):
        look(x, fl.tensor([1, 2, 30]))
    assert fl.equal(look(x, index), expected)
