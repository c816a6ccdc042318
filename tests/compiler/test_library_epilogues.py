"""The pass that joins products with what cuBLASLt computes beside them, on graphs made by hand."""

from __future__ import annotations

import pytest
from graphs import (
    argument,
    captured,
    check_same,
    part,
    product,
    program,
    reduction,
    turned,
)

import flambeau as fl
from flambeau.compiler._graph import Graph, Node, Value
from flambeau.compiler._passes.library_epilogues import library_epilogues


def after(nodes: list[Node], *outputs: Value) -> list[str]:
    """The operators after the pass, which is checked to mean the same."""
    graph = Graph(nodes, outputs)
    before = graph.copy()
    library_epilogues(graph)
    check_same(before, graph)
    return [
        node.operator + ("+" if node.epilogue else "") + ("&" if node.sums else "")
        for node in graph.nodes
    ]


def gelu(x: Value) -> Node:
    node = program("tanh", x)
    compiled = fl.compile(lambda x: fl.nn.functional.gelu(x, approximate="tanh"))
    for _ in range(3):
        compiled(fl.ones(3))
    node.operator, node.program = "gelu", compiled.graph.nodes[0].program
    return node


# --- activations ----------------------------------------------------------------------------------


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_gelus_that_are_activations(approximate: str) -> None:
    run = fl.compile(lambda x: fl.nn.functional.gelu(x, approximate=approximate).sum().backward())
    for _ in range(3):
        run(fl.ones(3, requires_grad=True))
    programs = [node.program for node in run.recorded_graph.nodes if node.program]
    found = {program.activation for program in programs}
    assert found >= {"gelu", "gelu_gradient"} if approximate == "tanh" else found == {""}


def test_other_programs_that_are_activations() -> None:
    x = argument(0, 4)
    assert program("relu", x).program.activation == "relu"
    assert program("tanh", x).program.activation == ""


def test_an_activation_joins_its_product() -> None:
    first = product(argument(0, 4, 8), captured(8, 6))
    relu = program("relu", first.outputs[0])
    assert after([first, relu], relu.outputs[0]) == ["mm+"]
    other = program("tanh", first.outputs[0])
    assert after([first, other], other.outputs[0]) == ["mm", "tanh"]
    double = program("add", first.outputs[0], first.outputs[0])
    assert after([first, double], double.outputs[0]) == ["mm", "add"]


def test_shapes_of_the_same_elements() -> None:
    first = product(argument(0, 4, 8), captured(8, 6))
    made = first.outputs[0]
    cube = program("relu", Value(made.buffer, (2, 2, 6), (12, 6, 1), 0, made.dtype))
    assert after([first, cube], cube.outputs[0]) == ["mm+"]
    flipped = program("relu", turned(made))
    assert after([first, flipped], flipped.outputs[0]) == ["mm", "relu"]
    half = program("relu", part(made, (2, 6), (6, 1)))
    assert after([first, half], half.outputs[0]) == ["mm", "relu"]
    wide = program("relu", made, out=part(captured(4, 9), (4, 6), (9, 1)))
    assert after([first, wide]) == ["mm", "relu"]


def test_what_others_read_is_kept_where_that_can_be() -> None:
    first = product(argument(0, 4, 8), captured(8, 6))
    relu, neg = program("relu", first.outputs[0]), program("neg", first.outputs[0])
    assert after([first, relu, neg], relu.outputs[0], neg.outputs[0]) == ["mm", "relu", "neg"]
    assert after([first, relu], relu.outputs[0], first.outputs[0]) == ["mm", "relu"]
    for columns, joined in ((8, True), (6, False)):
        first = product(argument(0, 4, 8), captured(8, columns))
        activation, neg = gelu(first.outputs[0]), program("neg", first.outputs[0])
        graph = Graph([first, activation, neg], [activation.outputs[0], neg.outputs[0]])
        library_epilogues(graph)
        assert (graph.nodes[0].epilogue is not None) == joined
        if joined:
            assert graph.nodes[0].outputs == [first.outputs[0], activation.outputs[0]]


