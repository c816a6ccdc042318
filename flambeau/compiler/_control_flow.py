"""Control flow on tensors: cond, while_loop, scan, map.

Called eagerly they are what they say, loops and branches in Python, and autograd follows them.
While a function is recorded they are one call each (Note [Recorded control flow]).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import flambeau as fl
from flambeau import Tensor
from flambeau._core import recording
from flambeau._tree import Tensors, describe, type_and_shape
from flambeau.autograd._recompute import recomputed
from flambeau.autograd.function import Function
from flambeau.compiler._recorded_flow import flat_scan, recorded_cond, recorded_while
from flambeau.compiler._sources import NotReplayable, refuse

__all__ = ["cond", "map", "scan", "while_loop"]

Step = Callable[..., Any]


def cond(
    pred: Tensor | bool,
    true_fn: Step,
    false_fn: Step,
    operands: Sequence[Any] = (),
    *,
    recompute: bool = False,
) -> Any:
    """`true_fn(*operands)` where `pred` is true, else `false_fn(*operands)`.

    Args:
        pred: a bool tensor of one element, or a Python bool.
        true_fn, false_fn: give tensors, nested in any way, of the same structure, shapes, dtypes.
        operands: what both are called with; tensors, nested in any way.
        recompute: keep only the operands for the backward pass, which calls the branch again.

    Returns:
        What the branch returned. Only that branch runs, and only it gets a gradient.

    Raises:
        RuntimeError: `pred` is no single bool.
        TypeError: operands or results are not tensors.

    Example:
        >>> x = torch.tensor([1.0, 4.0])
        >>> torch.cond(x.sum() > 0, torch.sqrt, torch.neg, (x,))
        tensor([1., 2.])
    """
    if not isinstance(operands, (tuple, list)):
        raise RuntimeError(
            f"cond: operands: a tuple or list is required, got {type(operands).__name__}; "
            "write (x,) for one operand"
        )
    given = Tensors(tuple(operands), "cond: operands")
    if not isinstance(pred, bool) and recording() is not None:
        _check_condition(pred, "cond: pred")
        try:
            return _recorded_cond(pred, (false_fn, true_fn), given)
        except NotReplayable as reason:
            refuse(f"cond: {reason}")
    branch = true_fn if _truth(pred, "cond: pred") else false_fn
    result = _stepper(branch, recompute)(*operands)
    Tensors(result, f"cond: the result of {_name(branch)}")
    return result


def while_loop(
    cond_fn: Step,
    body_fn: Step,
    carried_inputs: Sequence[Any],
    *,
    recompute: bool = False,
) -> Any:
    """`carry = body_fn(*carry)` while `cond_fn(*carry)` is true.

    Args:
        cond_fn: gives a bool tensor of one element.
        body_fn: gives a tuple like `carried_inputs`: same structure, shapes and dtypes.
        carried_inputs: a tuple of tensors, nested in any way.
        recompute: keep only what is carried for the backward pass, which calls the body again.

    Returns:
        The last carry; gradients flow through all iterations.

    Raises:
        RuntimeError: the carry changes its structure, shape or dtype; the condition is no bool.
        TypeError: something carried is no tensor.

    Example:
        >>> i, x = torch.tensor(0), torch.tensor(1.0)
        >>> torch.while_loop(lambda i, x: i < 3, lambda i, x: (i + 1, x * 2), (i, x))
        (tensor(3), tensor(8.))
    """
    if not isinstance(carried_inputs, (tuple, list)):
        raise RuntimeError(
            "while_loop: carried_inputs: a tuple or list is required, got "
            f"{type(carried_inputs).__name__}; write (x,) for one tensor"
        )
    carry: Any = tuple(carried_inputs)
    first = Tensors(carry, "while_loop: carried_inputs")
    if recording() is not None:
        try:
            return _recorded_while(cond_fn, body_fn, first)
        except NotReplayable as reason:
            refuse(f"while_loop: {reason}")
    step = _stepper(body_fn, recompute)
    while _truth(cond_fn(*carry), "while_loop: the result of cond_fn"):
        carry = _as_tuple(step(*carry))
        first.same(carry, "while_loop: the result of body_fn")
    return carry


def scan(
    combine_fn: Step,
    init: Any,
    xs: Any,
    *,
    dim: int = 0,
    reverse: bool = False,
    recompute: bool = False,
) -> tuple[Any, Any]:
    """`carry, y = combine_fn(carry, x)` for the slices x of `xs` along `dim`.

    TensorFlow's tf.scan is the case in which y is the carry.

    Args:
        combine_fn: gives the next carry, like `init` in structure, shapes and dtypes, and an
            output y, which may be None.
        init: the first carry: tensors, nested in any way.
        xs: tensors, nested in any way, of one length along `dim`.
        dim: the dimension of `xs` that is walked along, and of the outputs.
        reverse: walk from the end; y of the last slice is still the last one of the outputs.
        recompute: keep only what is carried for the backward pass, which calls the function again.

    Returns:
        The last carry, and the outputs y stacked along `dim`.

    Raises:
        RuntimeError: `xs` is empty or of different lengths; carry or output change their structure,
            shape or dtype.
        TypeError: something is no tensor.

    Example:
        >>> torch.scan(lambda total, x: (total + x, total * x), torch.tensor(0), torch.arange(4))
        (tensor(6), tensor([0, 0, 2, 9]))
    """
    carried = Tensors(init, "scan: init")
    given = _walked(xs, dim, "scan")
    outputs = _Outputs("scan: y, returned by combine_fn", dim % given.leaves[0].dim())
    if recording() is not None:
        found = _recorded_loop(
            _pair_checked(combine_fn), carried, given, dim, outputs, reverse, recompute
        )
        if found is not None:
            return found
    step, carry, slices = _stepper(combine_fn, recompute), init, _slices(given, dim)
    for x in reversed(slices) if reverse else slices:
        carry, y = _pair(step(carry, given.rebuild(x)))
        carried.same(carry, "scan: the carry returned by combine_fn")
        outputs.rows.append(outputs.leaves(y))
    if reverse:
        outputs.rows.reverse()
    return carry, outputs.stacked()


def map(fn: Step, xs: Any, *args: Any, recompute: bool = False) -> Any:
    """`fn(x, *args)` for the slices x of `xs` along dimension 0, stacked.

    Args:
        fn: gives tensors, nested in any way, of the same structure, shapes and dtypes every time.
        xs: tensors, nested in any way, of one length along dimension 0.
        *args: passed to every call as they are.
        recompute: keep only the slices for the backward pass, which calls the function again.

    Returns:
        The results, stacked along dimension 0.

    Raises:
        RuntimeError: `xs` is empty or of different lengths; results differ in structure, shape or
            dtype.
        TypeError: something is no tensor.

    Example:
        >>> torch.map(lambda x: x / x.sum(), torch.tensor([[1.0, 3.0], [2.0, 2.0]]))
        tensor([[0.2500, 0.7500],
                [0.5000, 0.5000]])
    """
    given = _walked(xs, 0, "map")
    outputs = _Outputs("map: the result of fn", 0)
    if recording() is not None:
        nothing = Tensors((), "map")
        found = _recorded_loop(
            lambda _, x: ((), fn(x, *args)), nothing, given, 0, outputs, False, recompute
        )
        if found is not None:
            return found[1]
    step = _stepper(fn, recompute)
    for x in _slices(given, 0):
        outputs.rows.append(outputs.leaves(step(given.rebuild(x), *args)))
    return outputs.stacked()


# --- parts ----------------------------------------------------------------------------------


def _check_condition(value: Any, name: str) -> None:
    """Raise RuntimeError unless a condition is one bool."""
    if not isinstance(value, Tensor) or value.dtype != fl.bool or value.numel() != 1:
        got = type_and_shape(value) if isinstance(value, Tensor) else type(value).__name__
        raise RuntimeError(
            f"{name}: a bool tensor of one element is required, got {got}; "
            "compare or reduce it, as in (x > 0).all()"
        )


def _truth(value: Any, name: str) -> bool:
    """A condition as a Python bool."""
    if not isinstance(value, bool):
        _check_condition(value, name)
    return bool(value)


def _pair(result: Any) -> tuple[Any, Any]:
    """What combine_fn has returned, if it is a carry and an output."""
    if not isinstance(result, (tuple, list)) or len(result) != 2:
        raise RuntimeError(
            "scan: combine_fn must return two things, the next carry and an output, got "
            f"{describe(Tensors(result, 'scan: the result of combine_fn').structure)}; "
            "return (carry, y), with y = None if there is none"
        )
    return result[0], result[1]


def _pair_checked(combine_fn: Step) -> Step:
    return lambda carry, x: _pair(combine_fn(carry, x))


def _as_tuple(carry: Any) -> Any:
    return tuple(carry) if isinstance(carry, list) else carry


def _name(function: Step) -> str:
    return getattr(function, "__name__", type(function).__name__)


def _stepper(function: Step, recompute: bool) -> Step:
    """The function, or its recomputed form."""
    return (lambda *args: recomputed(function, args)) if recompute else function


def _walked(xs: Any, dim: int, op: str) -> Tensors:
    """`xs` taken apart, its lengths along `dim` checked."""
    given = Tensors(xs, f"{op}: xs")
    if not given.leaves:
        raise RuntimeError(f"{op}: xs: at least one tensor is required, got none")
    first = given.leaves[0]
    for leaf in given.leaves:
        if not -leaf.dim() <= dim < leaf.dim():
            raise RuntimeError(
                f"{op}: xs: tensors with a dimension {dim} to walk along are required, got shape "
                f"{list(leaf.shape)}; unsqueeze it, or capture it in the function instead"
            )
        if leaf.shape[dim] == 0 or leaf.shape[dim] != first.shape[dim]:
            raise RuntimeError(
                f"{op}: xs: equal lengths of at least 1 along dimension {dim} are required, got "
                f"shapes {list(first.shape)} and {list(leaf.shape)}"
            )
    return given


def _slices(given: Tensors, dim: int) -> list[tuple[Tensor, ...]]:
    """For each step the slices of the leaves."""
    return list(zip(*[_unstack(leaf, dim) for leaf in given.leaves], strict=True))


class _Unstack(Function):
    """All slices along a dimension, in one node: its backward pass is one stack."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, dim: int) -> tuple[Tensor, ...]:
        ctx.dim = dim
        return x.unbind(dim)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return fl.stack(grads, ctx.dim), None


