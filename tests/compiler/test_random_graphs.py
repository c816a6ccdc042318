"""Random graphs mean the same after all passes."""

from __future__ import annotations

import random

import pytest
from graphs import (
    Call,
    argument,
    captured,
    check_same,
    internal,
    part,
    product,
    program,
    reduction,
    turned,
)

from flambeau.compiler._graph import Graph, Node, Number, Value
from flambeau.compiler._passes import run_passes

ROWS, COLUMNS = 4, 6
SHAPES = [(), (COLUMNS,), (ROWS, 1), (ROWS, COLUMNS)]


class Maker:
    """Makes nodes on values that are there."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.captured = [captured(*shape) for shape in SHAPES]
        self.arguments = [argument(i, *shape) for i, shape in enumerate(SHAPES)]
        self.pool: list[Value] = [*self.captured, *self.arguments]
        self.nodes: list[Node] = []

    def any(self) -> Value:
        """A value, more often one that was made lately."""
        pool = self.pool[-8:] if self.rng.random() < 0.7 else self.pool
        return self.rng.choice(pool)

    def full(self) -> Value:
        fitting = [x for x in self.pool if x.shape == (ROWS, COLUMNS)]
        return self.rng.choice(fitting[-6:])

    def add(self, node: Node) -> None:
        self.nodes.append(node)
        value = node.outputs[0]
        if len(value.shape) == 2 and value.shape[0] == COLUMNS:
            value = turned(value)
        self.pool.append(value)

    def step(self) -> None:
        choice = self.rng.randrange(10)
        if choice < 3:
            self.add(program(self.rng.choice(["tanh", "neg", "square"]), self.small(self.any())))
        elif choice < 5:
            operand = self.rng.choice([self.any(), 0.5, Number(0)])
            name = self.rng.choice(["add", "sub", "mul"])
            self.add(program(name, self.small(self.any()), operand))
        elif choice == 5:
            self.add(program(self.rng.choice(["center", "row_mean"]), self.full()))
        elif choice == 6:
            self.reduce()
        elif choice == 7:
            self.write()
        elif choice == 8:
            self.move()
        else:
            a = self.full()
            self.add(product(turned(self.full()), a))
            square = self.nodes[-1].outputs[0]
            self.pool[-1] = part(square, (ROWS, COLUMNS), (COLUMNS, 1), 0)

    def small(self, value: Value) -> Value:
        """Values stay near 1: larger ones pass through tanh."""
        if self.rng.random() < 0.3:
            self.nodes.append(program("tanh", value))
            return self.nodes[-1].outputs[0]
        return value

    def reduce(self) -> None:
        name = self.rng.choice(["sum", "mean"])
        if self.rng.random() < 0.5:
            self.add(reduction(name, self.full()))
        else:
            axis = self.rng.randrange(2)
            self.add(reduction(name, self.full(), axis, keepdim=axis == 1))
        self.add(program("tanh", self.pool[-1]))

    def write(self) -> None:
        """In place, on memory that persists or not."""
        if self.rng.random() < 0.3:
            kind = self.rng.choice(["zero", "fill"])
            fresh = internal(ROWS, COLUMNS)
            self.nodes.append(Node(kind, [fresh], [fresh], call=Call(kind, in_place=True)))
            self.pool.append(fresh)
            target = fresh
        else:
            target = self.any()
        if target.buffer.kind == "argument" or self.rng.random() < 0.5:
            target = self.rng.choice(self.captured)
        source = self.any()
        if 0 in target.strides:
            return  # memory that stands for several elements cannot be written
        if target.shape in (source.shape, (ROWS, COLUMNS)) and source.buffer is not target.buffer:
            name = self.rng.choice(["add", "mul", "descend"])
            operands = [target, source, 0.1] if name == "descend" else [target, source]
            self.nodes.append(program(name, *operands, out=target))
            self.nodes.append(program("tanh", target, out=target))

    def move(self) -> None:
        """Copies and views."""
        value = self.any()
        kind = self.rng.randrange(3)
        if kind == 0:
            self.add(Node("clone", [value], [internal(*value.shape)], call=Call("clone")))
        elif kind == 1 and value.shape == (ROWS, COLUMNS) and value.contiguous:
            column = self.rng.randrange(COLUMNS)
            self.pool.append(part(value, (ROWS, 1), (COLUMNS, 1), column))
        elif value.shape == (COLUMNS,):
            self.pool.append(part(value, (ROWS, COLUMNS), (0, value.strides[0])))


@pytest.mark.parametrize("seed", range(200))
def test_passes_keep_the_meaning(seed: int) -> None:
    maker = Maker(seed)
    for _ in range(maker.rng.choice([5, 15, 40])):
        maker.step()
    made = [value for value in maker.pool if value.buffer.kind == "internal"]
    outputs = maker.rng.sample(made, min(3, len(made)))
    graph = Graph(maker.nodes, outputs, numbers=1)
    before = graph.copy()
    run_passes(graph)
    assert len(graph.nodes) <= len(before.nodes)
    check_same(before, graph, numbers=(0.75,))
