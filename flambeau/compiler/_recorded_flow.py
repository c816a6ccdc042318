"""Recorded loops and branches with their gradients (Note [Recorded control flow])."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any, NamedTuple

import flambeau as fl
from flambeau import Tensor, _core
from flambeau.autograd._recompute import fresh_inputs
from flambeau.autograd.function import Function
from flambeau.compiler._parts import (
    Flat,
    Kind,
    Part,
    Trial,
    control_of,
    kinds_of,
    record_part,
    record_untaken,
    share_products,
)
from flambeau.compiler._sources import NotReplayable, recording_sources, refuse

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
        forward = control_of("scan", [part], carried, len(xs), steps, reverse, False, kinds)
        results: list[Tensor] = forward.run([*inputs, *part.captured])
        return results
    if any(node.random for node in trial.graph.nodes):
        raise NotReplayable("random numbers are drawn in a loop whose gradient is needed")
    needs = [x.dtype.is_floating_point for x in init] + [x.requires_grad for x in xs]
    back = _scan_backward(step, carried, needs, user, outer)
    examples = _zeros([*user[:carried], *kinds_of(outer)])
    walked = [*(x[0] for x in xs), *init, *_zeros(user[carried:])]
    with fl.no_grad():
        trial_back = Trial(back, [*examples, *walked])
    shared = [] if recompute else share_products(trial, trial_back)
    part, other = trial.part(), trial_back.part()
    kept = [((steps, *x.shape), x.dtype) for x in init]
    kinds = [*_stacked(part.kinds, carried, steps), *kept]
    forward = control_of("scan", [part], carried, len(xs), steps, reverse, True, kinds)
    kinds = _stacked(other.kinds, len(examples), steps)
    walks = len(walked) + len(shared)
    backward = control_of("scan", [other], len(examples), walks, steps, not reverse, False, kinds)
    plan = _Plan(
        forward,
        part.captured,
        backward,
        other.captured,
        _keep(step, outer),
        (carried, len(xs), len(user), len(shared)),
        needs,
        _stacked(user, carried, steps),
        kinds_of(outer),
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


def _hand_over(ctx: Any, plan: _Plan) -> None:
    """The plan for the backward pass; what it captured is saved as tensors, and held only there."""
    ctx.plan = plan._replace(captured=[], captured_backward=[])
    plan.captured.clear()
    plan.captured_backward.clear()
    ctx.set_materialize_grads(False)


class _Scan(Function):
    """A recorded loop, whose gradient is the loop backwards."""

    @staticmethod
    def forward(ctx: Any, plan: _Plan, *inputs: Tensor) -> tuple[Tensor, ...]:
        carried, walked, count, shared = plan.counts
        given = inputs[: carried + walked]
        results = plan.forward.run([*given, *plan.captured])
        ctx.save_for_backward(*given[carried:], *results[count:], *plan.captured_backward)
        ctx.mark_non_differentiable(*results[count : count + shared])
        _hand_over(ctx, plan)
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
                given += _weights(on_carries, kinds_of(carries))
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
    parts = [record_untaken(branch, operands) for branch in branches]
    if parts[0].kinds != parts[1].kinds:
        raise RuntimeError(
            "cond: both branches must return the same shapes and dtypes, got "
            f"{_texts(parts[1].kinds)} from true_fn and {_texts(parts[0].kinds)} from false_fn"
        )
    is_differentiable = any(part.needs_gradient for part in parts)
    if is_differentiable and any(part.random for part in parts):
        raise NotReplayable("random numbers are drawn in a branch whose gradient is needed")
    forward = control_of("cond", parts, len(operands), 0, 0, False, False, parts[0].kinds)
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
    backward = control_of("cond", others, len(examples), 0, 0, False, False, others[0].kinds)
    plan = _Plan(
        forward,
        captured,
        backward,
        [*others[0].captured, *others[1].captured],
        _keep(lambda *leaves: recorded_cond(leaves[0], backs, leaves[1:]), outer),
        (len(operands),),
        needs,
        parts[0].kinds,
        kinds_of(outer),
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
        _hand_over(ctx, plan)
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
    parts = [record_part(condition, carry), record_untaken(body, carry)]
    kinds, outer = parts[1].kinds, parts[1].outer
    forward = control_of("while_loop", parts, count, 0, 0, False, False, [*kinds, ((), fl.int64)])
    captured = [*parts[0].captured, *parts[1].captured]
    if not parts[1].needs_gradient:
        results: list[Tensor] = forward.run([*carry, *captured])
        return results[:count]
    if parts[1].random:
        raise NotReplayable("random numbers are drawn in a loop whose gradient is needed")
    needs = [dtype.is_floating_point for _, dtype in kinds]
    back = _scan_backward(body, count, needs, kinds, outer)
    examples = _zeros([*kinds, *kinds_of(outer)])
    with fl.no_grad():
        other = record_part(back, [*examples, *carry])
    pair = [parts[1], other]
    backward = control_of(
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
        kinds_of(outer),
    )
    return list(_While.apply(plan, *carry, *outer)[:count])


class _While(Function):
    """A recorded loop of unknown length."""

    @staticmethod
    def forward(ctx: Any, plan: _Plan, *inputs: Tensor) -> tuple[Tensor, ...]:
        given = inputs[: plan.counts[0]]
        results = plan.forward.run([*given, *plan.captured])
        ctx.save_for_backward(results[-1], *given, *plan.captured_backward)
        _hand_over(ctx, plan)
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


# --- kinds and gradients --------------------------------------------------------------------


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