def _unstack(x: Tensor, dim: int) -> tuple[Tensor, ...]:
    if x.requires_grad and fl.is_grad_enabled():
        slices: tuple[Tensor, ...] = _Unstack.apply(x, dim)
        return slices
    return x.unbind(dim)


class _Outputs:
    """The outputs of a loop, which must agree with the first."""

    def __init__(self, name: str, dim: int) -> None:
        self.name = name
        self.dim = dim
        self.first: Tensors | None = None
        self.rows: list[list[Tensor]] = []

    def leaves(self, output: Any) -> list[Tensor]:
        """The leaves of one output."""
        if self.first is not None:
            return self.first.same(output, self.name)
        self.first = Tensors(output, f"{self.name} at the first step")
        leaves, self.first.leaves = self.first.leaves, []
        for leaf in leaves:
            if leaf.dim() < self.dim:
                raise RuntimeError(
                    f"{self.name}: outputs with at least {self.dim} dimensions are required to "
                    f"stack them along dimension {self.dim}, got shape {list(leaf.shape)}; "
                    "unsqueeze them"
                )
        return leaves

    def stacked(self) -> Any:
        """All outputs, from `rows`."""
        assert self.first is not None
        columns = zip(*self.rows, strict=True)
        return self.first.rebuild([fl.stack(column, self.dim) for column in columns])


