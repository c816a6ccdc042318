"""The passes, each alone."""

from __future__ import annotations

from typing import Any

import pytest
from graphs import (
    Call,
    argument,
    captured,
    chain,
    check_same,
    internal,
    new,
    part,
    product,
    program,
    reduction,
    scattered,
    trace,
    turned,
)

import flambeau as fl
from flambeau.compiler._graph import Graph, Node, Number, Value
from flambeau.compiler._passes.common_subexpressions import common_subexpressions
from flambeau.compiler._passes.constant_folding import constant_folding
from flambeau.compiler._passes.dead_code import dead_code
from flambeau.compiler._passes.memory_plan import memory_plan
from flambeau.compiler._passes.programs_of_calls import programs_of_calls
from flambeau.compiler._passes.rename import rename
from flambeau.compiler._passes.schedule import schedule
from flambeau.compiler._passes.slices import slices
from flambeau.compiler._passes.updates import updates


def after(run: Any, nodes: list[Node], *outputs: Value, numbers: tuple[float, ...] = ()) -> Graph:
    """The graph after a pass, which is checked to mean the same."""
    graph = Graph(nodes, outputs, numbers=len(numbers))
    before = graph.copy()
    run(graph)
    check_same(before, graph, numbers)
    return graph


def operators(graph: Graph) -> list[str]:
    return [node.operator for node in graph.nodes]


# --- dead code ------------------------------------------------------------------------------------


def test_what_nobody_reads_is_dropped() -> None:
    x, p = argument(0, 4), captured(4)
    used, unused = program("tanh", x), program("neg", x)
    behind = program("square", unused.outputs[0])
    written = program("add", p, x, out=p)
    graph = after(dead_code, [used, unused, behind, written], used.outputs[0])
    assert graph.nodes == [used, written]


def test_a_write_that_is_overwritten_unread_is_dropped() -> None:
    x, p = argument(0, 4), captured(4)
    first, second = program("tanh", x, out=p), program("neg", x, out=p)
    assert after(dead_code, [first, second]).nodes == [second]
    third = program("square", p, out=p)
    assert after(dead_code, [first, third]).nodes == [first, third]
    half = program("neg", part(x, (2,), (1,)), out=part(p, (2,), (1,)))
    assert after(dead_code, [first, half]).nodes == [first, half]


def test_random_draws_stay() -> None:
    draw = Node("rand", [], [internal(4)], random=True)
    graph = Graph([draw])
    dead_code(graph)
    assert graph.nodes == [draw]


# --- common subexpressions ------------------------------------------------------------------------


def test_repeated_work_is_done_once() -> None:
    x, w = argument(0, 4, 4), captured(4, 4)
    a, b = program("tanh", x), program("tanh", x)
    c, d = product(a.outputs[0], w), product(b.outputs[0], w)
    e = program("add", c.outputs[0], d.outputs[0])
    graph = after(common_subexpressions, [a, b, c, d, e], e.outputs[0])
    assert str(graph) == (
        "graph:\n"
        "  arg0: f32[4, 4]  (argument)\n"
        "  p0: f32[4, 4]  (captured)\n"
        "  b0: f32[4, 4] = tanh(arg0)\n"
        "  b1: f32[4, 4] = mm(b0, p0)\n"
        "  b2: f32[4, 4] = add(b1, b1)\n"
        "return b2\n"
    )


def test_a_write_in_between_makes_a_difference() -> None:
    x, p = argument(0, 4), captured(4)
    a = program("tanh", p)
    write = program("add", p, x, out=p)
    b = program("tanh", p)
    c = program("sub", a.outputs[0], b.outputs[0])
    assert len(after(common_subexpressions, [a, write, b, c], c.outputs[0]).nodes) == 4


@pytest.mark.parametrize(
    "other",
    [("mul", 2.0000001), ("mul", 3.0), ("add", 2.0), ("mul", Number(0)), ("mul", 2)],
)
def test_what_differs_stays(other: tuple[str, Any]) -> None:
    x = argument(0, 4)
    a, b = program("mul", x, 2.0), program(other[0], x, other[1])
    c = program("sub", a.outputs[0], b.outputs[0])
    graph = after(common_subexpressions, [a, b, c], c.outputs[0], numbers=(2.0,))
    assert len(graph.nodes) == 3


