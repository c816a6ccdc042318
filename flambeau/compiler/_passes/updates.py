"""Updates: the same program run in place on many tensors becomes one step.

An optimizer runs its formula once per parameter; together they are one loop over all of them,
shared evenly among the threads.
"""

from __future__ import annotations

from collections.abc import Hashable

from flambeau.compiler._graph import Graph, Node, Value, dependencies
from flambeau.compiler._programs import facts, precision


def updates(graph: Graph) -> None:
    """Merges in-place program nodes of equal programs and numbers."""
    nodes = graph.nodes
    keys = [_key(node) for node in nodes]
    several = [key for key in keys if key is not None]
    if len(set(several)) == len(several):
        return
    first_dependent = _first_dependents(nodes)
    open_groups: dict[Hashable, list[int]] = {}
    limits: dict[Hashable, int] = {}
    merged: dict[int, list[int]] = {}  # by the number of the last member
    for number, key in enumerate(keys):
        if key is None:
            continue
        group = open_groups.get(key)
        if group is None or number >= limits[key]:
            group = open_groups[key] = []
            limits[key] = len(nodes)
        elif len(group) > 1:
            del merged[group[-1]]
        group.append(number)
        limits[key] = min(limits[key], first_dependent[number])
        if len(group) > 1:
            merged[number] = group
    gone = {member for group in merged.values() for member in group[:-1]}
    graph.nodes = [
        _update([nodes[i] for i in merged[number]]) if number in merged else node
        for number, node in enumerate(nodes)
        if number not in gone
    ]


def _first_dependents(nodes: list[Node]) -> list[int]:
    first = [len(nodes)] * len(nodes)
    for number, before in enumerate(dependencies(nodes)):
        for other in before:
            first[other] = min(first[other], number)
    return first


def _key(node: Node) -> Hashable:
    """Equal for nodes that can be one step; None for what is no update."""
    if node.program is None or node.call is not None or node.columns or node.dtype is None:
        return None
    columns = len(node.reads)
    values = node.inputs[:columns]
    first = node.outputs[0]
    for value in (*values, *node.outputs):
        if not isinstance(value, Value) or value.shape != first.shape or not value.contiguous:
            return None
    if any(value not in values for value in node.outputs) or facts(node.program).rows:
        return None
    targets = tuple(values.index(value) for value in node.outputs)
    types = tuple(value.dtype for value in node.reads)
    numbers = tuple((type(x), x) for x in node.inputs[columns:])
    what = facts(node.program).key, precision(node.dtype)
    return what, targets, types, numbers, node.backward


def _update(members: list[Node]) -> Node:
    first = members[0]
    columns = len(first.reads)
    return Node(
        "update",
        [*(x for node in members for x in node.reads), *first.inputs[columns:]],
        [x for node in members for x in node.outputs],
        program=first.program,
        dtype=first.dtype,
        columns=columns,
        parts=first.parts or [first.operator],
        backward=first.backward,
        place=first.place,
    )
