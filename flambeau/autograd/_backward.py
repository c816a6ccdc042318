"""Gradients of tensors, collected in .grad or returned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from flambeau import Tensor, _core

Tensors = Tensor | Sequence[Tensor]


def backward(
    tensors: Tensors,
    grad_tensors: Tensor | Sequence[Tensor | None] | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Tensors | None = None,
) -> None:
    """Adds the gradients of `tensors` to the .grad of all leaves.

    Args:
        tensors: the tensors to differentiate.
        grad_tensors: one weight per tensor, of its shape; None for tensors of one element.
        retain_graph: keep what was saved, to run again; default: the value of create_graph.
        create_graph: record the backward pass, for higher derivatives.
        inputs: only these collect.

    Raises:
        RuntimeError: a tensor has no graph, or the graph was used already.
    """
    _core.backward(tensors, grad_tensors, retain_graph, create_graph, inputs)


def grad(
    outputs: Tensors,
    inputs: Tensors,
    grad_outputs: Tensor | Sequence[Tensor | None] | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    allow_unused: bool | None = None,
    is_grads_batched: bool = False,
    materialize_grads: bool = False,
) -> tuple[Tensor, ...]:
    """Returns the gradients of the sum of `outputs` with respect to `inputs`.

    Args:
        outputs: what to differentiate.
        inputs: with respect to what; tensors that require gradients.
        grad_outputs: one weight per output, of its shape.
        retain_graph: keep what was saved, to run again; default: the value of create_graph.
        create_graph: record the computation, for higher derivatives.
        allow_unused: give None for inputs that outputs do not depend on, instead of an error.
        is_grads_batched: not supported.
        materialize_grads: give zeros instead of None.

    Raises:
        RuntimeError: an input was not used, or needs no gradient.

    Example:
        >>> x = torch.tensor(3.0, requires_grad=True)
        >>> torch.autograd.grad(x * x, x)
        (tensor(6.),)
    """
    if is_grads_batched:
        raise NotImplementedError("grad: is_grads_batched is not supported; loop over the batch")
    unused = materialize_grads if allow_unused is None else allow_unused
    result = _core.grad(
        outputs, inputs, grad_outputs, retain_graph, create_graph, unused, materialize_grads
    )
    return cast("tuple[Tensor, ...]", result)
