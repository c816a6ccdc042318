"""Dead code: steps whose results nobody reads, and writes that are overwritten unread."""

from __future__ import annotations

from flambeau.compiler._graph import Buffer, Graph, Node


def dead_code(graph: Graph) -> None:
    """Drops what neither a result nor memory outside of the graph depends on.

    Random draws stay: they advance the generator.
    """
    needed = graph.escaping
    overwritten: set[Buffer] = set()  # persistent, but the contents so far do not matter

    def matters(buffer: Buffer) -> bool:
        return buffer in needed or (buffer.persistent and buffer not in overwritten)

    kept: list[Node] = []
    for node in reversed(graph.nodes):
        if not node.random and not any(matters(value.buffer) for value in node.outputs):
            continue
        kept.append(node)
        for value in node.outputs:
            if value.fills:
                needed.discard(value.buffer)
                overwritten.add(value.buffer)
        for value in node.reads:
            needed.add(value.buffer)
    kept.reverse()
    graph.nodes = kept