def test_memory_that_is_in_use() -> None:
    x, w = argument(0, 6, 6), captured(6, 6)
    first = product(x, w)
    assert after([first, program("relu", first.outputs[0], out=w)]) == ["mm", "relu"]
    overwritten = program("neg", x, out=x)
    relu = program("relu", first.outputs[0])
    assert after([first, overwritten, relu], relu.outputs[0]) == ["mm", "neg", "relu"]
    between = program("neg", argument(1, 3))
    nodes = [first, between, relu]
    assert after(nodes, relu.outputs[0], between.outputs[0]) == ["neg", "mm+"]


# --- sums -----------------------------------------------------------------------------------------


def test_sums_of_either_factor() -> None:
    g, x = argument(0, 7, 6), argument(1, 7, 4)
    for left, right, factor in ((turned(g), x, 0), (turned(x), g, 1)):
        first, total = product(left, right), reduction("sum", g, 0)
        for nodes in ([first, total], [total, first]):
            graph = Graph(nodes, [first.outputs[0], total.outputs[0]])
            library_epilogues(graph)
            assert [node.sums and node.sums.factor for node in graph.nodes] == [factor]
            assert after(nodes, first.outputs[0], total.outputs[0]) == ["mm&"]


def test_other_sums_stay_alone() -> None:
    g, x = argument(0, 7, 6), argument(1, 7, 4)
    first = product(turned(g), x)
    for total in (reduction("sum", g, 1), reduction("sum", g), reduction("mean", g, 0)):
        assert after([first, total], first.outputs[0], total.outputs[0])[0] == "mm"
    for part_of_g in (part(g, (7, 3), (6, 1)), part(g, (6, 6), (6, 1)), part(g, (6, 7), (7, 1))):
        total = reduction("sum", part_of_g, 0)
        assert after([first, total], first.outputs[0], total.outputs[0])[0] == "mm"
    square, y = argument(2, 6, 6), argument(3, 6, 4)
    other, along = product(turned(square), y), reduction("sum", square, 1)
    assert after([other, along], other.outputs[0], along.outputs[0]) == ["mm", "sum"]
    cube = part(g, (7, 2, 3), (6, 3, 1))
    total = reduction("sum", cube, 0, 1)
    assert after([first, total], first.outputs[0], total.outputs[0]) == ["mm", "sum"]


def test_nodes_between_a_product_and_a_sum() -> None:
    g, x = argument(0, 7, 6), argument(1, 7, 4)
    first, total = product(turned(g), x), reduction("sum", g, 0)
    weight, bias = program("neg", first.outputs[0]), program("neg", total.outputs[0])
    results = weight.outputs[0], bias.outputs[0]
    # Both orders: the sum moves up, the product moves up.
    assert after([first, weight, total, bias], *results) == ["mm&", "neg", "neg"]
    assert after([total, bias, first, weight], *results) == ["mm&", "neg", "neg"]
    # A sum that needs the product, if by a detour, and one that reads what has changed since.
    late = program("add", total.outputs[0], part(weight.outputs[0], (6,), (1,)), out=captured(6))
    assert after([first, weight, total, late], weight.outputs[0]) == ["mm&", "neg", "add"]
    changed = program("neg", g, out=g)
    assert after([first, changed, total], first.outputs[0], total.outputs[0]) == [
        "mm",
        "neg",
        "sum",
    ]


def test_pairs_that_cross() -> None:
    g, x = argument(0, 7, 6), argument(1, 7, 4)
    h, y = argument(2, 7, 6), argument(3, 7, 4)
    one, two = product(turned(g), x), product(turned(h), y)
    sums = reduction("sum", g, 0), reduction("sum", h, 0)
    uses = program("neg", one.outputs[0]), program("neg", sums[1].outputs[0])
    results = [node.outputs[0] for node in (one, two, *sums, *uses)]
    for nodes in (
        [one, two, *sums, *uses],
        [one, uses[0], sums[1], two, sums[0], uses[1]],
        [sums[1], uses[1], one, two, uses[0], sums[0]],
    ):
        operators = after(nodes, *results)
        assert sorted(operators) == ["mm&", "mm&", "neg", "neg"], operators
