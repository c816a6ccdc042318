"""Slices: the sum of gradients of disjoint slices is written piece by piece.

The gradient of `x[:, :n]` is zero but for a slice, and where x was split, several of these are
added. Each would be filled with zeros, written and read again; instead every piece goes straight
to its place in the sum.
"""

from __future__ import annotations

from functools import lru_cache
from math import gcd
from typing import Any, NamedTuple

from flambeau.compiler._graph import Buffer, Graph, Node, Value, single_assignment
from flambeau.compiler._programs import build, builder, facts


class _Piece(NamedTuple):
    """What one strided_sum contributes: its node's number, what it reads, and where it goes."""

    number: int
    source: Value
    target: Value


def slices(graph: Graph) -> None:
    """Replaces sums of disjoint strided_sums, which cover the result, by copies into it."""
    once = single_assignment(graph.nodes)
    escaping = graph.escaping
    readers: dict[Buffer, int] = {}
    for node in graph.nodes:
        for value in node.reads:
            readers[value.buffer] = readers.get(value.buffer, 0) + 1
    pieces: dict[Buffer, list[_Piece]] = {}
    sums: dict[Buffer, list[int]] = {}  # the additions that led to a buffer
    for number, node in enumerate(graph.nodes):
        piece = _piece(node, number)
        out = node.outputs[0].buffer if len(node.outputs) == 1 else None
        if out is None or out not in once:
            continue
        if piece is not None:
            pieces[out], sums[out] = [piece], []
        elif _is_sum(node) and all(
            x.buffer in pieces and readers[x.buffer] == 1 and x.buffer not in escaping
            for x in node.reads
        ):
            a, b = (x.buffer for x in node.reads)
            both = [*pieces[a], *pieces[b]]
            if _disjoint(both):
                pieces[out] = [p._replace(target=p.target.on(out)) for p in both]
                sums[out] = [*sums[a], *sums[b], number]
                for part in (a, b):
                    del pieces[part], sums[part]
    _rewrite(graph, [(pieces[buffer], sums[buffer]) for buffer in pieces if sums[buffer]])


def _piece(node: Node, number: int) -> _Piece | None:
    call = node.call
    if node.operator != "strided_sum" or call.flag:  # set: elements may meet
        return None
    source = node.inputs[0]
    if not isinstance(source, Value):
        return None
    out = node.outputs[0]
    target = Value(out.buffer, source.shape, tuple(call.more_ints), call.ints[1], out.dtype)
    return _Piece(number, source, target)


def _is_sum(node: Node) -> bool:
    if node.program is None or node.call is not None or len(node.inputs) != 2:
        return False
    a, b = node.inputs
    return (
        facts(node.program).key == facts(_addition()).key
        and isinstance(a, Value)
        and isinstance(b, Value)
        and a.fills
        and b.fills
        and a.contiguous
        and b.contiguous
        and node.outputs[0].fills
        and node.outputs[0].contiguous
        and a.dtype == b.dtype == node.outputs[0].dtype
    )


@lru_cache(maxsize=1)
def _addition() -> Any:
    symbols = builder()
    a, b = symbols.input(0, "element"), symbols.input(1, "element")
    return symbols.finish(2, [symbols.apply("add", a, b)])


def _disjoint(pieces: list[_Piece]) -> bool:
    """Whether the pieces are columns of one matrix that do not share a column, and all of it."""
    period = 0
    runs = []
    for piece in pieces:
        target = piece.target
        run = 1
        for length, stride in sorted(zip(target.shape, target.strides), key=lambda x: x[1]):
            if length == 1:
                continue
            if stride == run:
                run *= length
            else:
                period = gcd(period, stride)
        runs.append(run)
    if not period:  # every piece is one run
        period = max(p.target.offset + run for p, run in zip(pieces, runs))
    columns = sorted((p.target.offset % period, run) for p, run in zip(pieces, runs))
    ends = [begin + run for begin, run in columns]
    begins = [begin for begin, _ in columns[1:]]
    return ends[-1] <= period and all(end <= begin for end, begin in zip(ends, begins))


def _rewrite(graph: Graph, found: list[tuple[list[_Piece], list[int]]]) -> None:
    copies: dict[int, _Piece] = {}
    dropped: set[int] = set()
    for pieces, additions in found:
        buffer = pieces[0].target.buffer
        covered = sum(p.target.elements * p.target.dtype.itemsize for p in pieces)
        if covered == buffer.bytes:
            copies.update((piece.number, piece) for piece in pieces)
            dropped.update(additions)
    nodes = []
    for number, node in enumerate(graph.nodes):
        piece = copies.get(number)
        if piece is not None:
            node = Node(
                "copy",
                [piece.source],
                [piece.target],
                program=build(lambda s, x: x),
                dtype=piece.target.dtype,
                backward=node.backward,
                place=node.place,
            )
        if number not in dropped:
            nodes.append(node)
    graph.nodes = nodes