def test_programs_differ_by_all_digits_of_their_constants() -> None:
    x = argument(0, 4)
    a, b = program("neg", x), program("neg", x)
    a.program = trace(lambda x: x * 0.1, "e")
    b.program = trace(lambda x: x * 0.10000001, "e")
    c = program("sub", a.outputs[0], b.outputs[0])
    assert len(after(common_subexpressions, [a, b, c], c.outputs[0]).nodes) == 3


def test_two_results_are_two_pieces_of_memory() -> None:
    x = argument(0, 4)
    a, b = program("tanh", x), program("tanh", x)
    graph = after(common_subexpressions, [a, b], a.outputs[0], b.outputs[0])
    assert len(graph.nodes) == 2
    c = program("neg", b.outputs[0])
    graph = after(common_subexpressions, [a, b, c], a.outputs[0], c.outputs[0])
    assert len(graph.nodes) == 2


def test_random_draws_are_not_repeated_work() -> None:
    nodes = [Node("rand", [], [internal(4)], call=Call("rand"), random=True) for _ in range(2)]
    graph = Graph(nodes, [node.outputs[0] for node in nodes])
    common_subexpressions(graph)
    assert len(graph.nodes) == 2


# --- rename ---------------------------------------------------------------------------------------


def test_a_whole_overwrite_is_memory_of_its_own() -> None:
    x, a = argument(0, 4), internal(4)
    nodes = [
        program("tanh", x, out=a),
        program("neg", a, out=a),
        program("add", a, x, out=a),
        program("square", part(a, (2, 2), (2, 1))),
    ]
    graph = after(rename, nodes, nodes[-1].outputs[0], a)
    assert str(graph) == (
        "graph:\n"
        "  arg0: f32[4]  (argument)\n"
        "  b0: f32[4] = tanh(arg0)\n"
        "  b1: f32[4] = neg(b0)\n"
        "  b2: f32[4] = add(b1, arg0)\n"
        "  b3: f32[2, 2] = square(b2(f32[2, 2]))\n"
        "return b3, b2\n"
    )


def test_what_must_stay_in_place_stays() -> None:
    x, p, a = argument(0, 4), captured(4), internal(4)
    nodes = [program("tanh", x, out=p), program("neg", p, out=p)]
    assert after(rename, nodes).nodes[1].outputs == [p]
    half = part(a, (2,), (1,))
    nodes = [program("tanh", x, out=a), program("neg", half, out=half)]
    assert after(rename, nodes, a).nodes[1].outputs == [half]
    nodes = [program("tanh", x, out=a), Node("index_add", [a], [a], call=Call("", in_place=True))]
    graph = Graph(nodes, [a])
    rename(graph)
    assert graph.nodes[1].outputs == [a]


# --- programs of calls ----------------------------------------------------------------------------


def test_fills_and_copies_are_programs() -> None:
    x, a, b = argument(0, 4), internal(4), internal(4)
    nodes = [
        Node("zero", [a], [a], call=Call("zero", in_place=True)),
        Node("fill", [b], [b], call=Call("fill", in_place=True)),
        Node("copy", [a, x], [a], call=Call("copy", in_place=True)),
    ]
    graph = after(programs_of_calls, nodes, a, b)
    assert [node.inputs for node in graph.nodes] == [[0], [0.5], [x]]
    assert all(node.call is None for node in graph.nodes)


def test_copies_that_turn_memory_keep_their_kernel() -> None:
    x, a = argument(0, 4, 6), internal(6, 4)
    nodes = [Node("copy", [a, turned(x)], [a], call=Call("copy", in_place=True))]
    graph = after(programs_of_calls, nodes, a)
    assert graph.nodes[0].call is not None


def test_casts_that_registers_do_not_do_stay_calls() -> None:
    x = argument(0, 4)
    casts = {
        fl.float64: True,
        fl.int64: False,
        fl.bool: False,
        fl.float16: False,
    }
    for dtype, known in casts.items():
        node = Node("to", [x], [new("internal", (4,), dtype=dtype)], call=Call("to"))
        programs_of_calls(Graph([node]))
        assert (node.program is not None) == known, dtype


