"""Loops: what the fusion of programs knows about the steps that it may merge.

A loop is one pass over `count` running numbers (Note [Accesses]) that carries out one or several
program nodes. With `columns` it goes row by row and may hold one number per row; what is computed
once per row elsewhere (the arithmetic between a loss and its gradient, the update of a scalar
parameter) can then be `lifted` into it.
"""

from __future__ import annotations

from collections.abc import Iterable

from flambeau.compiler._access import Access, access_of, joint_cuts
from flambeau.compiler._graph import Buffer, Node, Number, Value
from flambeau.compiler._passes.programs_of_calls import FEW_ROWS, MOST_ELEMENTS_OF_FEW_ROWS
from flambeau.compiler._programs import facts, precision

Operand = Access | Number | float | int | bool


class Member:
    """One node of a loop: what it reads and writes, by running number of the loop."""

    __slots__ = ("inputs", "node", "number", "outputs")

    def __init__(
        self, node: Node, number: int, inputs: list[Operand], outputs: list[Access]
    ) -> None:
        self.node = node
        self.number = number
        self.inputs = inputs
        self.outputs = outputs

    def lifted(self, columns: int) -> Member:
        """As part of a loop over rows, done once per row."""
        inputs = [x.repeated(columns) if isinstance(x, Access) else x for x in self.inputs]
        return Member(self.node, self.number, inputs, [x.repeated(columns) for x in self.outputs])


class Use:
    """How a loop uses one buffer."""

    __slots__ = ("nodes", "reads", "writes")

    def __init__(self) -> None:
        self.reads: set[Access] = set()
        self.writes: set[Access] = set()
        self.nodes = 0  # how many of the members use it


class Loop:
    """One pass over memory. See the module."""

    __slots__ = ("columns", "count", "cuts", "members", "precision", "uses", "values")

    def __init__(self, members: list[Member], count: int, columns: int, cuts: tuple[int, ...]):
        self.members = members
        self.count = count
        self.columns = columns  # 0: no rows
        self.cuts = cuts
        self.values = sum(facts(member.node.program).values for member in members)
        dtype = members[0].node.dtype
        self.precision = precision(dtype) if dtype is not None else ""
        self.uses = _uses(members)

    def lifted(self, columns: int) -> Loop | None:
        """Each running number as a row of `columns`; None if that cannot be."""
        if any(not member.node.reads for member in self.members):
            return None  # numbers alone are one number per run, never one per row
        cuts = tuple(cut * columns for cut in self.cuts)
        if self.count > 1:
            cuts = (columns, *cuts)
        members = [member.lifted(columns) for member in self.members]
        return Loop(members, self.count * columns, columns, cuts)

    def clashes(self) -> bool:
        """Whether it writes memory that it also uses along another way."""
        return any(
            write != other and _share(write, other)
            for use in self.uses.values()
            for write in use.writes
            for other in (*use.writes, *use.reads)
        )


def _uses(members: Iterable[Member]) -> dict[Buffer, Use]:
    uses: dict[Buffer, Use] = {}
    for member in members:
        touched = set()
        for x in member.inputs:
            if isinstance(x, Access):
                uses.setdefault(x.buffer, Use()).reads.add(x)
                touched.add(x.buffer)
        for x in member.outputs:
            uses.setdefault(x.buffer, Use()).writes.add(x)
            touched.add(x.buffer)
        for buffer in touched:
            uses[buffer].nodes += 1
    return uses


def _share(a: Access, b: Access) -> bool:
    (a_begin, a_end), (b_begin, b_end) = a.span, b.span
    return a_begin < b_end and b_begin < a_end


