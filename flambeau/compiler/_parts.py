"""Control flow inside a recording: loops and branches that become one step.

Note [Recorded control flow]
While a function is recorded, the body of a loop (each branch of a condition) is tried out once, on
copies of the first values, in a recording of its own. What it captures becomes an input, and the
graph an executable: a part (Note [Parts of control flow] in the core). The loop itself then runs
in the core and is one call of the outer recording. Its gradient is another loop, over the body's
backward pass, which computes each step again from the carry before it; so the carries of all steps
are outputs too, and unless it is to recompute everything, the matrix products. Parts that cannot
be replayed raise NotReplayable, and whoever asked does without.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flambeau as fl
from flambeau import Tensor, _core
from flambeau.compiler._graph import Buffer, Graph, Input, Value, single_assignment
from flambeau.compiler._lower import Lowering
from flambeau.compiler._passes import run_passes
from flambeau.compiler._record import graph_of
from flambeau.compiler._sources import (
    NotReplayable,
    begin_part,
    recording_sources,
    refuse,
    take_sources,
)

Flat = Callable[..., list[Tensor]]  # of tensors to tensors
Kind = tuple[tuple[int, ...], Any]  # shape and dtype


class PartGraph(NamedTuple):
    """What a part is made of, for files."""

    graph: Graph
    arguments: list[Kind]  # what it captures included
    controls: list[ControlPlan]  # inside of it


class ControlPlan(NamedTuple):
    """What a loop or a branch is made of, for files."""

    kind: str
    parts: list[PartGraph]
    signature: bytes  # equal for equal plans
    carried: int
    walked: int
    steps: int
    reverse: bool
    keeps_carries: bool
    random: bool
    kinds: list[Kind]  # of its results


class Part(NamedTuple):
    """A function recorded as a part of control flow."""

    executable: Any
    source: PartGraph
    signature: bytes
    captured: list[Tensor]  # the memory that it reads beside its arguments
    outer: list[Tensor]  # tensors of its surroundings that get gradients
    kinds: list[Kind]  # of its results
    random: bool
    needs_gradient: bool


def _row_major(x: Tensor) -> Tensor:
    """A copy as arguments and results of parts lie: in memory of its own, row-major."""
    return x.clone(memory_format=fl.contiguous_format)


class Trial:
    """A function tried out on copies of the examples, and the graph that it left."""

    def __init__(self, function: Flat, examples: Sequence[Tensor]) -> None:
        self.arguments = [_row_major(x.detach()).requires_grad_(x.requires_grad) for x in examples]
        recording = _core.record_part(self.arguments)
        since = _core.next_sequence()
        begin_part()
        try:
            results = [_row_major(x) for x in function(*self.arguments)]
        except BaseException:
            recording.stop()
            take_sources(recording)
            raise
        recording.finish(results)
        self.controls = _check(recording)
        self.signature = recording.signature()
        self.graph = graph_of(recording)
        self.kinds = kinds_of(results)
        differentiable = [x for x in results if x.requires_grad]
        own = {id(x) for x in self.arguments}
        outer = _core.outer_tensors(differentiable, since)
        self.outer = [x for x in outer if id(x) not in own]
        self.needs_gradient = bool(differentiable)

    def part(self) -> Part:
        """The executable of the graph."""
        graph, arguments = self.graph, self.arguments
        captured = _arguments_for_captured(graph, len(arguments))
        run_passes(graph)
        lowering = Lowering(graph)
        for x in (*arguments, *captured):
            lowering.builder.expect_argument(x)
        is_random = any(node.random for node in graph.nodes)
        executable = lowering.finish()
        for value in (value for node in graph.nodes for value in node.reads):
            if value.buffer.kind == "argument":
                value.buffer.tensor = None  # an example, which must not outlive the recording
        return Part(
            executable,
            PartGraph(graph, kinds_of([*arguments, *captured]), self.controls),
            self.signature,
            captured,
            self.outer,
            self.kinds,
            is_random,
            self.needs_gradient,
        )


def record_part(function: Flat, examples: Sequence[Tensor]) -> Part:
    """Try a function out on copies of the examples, and make an executable of it."""
    return Trial(function, examples).part()


def record_untaken(function: Flat, examples: Sequence[Tensor]) -> Part:
    """`record_part` of what perhaps does not run: its errors are the eager call's to raise."""
    try:
        return record_part(function, examples)
    except Exception as error:
        raise NotReplayable(f"trying out a part raised {type(error).__name__}: {error}") from None


