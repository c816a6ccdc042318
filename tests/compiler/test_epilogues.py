"""Products with the elementwise step behind them: the pass alone, then values."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from graphs import argument, captured, chain, check_same, internal, part, product, program, turned

import flambeau as fl
from flambeau.compiler._graph import Graph, Node, Value
from flambeau.compiler._passes.epilogues import epilogues


def after(nodes: list[Node], *outputs: Value) -> Graph:
    """The graph after the pass, which is checked to mean the same."""
    graph = Graph(nodes, outputs)
    before = graph.copy()
    epilogues(graph)
    check_same(before, graph)
    return graph


def operators(graph: Graph) -> list[str]:
    return [node.operator + ("+" if node.epilogue else "") for node in graph.nodes]


def test_a_product_and_what_alone_reads_it_are_one_step() -> None:
    x, w, bias = argument(0, 4, 8), captured(8, 6), captured(6)
    first = product(x, w)
    nodes, out = chain(("add", first.outputs[0], bias))
    graph = after([first, *nodes], out)
    assert str(graph) == (
        "graph:\n"
        "  p0: f32[6]  (captured)\n"
        "  arg0: f32[4, 8]  (argument)\n"
        "  p1: f32[8, 6]  (captured)\n"
        "  b0: f32[4, 6] = mm(arg0, p1) in b0, then program 0(b0, p0)\n"
        "return b0\n"
        "program 0:\n"
        "  %0 = input 0\n"
        "  %1 = input 1\n"
        "  %2 = add %0 %1\n"
        "  return %2\n"
    )


def test_a_product_that_others_read_is_kept() -> None:
    x, w = argument(0, 4, 8), captured(8, 6)
    first = product(x, w)
    tanh, last = program("tanh", first.outputs[0]), program("neg", first.outputs[0])
    graph = after([first, tanh, last], tanh.outputs[0], last.outputs[0])
    assert operators(graph) == ["mm+", "neg"]
    assert graph.nodes[0].outputs == [first.outputs[0], tanh.outputs[0]]
    assert operators(after([first, tanh], tanh.outputs[0], first.outputs[0])) == ["mm+"]


def test_the_product_moves_down_to_its_follower() -> None:
    x, w = argument(0, 4, 8), captured(8, 6)
    first, other = product(x, w), program("neg", argument(1, 4, 6))
    both = program("add", first.outputs[0], other.outputs[0])
    assert operators(after([first, other, both], both.outputs[0])) == ["neg", "mm+"]
    overwritten = program("neg", x, out=x)
    tanh = program("tanh", first.outputs[0])
    graph = after([first, overwritten, tanh], tanh.outputs[0])
    assert operators(graph) == ["mm", "neg", "tanh"]


def test_a_program_follows_one_product_only() -> None:
    x, w = argument(0, 4, 8), captured(8, 6)
    a, b = product(x, w), product(argument(1, 4, 8), w)
    both = program("add", a.outputs[0], b.outputs[0])
    assert operators(after([a, b, both], both.outputs[0])) == ["mm+", "mm"][::-1]


def test_what_a_program_may_read_beside_the_product() -> None:
    def fuses(operand: Value) -> bool:
        first = product(argument(0, 4, 8), captured(8, 6))
        both = program("add", first.outputs[0], operand)
        return operators(after([first, both], both.outputs[0])) == ["mm+"]

    assert fuses(captured(4, 1)) and fuses(captured(1)) and fuses(captured(1, 6))
    assert fuses(turned(captured(6, 4)))
    assert fuses(part(captured(4, 9), (4, 6), (9, 1), 2))


def test_other_shapes_of_the_same_elements() -> None:
    first = product(argument(0, 4, 8), captured(8, 6))
    made = first.outputs[0]
    cube = Value(made.buffer, (2, 2, 6), (12, 6, 1), 0, made.dtype)
    both = program("add", cube, captured(2, 2, 6))
    assert operators(after([first, both], both.outputs[0])) == ["mm+"]
    halves = Value(made.buffer, (4, 2, 3), (6, 3, 1), 0, made.dtype)
    apart = program("add", halves, captured(2, 1))  # cut within a row
    assert operators(after([first, apart], apart.outputs[0])) == ["mm", "add"]
    twisted = program("add", made, turned(internal(6, 4)))
    tanh = program("tanh", turned(made))
    assert operators(after([first, tanh], tanh.outputs[0])) == ["mm", "tanh"]
    assert twisted.outputs[0].shape == (4, 6)


def test_memory_of_factors_is_not_overwritten_block_by_block() -> None:
    x, w = argument(0, 6, 6), captured(6, 6)
    first = product(x, w)
    onto_factor = program("tanh", first.outputs[0], out=w)
    assert operators(after([first, onto_factor])) == ["mm", "tanh"]
    state = captured(6, 6)
    update = program("descend", state, first.outputs[0], 0.1, out=state)
    graph = after([first, update])
    assert operators(graph) == ["mm+"]
    assert graph.nodes[0].outputs == [first.outputs[0], state]  # the product lies apart


def test_rows_are_no_epilogue() -> None:
    first = product(argument(0, 4, 8), captured(8, 6))
    centered = program("center", first.outputs[0])
    assert operators(after([first, centered], centered.outputs[0])) == ["mm", "center"]


# --- values ---------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    count = fl.get_num_threads()
    yield
    fl.set_num_threads(count)
    fl._core.program.emitter_use("")


def residual(x: Any, w: Any, b: Any, r: Any) -> Any:
    return fl.nn.functional.gelu(fl.nn.functional.linear(x, w, b)) + r


def masked(x: Any, w: Any, b: Any, r: Any) -> Any:
    return fl.where(r > 0, fl.mm(x, w.t()) * 3, b)


def column(x: Any, w: Any, b: Any, r: Any) -> Any:
    return fl.relu(fl.mm(x, w.t()) - r[:, :1]) * b[0]


def strided(x: Any, w: Any, b: Any, r: Any) -> Any:
    return fl.tanh(fl.addmm(r, x, w.t(), beta=0.5, alpha=2)) * r.t().contiguous().t()


def both(x: Any, w: Any, b: Any, r: Any) -> Any:
    h = fl.nn.functional.linear(x, w, b)
    return fl.tanh(h) @ h.t()


SHAPES = [(2, 3, 2), (5, 7, 9), (64, 100, 10), (33, 65, 129), (200, 32, 32), (300, 400, 70)]
SHAPES += [(64, 1000, 100), (2, 500, 300), (300, 500, 2), (520, 16, 520)]


@pytest.mark.parametrize("dtype", [fl.float32, fl.float64])
@pytest.mark.parametrize("function", [residual, masked, column, strided, both])
def test_values_are_those_of_single_steps(function: Callable[..., Any], dtype: Any) -> None:
    for m, k, n in SHAPES:
        fl.manual_seed(m)
        arguments = [fl.randn(shape, dtype=dtype) for shape in [(m, k), (n, k), (n,), (m, n)]]
        expected = function(*arguments)
        for count, use in [(1, ""), (2, ""), (3, ""), (2, "never")]:
            fl.set_num_threads(count)
            fl._core.program.emitter_use(use)
            compiled = fl.compile(function, fullgraph=True)
            for _ in range(4):
                assert fl.equal(compiled(*arguments), expected), (m, k, n, count, use)
        assert any(" then " in step.label for step in compiled.report().steps)


def test_gradients_are_those_of_single_steps() -> None:
    def trained(wrap: Callable[[Any], Any], count: int) -> list[Any]:
        fl.set_num_threads(count)
        fl.manual_seed(0)
        nn = fl.nn
        model = nn.Sequential(nn.Linear(33, 150), nn.ReLU(), nn.Linear(150, 65), nn.Tanh())
        x = fl.randn(100, 33)
        optimizer = fl.optim.SGD(model.parameters(), lr=0.1)

        def step() -> Any:
            optimizer.zero_grad()
            loss = model(x).square().sum()
            loss.backward()
            optimizer.step()
            return loss

        run = wrap(step)
        losses = [run() for _ in range(6)]
        return [*losses, *model.parameters()]

    compiled = [trained(fl.compile, count) for count in (1, 2, 4)]
    for others in compiled[1:]:
        assert all(fl.equal(a, b) for a, b in zip(compiled[0], others, strict=True))
    for a, b in zip(compiled[0], trained(lambda f: f, 2), strict=True):
        assert fl.allclose(a, b, rtol=1e-5, atol=1e-6)


def test_a_saved_graph_has_no_epilogues_and_runs_with_them(tmp_path: Any) -> None:
    model = fl.nn.Sequential(fl.nn.Linear(20, 30), fl.nn.GELU())
    graph = fl.compiler.StaticGraph(model, [fl.compiler.Input((8, 20), name="x")])
    assert [node.operator for node in graph.graph.nodes] == ["addmm", "gelu"]
    graph.save(tmp_path / "graph")
    x = fl.randn(8, 20)
    assert fl.equal(fl.compiler.load(tmp_path / "graph").run(x), model(x).detach())
