"""Fusion: what becomes one program, and what must not."""

from __future__ import annotations

import pytest
from graphs import (
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
    turned,
)

import flambeau as fl
from flambeau.compiler._graph import Graph, Node, Number, Value
from flambeau.compiler._passes.fusion import fusion
from flambeau.compiler._passes.programs_of_calls import programs_of_calls


def fused(nodes: list[Node], *outputs: Value, numbers: tuple[float, ...] = ()) -> Graph:
    """The graph after fusion, which is checked to mean the same."""
    graph = Graph(nodes, outputs, numbers=len(numbers))
    before = graph.copy()
    programs_of_calls(graph)
    fusion(graph)
    check_same(before, graph, numbers)
    return graph


def test_a_chain_becomes_one_program() -> None:
    x, y = argument(0, 4, 8), argument(1, 8)
    nodes, out = chain(("mul", x, y), ("tanh", None), ("add", None, 1.0), ("mul", None, Number(0)))
    graph = fused(nodes, out, numbers=(3.0,))
    assert str(graph) == (
        "graph:\n"
        "  arg0: f32[4, 8]  (argument)\n"
        "  arg1: f32[8]  (argument)\n"
        "  b0: f32[4, 8] = fused 0(arg0, arg1, n0)\n"
        "return b0\n"
        "program 0:\n"
        "  %0 = input 0\n"
        "  %1 = input 1\n"
        "  %2 = uniform input 2\n"
        "  %3 = mul %0 %1\n"
        "  %4 = tanh %3\n"
        "  %5 = uniform constant 1\n"
        "  %6 = add %4 %5\n"
        "  %7 = mul %6 %2\n"
        "  return %7\n"
    )


def test_results_that_others_read_are_stored() -> None:
    x, w = argument(0, 4, 4), captured(4, 4)
    first, h = chain(("tanh", x), ("neg", None))
    t = first[0].outputs[0]
    graph = fused([*first, product(t, w)], h)
    assert [node.operator for node in graph.nodes] == ["fused", "mm"]
    assert len(graph.nodes[0].outputs) == 2


def test_shapes_that_walk_memory_alike_are_one_loop() -> None:
    x = argument(0, 4, 6)
    a = program("tanh", x)
    flat = part(a.outputs[0], (24,), (1,))
    b = program("neg", flat)
    columns = part(b.outputs[0], (2, 2, 6), (12, 6, 1))
    c = program("add", columns, argument(1, 2, 1, 1))
    graph = fused([a, b, c], c.outputs[0])
    assert len(graph.nodes) == 1
    assert graph.nodes[0].outputs[0].shape == (2, 12)


def test_what_lies_between_forbids_it() -> None:
    x, w = argument(0, 4, 4), captured(4, 4)
    a = program("tanh", x)
    m = product(a.outputs[0], w)
    b = program("mul", a.outputs[0], m.outputs[0])
    assert len(fused([a, m, b], b.outputs[0]).nodes) == 3


def test_the_earlier_node_may_wait() -> None:
    x, w = argument(0, 4, 4), captured(4, 4)
    a = program("tanh", x)
    m = product(x, w)
    b = program("mul", a.outputs[0], m.outputs[0])
    graph = fused([a, m, b], b.outputs[0])
    assert [node.operator for node in graph.nodes] == ["mm", "fused"]


def test_the_later_node_may_move_up() -> None:
    x, w = argument(0, 4, 4), captured(4, 4)
    a = program("tanh", x)
    m = product(a.outputs[0], w)
    b = program("neg", a.outputs[0])
    graph = fused([a, m, b], b.outputs[0], m.outputs[0])
    assert [node.operator for node in graph.nodes] == ["fused", "mm"]


def test_same_data_read_twice_is_one_loop() -> None:
    x = argument(0, 4, 4)
    a, b = program("tanh", x), program("neg", x)
    assert len(fused([a, b], a.outputs[0], b.outputs[0]).nodes) == 1
    y = argument(1, 4, 4)
    c, d = program("tanh", x), program("neg", y)
    assert len(fused([c, d], c.outputs[0], d.outputs[0]).nodes) == 2


