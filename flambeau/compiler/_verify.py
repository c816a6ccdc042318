"""Whether a graph may be executed: what the core relies on, checked before it sees the graph.

The passes keep to these rules; a graph that was read from a file need not.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from flambeau import _core
from flambeau.compiler._graph import Buffer, Graph, Input, Node, Number, Value, overlap

MOST_ELEMENTS = 1 << 48
MOST_DIMENSIONS = 64
WHOLE_NUMBERS = range(-(1 << 63), 1 << 63)

Shape = tuple[int, ...]


class GraphError(RuntimeError):
    """A graph breaks a rule of graphs."""


def need(holds: bool, what: str) -> None:
    """Raise GraphError unless something holds."""
    if not holds:
        raise GraphError(what)


def verify(graph: Graph) -> None:
    """Check that every step stays in the memory of its buffers, and reads what was written.

    Calls are checked by the core when they are made out of a description; here it is only seen
    to that they do not write to what they read.

    Raises:
        GraphError: with the number of the step.
    """
    written: set[Buffer] = set()
    for number, node in enumerate(graph.nodes):
        try:
            _verify_node(graph, node, written)
        except (GraphError, ValueError) as error:
            raise GraphError(f"step {number}, {node.operator}: {error}") from None
        written.update(value.buffer for value in node.outputs)
    for value in graph.results():
        verify_value(value)
        need(_is_readable(value, written), "a result is never written")
    for leaf, gradient in graph.gradients:
        fits = gradient is None or (gradient.shape, gradient.dtype) == (leaf.shape, leaf.dtype)
        need(fits, "a gradient has not the shape and dtype of its tensor")


def verify_value(value: Value) -> None:
    """Check that a value lies in its buffer."""
    need(len(value.shape) == len(value.strides) <= MOST_DIMENSIONS, "a shape without strides")
    need(min(value.shape, default=0) >= 0, f"shape {value.shape} is negative")
    need(min(value.strides, default=0) >= 0, f"strides {value.strides} are negative")
    need(max(*value.strides, 0, 0) <= MOST_ELEMENTS, f"strides {value.strides} are too large")
    count = 1
    for length in value.shape:
        count *= max(length, 1)
    need(count <= MOST_ELEMENTS, f"shape {value.shape} is too large")
    start = value.offset * value.dtype.itemsize
    inside = 0 <= start <= value.buffer.bytes and value.span[1] <= value.buffer.bytes
    need(inside, f"a value of shape {value.shape} leaves its buffer of {value.buffer.bytes} bytes")


def _is_distinct(value: Value) -> bool:
    """Whether no two elements share memory, as far as that is easily seen."""
    reach = 0
    for stride, length in sorted(zip(value.strides, value.shape)):
        if length > 1:
            if stride <= reach:
                return False
            reach += (length - 1) * stride
    return True


def _is_readable(value: Value, written: set[Buffer]) -> bool:
    return value.buffer.kind != "internal" or value.buffer in written


def _verify_node(graph: Graph, node: Node, written: set[Buffer]) -> None:
    need(bool(node.outputs), "it writes nothing")
    for value in (*node.reads, *node.outputs):
        verify_value(value)
    for value in node.outputs:
        need(_is_distinct(value), "elements that it writes share memory")
    for value in node.reads:
        need(_is_readable(value, written), "it reads what was not written")
    for x in node.inputs:
        _verify_number(graph, x)
    if node.columns:
        _verify_update(node)
    elif node.call is not None:
        _verify_apart(node)
    else:
        need(all(x is not None for x in node.inputs), "a program has no optional operands")
        _verify_kernels(node)
        _verify_program(node.program, node.inputs, [value.shape for value in node.outputs])


def _verify_number(graph: Graph, x: Input) -> None:
    if isinstance(x, Number):
        need(0 <= x.slot < graph.numbers, f"there is no number {x.slot}")
    elif isinstance(x, int):
        need(x in WHOLE_NUMBERS, f"{x} needs more than 64 bits")


def _verify_apart(node: Node) -> None:
    """A call may write to what it reads in place only: it looks at indices before it uses them."""
    for place, output in enumerate(node.outputs):
        for other, x in enumerate(node.inputs):
            if isinstance(x, Value) and overlap(x, output):
                in_place = node.call.in_place and place == other == 0 and x == output
                need(in_place, "it writes to memory that it reads")
        for other_output in node.outputs[:place]:
            need(not overlap(output, other_output), "two outputs share memory")
    need(not node.call.in_place or node.inputs[0] == node.outputs[0], "it is not in place")


# --- programs -------------------------------------------------------------------------------------


def _verify_kernels(node: Node) -> None:
    if node.program is None or node.dtype is None:
        raise GraphError("it has nothing to compute")
    _core.require_kernels(node.program, node.dtype)


def _verify_program(program: Any, inputs: list[Input], outputs: list[Shape]) -> None:
    """Operands broadcast to the shape of the outputs; a row is the last axis."""
    need(program.input_count == len(inputs), "the program has another number of inputs")
    instructions = _core.instructions_of(program)
    results = _core.program_outputs(program)
    need(len(results) == len(outputs), "the program has another number of outputs")
    extents = program.output_extents
    whole = [shape for shape, extent in zip(outputs, extents) if extent != "row"]
    tensors = [x.shape for x in inputs if isinstance(x, Value)]
    shape = broadcast(outputs) if whole else broadcast([*outputs, *tensors])
    rows = (*shape[:-1], 1) if shape else ()
    need(all(given == shape for given in whole), f"outputs of shapes {outputs} do not belong")
    for given, extent in zip(outputs, extents):
        need(extent != "row" or given == rows, f"{given} is not one number per row of {shape}")
    for name, *details in instructions:
        if name != "input":
            continue
        index, extent = details
        x = inputs[index]
        if not isinstance(x, Value):
            continue
        if extent == "uniform":
            need(x.elements == 1, f"one number is required, got a value of shape {x.shape}")
        goal = rows if extent == "row" else shape
        need(broadcast([goal, x.shape]) == goal, f"{x.shape} does not broadcast to {goal}")


def broadcast(shapes: Iterable[Shape]) -> Shape:
    """The common shape by NumPy's rule."""
    common: list[int] = []
    for shape in shapes:
        common[:0] = [1] * (len(shape) - len(common))
        lead = len(common) - len(shape)
        for axis, length in enumerate(shape, lead):
            if common[axis] == 1:
                common[axis] = length
            need(length in (1, common[axis]), f"shapes {tuple(common)} and {shape} do not agree")
    return tuple(common)


