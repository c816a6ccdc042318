"""Rename: a whole overwrite of internal memory becomes memory of its own."""

from __future__ import annotations

from flambeau.compiler._graph import Buffer, Graph, Node, Value


def rename(graph: Graph) -> None:
    """Gives every whole overwrite of an internal buffer a new buffer, read by all later readers.

    What remains are values that are written once, which other passes treat as mathematics. The
    memory plan puts them back into one place where it can.
    """
    now: dict[Buffer, Buffer] = {}
    written: set[Buffer] = set()
    for node in graph.nodes:
        for place, x in enumerate(node.inputs):
            if isinstance(x, Value) and x.buffer in now:
                node.inputs[place] = x.on(now[x.buffer])
        for place, value in enumerate(node.outputs):
            original = value.buffer
            if original in written and value.fills and _free(node):
                now[original] = Buffer("internal", original.bytes)
            if original.kind == "internal":
                written.add(original)
            if original in now:
                node.outputs[place] = value.on(now[original])
    graph.replace(now)


def _free(node: Node) -> bool:
    """Whether the node can write elsewhere than into memory that it reads."""
    return node.call is None or not getattr(node.call, "in_place", False)