# --- constants ------------------------------------------------------------------------------------


def constant(values: Any) -> Value:
    tensor = fl.tensor(values)
    value = new("constant", tuple(tensor.shape), dtype=tensor.dtype)
    value.buffer.tensor = tensor
    return value


def test_steps_of_constants_are_done_at_once() -> None:
    x, c = argument(0, 2), constant([1.0, 2.0])
    a = program("mul", c, 3.0)
    b = program("neg", a.outputs[0])
    d = program("mul", x, b.outputs[0])
    graph = Graph([a, b, d], d.outputs)
    constant_folding(graph)
    assert operators(graph) == ["mul"]
    folded = graph.nodes[0].inputs[1]
    assert isinstance(folded, Value) and folded.buffer.tensor is not None
    assert folded.buffer.tensor.tolist() == [-3.0, -6.0]


def test_written_constants_are_not_constants() -> None:
    x, c = argument(0, 2), constant([1.0, 2.0])
    a = program("neg", c)
    b = program("add", c, x, out=c)
    d = program("mul", a.outputs[0], c)
    graph = Graph([a, b, d], d.outputs)
    constant_folding(graph)
    assert operators(graph) == ["neg", "add", "mul"]


def test_single_constants_are_numbers() -> None:
    x, c, d = argument(0, 2, 3), constant(2.5), constant([[1.0]])
    wide = part(d, (2, 3), (0, 0))
    a = program("mul", x, c)
    b = program("add", a.outputs[0], wide)
    graph = Graph([a, b], b.outputs)
    constant_folding(graph)
    assert [node.inputs[1] for node in graph.nodes] == [2.5, 1.0]


def test_copies_are_dropped() -> None:
    x = argument(0, 2, 3)
    a = Node("clone", [x], [internal(2, 3)], call=Call("clone"))
    b = program("mul", a.outputs[0], 1.0)
    c = program("neg", turned(b.outputs[0]))

    def run(graph: Graph) -> None:
        programs_of_calls(graph)
        constant_folding(graph)

    graph = after(run, [a, b, c], c.outputs[0])
    assert str(graph) == (
        "graph:\n  arg0: f32[3, 2] by 1, 3  (argument)\n  b0: f32[3, 2] = neg(arg0)\nreturn b0\n"
    )


def test_a_copy_that_is_returned_is_where_the_original_is_made() -> None:
    x = argument(0, 4)
    a = program("tanh", x)
    b = Node("clone", a.outputs, [internal(4)], call=Call("clone"))
    c = Node("clone", a.outputs, [internal(4)], call=Call("clone"))
    d = program("neg", a.outputs[0])

    def run(graph: Graph) -> None:
        programs_of_calls(graph)
        constant_folding(graph)

    graph = after(run, [a, b, c, d], b.outputs[0], c.outputs[0], d.outputs[0])
    assert operators(graph) == ["tanh", "clone", "neg"]
    assert len({value.buffer for value in graph.outputs}) == 3


def test_copies_of_memory_that_changes_stay() -> None:
    x, p = argument(0, 4), captured(4)
    a = Node("clone", [p], [internal(4)], call=Call("clone"))
    b = program("add", p, x, out=p)
    c = program("sub", p, a.outputs[0])

    def run(graph: Graph) -> None:
        programs_of_calls(graph)
        constant_folding(graph)

    assert operators(after(run, [a, b, c], c.outputs[0])) == ["clone", "add", "sub"]


@pytest.mark.parametrize(("name", "number"), [("add", 0.0), ("mul", 0.0), ("sub", 1.0)])
def test_what_is_not_the_same_for_every_number_stays(name: str, number: float) -> None:
    x = argument(0, 4)
    a = program(name, x, number)
    b = program("neg", a.outputs[0])
    assert len(after(constant_folding, [a, b], b.outputs[0]).nodes) == 2


# --- slices ---------------------------------------------------------------------------------------


