"""Common subexpressions: a step that repeats another one on the same data is left out."""

from __future__ import annotations

from collections.abc import Hashable

from flambeau.compiler._graph import Buffer, Graph, Node, Value, single_assignment
from flambeau.compiler._programs import facts


def common_subexpressions(graph: Graph) -> None:
    """Lets readers of a repeated computation read the first one.

    Steps are equal when they do the same to the same values, and none of the memory read was
    written to in between. Two results that both leave the graph stay two pieces of memory, and
    the backward part computes its own (what a user recomputes to save memory is not kept).
    """
    once = single_assignment(graph.nodes)
    escaping = graph.escaping
    version: dict[Buffer, int] = {}
    known: dict[Hashable, Node] = {}
    same: dict[Buffer, Buffer] = {}
    kept = []
    for node in graph.nodes:
        _redirect(node, same)
        key = None if node.random else _key(node, version)
        if key is not None and all(value.buffer in once for value in node.outputs):
            first = known.setdefault(key, node)
            if first is not node and _interchangeable(first, node, escaping):
                for old, new in zip(node.outputs, first.outputs):
                    same[old.buffer] = new.buffer
                    if old.buffer in escaping:
                        escaping.add(new.buffer)
                continue
        kept.append(node)
        for value in node.outputs:
            version[value.buffer] = version.get(value.buffer, 0) + 1
    graph.nodes = kept
    graph.replace(same)


def _redirect(node: Node, same: dict[Buffer, Buffer]) -> None:
    if same:
        for place, x in enumerate(node.inputs):
            if isinstance(x, Value) and x.buffer in same:
                node.inputs[place] = x.on(same[x.buffer])


def _key(node: Node, version: dict[Buffer, int]) -> Hashable:
    """Equal for steps that compute the same; None if that cannot be told."""
    what = facts(node.program).key if node.call is None and node.program else None
    if node.call is not None:
        what = getattr(node.call, "key", None)
    if what is None:
        return None
    operands = [
        (x, version.get(x.buffer, 0)) if isinstance(x, Value) else (type(x), x) for x in node.inputs
    ]
    layouts = tuple((v.shape, v.strides, v.offset, v.dtype, v.buffer.bytes) for v in node.outputs)
    return node.operator, what, node.dtype, node.backward, tuple(operands), layouts


def _interchangeable(first: Node, second: Node, escaping: set[Buffer]) -> bool:
    return not any(
        a.buffer in escaping and b.buffer in escaping for a, b in zip(first.outputs, second.outputs)
    )