def test_memory_read_along_another_way_is_not_overwritten() -> None:
    p = captured(4, 4)
    a = program("add", p, turned(p))
    b = program("sub", p, a.outputs[0], out=p)
    assert len(fused([a, b], p).nodes) == 2
    q = captured(4, 4)
    c = program("tanh", q)
    d = program("sub", q, c.outputs[0], out=q)
    assert len(fused([c, d], q).nodes) == 1
    shifted = program("tanh", part(q, (4, 3), (4, 1), 1), out=part(q, (4, 3), (4, 1), 0))
    assert len(fused([shifted, program("neg", part(q, (4, 3), (4, 1)))], q).nodes) == 2


def test_a_turned_result_is_not_read_from_a_register() -> None:
    x = argument(0, 4, 4)
    a = program("tanh", x)
    b = program("add", a.outputs[0], turned(a.outputs[0]))
    assert len(fused([a, b], b.outputs[0]).nodes) == 2


def test_turned_memory_alone_is_one_loop() -> None:
    x, y = argument(0, 4, 6), argument(1, 6, 4)
    a = program("mul", turned(x), y)
    b = program("tanh", a.outputs[0])
    assert len(fused([a, b], b.outputs[0]).nodes) == 1


def test_rows_take_in_what_is_around_them() -> None:
    x, bias = argument(0, 4, 8), captured(8)
    a = program("add", x, bias)
    b = program("center", a.outputs[0])
    c = program("row_mean", b.outputs[0])
    d = program("mul", c.outputs[0], 2.0)
    e = program("mul", b.outputs[0], d.outputs[0])
    graph = fused([a, b, c, d, e], e.outputs[0], d.outputs[0])
    assert len(graph.nodes) == 1
    assert [value.shape for value in graph.nodes[0].outputs] == [(4, 1), (4, 8)]


def test_sum_of_everything_and_what_follows() -> None:
    x, y, a = argument(0, 6, 5), argument(1, 6, 5), captured()
    nodes, square = chain(("mul", x, a), ("sub", None, y), ("square", None))
    total = reduction("sum", square)
    difference = nodes[1].outputs[0]
    by_a = program("mul", difference, x)
    slope = reduction("mean", by_a.outputs[0])
    step = program("mul", slope.outputs[0], 0.1)
    update = program("sub", a, step.outputs[0], out=a)
    graph = fused([*nodes, total, by_a, slope, step, update], total.outputs[0], slope.outputs[0])
    assert str(graph) == (
        "graph:\n"
        "  arg0: f32[30]  (argument)\n"
        "  p0: f32[]  (captured, written)\n"
        "  arg1: f32[30]  (argument)\n"
        "  b0: f32[1], b1: f32[1], p0(f32[1]) = fused 0(arg0, p0, arg1)\n"
        "return b0(f32[]), b1(f32[])\n"
        "program 0:\n"
        "  %0 = input 0\n"
        "  %1 = row input 1\n"
        "  %2 = input 2\n"
        "  %3 = mul %0 %1\n"
        "  %4 = sub %3 %2\n"
        "  %5 = square %4\n"
        "  %6 = row row_sum %5\n"
        "  %7 = mul %4 %0\n"
        "  %8 = row row_sum %7\n"
        "  %9 = uniform constant 30\n"
        "  %10 = row div %8 %9\n"
        "  %11 = uniform constant 0.1\n"
        "  %12 = row mul %10 %11\n"
        "  %13 = row sub %1 %12\n"
        "  return %6 %10 %13\n"
    )


def test_a_row_is_one_axis() -> None:
    x, y = argument(0, 4, 6), argument(1, 4, 1)
    a = program("add", x, y)
    s = reduction("mean", a.outputs[0])
    assert len(fused([a, s], s.outputs[0]).nodes) == 2