def split_gradients(offsets: list[int], columns: int = 2) -> list[Node]:
    """Gradients of slices of a (5, 6) matrix, added up."""
    nodes = [
        scattered(argument(i, 5, columns), 30, (6, 1), offset) for i, offset in enumerate(offsets)
    ]
    total = nodes[0].outputs[0]
    for node in nodes[1:]:
        nodes.append(program("add", total, node.outputs[0]))
        total = nodes[-1].outputs[0]
    return nodes


def test_gradients_of_a_split_go_to_their_places() -> None:
    nodes = split_gradients([0, 4, 2])
    after_all = program("neg", nodes[-1].outputs[0])
    graph = after(slices, [*nodes, after_all], after_all.outputs[0])
    assert str(graph) == (
        "graph:\n"
        "  arg0: f32[5, 2]  (argument)\n"
        "  arg1: f32[5, 2]  (argument)\n"
        "  arg2: f32[5, 2]  (argument)\n"
        "  b0: f32[5, 2] by 6, 1 = copy(arg0)\n"
        "  b0(f32[5, 2] by 6, 1 at 4) = copy(arg1)\n"
        "  b0(f32[5, 2] by 6, 1 at 2) = copy(arg2)\n"
        "  b1: f32[30] = neg(b0(f32[30]))\n"
        "return b1\n"
    )


@pytest.mark.parametrize("offsets", [[0, 2], [0, 1, 4], [0, 0, 0]])
def test_slices_that_overlap_or_leave_gaps_are_added(offsets: list[int]) -> None:
    nodes = split_gradients(offsets)
    graph = after(slices, nodes, nodes[-1].outputs[0])
    assert "add" in operators(graph)


def test_slices_that_others_read_stay() -> None:
    nodes = split_gradients([0, 4, 2])
    other = program("neg", nodes[1].outputs[0])
    graph = after(slices, [*nodes, other], nodes[-1].outputs[0], other.outputs[0])
    assert operators(graph).count("strided_sum") == 3


# --- updates --------------------------------------------------------------------------------------


def test_equal_updates_are_one_step() -> None:
    parameters = [captured(4), captured(2, 3), captured(5)]
    gradients = [argument(0, 4), argument(1, 2, 3), argument(2, 5)]
    nodes = [program("descend", p, g, Number(0), out=p) for p, g in zip(parameters, gradients)]
    graph = after(updates, nodes, numbers=(0.1,))
    assert str(graph) == (
        "graph:\n"
        "  p0: f32[4]  (captured, written)\n"
        "  arg0: f32[4]  (argument)\n"
        "  p1: f32[2, 3]  (captured, written)\n"
        "  arg1: f32[2, 3]  (argument)\n"
        "  p2: f32[5]  (captured, written)\n"
        "  arg2: f32[5]  (argument)\n"
        "  p0, p1, p2 = update 0(p0, arg0, p1, arg1, p2, arg2, n0)\n"
        "return\n"
        "program 0:\n"
        "  %0 = input 0\n"
        "  %1 = input 1\n"
        "  %2 = input 2\n"
        "  %3 = mul %2 %1\n"
        "  %4 = sub %0 %3\n"
        "  return %4\n"
    )


def test_updates_with_other_numbers_or_in_between_stay_apart() -> None:
    p, q, g, h = captured(4), captured(4), argument(0, 4), argument(1, 4)
    nodes = [
        program("descend", p, g, Number(0), out=p),
        program("descend", q, h, Number(1), out=q),
    ]
    assert len(after(updates, nodes, numbers=(0.1, 0.2)).nodes) == 2
    reader = program("tanh", p)
    nodes = [
        program("descend", p, g, 0.5, out=p),
        reader,
        program("descend", q, reader.outputs[0], 0.5, out=q),
    ]
    assert len(after(updates, nodes, reader.outputs[0]).nodes) == 3
    again = [program("descend", p, g, 0.5, out=p), program("descend", p, h, 0.5, out=p)]
    assert len(after(updates, again).nodes) == 2
    later = program("tanh", q)
    nodes = [program("descend", p, g, 0.5, out=p), later, program("descend", q, h, 0.5, out=q)]
    assert operators(after(updates, nodes, later.outputs[0])) == ["tanh", "update"]


# --- schedule -------------------------------------------------------------------------------------


