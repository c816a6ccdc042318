"""What cuBLASLt computes in one call with a matrix product, for graphs on a GPU.

An activation of the product that cuBLASLt knows, and the sum of a factor's rows: the gradient of a
bias beside that of the weight. Where the library turns out to have no kernel for both, the step
runs them one after the other, so that nothing else depends on it. Runs when a graph is lowered, as
`epilogues` does for the CPU.
"""

from __future__ import annotations

from flambeau.compiler._graph import (
    Buffer,
    Epilogue,
    Graph,
    Node,
    Sums,
    Value,
    dependencies,
    overlap,
    single_assignment,
)

# What a GELU is taken of, and its gradient is taken at, has a multiple of these in a row.
STORED_COLUMNS = 8


def library_epilogues(graph: Graph) -> None:
    """Merges products with their activations, and with the sums of their factors."""
    _activations(graph)
    # All that one round moves, it moves one way, so that the moves cannot get in each other's way.
    _sums(graph, down=True)
    _sums(graph, down=False)


def _is_product(node: Node) -> bool:
    if node.call is None or not node.call.takes_epilogue or node.epilogue is not None:
        return False
    out = node.outputs[0]
    return out.fills and out.contiguous and out.dtype.is_floating_point


def _merge(graph: Graph, merged: dict[int, Node], gone: set[int]) -> None:
    """Puts merged nodes in their places."""
    if merged:
        graph.nodes = [
            merged.get(number, node)
            for number, node in enumerate(graph.nodes)
            if number not in gone
        ]


# --- activations ----------------------------------------------------------------------------------


def _activations(graph: Graph) -> None:
    nodes = graph.nodes
    followers = {
        node.inputs[-1].buffer: number
        for number, node in reversed([*enumerate(nodes)])
        if node.call is None and node.program is not None and not node.columns
        if node.inputs and isinstance(node.inputs[-1], Value) and node.program.activation
    }
    if not followers:
        return
    once = single_assignment(nodes)
    before = dependencies(nodes)
    readers: dict[Buffer, int] = {}
    for node in nodes:
        for buffer in {value.buffer for value in node.reads}:
            readers[buffer] = readers.get(buffer, 0) + 1
    merged: dict[int, Node] = {}
    gone: set[int] = set()
    for number, node in enumerate(nodes):
        made = node.outputs[0].buffer if _is_product(node) else None
        if made is None or made not in once or made not in followers:
            continue
        follower = followers[made]
        if any(number in before[other] for other in range(number + 1, follower)):
            continue  # it cannot move down to the follower
        alone = readers[made] == 1 and made not in graph.escaping
        both = _activated(node, nodes[follower], alone)
        if both is not None:
            merged[follower] = both
            gone.add(number)
    _merge(graph, merged, gone)


def _activated(product: Node, follower: Node, alone: bool) -> Node | None:
    """Both as one node.

    Args:
        alone: whether nobody else needs the product's result.
    """
    made, out = product.outputs[0], follower.outputs[0]
    *others, source = follower.reads
    if any(not _same_elements(x, made) for x in (*others, source, out)):
        return None
    if follower.backward != product.backward:
        return None
    if any(overlap(out, x) for x in [made, *others, *product.reads]):
        return None
    storable = made.shape[1] % STORED_COLUMNS == 0
    if others and not (alone and storable):
        return None
    if not alone and not (storable and follower.program.activation == "gelu"):
        return None
    others, result = [_like(x, made) for x in others], _like(out, made)
    kept = [] if alone else [made]
    before = result if alone else made
    return Node(
        product.operator,
        [*others, *product.inputs],
        [*kept, result],
        dtype=follower.dtype,
        call=product.call,
        parts=follower.parts or [follower.operator],
        backward=product.backward,
        place=product.place,
        epilogue=Epilogue(follower.program, [*others, before], [result], product.inputs, before),
    )


def _same_elements(x: Value, made: Value) -> bool:
    """Whether the values lie one after another, as many and of the same type as the product's."""
    return x.contiguous and x.elements == made.elements and x.dtype == made.dtype


def _like(x: Value, made: Value) -> Value:
    """The same elements as a matrix of the product's shape."""
    return Value(x.buffer, made.shape, made.strides, x.offset, x.dtype)


# --- sums -----------------------------------------------------------------------------------------


def _sums(graph: Graph, down: bool) -> None:
    nodes = graph.nodes
    sums = {
        number: rows
        for number, node in enumerate(nodes)
        if (rows := _summed_rows(node)) is not None
    }
    products: dict[Value, tuple[int, int]] = {}  # by factor: the product, and which factor it is
    for number, node in enumerate(nodes):
        if sums and _is_product(node) and len(node.reads) == 2:
            left, right = node.reads
            products.setdefault(_turned(left), (number, 0))
            products.setdefault(right, (number, 1))
    found = {number: products[rows] for number, rows in sums.items() if rows in products}
    if not found:
        return
    before = dependencies(nodes)
    merged: dict[int, Node] = {}
    gone: set[int] = set()
    for number, (product, factor) in found.items():
        early, late = sorted((number, product))
        if {early, late} & {*gone, *merged} or not _can_meet(before, early, late, down):
            continue
        both = _with_sums(nodes[product], nodes[number], factor)
        if both is not None:
            merged[late if down else early] = both
            gone.add(early if down else late)
    _merge(graph, merged, gone)


def _summed_rows(node: Node) -> Value | None:
    """The matrix whose rows the node adds up, if that is all that it does."""
    if node.call is None or node.operator not in ("sum", "sum_to"):
        return None
    source, out = node.inputs[0], node.outputs[0]
    if not isinstance(source, Value) or not source.contiguous or not source.elements:
        return None
    axes = len(source.shape)
    columns = source.shape[-1] if axes > 1 else 0
    if node.operator == "sum":
        adds_rows = node.call.ints[0] == (1 << (axes - 1)) - 1
    else:
        adds_rows = tuple(node.call.ints) in ((1,) * lead + (columns,) for lead in range(axes))
    if not adds_rows or out.elements != columns or not out.contiguous or out.dtype != source.dtype:
        return None
    shape = (source.elements // columns, columns)
    return Value(source.buffer, shape, (columns, 1), source.offset, source.dtype)


def _turned(matrix: Value) -> Value:
    return Value(
        matrix.buffer, matrix.shape[::-1], matrix.strides[::-1], matrix.offset, matrix.dtype
    )


def _can_meet(before: list[set[int]], early: int, late: int, down: bool) -> bool:
    """Whether the early node can run where the late one does, or else the other way round.

    They share no memory that one of them writes, as `_with_sums` sees to.
    """
    between = range(early + 1, late)
    if down:
        return not any(early in before[other] for other in between)
    return not any(other in before[late] for other in between)


def _with_sums(product: Node, sums: Node, factor: int) -> Node | None:
    """Both as one node; None if one overwrites what the other reads."""
    made, out, source = product.outputs[0], sums.outputs[0], sums.inputs[0]
    assert isinstance(source, Value)
    if product.backward != sums.backward or overlap(made, out) or overlap(made, source):
        return None
    if any(overlap(out, x) for x in product.reads):
        return None
    return Node(
        product.operator,
        product.inputs,
        [made, out],
        call=product.call,
        parts=[sums.operator],
        backward=product.backward,
        place=product.place,
        sums=Sums(sums.call, source, out, factor),
    )
