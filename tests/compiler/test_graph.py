"""The graph: views of buffers, dependencies over memory, text."""

from __future__ import annotations

import pytest

import flambeau as fl
from flambeau.compiler._graph import (
    Buffer,
    Graph,
    Node,
    Number,
    Value,
    dense,
    dependencies,
    overlap,
    single_assignment,
)


def internal(*shape: int) -> Value:
    buffer = Buffer("internal", 0)
    value = dense(buffer, shape, fl.float32)
    buffer.bytes = 4 * value.elements
    return value


def argument(index: int, *shape: int) -> Value:
    value = internal(*shape)
    value.buffer.kind, value.buffer.index = "argument", index
    return value


def part(value: Value, shape: tuple[int, ...], strides: tuple[int, ...], offset: int) -> Value:
    return Value(value.buffer, shape, strides, offset, value.dtype)


def test_values_know_their_memory() -> None:
    x = internal(4, 6)
    assert x.contiguous and x.fills and x.span == (0, 96) and x.elements == 24
    turned = part(x, (6, 4), (1, 6), 0)
    assert not turned.contiguous and turned.fills
    row = part(x, (6,), (1,), 6)
    assert row.contiguous and not row.fills and row.span == (24, 48)
    column = part(x, (4,), (6,), 1)
    assert not column.contiguous and column.span == (4, 80)
    assert overlap(row, column) and not overlap(row, part(x, (6,), (1,), 12))
    assert not overlap(x, internal(4, 6))
    assert part(x, (0, 6), (6, 1), 3).span == (0, 0)
    assert part(x, (1, 6), (99, 1), 0).contiguous


def test_dependencies_follow_memory() -> None:
    x, a, b, c = argument(0, 8), internal(8), internal(8), internal(8)
    head, tail = part(a, (4,), (1,), 0), part(a, (4,), (1,), 4)
    nodes = [
        Node("f", [x], [head]),  # 0
        Node("f", [x], [tail]),  # 1
        Node("f", [head], [b]),  # 2 reads what 0 wrote
        Node("f", [a], [c]),  # 3 reads both
        Node("f", [x], [a]),  # 4 overwrites: after all of them
        Node("f", [a], [x]),  # 5 overwrites what 0, 1 and 4 read
    ]
    before = dependencies(nodes)
    assert before == [set(), set(), {0}, {0, 1}, {0, 1, 2, 3}, {0, 1, 4}]


def test_random_draws_keep_their_order() -> None:
    nodes = [Node("rand", [], [internal(2)], random=True) for _ in range(3)]
    assert dependencies(nodes) == [set(), {0}, {1}]


def test_single_assignment() -> None:
    x, a, b = argument(0, 8), internal(8), internal(8)
    nodes = [Node("f", [x], [a]), Node("f", [a], [b]), Node("f", [b], [a]), Node("f", [b], [x])]
    assert single_assignment(nodes) == {b.buffer}


def test_text_of_a_graph() -> None:
    x, w, h = argument(0, 4, 6), argument(1, 5, 6), internal(4, 5)
    w.buffer.kind = "captured"
    loss = internal()
    turned = part(w, (6, 5), (1, 6), 0)
    graph = Graph(
        [
            Node("mm", [x, turned], [h]),
            Node("mul", [h, Number(0)], [h]),
            Node("add", [part(h, (2, 5), (5, 1), 10), 1.5], [loss]),
            Node("fused", [w], [w], program=fl._core.program.trace(lambda a: -a, "e")),
        ],
        [loss],
        [(fl.ones(1), h), (fl.ones(1), None)],
        numbers=1,
    )
    assert str(graph) == (
        "graph:\n"
        "  arg0: f32[4, 6]  (argument)\n"
        "  p0: f32[6, 5] by 1, 6  (captured, written)\n"
        "  b0: f32[4, 5] = mm(arg0, p0)\n"
        "  b0 = mul(b0, n0)\n"
        "  b1: f32[] = add(b0(f32[2, 5] at 10), 1.5)\n"
        "  p0(f32[5, 6]) = fused 0(p0(f32[5, 6]))\n"
        "return b1\n"
        "grad 0 = b0\n"
        "grad 1 = None\n"
        "program 0:\n"
        "  %0 = input 0\n"
        "  %1 = neg %0\n"
        "  return %1\n"
    )


def test_copy_has_its_own_nodes() -> None:
    graph = Graph([Node("f", [argument(0, 2)], [internal(2)])])
    other = graph.copy()
    other.nodes[0].operator = "g"
    other.nodes.clear()
    assert [node.operator for node in graph.nodes] == ["f"]


@pytest.mark.parametrize("differentiable", [False, True])
def test_where_the_backward_part_begins(differentiable: bool) -> None:
    nodes = [Node("f", [], []), Node("f", [], [], backward=True)]
    graph = Graph(nodes, differentiable=differentiable)
    assert graph.backward_at == (1 if differentiable else None)
    assert Graph(nodes[:1], differentiable=True).backward_at == 1
