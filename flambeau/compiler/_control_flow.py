"""Control flow on tensors: cond, while_loop, scan, map.

Called eagerly they are what they say, loops and branches in Python, and autograd follows them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import flambeau as fl
from flambeau import Tensor
from flambeau._tree import Tensors, describe
from flambeau.autograd._recompute import recomputed
from flambeau.autograd.function import Function
from flambeau.compiler._sources import refuse

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
    if not isinstance(pred, bool):
        refuse("cond: the branch depends on a tensor; control flow on tensors stays eager")
    branch = true_fn if _truth(pred, "cond: pred") else false_fn
    Tensors(tuple(operands), "cond: operands")
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
    refuse("while_loop: the number of iterations depends on a tensor; such loops stay eager")
    carry: Any = tuple(carried_inputs)
    first = Tensors(carry, "while_loop: carried_inputs")
    step = _stepper(body_fn, recompute)
    while _truth(cond_fn(*carry), "while_loop: the result of cond_fn"):
        carry = step(*carry)
        if isinstance(carry, list):
            carry = tuple(carry)
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
    given, slices = _slices(xs, dim, "scan")
    step = _stepper(combine_fn, recompute)
    outputs, carry = _Outputs("scan: y, returned by combine_fn"), init
    for x in reversed(slices) if reverse else slices:
        result = step(carry, given.rebuild(x))
        if not isinstance(result, (tuple, list)) or len(result) != 2:
            raise RuntimeError(
                "scan: combine_fn must return two things, the next carry and an output, got "
                f"{describe(Tensors(result, 'scan: the result of combine_fn').structure)}; "
                "return (carry, y), with y = None if there is none"
            )
        carry, y = result
        carried.same(carry, "scan: the carry returned by combine_fn")
        outputs.add(y)
    if reverse:
        outputs.rows.reverse()
    return carry, outputs.stacked(dim % given.leaves[0].dim())


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
    given, slices = _slices(xs, 0, "map")
    step = _stepper(fn, recompute)
    outputs = _Outputs("map: the result of fn")
    for x in slices:
        outputs.add(step(given.rebuild(x), *args))
    return outputs.stacked()


# --- parts ----------------------------------------------------------------------------------


def _truth(value: Any, name: str) -> bool:
    """A condition as a Python bool."""
    if isinstance(value, bool):
        return value
    if not isinstance(value, Tensor) or value.dtype != fl.bool or value.numel() != 1:
        got = (
            f"{value.dtype} of shape {list(value.shape)}"
            if isinstance(value, Tensor)
            else type(value).__name__
        )
        raise RuntimeError(
            f"{name}: a bool tensor of one element is required, got {got}; "
            "compare or reduce it, as in (x > 0).all()"
        )
    return bool(value)


def _name(function: Step) -> str:
    return getattr(function, "__name__", type(function).__name__)


def _stepper(function: Step, recompute: bool) -> Step:
    """The function, or its recomputed form."""
    return (lambda *args: recomputed(function, args)) if recompute else function


def _slices(xs: Any, dim: int, op: str) -> tuple[Tensors, list[tuple[Tensor, ...]]]:
    """`xs` taken apart, and for each step the slices of its leaves."""
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
    return given, list(zip(*[_unstack(leaf, dim) for leaf in given.leaves], strict=True))


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

    def __init__(self, name: str) -> None:
        self.name = name
        self.first: Tensors | None = None
        self.rows: list[list[Tensor]] = []

    def add(self, output: Any) -> None:
        if self.first is None:
            self.first = Tensors(output, f"{self.name} at the first step")
            self.rows.append(self.first.leaves)
        else:
            self.rows.append(self.first.same(output, self.name))

    def stacked(self, dim: int = 0) -> Any:
        assert self.first is not None
        for leaf in self.first.leaves:
            if leaf.dim() < dim:
                raise RuntimeError(
                    f"{self.name}: outputs with at least {dim} dimensions are required to stack "
                    f"them along dimension {dim}, got shape {list(leaf.shape)}; unsqueeze them"
                )
        columns = zip(*self.rows, strict=True)
        return self.first.rebuild([fl.stack(column, dim) for column in columns])
