"""Lanes: small steps that do not depend on each other run on two cores at the same time.

A step of some microseconds is too small to be shared among threads, but two such steps, or two
chains of them, can run beside each other: the gradients of a weight and of the layer before it, or
products of one input with several weights. Handing a chain to another thread takes a few
microseconds, and so does the way of what other steps have made into that core's cache and back;
this is done where it saves more.
"""

from __future__ import annotations

from flambeau.compiler._graph import Buffer, Fork, Graph, Node, Value, dependencies, writes
from flambeau.compiler._programs import facts

HANDING_OVER = 4000.0  # nanoseconds
BYTES = 6  # that reach another core in a nanosecond
LARGE = 10_000.0  # nanoseconds; such a step uses all threads itself
LONGEST = 16  # most steps of a fork


def lanes(graph: Graph) -> None:
    """Finds forks: neighbouring steps that fall into two independent chains.

    The steps of a fork are moved so that one chain follows the other, and `graph.forks` says where
    the chains begin and end.
    """
    nodes = graph.nodes
    costs = [_cost(node) for node in nodes]
    before = dependencies(nodes)
    users = _users(nodes)
    # The most that can be saved up to a node, and the fork that ends there.
    saved = [0.0] * (len(nodes) + 1)
    chosen: list[tuple[int, list[int], list[int]] | None] = [None] * (len(nodes) + 1)
    for begin, cost in enumerate(costs):
        if saved[begin] > saved[begin + 1]:
            saved[begin + 1], chosen[begin + 1] = saved[begin], None
        window = _Window(nodes[begin].backward, nodes, users)
        if cost is None:
            continue
        for number in range(begin, min(begin + LONGEST, len(nodes))):
            cost = costs[number]
            if cost is None or nodes[number].backward != window.backward:
                break
            window.add(number, cost, before[number])
            one, other, gain = window.split()
            end = number + 1
            if gain > 0 and saved[begin] + gain > saved[end]:
                saved[end], chosen[end] = saved[begin] + gain, (begin, one, other)
    order, forks = _order(chosen)
    graph.nodes = [nodes[number] for number in order]
    graph.forks = forks


def _order(
    chosen: list[tuple[int, list[int], list[int]] | None],
) -> tuple[list[int], list[Fork]]:
    """The new order of the nodes, and the forks in it."""
    order: list[int] = []
    forks: list[Fork] = []
    end = len(chosen) - 1
    while end > 0:
        fork = chosen[end]
        if fork is None:
            end -= 1
            order.append(end)
            continue
        begin, one, other = fork
        forks.append(Fork(begin, begin + len(one), end))
        order += [*reversed(other), *reversed(one)]
        end = begin
    return order[::-1], forks[::-1]


class _Window:
    """Neighbouring steps, as groups that do not depend on each other."""

    def __init__(self, backward: bool, nodes: list[Node], users: dict[Buffer, set[int]]) -> None:
        self.backward = backward
        self._nodes = nodes
        self._users = users
        self.groups: list[tuple[float, list[int]]] = []

    def add(self, number: int, cost: float, before: set[int]) -> None:
        """The next step; it joins the groups that it depends on."""
        members = [number]
        apart = []
        for group in self.groups:
            if before.isdisjoint(group[1]):
                apart.append(group)
            else:
                cost += group[0]
                members += group[1]
        self.groups = [*apart, (cost, sorted(members))]

    def split(self) -> tuple[list[int], list[int], float]:
        """The steps of two chains that take about as long, and the nanoseconds saved.

        The second chain is the one that is handed over.
        """
        lanes: tuple[list[int], list[int]] = [], []
        loads = [0.0, 0.0]
        for cost, members in sorted(self.groups, key=lambda group: -group[0]):
            lane = loads[1] < loads[0]
            lanes[lane].extend(members)
            loads[lane] += cost
        if min(loads) <= HANDING_OVER:
            return [], [], 0.0
        moved = [self._moved(lane) for lane in lanes]
        one, other = lanes if moved[1] <= moved[0] else lanes[::-1]
        gain = min(loads) - HANDING_OVER - min(moved) / BYTES
        return sorted(one), sorted(other), gain

    def _moved(self, lane: list[int]) -> int:
        """Bytes that the lane shares with steps outside of it, and one of them writes."""
        inside = set(lane)
        nodes = [self._nodes[number] for number in lane]
        used = {value.buffer for node in nodes for value in (*node.reads, *node.outputs)}
        return sum(x.bytes for x in used if x in self._users and not self._users[x] <= inside)


def _users(nodes: list[Node]) -> dict[Buffer, set[int]]:
    """The steps that use each buffer that is written."""
    users: dict[Buffer, set[int]] = {buffer: set() for buffer in writes(nodes)}
    for number, node in enumerate(nodes):
        for value in (*node.reads, *node.outputs):
            if value.buffer in users:
                users[value.buffer].add(number)
    return users


def _cost(node: Node) -> float | None:
    """About the nanoseconds of a step on one thread; None if it should not run in a lane."""
    if node.random or node.columns or (node.call is not None and node.call.is_control):
        return None
    cost = 200.0
    elements = max((value.elements for value in (*node.reads, *node.outputs)), default=0)
    if node.call is not None and node.call.takes_epilogue:
        factors = node.epilogue.factors if node.epilogue else node.inputs
        left = [x for x in factors if isinstance(x, Value)][-2]
        cost += node.outputs[0].elements * left.shape[-1] / 50
        program = node.epilogue.program if node.epilogue else None
        elements = node.outputs[0].elements
    else:
        program = node.program if node.call is None else None
        cost += elements / 10
    if program is not None:
        cost += elements * max(facts(program).values - len(node.inputs) - 1, 0) / 10
    return cost if cost < LARGE else None