def test_what_only_takes_memory_waits() -> None:
    x, w = argument(0, 4, 4), captured(4, 4)
    early = program("tanh", x)
    m = product(x, w)
    n = product(m.outputs[0], w)
    late = program("add", early.outputs[0], n.outputs[0])
    graph = after(schedule, [early, m, n, late], late.outputs[0])
    assert operators(graph) == ["mm", "mm", "tanh", "add"]


def test_what_is_overwritten_is_read_before() -> None:
    p, x = captured(4), argument(0, 4)
    read = program("tanh", p)
    write = program("add", p, x, out=p)
    use = program("mul", read.outputs[0], p)
    graph = after(schedule, [read, write, use], use.outputs[0])
    assert operators(graph) == ["tanh", "add", "mul"]


# --- memory plan ----------------------------------------------------------------------------------


def test_memory_is_used_again() -> None:
    x, w = argument(0, 8, 8), captured(8, 8)
    nodes = [product(x, w)]
    for _ in range(6):
        nodes.append(product(nodes[-1].outputs[0], w))
    plan = memory_plan(Graph(nodes, nodes[-1].outputs))
    assert plan.bytes == 512 and set(plan.offsets.values()) == {0, 256}
    assert plan.fresh == {nodes[-1].outputs[0].buffer: "output"}


def test_programs_write_where_an_operand_was() -> None:
    x = argument(0, 8, 8)
    m = product(x, x)
    a = program("tanh", m.outputs[0])
    b = program("add", turned(a.outputs[0]), 1.0)
    plan = memory_plan(Graph([m, a, b], b.outputs))
    assert plan.shared == 1
    assert plan.offsets[m.outputs[0].buffer] == plan.offsets[a.outputs[0].buffer]
    c = program("add", turned(a.outputs[0]), a.outputs[0])
    d = program("neg", c.outputs[0])
    plan = memory_plan(Graph([m, a, c, d], d.outputs))
    assert plan.offsets[a.outputs[0].buffer] != plan.offsets[c.outputs[0].buffer]


def test_what_the_backward_part_reads_is_saved() -> None:
    x = argument(0, 8)
    a, b = program("tanh", x), program("neg", x)
    c = program("add", a.outputs[0], b.outputs[0])
    d = program("square", a.outputs[0])
    d.backward = True
    plan = memory_plan(Graph([a, b, c, d], [c.outputs[0], d.outputs[0]], differentiable=True))
    assert plan.fresh[a.outputs[0].buffer] == "saved"
    assert plan.fresh[c.outputs[0].buffer] == "output"
    assert b.outputs[0].buffer in plan.offsets


def check_plan(nodes: list[Node], outputs: list[Value]) -> None:
    """No two buffers that are alive at the same time share memory, but by replacement."""
    plan = memory_plan(Graph(nodes, outputs))
    alive: dict[Any, list[int]] = {}
    for number, node in enumerate(nodes):
        for value in (*node.reads, *node.outputs):
            if value.buffer in plan.offsets:
                alive.setdefault(value.buffer, [number, number])[1] = number
    items = list(alive.items())
    for i, (a, (a_first, a_last)) in enumerate(items):
        begin, end = plan.offsets[a], plan.offsets[a] + a.bytes
        assert begin % 64 == 0 and end <= plan.bytes
        for b, (b_first, b_last) in items[:i]:
            if a_first < b_last and b_first < a_last:
                assert end <= plan.offsets[b] or plan.offsets[b] + b.bytes <= begin


def test_no_two_live_buffers_overlap() -> None:
    import random

    rng = random.Random(3)
    for _ in range(30):
        pool = [argument(0, rng.randrange(1, 40))]
        nodes = []
        for _ in range(40):
            a = rng.choice(pool[-6:])
            if rng.random() < 0.5:
                nodes.append(program("tanh", a))
            else:
                nodes.append(Node("f", [a], [internal(rng.randrange(1, 60))], call=Call("f")))
            pool.append(nodes[-1].outputs[0])
        check_plan(nodes, [pool[-1], pool[20]])


def test_chains_and_sums_are_known_to_the_interpreter() -> None:
    nodes, out = chain(("tanh", argument(0, 2, 3)), ("square", None))
    total = reduction("sum", out)
    after(lambda graph: None, [*nodes, total], total.outputs[0])
