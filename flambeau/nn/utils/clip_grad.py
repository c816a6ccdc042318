"""Clipping of gradients."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeAlias

import flambeau as fl
from flambeau import Tensor

Tensors: TypeAlias = Tensor | Iterable[Tensor]


def _gradients(parameters: Tensors) -> list[Tensor]:
    if isinstance(parameters, Tensor):
        parameters = [parameters]
    return [p.grad for p in parameters if p.grad is not None]


def get_total_norm(
    tensors: Tensors,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """The norm of all tensors seen as one vector.

    Args:
        tensors: a tensor or several.
        norm_type: p; inf for the largest absolute value.
        error_if_nonfinite: raise RuntimeError when the norm is nan or inf.
        foreach: accepted as PyTorch does; it changes nothing.
    """
    tensors = [tensors] if isinstance(tensors, Tensor) else list(tensors)
    if not tensors:
        return fl.tensor(0.0)
    with fl.no_grad():
        norms = [tensor.norm(float(norm_type)) for tensor in tensors]
        total = fl.stack([norm.to(norms[0].device) for norm in norms]).norm(float(norm_type))
    if error_if_nonfinite and not fl.isfinite(total):
        raise RuntimeError(
            f"the total norm of order {norm_type} is {float(total)}, so it cannot clip; "
            "set error_if_nonfinite=False to allow it"
        )
    return total


def clip_grads_with_norm_(
    parameters: Tensors, max_norm: float, total_norm: Tensor, foreach: bool | None = None
) -> None:
    """Multiply the gradients by max_norm / total_norm where that is less than one."""
    with fl.no_grad():
        factor = (float(max_norm) / (total_norm + 1e-6)).clamp(max=1.0)
        for grad in _gradients(parameters):
            grad.mul_(factor.to(grad.device))


def clip_grad_norm_(
    parameters: Tensors,
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """Scale the gradients down, in place, to a norm of at most `max_norm` (Pascanu et al., 2013).

    Args:
        parameters: a tensor or several with gradients.
        max_norm: the largest norm allowed.
        norm_type: p of the norm; inf for the largest absolute value.
        error_if_nonfinite: raise RuntimeError when the norm is nan or inf.
        foreach: accepted as PyTorch does; it changes nothing.

    Returns:
        The norm before clipping, of all gradients together.
    """
    parameters = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    total = get_total_norm(_gradients(parameters), norm_type, error_if_nonfinite)
    clip_grads_with_norm_(parameters, max_norm, total)
    return total


def clip_grad_value_(parameters: Tensors, clip_value: float, foreach: Any = None) -> None:
    """Limit every element of the gradients, in place, to [-clip_value, clip_value]."""
    limit = float(clip_value)
    with fl.no_grad():
        for grad in _gradients(parameters):
            grad.clamp_(min=-limit, max=limit)