def test_sums_over_trailing_axes() -> None:
    x = argument(0, 3, 4, 5)
    a = program("tanh", x)
    s = reduction("sum", a.outputs[0], 1, 2)
    b = program("neg", s.outputs[0])
    graph = fused([a, s, b], b.outputs[0])
    assert len(graph.nodes) == 1
    kept = reduction("sum", x, 2, keepdim=True)
    c = program("mul", x, kept.outputs[0])
    assert len(fused([kept, c], c.outputs[0]).nodes) == 1


@pytest.mark.parametrize("axes", [(0,), (1,), (0, 2)])
def test_sums_over_other_axes_stay(axes: tuple[int, ...]) -> None:
    x = argument(0, 4, 4, 4)
    s = reduction("sum", x, *axes)
    b = program("neg", s.outputs[0])
    graph = fused([s, b], b.outputs[0])
    assert [node.operator for node in graph.nodes] == ["sum", "neg"]


def test_a_sum_of_its_own_stays_a_call() -> None:
    s = reduction("sum", argument(0, 4, 4))
    graph = fused([s], s.outputs[0])
    assert graph.nodes == [s] and s.call is not None


def test_one_long_row_is_left_to_several_threads() -> None:
    x = argument(0, 1 << 19)
    a = program("tanh", x)
    s = reduction("sum", a.outputs[0])
    assert len(fused([a, s], s.outputs[0]).nodes) == 2


def test_whole_rows_of_copies_are_not_counted_wrongly() -> None:
    x = argument(0, 4, 1)
    s = reduction("sum", part(x, (4, 8), (1, 0)), 1)
    b = program("neg", s.outputs[0])
    fused([s, b], b.outputs[0])


def test_bools_are_ones_and_zeros() -> None:
    x, y = argument(0, 4, 4), argument(1, 4, 4)
    a = program("lt", x, y)
    b = program("add", a.outputs[0], a.outputs[0], out=new("internal", (4, 4), dtype=fl.bool))
    c = program("mul", b.outputs[0], x)
    graph = fused([a, b, c], c.outputs[0])
    assert len(graph.nodes) == 1
    assert repr(graph.nodes[0].program).count("ne") == 1


def test_programs_stay_small() -> None:
    x = argument(0, 8)
    nodes, out = chain(("tanh", x), *[("tanh", None)] * 400)
    graph = fused(nodes, out)
    assert 2 < len(graph.nodes) < 6
    many = [program("mul", x, argument(i + 1, 8)) for i in range(200)]
    graph = fused(many, *(node.outputs[0] for node in many))
    assert all(len(node.inputs) + len(node.outputs) <= 64 for node in graph.nodes)


def test_parts_of_the_backward_part_stay_there() -> None:
    x = argument(0, 8)
    nodes, out = chain(("tanh", x), ("neg", None))
    nodes[1].backward = True
    graph = Graph(nodes, [out], differentiable=True)
    fusion(graph)
    assert len(graph.nodes) == 2


def test_different_registers_do_not_mix() -> None:
    x = argument(0, 8)
    a = program("tanh", x)
    b = program("neg", a.outputs[0])
    b.dtype = fl.float64
    assert len(fused([a, b], b.outputs[0]).nodes) == 2
    # What an int32 register of 64 bits holds is not what memory would.
    c = program("add", x, x, out=new("internal", (8,), dtype=fl.int32))
    d = program("neg", c.outputs[0])
    c.dtype = d.dtype = fl.int64
    graph = Graph([c, d], [internal(8)])
    fusion(graph)
    assert len(graph.nodes) == 2


def test_loops_whose_results_are_overwritten_go() -> None:
    w = fl.ones(4, requires_grad=True)

    def step(x):
        w.grad = None
        y = x * w * 3 * 1
        y[1:].add_(y[:2].clone())
        y[1] = 1.0
        y = y.clone()
        y[:6] *= 2
        y[-4:] = 0.5  # all of it
        (y.sum(0, keepdim=True) / 3 + y).square().mean().backward()
        return w.grad

    compiled = fl.compile(step)
    for _ in range(4):
        assert compiled(fl.randn(3, 4)).tolist() == [0.0] * 4
