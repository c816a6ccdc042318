"""Constants: what does not change from run to run is computed once; what changes nothing goes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flambeau.compiler._graph import Buffer, Graph, Node, Value, dense, single_assignment, writes
from flambeau.compiler._programs import builder, facts, holds_exactly

if TYPE_CHECKING:
    from flambeau import device

MOST_BYTES = 1 << 24  # of a folded result: it is kept as long as the executable


def constant_folding(graph: Graph) -> None:
    """Evaluates steps of constants, puts single constants into programs, and drops copies.

    A constant that some step writes to is restored at the start of every run and is not one.
    """
    _evaluate(graph)
    _drop_copies(graph)
    written = writes(graph.nodes)
    for node in graph.nodes:
        if node.program is not None and node.call is None and not node.columns:
            _put_numbers(node, written)


def _evaluate(graph: Graph) -> None:
    """Runs the steps that depend on nothing but constants, now."""
    once = single_assignment(graph.nodes)
    escaping = graph.escaping
    written = writes(graph.nodes)
    made: dict[Buffer, Value] = {}
    folded: list[Node] = []
    rest: list[Node] = []
    for node in graph.nodes:
        constant = (
            not node.random
            and bool(node.reads)
            and all(
                x.buffer in made or (x.buffer.kind == "constant" and x.buffer not in written)
                for x in node.reads
            )
            and all(isinstance(x, (Value, float, int)) or x is None for x in node.inputs)
            and all(_foldable(x, once, escaping) for x in node.outputs)
        )
        if constant:
            folded.append(node)
            made.update((x.buffer, x) for x in node.outputs)
        else:
            rest.append(node)
    if folded:
        used = {x.buffer for node in rest for x in node.reads}
        results = [value for buffer, value in made.items() if buffer in used]
        constants = _run(folded, results, graph.device)
        for node in rest:
            node.inputs = [
                x.on(constants[x.buffer]) if isinstance(x, Value) and x.buffer in constants else x
                for x in node.inputs
            ]
        graph.nodes = rest


def _foldable(value: Value, once: set[Buffer], escaping: set[Buffer]) -> bool:
    buffer = value.buffer
    return buffer in once and buffer not in escaping and value.fills and buffer.bytes <= MOST_BYTES


def _run(nodes: list[Node], results: list[Value], device: device | None) -> dict[Buffer, Buffer]:
    """Executes the nodes; returns new constant buffers for those of the results."""
    from flambeau.compiler._lower import lower

    whole = [dense(x.buffer, (x.elements,), x.dtype) for x in results]
    graph = Graph([node.copy() for node in nodes], whole, device=device)
    for node in graph.nodes:
        node.backward = False
    tensors = lower(graph).run([], [])
    return {
        value.buffer: Buffer("constant", value.buffer.bytes, tensor=tensor)
        for value, tensor in zip(results, tensors)
    }


def _put_numbers(node: Node, written: dict[Buffer, int]) -> None:
    """Constants of one element become numbers of the program."""
    rows = facts(node.program).rows
    for place, x in enumerate(node.inputs):
        if not isinstance(x, Value) or x.buffer.kind != "constant" or x.buffer in written:
            continue
        if any(n > 1 and stride for n, stride in zip(x.shape, x.strides)) or not x.elements:
            continue
        if rows and x.elements > 1:
            continue  # may be what the length of the rows is known by
        number = _element(x)
        if number is not None and holds_exactly(number):
            node.inputs[place] = number


def _element(value: Value) -> float | None:
    """The first element of a constant, if it can be looked up."""
    tensor = value.buffer.tensor
    if tensor is None or tensor.dtype != value.dtype:
        return None
    number: float = tensor.as_strided((), (), value.offset).item()
    return number


def _drop_copies(graph: Graph) -> None:
    """Lets readers of a copy read the original, where nothing writes to either.

    A copy that leaves the graph keeps its memory, and the original is made there.
    """
    once = single_assignment(graph.nodes)
    written = writes(graph.nodes)
    escaping = graph.escaping
    originals: dict[Buffer, Value] = {}
    moved: dict[Buffer, Buffer] = {}
    kept = []
    for node in graph.nodes:
        _redirect(node, originals, moved)
        source = _copied(node)
        if source is not None and node.outputs[0].buffer in once:
            target = node.outputs[0].buffer
            if target not in escaping:
                if _steady(source.buffer, graph, once, written):
                    originals[target] = source
                    continue
            elif source.buffer in once and source.buffer not in escaping and source.fills:
                moved[source.buffer] = target
                continue
        kept.append(node)
    graph.nodes = kept
    if moved:
        for node in kept:
            _redirect(node, {}, moved)
            node.outputs = [x.on(moved.get(x.buffer, x.buffer)) for x in node.outputs]


def _redirect(node: Node, originals: dict[Buffer, Value], moved: dict[Buffer, Buffer]) -> None:
    for place, x in enumerate(node.inputs):
        if isinstance(x, Value):
            if x.buffer in originals:
                x = _within(x, originals[x.buffer])
            if x.buffer in moved:
                x = x.on(moved[x.buffer])
            node.inputs[place] = x


def _copied(node: Node) -> Value | None:
    """The operand that the node's result equals, element by element in the same layout."""
    if node.program is None or len(node.outputs) != 1:
        return None
    operands = node.reads
    if not operands:
        return None
    source, target = operands[0], node.outputs[0]
    if not target.fills or source.shape != target.shape or source.dtype != target.dtype:
        return None
    same = all(a == b or n == 1 for n, a, b in zip(source.shape, source.strides, target.strides))
    return source if same and _is_identity(node) else None


def _is_identity(node: Node) -> bool:
    """Whether the program, given the numbers among the inputs, returns its one tensor."""
    if len(node.reads) != 1:
        return False
    symbols = builder()
    operands = []
    for x in node.inputs:
        if isinstance(x, Value):
            operands.append(symbols.input(0, "element"))
        elif isinstance(x, (float, int)):
            operands.append(symbols.constant(float(x)))
        else:
            return False
    return symbols.inline(node.program, operands)[0] == symbols.input(0, "element")


def _steady(buffer: Buffer, graph: Graph, once: set[Buffer], written: dict[Buffer, int]) -> bool:
    """Whether the buffer keeps its contents once the graph has read it."""
    if buffer.kind == "internal":
        return buffer in once
    # Between the forward and the backward part the caller may write to it.
    return buffer not in written and not graph.differentiable


def _within(value: Value, original: Value) -> Value:
    """A view of a copy as a view of the original."""
    shift = original.offset * original.dtype.itemsize // value.dtype.itemsize
    return Value(original.buffer, value.shape, value.strides, value.offset + shift, value.dtype)
