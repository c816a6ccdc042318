"""Memory plan: where internal buffers lie in the executable's one block of memory."""

from __future__ import annotations

from bisect import insort
from typing import NamedTuple

from flambeau.compiler._graph import Buffer, Graph, Node, Value

ALIGNMENT = 64


class MemoryPlan(NamedTuple):
    """Where buffers lie.

    Attributes:
        offsets: of the buffers in the arena, in bytes.
        fresh: "output" for internal buffers that leave the graph, "saved" for those that the
            backward part reads: they are allocated at every run.
        bytes: the length of the arena.
        shared: how many results were put where an operand was that is not needed any more.
    """

    offsets: dict[Buffer, int]
    fresh: dict[Buffer, str]
    bytes: int
    shared: int


def memory_plan(graph: Graph) -> MemoryPlan:
    """Places every internal buffer for the steps from its first to its last use.

    Takes the smallest free gap that is large enough. The result of a program lies on an operand
    of the same layout that is not used any more.

    Steps that run beside each other share no memory that one of them still needs.
    """
    first, last = _lifetimes(graph.nodes)
    fresh = _fresh(graph, first, last)
    arena = _Arena()
    offsets: dict[Buffer, int] = {}
    shared = 0
    freed_at = list(range(len(graph.nodes)))
    for fork in graph.forks:
        freed_at[fork.begin : fork.end] = [fork.end - 1] * (fork.end - fork.begin)
    beside = _used_beside(graph)
    ending: list[list[Buffer]] = [[] for _ in graph.nodes]
    for buffer, number in last.items():
        if buffer not in fresh:
            ending[freed_at[number]].append(buffer)
    taken: set[Buffer] = set()
    for number, node in enumerate(graph.nodes):
        kept = taken | beside.get(number, set())
        for value in node.outputs:
            buffer = value.buffer
            if buffer.kind != "internal" or buffer in fresh or buffer in offsets:
                continue
            place = _operand_to_replace(node, value, number, last, offsets, kept)
            if place is None:
                offsets[buffer] = arena.take(buffer.bytes)
            else:
                offsets[buffer] = offsets[place]
                taken.add(place)
                kept.add(place)
                shared += 1
        for value in node.reads:  # what is read unwritten has a place nevertheless
            buffer = value.buffer
            if buffer.kind == "internal" and buffer not in fresh and buffer not in offsets:
                offsets[buffer] = arena.take(buffer.bytes)
        for buffer in ending[number]:
            if buffer in offsets and buffer not in taken:
                arena.free(offsets[buffer], buffer.bytes)
    return MemoryPlan(offsets, fresh, arena.bytes, shared)


def _used_beside(graph: Graph) -> dict[int, set[Buffer]]:
    """For the steps of forks: the buffers of what runs beside them."""
    found = {}
    for begin, middle, end in graph.forks:
        for lane, other in (
            (range(begin, middle), range(middle, end)),
            (range(middle, end), range(begin, middle)),
        ):
            nodes = [graph.nodes[number] for number in other]
            used = {v.buffer for node in nodes for v in (*node.reads, *node.outputs)}
            found.update(dict.fromkeys(lane, used))
    return found


def _lifetimes(nodes: list[Node]) -> tuple[dict[Buffer, int], dict[Buffer, int]]:
    first: dict[Buffer, int] = {}
    last: dict[Buffer, int] = {}
    for number, node in enumerate(nodes):
        for value in (*node.reads, *node.outputs):
            if value.buffer.kind == "internal":
                first.setdefault(value.buffer, number)
                last[value.buffer] = number
    return first, last


def _fresh(graph: Graph, first: dict[Buffer, int], last: dict[Buffer, int]) -> dict[Buffer, str]:
    fresh = {buffer: "output" for buffer in graph.escaping if buffer.kind == "internal"}
    backward_at = graph.backward_at
    if backward_at is not None:
        for buffer, number in first.items():
            if number < backward_at <= last[buffer]:
                fresh.setdefault(buffer, "saved")
    return fresh


def _operand_to_replace(
    node: Node,
    value: Value,
    number: int,
    last: dict[Buffer, int],
    offsets: dict[Buffer, int],
    kept: set[Buffer],
) -> Buffer | None:
    """An operand that is read for the last time, element by element where `value` is written."""
    if node.program is None or node.call is not None:
        return None
    for x in node.reads:
        buffer = x.buffer
        if (
            x == value.on(buffer)
            and buffer.bytes == value.buffer.bytes
            and buffer in offsets
            and last[buffer] == number
            and buffer not in kept
            and all(other == x for other in node.reads if other.buffer is buffer)
            and all(other.buffer is not buffer for other in node.outputs)
        ):
            return buffer
    return None


class _Arena:
    """Memory with gaps."""

    def __init__(self) -> None:
        self.bytes = 0
        self._gaps: list[tuple[int, int]] = []  # begin, end; in order, never touching

    def take(self, bytes: int) -> int:
        """The beginning of so much free memory."""
        bytes = _aligned(bytes)
        if bytes == 0:
            return 0
        fitting = [(end - begin, begin) for begin, end in self._gaps if end - begin >= bytes]
        if fitting:
            size, begin = min(fitting)
            self._gaps.remove((begin, begin + size))
            if size > bytes:
                insort(self._gaps, (begin + bytes, begin + size))
            return begin
        begin = self.bytes
        if self._gaps and self._gaps[-1][1] == self.bytes:  # the gap at the end grows
            begin = self._gaps.pop()[0]
        self.bytes = begin + bytes
        return begin

    def free(self, begin: int, bytes: int) -> None:
        """Gives memory back."""
        end = begin + _aligned(bytes)
        if begin == end:
            return
        kept = []
        for gap in self._gaps:
            if gap[1] == begin:
                begin = gap[0]
            elif gap[0] == end:
                end = gap[1]
            else:
                kept.append(gap)
        insort(kept, (begin, end))
        self._gaps = kept


def _aligned(bytes: int) -> int:
    return -(-bytes // ALIGNMENT) * ALIGNMENT