# --- recorded -------------------------------------------------------------------------------

LONGEST_UNROLLED = 64


def _recorded_loop(
    step: Step,
    carried: Tensors,
    given: Tensors,
    dim: int,
    outputs: _Outputs,
    reverse: bool,
    recompute: bool,
) -> tuple[Any, Any] | None:
    """The loop as one call of the recording, or None if it is to be recorded step by step."""
    count = len(carried.leaves)

    def flat(*leaves: Tensor) -> list[Tensor]:
        carry, y = step(carried.rebuild(leaves[:count]), given.rebuild(leaves[count:]))
        new = carried.same(carry, "scan: the carry returned by combine_fn")
        return [*new, *outputs.leaves(y)]

    xs = [x.movedim(dim, 0) for x in given.leaves]
    try:
        results = flat_scan(flat, carried.leaves, xs, reverse, recompute)
    except NotReplayable as reason:
        if len(xs[0]) > LONGEST_UNROLLED:
            refuse(f"{outputs.name.partition(':')[0]}: {reason}")
        return None
    assert outputs.first is not None
    stacked = [y.movedim(0, outputs.dim) for y in results[count:]]
    return carried.rebuild(results[:count]), outputs.first.rebuild(stacked)


def _recorded_cond(pred: Tensor, branches: tuple[Step, Step], operands: Tensors) -> Any:
    found: list[Tensors] = []

    def flat(branch: Step) -> Step:
        def run(*leaves: Tensor) -> list[Tensor]:
            result = Tensors(
                branch(*operands.rebuild(leaves)), f"cond: the result of {_name(branch)}"
            )
            taken, result.leaves = result.leaves, []
            found.append(result)
            return taken

        return run

    results = recorded_cond(pred, [flat(branch) for branch in branches], operands.leaves)
    if found[0].structure != found[1].structure:
        raise RuntimeError(
            "cond: both branches must return the same structure, got "
            f"{describe(found[1].structure)} from true_fn and "
            f"{describe(found[0].structure)} from false_fn"
        )
    return found[0].rebuild(results)


def _recorded_while(cond_fn: Step, body_fn: Step, first: Tensors) -> Any:
    def condition(*leaves: Tensor) -> list[Tensor]:
        value = cond_fn(*first.rebuild(leaves))
        _check_condition(value, "while_loop: the result of cond_fn")
        return [value]

    def body(*leaves: Tensor) -> list[Tensor]:
        carry = _as_tuple(body_fn(*first.rebuild(leaves)))
        return first.same(carry, "while_loop: the result of body_fn")

    return first.rebuild(recorded_while(condition, body, first.leaves))
