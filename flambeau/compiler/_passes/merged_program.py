"""The program of several nodes that share one loop."""

from __future__ import annotations

from typing import cast

import flambeau as fl
from flambeau.compiler._access import Access, value_of
from flambeau.compiler._graph import Buffer, Input, Node, Number, Value
from flambeau.compiler._passes.loops import Loop, Member
from flambeau.compiler._programs import Symbols, builder, holds_exactly


def merged_node(loop: Loop, local: set[Buffer]) -> Node | None:
    """One node that does the work of a loop's members, which are in the order of execution.

    Args:
        local: buffers that nobody else uses; they need not be written.

    Returns:
        The node; None if its results cannot be expressed as one program.
    """
    accesses, numbers = _inputs(loop)
    values = list(accesses)
    symbols = builder()
    known: dict[Access, int] = {}
    for index, access in enumerate(values):
        moves = access.moves_within(loop.columns) if loop.columns else True
        known[access] = symbols.input(index, "element" if moves else "row")
    supplied = {
        number: symbols.input(len(values) + i, "uniform") for i, number in enumerate(numbers)
    }
    stores = _inline(loop.members, symbols, known, supplied)
    kept = [access for access in stores if access.buffer not in local]
    results = [_spread(symbols, loop, access, stores[access]) for access in kept]
    if None in results or not _extent_known(loop, [*values, *kept]):
        return None
    first = loop.members[0].node
    inputs: list[Input] = [_value(loop, access, False) for access in values]
    return Node(
        "fused",
        [*inputs, *numbers],
        [_value(loop, access, True) for access in kept],
        program=symbols.finish(len(inputs) + len(numbers), [x for x in results if x is not None]),
        dtype=first.dtype,
        parts=[part for m in loop.members for part in m.node.parts or [m.node.operator]],
        backward=first.backward,
        place=loop.members[-1].node.place,
    )


def _value(loop: Loop, access: Access, output: bool) -> Value:
    row = bool(loop.columns) and not access.moves_within(loop.columns)
    return value_of(access, loop.count, loop.cuts, row and output)


def _inputs(loop: Loop) -> tuple[dict[Access, None], dict[Number | int, None]]:
    """What is read before any member writes it, and the numbers that are not constants."""
    accesses: dict[Access, None] = {}
    numbers: dict[Number | int, None] = {}
    written: set[Access] = set()
    for member in loop.members:
        for x in member.inputs:
            if isinstance(x, Access):
                if x not in written:
                    accesses[x] = None
            elif isinstance(x, Number) or isinstance(x, int):
                if isinstance(x, Number) or not holds_exactly(x):
                    numbers[x] = None
        written.update(member.outputs)
    return accesses, numbers


def _inline(
    members: list[Member],
    symbols: Symbols,
    known: dict[Access, int],
    supplied: dict[Number | int, int],
) -> dict[Access, int]:
    """Appends the members' programs; returns what is written where at the end."""
    stores: dict[Access, int] = {}
    for member in members:
        operands = []
        for x in member.inputs:
            if isinstance(x, Access):
                operands.append(known[x])
            elif isinstance(x, float) or x not in supplied:
                operands.append(symbols.constant(cast(float, x)))
            else:
                operands.append(supplied[x])
        results = symbols.inline(member.node.program, operands)
        for access, result in zip(member.outputs, results):
            if access.dtype == fl.bool:  # as memory has it: 1 or 0
                result = symbols.apply("ne", result, symbols.constant(0.0))
            known[access] = stores[access] = result
    return stores


def _spread(symbols: Symbols, loop: Loop, access: Access, result: int) -> int | None:
    """The result with one number for each place of the access; None if it has too many."""
    if not loop.columns:
        return result
    extent = symbols.extent(result)
    if access.moves_within(loop.columns):
        return result if extent == "element" else symbols.apply("spread", result)
    return result if extent == "row" else None


def _extent_known(loop: Loop, accesses: list[Access]) -> bool:
    """Whether the length of the rows follows from the shapes of inputs and outputs."""
    return not loop.columns or any(access.moves_within(loop.columns) for access in accesses)
