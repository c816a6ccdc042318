"""Fusion: elementwise and row-wise steps that share data become one program with several outputs.

Note [Fusion]
Nodes are taken in order and join the groups of the nodes that they depend on, or of a node that
reads the same data. Groups stay in a list in which every group comes after what it depends on,
so two of them can be merged if the later one can move up to the earlier one (it depends on
nothing in between) or the earlier one down to the later one (nothing in between depends on it).
The merged group's place follows from that, and no cycle can arise.
"""

from __future__ import annotations

from flambeau.compiler._access import Access
from flambeau.compiler._graph import Buffer, Graph, Node, dependencies
from flambeau.compiler._passes.loops import Loop, joined, loop_of
from flambeau.compiler._passes.merged_program import merged_node

MOST_VALUES = 200
MOST_OPERANDS = 32  # inputs and outputs of a program: more do not fit the addresses of a kernel


class _Group:
    """Nodes that are executed together, at one position among the groups."""

    __slots__ = ("after", "backward", "before", "loop", "node", "position", "successor")

    def __init__(self, node: Node, loop: Loop | None, position: int) -> None:
        self.node = node
        self.loop = loop
        self.position = position
        self.backward = node.backward
        self.before: set[_Group] = set()  # what it depends on
        self.after: set[_Group] = set()  # what depends on it
        self.successor: _Group | None = None  # what it was merged into

    def present(self) -> _Group:
        """The group of which it is now a part."""
        group = self
        while group.successor is not None:
            group = group.successor
        return group


def fusion(graph: Graph) -> None:
    """Merges program nodes where one pass over memory can do the work of several."""
    totals = _totals(graph.nodes)
    escaping = graph.escaping
    inner = {b for b in totals if b.kind in ("internal", "constant") and b not in escaping}
    groups = _grouped(graph.nodes, totals, inner)
    nodes: list[Node] = []
    for group in sorted(groups, key=lambda g: g.position):
        loop = group.loop
        if loop is None or len(loop.members) == 1:
            nodes.append(group.node)
            continue
        loop.members.sort(key=lambda member: member.number)
        local = {b for b, use in loop.uses.items() if b in inner and use.nodes == totals[b]}
        merged = merged_node(loop, local)
        if merged is None:
            nodes += [member.node for member in loop.members]
        elif merged.outputs:  # a loop whose results only itself reads does nothing
            nodes.append(merged)
    graph.nodes = nodes


def _totals(nodes: list[Node]) -> dict[Buffer, int]:
    """How many nodes use each buffer."""
    totals: dict[Buffer, int] = {}
    for node in nodes:
        for buffer in {value.buffer for value in (*node.reads, *node.outputs)}:
            totals[buffer] = totals.get(buffer, 0) + 1
    return totals


def _grouped(nodes: list[Node], totals: dict[Buffer, int], inner: set[Buffer]) -> set[_Group]:
    groups: list[_Group] = []
    readers: dict[Access, _Group] = {}
    for number, before in enumerate(dependencies(nodes)):
        node = nodes[number]
        group = _Group(node, loop_of(node, number), number)
        groups.append(group)
        group.before = {groups[i].present() for i in before}
        for other in group.before:
            other.after.add(group)
        if group.loop is None:
            continue
        shared = [
            x for x in group.loop.members[0].inputs if isinstance(x, Access) and any(x.strides)
        ]
        candidates = group.before | {readers[x].present() for x in shared if x in readers}
        for other in sorted(candidates, key=lambda g: g.position, reverse=True):
            other = other.present()
            if other is not group:
                group = _merge(other, group, totals, inner) or group
        for x in shared:
            readers[x] = group
    return {group.present() for group in groups}


def _merge(
    early: _Group, late: _Group, totals: dict[Buffer, int], inner: set[Buffer]
) -> _Group | None:
    """The two groups as one; None if they cannot or should not be merged."""
    if early.position > late.position:
        early, late = late, early
    if early.loop is None or late.loop is None or early.backward != late.backward:
        return None
    if all(g.position > late.position for g in early.after if g is not late):
        position = late.position
    elif all(g.position < early.position for g in late.before if g is not early):
        position = early.position
    else:
        return None
    loop = joined(early.loop, late.loop)
    if loop is None or not _small(loop, totals, inner):
        return None
    early.loop, early.position = loop, position
    late.successor, late.loop = early, None
    early.before = (early.before | late.before) - {early, late}
    early.after = (early.after | late.after) - {early, late}
    for group in late.before:
        group.after.discard(late)
        if group is not early:
            group.after.add(early)
    for group in late.after:
        group.before.discard(late)
        if group is not early:
            group.before.add(early)
    return early


def _small(loop: Loop, totals: dict[Buffer, int], inner: set[Buffer]) -> bool:
    if loop.values > MOST_VALUES:
        return False
    if len(loop.uses) * 2 <= MOST_OPERANDS // 2:
        return True
    operands = 0
    for buffer, use in loop.uses.items():
        if buffer not in inner or use.nodes < totals[buffer]:
            operands += len(use.reads) + len(use.writes)
    return operands <= MOST_OPERANDS
