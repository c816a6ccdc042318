"""Whether loops and branches may be executed: their parts get memory without further checks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import flambeau as fl
from flambeau.compiler._graph import Graph, Input, Value
from flambeau.compiler._verify import need

if TYPE_CHECKING:
    from flambeau.compiler._parts import ControlPlan

Lengths = list[int]  # in bytes


def verify_part(graph: Graph) -> None:
    """Check that a graph reads its arguments and constants only, and fills its results."""
    values = [value for node in graph.nodes for value in (*node.reads, *node.outputs)]
    for value in (*values, *graph.outputs):
        kind = value.buffer.kind
        need(kind in ("argument", "constant", "internal"), f"a part of control flow has {kind}")
    for node in graph.nodes:
        kinds = {value.buffer.kind for value in node.outputs}
        need("argument" not in kinds, "a part of control flow writes to its arguments")
    need(not graph.gradients and not graph.numbers, "a part of control flow only returns")
    for value in graph.outputs:
        need(_bytes(value) == value.buffer.bytes, "a result does not fill its memory")


def _bytes(value: Value) -> int:
    return value.elements * value.dtype.itemsize


def _bytes_of(kinds: list[tuple[tuple[int, ...], Any]]) -> Lengths:
    found = []
    for shape, dtype in kinds:
        count = dtype.itemsize
        for length in shape:
            count *= length
        found.append(count)
    return found


def verify_control(plan: ControlPlan, inputs: list[Input], outputs: list[Value]) -> None:
    """Check the lengths of everything that a loop or a branch hands to its parts.

    The order of inputs and outputs is that of Note [Parts of control flow] in the core.
    """
    values = [x for x in inputs if isinstance(x, Value)]
    need(len(values) == len(inputs), "control flow reads values only")
    need(len(plan.parts) == (1 if plan.kind == "scan" else 2), "control flow has other parts")
    given, made = [_bytes(x) for x in values], [_bytes(x) for x in outputs]
    takes = [_bytes_of(part.arguments) for part in plan.parts]
    gives = [[_bytes(x) for x in part.graph.outputs] for part in plan.parts]
    if plan.kind == "scan":
        _verify_scan(plan, given, made, takes[0], gives[0])
    elif plan.kind == "while_loop":
        condition = plan.parts[0].graph.outputs
        need(gives[0] == [1] and condition[0].dtype == fl.bool, "a condition is one bool")
        _verify_while(plan.carried, given, made, takes, gives)
    elif plan.kind == "while_loop_backward":
        need(bool(values) and values[0].dtype == fl.int64, "there is no number of steps")
        _verify_backward(plan.carried, plan.walked, given, made, takes, gives)
    else:
        need(plan.kind == "cond", "there is no such control flow")
        need(bool(values) and values[0].dtype == fl.bool, "a condition is one bool")
        _verify_cond(plan.carried, given, made, takes, gives)


def _agree(*lengths: Lengths) -> None:
    need(all(x == lengths[0] for x in lengths), "lengths do not agree")


def _verify_scan(
    plan: ControlPlan, given: Lengths, made: Lengths, takes: Lengths, gives: Lengths
) -> None:
    carried, steps, split = plan.carried, plan.steps, plan.carried + plan.walked
    need(steps > 0 and split <= len(takes) and carried <= len(gives), "a scan has no steps")
    _agree(given[:carried], takes[:carried], gives[:carried], made[:carried])
    _agree(given[carried:split], [steps * x for x in takes[carried:split]])
    _agree(given[split:], takes[split:])
    stacked = [steps * x for x in gives[carried:]]
    kept = [steps * x for x in takes[:carried]] if plan.keeps_carries else []
    _agree(made[carried:], stacked + kept)


def _verify_while(
    carried: int, given: Lengths, made: Lengths, takes: list[Lengths], gives: list[Lengths]
) -> None:
    condition, body = takes
    need(carried <= min(map(len, takes)), "a loop lacks carries")
    _agree(given[:carried], condition[:carried], body[:carried], gives[1])
    _agree(given[carried:], condition[carried:] + body[carried:])
    _agree(made, [*gives[1], 8])


def _verify_backward(
    carried: int,
    count: int,
    given: Lengths,
    made: Lengths,
    takes: list[Lengths],
    gives: list[Lengths],
) -> None:
    body, back = takes
    need(carried <= len(body) and count + carried <= len(back), "a loop lacks carries")
    _agree(body[:carried], gives[0], back[count : count + carried])
    _agree(back[:count], gives[1], made)
    _agree(given, [8, *body, *back[:count], *back[count + carried :]])


def _verify_cond(
    operands: int, given: Lengths, made: Lengths, takes: list[Lengths], gives: list[Lengths]
) -> None:
    need(operands <= min(map(len, takes)), "a branch lacks operands")
    need(given[0] == 1, "a condition is one bool")
    _agree(given[1 : 1 + operands], takes[0][:operands], takes[1][:operands])
    _agree(given[1 + operands :], takes[0][operands:] + takes[1][operands:])
    _agree(made, *gives)
