"""Graphs made by hand, and what they mean: an interpreter over NumPy, one node at a time."""

from __future__ import annotations

from typing import Any

import numpy as np

import flambeau as fl
from flambeau.compiler._graph import Buffer, Graph, Node, Number, Value, dense

trace = fl._core.program.trace
scalar: Any = type(
    "Scalar", (), {k: staticmethod(v) for k, v in fl._core.program.instructions.items()}
)

# --- building -------------------------------------------------------------------------------------


def new(kind: str, shape: tuple[int, ...], index: int = -1, dtype: Any = fl.float32) -> Value:
    """A contiguous value that is all of a buffer."""
    buffer = Buffer(kind, 0, index)
    value = dense(buffer, shape, dtype)
    buffer.bytes = dtype.itemsize * value.elements
    return value


def argument(index: int, *shape: int) -> Value:
    return new("argument", shape, index)


def captured(*shape: int) -> Value:
    return new("captured", shape)


def internal(*shape: int) -> Value:
    return new("internal", shape)


def part(value: Value, shape: tuple[int, ...], strides: tuple[int, ...], offset: int = 0) -> Value:
    return Value(value.buffer, shape, strides, value.offset + offset, value.dtype)


def turned(value: Value) -> Value:
    return part(value, value.shape[::-1], value.strides[::-1])


class Call:
    """Stands for a recorded call."""

    def __init__(self, key: str, ints: tuple[int, ...] = (), in_place: bool = False) -> None:
        self.ints, self.in_place = ints, in_place
        self.key = (key, ints)
        self.scalars = (0.5, 0.0, 0.0, 0.0)
        self.more_ints: tuple[int, ...] = ()
        self.flag = 0
        self.takes_epilogue = key == "mm"
        self.is_control = False


FORMULAS: dict[str, Any] = {
    "neg": lambda a: -a,
    "tanh": lambda a: scalar.tanh(a),
    "relu": lambda a: scalar.relu(a),
    "square": lambda a: scalar.square(a),
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "lt": lambda a, b: a < b,
    "where": lambda a, b, c: scalar.select(a, b, c),
    "center": lambda a: a - scalar.row_sum(a) / scalar.row_count(a),
    "row_mean": lambda a: scalar.row_sum(a) / scalar.row_count(a),
    "descend": lambda p, g, lr: p - lr * g,
}
PROGRAMS: dict[str, Any] = {
    name: trace(formula, "e" * formula.__code__.co_argcount) for name, formula in FORMULAS.items()
}


def program(name: str, *operands: Any, out: Value | None = None) -> Node:
    """A program node; makes the output if none is given."""
    if out is None:
        shape = np.broadcast_shapes(*(x.shape for x in operands if isinstance(x, Value)))
        if name == "row_mean":
            shape = (*shape[:-1], 1)
        out = new("internal", shape, dtype=fl.bool if name == "lt" else fl.float32)
    return Node(name, operands, [out], program=PROGRAMS[name], dtype=fl.float32)


def reduction(name: str, x: Value, *axes: int, keepdim: bool = False) -> Node:
    axes = axes or tuple(range(len(x.shape)))
    shape = [1 if i in axes else n for i, n in enumerate(x.shape)]
    if not keepdim:
        shape = [n for i, n in enumerate(x.shape) if i not in axes]
    call = Call(name, (sum(1 << axis for axis in axes),))
    return Node(name, [x], [internal(*shape)], call=call)


def product(a: Value, b: Value) -> Node:
    return Node("mm", [a, b], [internal(a.shape[0], b.shape[1])], call=Call("mm"))


def scattered(x: Value, count: int, strides: tuple[int, ...], offset: int) -> Node:
    """The gradient of a slice of something with `count` elements."""
    call = Call("strided_sum", (count, offset, *x.shape))
    call.more_ints = strides
    return Node("strided_sum", [x], [internal(count)], call=call)


def chain(*steps: Any) -> tuple[list[Node], Value]:
    """Nodes from (name, operands...) where the operand None is the result before."""
    nodes: list[Node] = []
    for name, *operands in steps:
        operands = [nodes[-1].outputs[0] if x is None else x for x in operands]
        nodes.append(program(name, *operands))
    return nodes, nodes[-1].outputs[0]


# --- meaning --------------------------------------------------------------------------------------

TYPES = {fl.float32: np.float32, fl.float64: np.float64, fl.bool: np.bool_, fl.int64: np.int64}
ELEMENTWISE: dict[str, Any] = {
    "neg": np.negative,
    "tanh": np.tanh,
    "relu": lambda a: np.maximum(a, 0),
    "square": np.square,
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "fma": lambda a, b, c: a * b + c,
    "lt": lambda a, b: (a < b).astype(np.float32),
    "ne": lambda a, b: (a != b).astype(np.float32),
    "select": lambda a, b, c: np.where(a != 0, b, c),
    "spread": lambda a: a,
}


