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
import weakref
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flambeau as fl
from flambeau import Tensor, _core
from flambeau.autograd._recompute import fresh_inputs
from flambeau.autograd.function import Function
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


class Part(NamedTuple):
    """A function recorded as a part of control flow."""

    executable: Any
    signature: bytes
    captured: list[Tensor]  # the memory that it reads beside its arguments
    outer: list[Tensor]  # tensors of its surroundings that get gradients
    kinds: list[Kind]  # of its results
    random: bool
    needs_gradient: bool


class Trial:
    """A function tried out on copies of the examples, and the graph that it left."""

    def __init__(self, function: Flat, examples: Sequence[Tensor]) -> None:
        self.arguments = [x.detach().clone().requires_grad_(x.requires_grad) for x in examples]
        recording = _core.record_part(self.arguments)
        since = _core.next_sequence()
        begin_part()
        try:
            results = [x.clone() for x in function(*self.arguments)]  # in memory of their own
        except BaseException:
            recording.stop()
            take_sources(recording)
            raise
        recording.finish(results)
        _check(recording)
        self.signature = recording.signature()
        self.graph = graph_of(recording)
        self.kinds = _kinds(results)
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
        return Part(
            executable,
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


def _check(recording: Any) -> None:
    """Raise NotReplayable if a recording cannot be a part."""
    take_sources(recording)
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


# --- scan -----------------------------------------------------------------------------------


class _Kept:
    """A user's function and what it captures; lives no longer than the recording."""

    def __init__(self, function: Flat, outer: list[Tensor]) -> None:
        self.function = function
        self.outer = outer


class _Plan(NamedTuple):
    """A recorded loop or branch with its backward pass."""

    forward: Any
    captured: list[Tensor]  # emptied once it has run
    backward: Any
    captured_backward: list[Tensor]
    kept: weakref.ref[_Kept]
    counts: tuple[int, ...]
    needs: list[bool]  # which of the inputs want gradients
    kinds: list[Kind]  # of the results
    outer: list[Kind]  # of what is captured and gets gradients
    reverse: bool = False


def _keep(function: Flat, outer: list[Tensor]) -> weakref.ref[_Kept]:
    kept = _Kept(function, outer)
    sources = recording_sources()
    assert sources is not None
    sources.kept.append(kept)
    return weakref.ref(kept)


def _kept(plan: _Plan) -> _Kept:
    kept = plan.kept()
    if kept is None:
        raise RuntimeError(
            "compiled control flow has no second derivative after the recording; differentiate "
            "inside the compiled function, or do not compile it"
        )
    return kept


def flat_scan(
    step: Flat,
    init: Sequence[Tensor],
    xs: Sequence[Tensor],
    reverse: bool,
    recompute: bool = False,
) -> list[Tensor]:
    """Scan along dimension 0.

    Args:
        step: of carries and slices; gives the next carries, then outputs.

    Returns:
        The last carries, then the stacked outputs.
    """
    if _core.recording() is not None:
        return _recorded_scan(step, init, xs, reverse, recompute)
    carry, rows = list(init), []
    slices = list(zip(*[x.unbind(0) for x in xs], strict=True))
    for row in reversed(slices) if reverse else slices:
        results = step(*carry, *row)
        carry = results[: len(init)]
        rows.append(results[len(init) :])
    if reverse:
        rows.reverse()
    return [*carry, *(fl.stack(column) for column in zip(*rows, strict=True))]


def _recorded_scan(
    step: Flat, init: Sequence[Tensor], xs: Sequence[Tensor], reverse: bool, recompute: bool
) -> list[Tensor]:
    init, xs = [x.contiguous() for x in init], [x.contiguous() for x in xs]
    inputs = [*init, *xs]
    carried, steps = len(init), len(xs[0])
    trial = Trial(step, [*init, *(x[0] for x in xs)])
    outer, user = trial.outer, list(trial.kinds)
    if not trial.needs_gradient:
        part = trial.part()
        kinds = _stacked(part.kinds, carried, steps)
        forward = _control("scan", [part], carried, len(xs), steps, reverse, False, kinds)
        results: list[Tensor] = forward.run([*inputs, *part.captured])
        return results
    if any(node.random for node in trial.graph.nodes):
        raise NotReplayable("random numbers are drawn in a loop whose gradient is needed")
    needs = [x.dtype.is_floating_point for x in init] + [x.requires_grad for x in xs]
    back = _scan_backward(step, carried, needs, user, outer)
    examples = _zeros([*user[:carried], *_kinds(outer)])
    walked = [*(x[0] for x in xs), *init, *_zeros(user[carried:])]
    with fl.no_grad():
        trial_back = Trial(back, [*examples, *walked])
    shared = [] if recompute else share_products(trial, trial_back)
    part, other = trial.part(), trial_back.part()
    kept = [((steps, *x.shape), x.dtype) for x in init]
    kinds = [*_stacked(part.kinds, carried, steps), *kept]
    forward = _control("scan", [part], carried, len(xs), steps, reverse, True, kinds)
    kinds = _stacked(other.kinds, len(examples), steps)
    walks = len(walked) + len(shared)
    backward = _control("scan", [other], len(examples), walks, steps, not reverse, False, kinds)
    plan = _Plan(
        forward,
        part.captured,
        backward,
        other.captured,
        _keep(step, outer),
        (carried, len(xs), len(user), len(shared)),
        needs,
        _stacked(user, carried, steps),
        _kinds(outer),
        reverse,
    )
    found = _Scan.apply(plan, *inputs, *outer)
    return list(found[: len(user)])


def _stacked(kinds: list[Kind], carried: int, steps: int) -> list[Kind]:
    """The results of a loop, from those of its step."""
    return [
        (shape if i < carried else (steps, *shape), dtype) for i, (shape, dtype) in enumerate(kinds)
    ]


def _scan_backward(
    step: Flat, carried: int, needs: list[bool], kinds: list[Kind], outer: list[Tensor]
) -> Flat:
    """One step of the loop that differentiates a loop.

    Its carries are the gradients of the carries and the sums for `outer`; its slices are those of
    xs, the carries before the step, the gradients of the outputs and perhaps of the carries.
    """
    inputs = len(needs)
    floating = [dtype.is_floating_point for _, dtype in kinds]
    count = sum(floating[:carried])

    def back(*leaves: Tensor) -> list[Tensor]:
        split = count + len(outer)
        sums, rest = leaves[count:split], leaves[split:]
        xs, carries = rest[: inputs - carried], rest[inputs - carried : inputs]
        weights = [*leaves[:count], *rest[inputs : inputs + sum(floating[carried:])]]
        more = rest[inputs + sum(floating[carried:]) :]
        found = _gradients(step, [*carries, *xs], needs, floating, weights, outer)
        own = found[:count]
        if more:
            own = [g + k for g, k in zip(own, more, strict=True)]
        totals = [a + g for a, g in zip(sums, found[len(found) - len(outer) :], strict=True)]
        return [*own, *totals, *found[count : len(found) - len(outer)]]

    return back


def _gradients(
    step: Flat,
    inputs: Sequence[Tensor],
    needs: list[bool],
    floating: list[bool],
    weights: Sequence[Tensor],
    outer: list[Tensor],
) -> list[Tensor]:
    """Gradients of the weighted floating results, for the inputs that need them and for outer."""
    create = fl.is_grad_enabled()
    with fl.enable_grad():
        fresh = fresh_inputs(inputs, needs, create)
        results = [x for x, is_floating in zip(step(*fresh), floating, strict=True) if is_floating]
    pairs = [(x, w) for x, w in zip(results, weights, strict=True) if x.requires_grad]
    wanted = [*(x for x, needed in zip(fresh, needs, strict=True) if needed), *outer]
    found = _core.border_gradients([x for x, _ in pairs], [w for _, w in pairs], wanted, create)
    return [
        fl.zeros(x.shape, dtype=x.dtype) if g is None else g
        for g, x in zip(found, wanted, strict=True)
    ]


class _Scan(Function):
    """A recorded loop, whose gradient is the loop backwards."""

    @staticmethod
    def forward(ctx: Any, plan: _Plan, *inputs: Tensor) -> tuple[Tensor, ...]:
        carried, walked, count, shared = plan.counts
        given = inputs[: carried + walked]
        results = plan.forward.run([*given, *plan.captured])
        ctx.save_for_backward(*given[carried:], *results[count:], *plan.captured_backward)
        ctx.mark_non_differentiable(*results[count : count + shared])
        ctx.plan = plan._replace(captured=[], captured_backward=[])
        plan.captured.clear()
        plan.captured_backward.clear()
        ctx.set_materialize_grads(False)
        return tuple(results)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        plan: _Plan = ctx.plan
        carried, walked, count, shared = plan.counts
        saved = list(ctx.saved_tensors)
        xs, saved = saved[:walked], saved[walked:]
        products, carries, captured = (
            saved[:shared],
            saved[shared : shared + carried],
            saved[shared + carried :],
        )
        weights = _weights(grads[:count], plan.kinds)
        split = len(_floating(plan.kinds[:carried]))
        init = weights[:split] + _zeros(plan.outer)
        given = [*xs, *carries, *weights[split:]]
        on_carries = grads[count + shared :]
        if fl.is_grad_enabled() or any(g is not None for g in on_carries):
            kept = _kept(plan)
            if any(g is not None for g in on_carries):
                given += _weights(on_carries, _kinds(carries))
            # What the step itself gives are slices of the outputs.
            kinds = [*plan.kinds[:carried], *((s[1:], d) for s, d in plan.kinds[carried:])]
            back = _scan_backward(kept.function, carried, plan.needs, kinds, kept.outer)
            found = flat_scan(back, init, given, not plan.reverse)
        else:
            found = plan.backward.run([*init, *given, *products, *captured])
        own, sums = iter(found[:split]), found[split : len(init)]
        slices = iter(found[len(init) :])
        gradients: list[Tensor | None] = []
        for i, needed in enumerate(plan.needs):
            gradients.append(next(own if i < carried else slices) if needed else None)
        return (None, *gradients, *sums)


# --- cond -----------------------------------------------------------------------------------


def recorded_cond(
    pred: Tensor, branches: Sequence[Flat], operands: Sequence[Tensor]
) -> list[Tensor]:
    """A branch of (false, true) as one call; both are recorded."""
    operands = [x.contiguous() for x in operands]
    parts = [record_part(branch, operands) for branch in branches]
    if parts[0].kinds != parts[1].kinds:
        raise RuntimeError(
            "cond: both branches must return the same shapes and dtypes, got "
            f"{_texts(parts[1].kinds)} from true_fn and {_texts(parts[0].kinds)} from false_fn"
        )
    is_differentiable = any(part.needs_gradient for part in parts)
    if is_differentiable and any(part.random for part in parts):
        raise NotReplayable("random numbers are drawn in a branch whose gradient is needed")
    forward = _control("cond", parts, len(operands), 0, 0, False, False, parts[0].kinds)
    captured = [*parts[0].captured, *parts[1].captured]
    if not is_differentiable:
        results: list[Tensor] = forward.run([pred, *operands, *captured])
        return results
    needs = [x.requires_grad for x in operands]
    backs = [_cond_backward(branches, parts, i, needs) for i in range(2)]
    outer = [*parts[0].outer, *parts[1].outer]
    examples = [*operands, *_zeros(parts[0].kinds)]
    with fl.no_grad():
        others = [record_part(back, examples) for back in backs]
    backward = _control("cond", others, len(examples), 0, 0, False, False, others[0].kinds)
    plan = _Plan(
        forward,
        captured,
        backward,
        [*others[0].captured, *others[1].captured],
        _keep(lambda *leaves: recorded_cond(leaves[0], backs, leaves[1:]), outer),
        (len(operands),),
        needs,
        parts[0].kinds,
        _kinds(outer),
    )
    return list(_Cond.apply(plan, pred, *operands, *outer))


def _cond_backward(
    branches: Sequence[Flat], parts: list[Part], which: int, needs: list[bool]
) -> Flat:
    """The gradients of one branch; those of what only the other one uses are zero."""
    floating = [dtype.is_floating_point for _, dtype in parts[0].kinds]
    outer = parts[which].outer

    def back(*leaves: Tensor) -> list[Tensor]:
        inputs, weights = leaves[: len(needs)], leaves[len(needs) :]
        found = _gradients(branches[which], inputs, needs, floating, weights, outer)
        others = [fl.zeros(x.shape, dtype=x.dtype) for x in parts[1 - which].outer]
        own = found[sum(needs) :]
        both = [*others, *own] if which else [*own, *others]
        return [*found[: sum(needs)], *both]

    return back


class _Cond(Function):
    """A recorded branch."""

    @staticmethod
    def forward(ctx: Any, plan: _Plan, *inputs: Tensor) -> tuple[Tensor, ...]:
        given = inputs[: 1 + plan.counts[0]]
        results = plan.forward.run([*given, *plan.captured])
        ctx.save_for_backward(*given, *plan.captured_backward)
        ctx.plan = plan._replace(captured=[], captured_backward=[])
        plan.captured.clear()
        plan.captured_backward.clear()
        ctx.set_materialize_grads(False)
        return tuple(results)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        plan: _Plan = ctx.plan
        count = 1 + plan.counts[0]
        saved = ctx.saved_tensors
        inputs = [*saved[:count], *_weights(grads, plan.kinds)]
        if fl.is_grad_enabled():
            found = _kept(plan).function(*inputs)
        else:
            found = plan.backward.run([*inputs, *saved[count:]])
        gradients = iter(found)
        own = [next(gradients) if needed else None for needed in plan.needs]
        return (None, None, *own, *gradients)


# --- while_loop -----------------------------------------------------------------------------


def recorded_while(condition: Flat, body: Flat, carry: Sequence[Tensor]) -> list[Tensor]:
    """A loop of unknown length as one call."""
    carry = [x.contiguous() for x in carry]
    count = len(carry)
    parts = [record_part(condition, carry), record_part(body, carry)]
    kinds, outer = parts[1].kinds, parts[1].outer
    forward = _control("while_loop", parts, count, 0, 0, False, False, [*kinds, ((), fl.int64)])
    captured = [*parts[0].captured, *parts[1].captured]
    if not parts[1].needs_gradient:
        results: list[Tensor] = forward.run([*carry, *captured])
        return results[:count]
    if parts[1].random:
        raise NotReplayable("random numbers are drawn in a loop whose gradient is needed")
    needs = [dtype.is_floating_point for _, dtype in kinds]
    back = _scan_backward(body, count, needs, kinds, outer)
    examples = _zeros([*kinds, *_kinds(outer)])
    with fl.no_grad():
        other = record_part(back, [*examples, *carry])
    pair = [parts[1], other]
    backward = _control(
        "while_loop_backward", pair, count, len(examples), 0, False, False, other.kinds
    )

    def again(*leaves: Tensor) -> list[Tensor]:
        while condition(*leaves)[0]:
            leaves = tuple(body(*leaves))
        return list(leaves)

    plan = _Plan(
        forward,
        captured,
        backward,
        [*parts[1].captured, *other.captured],
        _keep(again, outer),
        (count, len(parts[1].captured)),
        needs,
        kinds,
        _kinds(outer),
    )
    return list(_While.apply(plan, *carry, *outer)[:count])


class _While(Function):
    """A recorded loop of unknown length."""

    @staticmethod
    def forward(ctx: Any, plan: _Plan, *inputs: Tensor) -> tuple[Tensor, ...]:
        given = inputs[: plan.counts[0]]
        results = plan.forward.run([*given, *plan.captured])
        ctx.save_for_backward(results[-1], *given, *plan.captured_backward)
        ctx.plan = plan._replace(captured=[], captured_backward=[])
        plan.captured.clear()
        plan.captured_backward.clear()
        ctx.set_materialize_grads(False)
        return tuple(results)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        plan: _Plan = ctx.plan
        carried, captured = plan.counts
        saved = ctx.saved_tensors
        weights = _weights(grads[:carried], plan.kinds)
        if fl.is_grad_enabled():
            refuse("the second derivative of a while_loop is needed")
            kept = _kept(plan)
            floating = [dtype.is_floating_point for _, dtype in plan.kinds]
            given = saved[1 : 1 + carried]
            found = _gradients(kept.function, given, plan.needs, floating, weights, kept.outer)
        else:
            split = 1 + carried + captured
            inputs = [*saved[:split], *weights, *_zeros(plan.outer), *saved[split:]]
            found = plan.backward.run(inputs)
        gradients = iter(found)
        own = [next(gradients) if needed else None for needed in plan.needs]
        return (None, *own, *gradients)


# --- parts ----------------------------------------------------------------------------------


def _control(
    kind: str,
    parts: list[Part],
    carried: int,
    walked: int,
    steps: int,
    reverse: bool,
    keeps: bool,
    kinds: list[Kind],
) -> Any:
    signature = repr((kind, carried, walked, steps, reverse, keeps, kinds)).encode()
    for part in parts:
        signature += len(part.signature).to_bytes(8, "little") + part.signature
    executables = [part.executable for part in parts]
    is_random = any(part.random for part in parts)
    return _core.Control(
        kind, executables, signature, carried, walked, steps, reverse, keeps, is_random, kinds
    )


def _kinds(tensors: Sequence[Tensor]) -> list[Kind]:
    return [(tuple(x.shape), x.dtype) for x in tensors]


def _floating(kinds: Sequence[Kind]) -> list[Kind]:
    return [kind for kind in kinds if kind[1].is_floating_point]


def _zeros(kinds: Sequence[Kind]) -> list[Tensor]:
    return [fl.zeros(shape, dtype=dtype) for shape, dtype in _floating(kinds)]


def _weights(grads: Sequence[Tensor | None], kinds: Sequence[Kind]) -> list[Tensor]:
    """The gradients of the floating results; zeros where none arrived."""
    return [
        fl.zeros(shape, dtype=dtype) if g is None else g.contiguous()
        for g, (shape, dtype) in zip(grads, kinds, strict=True)
        if dtype.is_floating_point
    ]


def _texts(kinds: Sequence[Kind]) -> str:
    return ", ".join(f"{dtype} of shape {list(shape)}" for shape, dtype in kinds)