def share_products(forward: Trial, backward: Trial) -> list[Kind]:
    """Let `forward` give its matrix products and the like, and `backward` read them.

    The backward pass of a step begins with the step again. What is elementwise is cheap to
    compute again, what combines several tensors in other ways is not.

    Returns:
        Shapes and dtypes of the results that are added to `forward` and the arguments that are
        added to `backward`.
    """
    again = backward.graph.nodes
    once = single_assignment(forward.graph.nodes)
    once_again = single_assignment(again)
    shared: dict[Buffer, Buffer] = {}
    kinds: list[Kind] = []
    doomed = set()
    for node, twin in zip(forward.graph.nodes, again):
        if (node.operator, len(node.outputs)) != (twin.operator, len(twin.outputs)):
            break
        if node.program is not None or node.random or len(node.reads) < 2 or len(node.outputs) > 1:
            continue
        value, other = node.outputs[0], twin.outputs[0]
        is_whole = value.fills and value.contiguous and value.buffer in once
        if not is_whole or other.buffer not in once_again or value.on(other.buffer) != other:
            continue
        forward.graph.outputs.append(value)
        argument = len(backward.arguments)
        shared[other.buffer] = Buffer("argument", other.buffer.bytes, argument)
        backward.arguments.append(fl.zeros(value.shape, dtype=value.dtype))
        kinds.append((value.shape, value.dtype))
        doomed.add(twin)

    def move(x: Input) -> Input:
        return x.on(shared[x.buffer]) if isinstance(x, Value) and x.buffer in shared else x

    backward.graph.nodes = [node for node in again if node not in doomed]
    for node in backward.graph.nodes:
        node.inputs = [move(x) for x in node.inputs]
    forward.kinds = [*forward.kinds, *kinds]
    return kinds


def _check(recording: Any) -> list[ControlPlan]:
    """Raise NotReplayable if a recording cannot be a part.

    Returns:
        The loops and branches inside.
    """
    controls = take_sources(recording).controls
    if recording.failure is not None:
        raise NotReplayable(recording.failure)
    if recording.escaped():
        gc.collect()  # what is only held by a cycle cannot be seen
    if recording.escaped():
        raise NotReplayable("a tensor made inside control flow is kept; return it")
    lasting = ("captured", "argument")
    if recording.gradients or any(b[4] and b[0] in lasting for b in recording.buffers):
        reason = "tensors of the surroundings are changed inside control flow"
        refuse(reason)
        raise NotReplayable(reason)
    return controls


def _arguments_for_captured(graph: Graph, count: int) -> list[Tensor]:
    """Turn captured buffers into arguments, of the stretch of memory that is read."""
    spans: dict[Buffer, list[int]] = {}
    for node in graph.nodes:
        for value in node.reads:
            if value.buffer.kind != "captured":
                continue
            tensor = value.buffer.tensor
            assert tensor is not None
            if tensor.dtype != value.dtype:
                raise NotReplayable("memory is read as another dtype inside control flow")
            size = value.dtype.itemsize
            begin, end = (x // size for x in value.span)
            span = spans.setdefault(value.buffer, [begin, end])
            span[:] = min(span[0], begin), max(span[1], end)
    moved: dict[Buffer, tuple[Buffer, int]] = {}
    captured: list[Tensor] = []
    for buffer, (begin, end) in spans.items():
        assert buffer.tensor is not None
        with fl.no_grad():
            start = buffer.tensor.storage_offset() + begin  # values count from this tensor on
            piece = buffer.tensor.as_strided((end - begin,), (1,), start)
        moved[buffer] = Buffer("argument", buffer.bytes, count + len(captured)), begin
        captured.append(piece)

    def move(x: Input) -> Input:
        if not isinstance(x, Value) or x.buffer not in moved:
            return x
        buffer, begin = moved[x.buffer]
        return x._replace(buffer=buffer, offset=x.offset - begin)

    for node in graph.nodes:
        node.inputs = [move(x) for x in node.inputs]
    return captured


def control_of(
    kind: str,
    parts: list[Part],
    carried: int,
    walked: int,
    steps: int,
    reverse: bool,
    keeps: bool,
    kinds: list[Kind],
) -> Any:
    """The loop or branch made of parts; arguments as in core/trace/control.h."""
    signature = repr((kind, carried, walked, steps, reverse, keeps, kinds)).encode()
    for part in parts:
        signature += len(part.signature).to_bytes(8, "little") + part.signature
    is_random = any(part.random for part in parts)
    plan = ControlPlan(
        kind,
        [part.source for part in parts],
        signature,
        carried,
        walked,
        steps,
        reverse,
        keeps,
        is_random,
        list(kinds),
    )
    try:
        control = control_of_plan(plan, [part.executable for part in parts])
    except RuntimeError as error:  # two results have become one in the passes
        raise NotReplayable(str(error)) from None
    sources = recording_sources()
    if sources is not None:
        sources.controls.append(plan)
    return control


def control_of_plan(plan: ControlPlan, executables: list[Any]) -> Any:
    """The loop or branch of a plan and its parts."""
    return _core.Control(
        plan.kind,
        executables,
        plan.signature,
        plan.carried,
        plan.walked,
        plan.steps,
        plan.reverse,
        plan.keeps_carries,
        plan.random,
        plan.kinds,
    )


def kinds_of(tensors: Sequence[Tensor]) -> list[Kind]:
    """Shapes and dtypes."""
    return [(tuple(x.shape), x.dtype) for x in tensors]