class Machine:
    """Runs a graph on memory of its own."""

    def __init__(self, graph: Graph, seed: int = 0, numbers: tuple[float, ...] = ()) -> None:
        self.graph = graph
        self.numbers = numbers
        self.memory: dict[Buffer, Any] = {}
        self.rng = np.random.default_rng(seed)

    def view(self, value: Value) -> Any:
        memory = self.memory.get(value.buffer)
        if memory is None:
            floats = self.rng.standard_normal(-(-value.buffer.bytes // 4)).astype(np.float32)
            memory = self.memory[value.buffer] = floats.view(np.uint8)
        kind = TYPES[value.dtype]
        size = np.dtype(kind).itemsize
        return np.ndarray(
            value.shape, kind, memory, value.offset * size, [size * s for s in value.strides]
        )

    def prepare(self, values: list[Value]) -> None:
        """Fills persistent memory in a fixed order."""
        for value in values:
            self.view(value)

    def run(self) -> None:
        for node in self.graph.nodes:
            if node.columns:
                self.update(node)
            elif node.epilogue is not None:
                factors = [self.view(x) for x in node.epilogue.factors if isinstance(x, Value)]
                self.view(node.epilogue.result)[...] = factors[0] @ factors[1]
                self.program(node.epilogue.program, node.epilogue.inputs, node.epilogue.outputs)
            elif node.sums is not None:
                factors = [self.view(x) for x in node.reads]
                self.view(node.outputs[0])[...] = factors[0] @ factors[1]
                total = factors[node.sums.factor].sum(1 - node.sums.factor)
                self.view(node.sums.result).reshape(-1)[...] = total
            elif node.call is None:
                self.program(node.program, node.inputs, node.outputs)
            else:
                self.call(node)

    def update(self, node: Node) -> None:
        reads = node.reads
        runs = len(reads) // node.columns
        results = len(node.outputs) // runs
        for k in range(runs):
            values = reads[k * node.columns : (k + 1) * node.columns]
            outputs = node.outputs[k * results : (k + 1) * results]
            self.program(node.program, [*values, *node.inputs[len(reads) :]], outputs)

    def program(self, program: Any, inputs: list[Any], outputs: list[Value]) -> None:
        operands = []
        for x in inputs:
            if isinstance(x, Value):
                operands.append(self.view(x).astype(np.float32))
            else:
                number = self.numbers[x.slot] if isinstance(x, Number) else x
                operands.append(np.float32(number))
        shape = np.broadcast_shapes(*(np.shape(x) for x in operands), *(x.shape for x in outputs))
        *lines, last = repr(program).splitlines()
        known: dict[str, Any] = {}
        for line in lines:
            place, _, *words = line.split()
            if words[0] in ("row", "uniform"):
                words = words[1:]
            known[place] = self.instruction(words, known, operands, shape)
        for value, place in zip(outputs, last.split()[1:]):
            self.view(value)[...] = known[place]

    def instruction(
        self, words: list[str], known: dict[str, Any], operands: list[Any], shape: Any
    ) -> Any:
        name, *rest = words
        if name == "input":
            return operands[int(rest[0])]
        if name == "constant":
            return np.float32(rest[0])
        if name == "row_count":
            return np.float32(shape[-1])
        if name == "row_sum":
            return np.broadcast_to(known[rest[0]], shape).sum(-1, keepdims=True)
        return ELEMENTWISE[name](*(known[word] for word in rest))

    def call(self, node: Node) -> None:
        inputs = [self.view(x) for x in node.reads]
        out = self.view(node.outputs[0])
        if node.operator == "mm":
            out[...] = inputs[0] @ inputs[1]
        elif node.operator in ("sum", "mean"):
            axes = tuple(i for i in range(inputs[0].ndim) if node.call.ints[0] >> i & 1)
            out[...] = getattr(np, node.operator)(inputs[0], axis=axes).reshape(out.shape)
        elif node.operator in ("clone", "to", "copy"):
            out[...] = inputs[-1]
        elif node.operator == "strided_sum":
            out[...] = 0
            flat = node.outputs[0]
            self.view(part(flat, inputs[0].shape, node.call.more_ints, node.call.ints[1]))[...] += (
                inputs[0]
            )
        elif node.operator in ("fill", "zero"):
            out[...] = 0.5 if node.operator == "fill" else 0
        else:
            raise AssertionError(node.operator)


def persistent_values(graph: Graph) -> list[Value]:
    """One flat value for each buffer that is not internal, in the order of first use."""
    found: dict[Buffer, Value] = {}
    for node in graph.nodes:
        for value in (*node.reads, *node.outputs):
            if value.buffer.kind != "internal":
                found.setdefault(
                    value.buffer, dense(value.buffer, (value.buffer.bytes // 4,), fl.float32)
                )
    return list(found.values())


def check_same(before: Graph, after: Graph, numbers: tuple[float, ...] = ()) -> None:
    """Both graphs leave the same results and the same persistent memory."""
    values = persistent_values(before)
    machines = [Machine(before, numbers=numbers), Machine(after, numbers=numbers)]
    for machine in machines:
        machine.prepare(values)
        machine.run()
    one, other = machines
    for a, b in zip(before.results(), after.results(), strict=True):
        np.testing.assert_allclose(one.view(a), other.view(b), rtol=2e-5, atol=2e-5)
    for value in values:
        np.testing.assert_allclose(one.view(value), other.view(value), rtol=2e-5, atol=2e-5)
