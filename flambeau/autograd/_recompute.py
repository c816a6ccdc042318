"""A call that keeps its arguments instead of its intermediate results.

Note [Recomputation]
The call runs with gradients on, so that the graph it leaves tells which tensors from outside it
has used (parameters, results captured by a closure). Then the graph is dropped: one node stays,
whose inputs are the tensors among the arguments and those from outside. Its backward pass makes
the call again and differentiates that up to the border; the outer pass continues from there.
With create_graph the second call hangs on the arguments' own history, so every order works.
While a function is recorded (flambeau.compile) the call is an ordinary one.
(Chen et al., 2016, "Training deep nets with sublinear memory cost")
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import flambeau as fl
from flambeau import Tensor, _core
from flambeau._tree import flatten, rebuild
from flambeau.autograd.function import Function


class CheckpointError(RuntimeError):
    """A call gave other results when it was made again."""


def recomputed(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any] | None = None,
    preserve_rng_state: bool = True,
) -> Any:
    """`function(*args, **kwargs)`, computed once more in the backward pass (Note [Recomputation]).

    Args:
        function: gives tensors, nested in tuples, lists or dictionaries.
        args, kwargs: its arguments; tensors may be nested in them.
        preserve_rng_state: random numbers are the same the second time.
    """
    if not fl.is_grad_enabled() or _core.recording() is not None:
        return function(*args, **(kwargs or {}))
    call = _Call(function, args, kwargs or {})
    states = _core.DefaultStates() if preserve_rng_state else None
    since = _core.next_sequence()
    inputs = fresh_inputs(call.tensors, [x.requires_grad for x in call.tensors], False)
    results: list[Any] = []
    structure = flatten(call.run(inputs), results)
    if states is not None and not states.same():
        call.random_states = states
    call.places = [i for i, x in enumerate(results) if isinstance(x, Tensor) and x.requires_grad]
    if not call.places:
        return rebuild(structure, iter(results))
    differentiable = [results[i] for i in call.places]
    own = {id(x) for x in inputs}
    outer = [x for x in _core.outer_tensors(differentiable, since) if id(x) not in own]
    call.outer = outer
    detached = [x.detach() for x in differentiable]
    recorded = _Recompute.apply(call, detached, *call.tensors, *outer)
    for i, result in zip(call.places, recorded, strict=True):
        results[i] = result
    return rebuild(structure, iter(results))


def fresh_inputs(tensors: Sequence[Tensor], needs: Sequence[bool], create: bool) -> list[Tensor]:
    """Tensors where a recomputed part begins; with `create` they hang on their history."""
    return [
        x
        if not needed
        else x.view_as(x)
        if create and x.requires_grad
        else x.detach().requires_grad_()
        for x, needed in zip(tensors, needs, strict=True)
    ]


class _Call:
    """A function with its arguments, which can be called with other tensors in their places."""

    def __init__(
        self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        self.function = function
        self.leaves: list[Any] = []
        self.structure = flatten((args, kwargs), self.leaves)
        self.tensors = [leaf for leaf in self.leaves if isinstance(leaf, Tensor)]
        self.count = len(self.tensors)
        self.is_tensor = [isinstance(leaf, Tensor) for leaf in self.leaves]
        self.random_states: _core.DefaultStates | None = None
        self.autocast = _core.autocast_modes()  # holds the second time, too
        self.places: list[int] = []  # of the results that require a gradient
        self.outer: list[Tensor] = []

    def run(self, tensors: list[Tensor]) -> Any:
        given = iter(tensors)
        leaves = [
            next(given) if is_tensor else leaf
            for leaf, is_tensor in zip(self.leaves, self.is_tensor, strict=True)
        ]
        args, kwargs = rebuild(self.structure, iter(leaves))
        return self.function(*args, **kwargs)

    def keep_nothing(self) -> None:
        """Drop the tensors: the node saves them, with their versions."""
        self.leaves = [
            None if is_tensor else leaf
            for leaf, is_tensor in zip(self.leaves, self.is_tensor, strict=True)
        ]
        self.tensors = []

    def run_again(self, tensors: list[Tensor]) -> list[Any]:
        """The results that require a gradient, of the same call as the first."""
        results: list[Any] = []
        outer = _core.autocast_modes()
        _core.set_autocast_modes(self.autocast)
        try:
            with fl.enable_grad():
                if self.random_states is None:
                    flatten(self.run(tensors), results)
                else:
                    with fl.random.fork_rng():
                        self.random_states.restore()
                        flatten(self.run(tensors), results)
        finally:
            _core.set_autocast_modes(outer)
        if len(results) <= self.places[-1]:
            raise CheckpointError(
                f"recomputation: {self.places[-1] + 1} results are required, as the first time, "
                f"got {len(results)}; the function must not depend on what changes between calls"
            )
        return [results[i] for i in self.places]


class _Recompute(Function):
    """One node for a whole call (Note [Recomputation])."""

    @staticmethod
    def forward(ctx: Any, call: _Call, results: list[Tensor], *tensors: Tensor) -> Any:
        ctx.call = call
        ctx.shapes = [(x.shape, x.dtype) for x in results]
        ctx.set_materialize_grads(False)
        leaves = [x for x in call.outer if x.is_leaf]  # written to before the backward pass?
        ctx.save_for_backward(*call.tensors, *leaves)
        call.keep_nothing()
        return tuple(results)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        call, create = ctx.call, fl.is_grad_enabled()
        arguments = list(ctx.saved_tensors[: call.count])
        needs = ctx.needs_input_grad[2 : 2 + call.count]
        with fl.enable_grad():
            inputs = fresh_inputs(arguments, needs, create)
        again = call.run_again(inputs)
        roots, weights = [], []
        for result, grad, (shape, dtype) in zip(again, grads, ctx.shapes, strict=True):
            is_same = isinstance(result, Tensor) and result.shape == shape
            if not is_same or result.dtype != dtype:
                raise CheckpointError(
                    f"recomputation: a result of shape {list(shape)} and {dtype} is required, as "
                    f"the first time, got {getattr(result, 'shape', result)}; the function must "
                    "not depend on what changes between calls"
                )
            if grad is not None and result.requires_grad:
                roots.append(result)
                weights.append(grad)
        wanted = [x for x, needed in zip(inputs, needs, strict=True) if needed]
        found = iter(_core.border_gradients(roots, weights, [*wanted, *call.outer], create))
        own = [next(found) if needed else None for needed in needs]
        return (None, None, *own, *found)