def loop_of(node: Node, number: int) -> Loop | None:
    """The loop of one node; None if it is not one that others can join."""
    if node.program is None or node.columns or not node.outputs:
        return None
    if any(x is None for x in node.inputs) or not all(x.elements for x in node.outputs):
        return None
    rows = facts(node.program).rows
    shape = _shape(node, rows)
    if shape is None:
        return None
    inputs: list[Operand] = [_operand(x, shape) for x in node.inputs if x is not None]
    columns = shape[-1] if rows and shape else 0
    if node.call is not None and rows:  # a reduction: rows are all that one result combines
        source, target = node.reads[0], node.outputs[0]
        columns = source.elements // target.elements
        outputs = [access_of(target, target.shape).repeated(columns)]
    else:
        outputs = [access_of(x, shape) for x in node.outputs]
    if rows and columns <= 1:
        return None
    count = 1
    for length in shape:
        count *= length
    cuts: tuple[int, ...] = (columns,) if 1 < columns < count else ()
    for access in (*inputs, *outputs):
        if isinstance(access, Access):
            refined = joint_cuts(cuts, access.cuts)
            if refined is None:
                return None
            cuts = refined
    if cuts and cuts[0] < columns:
        return None
    loop = Loop([Member(node, number, inputs, outputs)], count, columns, cuts)
    return None if loop.clashes() else loop


def _operand(x: Value | Number | float, shape: tuple[int, ...]) -> Operand:
    return access_of(x, shape) if isinstance(x, Value) else x


def _shape(node: Node, rows: bool) -> tuple[int, ...] | None:
    """The shape over which a program node runs."""
    if node.call is not None and rows:
        return node.reads[0].shape
    shape = node.outputs[0].shape
    if not rows:
        return shape if all(x.shape == shape for x in node.outputs) else None
    last = max(x.shape[-1] if x.shape else 1 for x in (*node.outputs, *node.reads))
    return (*shape[:-1], last)


def joined(a: Loop, b: Loop) -> Loop | None:
    """Both in one loop; None if there is no shape for both or their memory forbids it."""
    if a.precision != b.precision:
        return None
    if a.count != b.count:
        if b.columns and not a.columns and a.count * b.columns == b.count:
            lifted = a.lifted(b.columns)
            return joined(lifted, b) if lifted else None
        if a.columns and not b.columns and b.count * a.columns == a.count:
            lifted = b.lifted(a.columns)
            return joined(a, lifted) if lifted else None
        return None
    columns = a.columns or b.columns
    if b.columns not in (0, columns):
        return None
    if columns and columns * FEW_ROWS > a.count > MOST_ELEMENTS_OF_FEW_ROWS:
        return None
    cuts = joint_cuts(a.cuts, b.cuts)
    if cuts is None or (cuts and cuts[0] < columns) or not _compatible(a, b):
        return None  # a row is one axis of the shape
    loop = Loop.__new__(Loop)
    loop.members = [*a.members, *b.members]
    loop.count, loop.columns, loop.cuts = a.count, columns, cuts
    loop.precision = a.precision
    loop.values = a.values + b.values
    loop.uses = _joint_uses(a.uses, b.uses)
    return loop


def _joint_uses(a: dict[Buffer, Use], b: dict[Buffer, Use]) -> dict[Buffer, Use]:
    uses = dict(a)
    for buffer, use in b.items():
        known = uses.get(buffer)
        if known is None:
            uses[buffer] = use
            continue
        both = uses[buffer] = Use()
        both.reads = known.reads | use.reads
        both.writes = known.writes | use.writes
        both.nodes = known.nodes + use.nodes
    return uses


def _compatible(a: Loop, b: Loop) -> bool:
    """Whether memory that one of them writes is used by the other along the same way only."""
    if len(b.uses) < len(a.uses):
        a, b = b, a
    for buffer, mine in a.uses.items():
        other = b.uses.get(buffer)
        if other is None or not (mine.writes or other.writes):
            continue
        for write in mine.writes:
            if not _fits(write, other, a.precision):
                return False
        for write in other.writes:
            if not _fits(write, mine, a.precision):
                return False
    return True


def _fits(write: Access, other: Use, registers: str) -> bool:
    for access in (*other.reads, *other.writes):
        if access != write:
            if _share(access, write):
                return False
        elif access in other.reads and not _kept_by_register(access, registers):
            return False
    return True


def _kept_by_register(access: Access, registers: str) -> bool:
    """Whether a register holds what storing and loading would give."""
    name = str(access.dtype).removeprefix("torch.")
    return (
        name == registers
        or name == "bool"
        or (registers == "float32" and name in ("float16", "bfloat16"))
    )
