"""Schedule: a step that only makes new memory waits until the result is needed."""

from __future__ import annotations

from flambeau.compiler._graph import Buffer, Graph, Node, dependencies


def schedule(graph: Graph) -> None:
    """Moves steps that free nothing down to the first step that depends on them.

    The order of everything else stays as recorded: it is the user's, and results are mostly
    used while they are still in the cache.
    """
    nodes = graph.nodes
    dependents: list[list[int]] = [[] for _ in nodes]
    for number, before in enumerate(dependencies(nodes)):
        for other in before:
            dependents[other].append(number)
    escaping = graph.escaping
    last_reader: dict[Buffer, int] = {}
    for number, node in enumerate(nodes):
        for value in node.reads:
            last_reader[value.buffer] = number
    # Where each node goes: before node `anchor`, which stays, by so many levels.
    places: list[tuple[int, int]] = [(number, 0) for number in range(len(nodes))]
    for number in range(len(nodes) - 1, -1, -1):
        node = nodes[number]
        frees = any(
            last_reader[value.buffer] == number and value.buffer.kind == "internal"
            for value in node.reads
        )
        if dependents[number] and not frees and not node.random and _local(node, escaping):
            anchor, level = min(places[i] for i in dependents[number])
            if nodes[anchor].backward == node.backward:
                places[number] = anchor, level - 1
    order = sorted(range(len(nodes)), key=lambda number: (*places[number], number))
    graph.nodes = [nodes[number] for number in order]


def _local(node: Node, escaping: set[Buffer]) -> bool:
    return all(v.buffer.kind == "internal" and v.buffer not in escaping for v in node.outputs)
