"""Epilogues: a matrix product and the elementwise step that follows it become one step.

The step applies its program to every block of the product as soon as that is complete, while it is
in the cache of the thread that made it; a result that only the program reads never gets a place of
its own. Runs when a graph is lowered: the files of graphs hold products and programs apart.
"""

from __future__ import annotations

from flambeau.compiler._access import access_of, value_of
from flambeau.compiler._graph import (
    Buffer,
    Epilogue,
    Graph,
    Input,
    Node,
    Value,
    dependencies,
    overlap,
    single_assignment,
)
from flambeau.compiler._programs import facts, precision


def epilogues(graph: Graph) -> None:
    """Merges products with the first step that reads their result, if that is elementwise."""
    nodes = graph.nodes
    products = [number for number, node in enumerate(nodes) if _is_product(node)]
    if not products:
        return
    once = single_assignment(nodes)
    before = dependencies(nodes)
    readers: dict[Buffer, list[int]] = {}
    for number, node in enumerate(nodes):
        for buffer in {value.buffer for value in node.reads}:
            readers.setdefault(buffer, []).append(number)
    escaping = graph.escaping
    merged: dict[int, Node] = {}
    gone: set[int] = set()
    for number in products:
        made = nodes[number].outputs[0].buffer
        if made not in once or made not in readers:
            continue
        follower = readers[made][0]
        if follower in merged:
            continue
        if any(number in before[other] for other in range(number + 1, follower)):
            continue  # it cannot move down to the follower
        alone = len(readers[made]) == 1 and made not in escaping
        both = _merged(nodes[number], nodes[follower], alone)
        if both is not None:
            merged[follower] = both
            gone.add(number)
    graph.nodes = [
        merged.get(number, node) for number, node in enumerate(nodes) if number not in gone
    ]


def _is_product(node: Node) -> bool:
    if node.call is None or not node.call.takes_epilogue:
        return False
    out = node.outputs[0]
    is_matrix = out.fills and out.contiguous and min(out.shape) > 1
    return is_matrix and out.dtype.is_floating_point and out.dtype.itemsize >= 4


def _merged(product: Node, follower: Node, alone: bool) -> Node | None:
    """Both as one node.

    Args:
        alone: whether nobody else needs the product's result.
    """
    if follower.program is None or follower.call is not None or follower.columns:
        return None
    if follower.backward != product.backward or facts(follower.program).rows:
        return None
    made = product.outputs[0]
    if follower.dtype is None or precision(follower.dtype) != precision(made.dtype):
        return None
    shape = follower.outputs[0].shape
    inputs = [_as_matrix(x, made, shape) for x in follower.inputs]
    outputs = [_as_matrix(x, made, shape) for x in follower.outputs]
    if any(x is None for x in (*inputs, *outputs)):
        return None
    if any(isinstance(x, Value) and x.buffer is made.buffer and x != made for x in inputs):
        return None
    matrices = [x for x in outputs if isinstance(x, Value)]
    # Blocks are written while others are still being multiplied.
    if any(overlap(out, x) for out in matrices for x in product.reads):
        return None
    result = _memory_for(made, matrices, inputs) if alone else None
    others = [x for x in inputs if x != made]
    kept = [] if result else [made]
    return Node(
        product.operator,
        [*others, *product.inputs],
        [*kept, *matrices],
        dtype=follower.dtype,
        call=product.call,
        parts=follower.parts or [follower.operator],
        backward=product.backward,
        place=product.place,
        epilogue=Epilogue(
            follower.program,
            [result or made if x == made else x for x in inputs],
            matrices,
            product.inputs,
            result or made,
        ),
    )


def _as_matrix(x: Input, like: Value, shape: tuple[int, ...]) -> Input:
    """What the program reads or writes, by rows and columns of the product; None if it cannot."""
    if not isinstance(x, Value):
        return x
    count, columns = like.elements, like.shape[1]
    elements = 1
    for length in shape:
        elements *= length
    if elements != count:
        return None
    access = access_of(x, shape)
    if x.buffer is like.buffer:
        return like if access == access_of(like, like.shape) else x
    if any(cut != columns for cut in access.cuts):
        return None
    return value_of(access, count, (columns,), False)


def _memory_for(made: Value, outputs: list[Value], inputs: list[Input]) -> Value | None:
    """The output in whose memory the product can lie until the program overwrites it."""
    for out in outputs:
        used = any(isinstance(x, Value) and overlap(x, out) for x in inputs)
        if out.dtype == made.dtype and out.contiguous and out.shape == made.shape and not used:
            return out
    return None