def _verify_update(node: Node) -> None:
    """Equally shaped contiguous values, run by run; results replace operands."""
    reads, columns = node.reads, node.columns
    need(columns > 0 and len(reads) % columns == 0 and bool(reads), "its runs are incomplete")
    need(node.inputs[: len(reads)] == reads, "its numbers come before its values")
    need(None not in node.inputs, "a program has no optional operands")
    _verify_kernels(node)
    numbers = len(node.inputs) - len(reads)
    runs = [reads[start : start + columns] for start in range(0, len(reads), columns)]
    results = len(_core.program_outputs(node.program))
    need(node.program.input_count == columns + numbers, "the program has other inputs")
    need(not node.program.has_rows, "an update has no rows")
    need(len(node.outputs) == results * len(runs), "its results are incomplete")
    need(all(value in runs[0] for value in node.outputs[:results]), "it does not update in place")
    targets = [runs[0].index(value) for value in node.outputs[:results]]
    for number, run in enumerate(runs):
        for value in run:
            alike = value.shape == run[0].shape and value.contiguous
            need(alike, "its values are not equally shaped and contiguous")
        written = node.outputs[number * results : (number + 1) * results]
        need(written == [run[target] for target in targets], "its runs are not alike")
    # Beside the values of all elements there are numbers only.
    shapes = [value.shape for value in node.outputs[:results]]
    _verify_program(node.program, [*runs[0], *node.inputs[len(reads) :]], shapes)
