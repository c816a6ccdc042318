"""Stochastic gradient descent, with momentum, and with averaging."""

from __future__ import annotations

from typing import Any

from flambeau import Tensor

from ._settings import as_number, checked, decay_settings, to_float32
from ._update import fma, gradient_to_follow
from .optimizer import Batch, Group, Numbers, Optimizer, zeros_like


def sgd_update(
    p: Any,
    g: Any,
    buffer: Any,
    *,
    lr: float,
    weight_decay: float,
    momentum: float,
    keep: float,
    gain: float,
    nesterov: bool,
    decays: bool,
    maximize: bool,
) -> tuple[Any, ...]:
    """b = momentum b + (1 - dampening) g, p = p - lr b (Sutskever et al., 2013).

    `keep` and `gain` are momentum and 1 - dampening, at the first step 0 and 1.
    """
    g = gradient_to_follow(p, g, weight_decay, decays, maximize)
    if buffer is None:
        return fma(-lr, g, p), None
    buffer = fma(keep, buffer, gain * g)
    direction = fma(momentum, buffer, g) if nesterov else buffer
    return fma(-lr, direction, p), buffer


class SGD(Optimizer):
    """Stochastic gradient descent with optional momentum.

    Args:
        params: tensors, (name, tensor) pairs, or groups of them.
        lr: learning rate.
        momentum: share of the last direction that is kept.
        dampening: the gradient enters the momentum with 1 - dampening.
        weight_decay: adds weight_decay * p to the gradient.
        nesterov: look ahead along the momentum.
        maximize: go uphill.

    Example:
        >>> weight = torch.tensor([1.0], requires_grad=True)
        >>> optimizer = torch.optim.SGD([weight], lr=0.1, momentum=0.9)
        >>> (weight**2).sum().backward()
        >>> optimizer.step()
        >>> weight
        tensor([0.8000], requires_grad=True)
    """

    formula = staticmethod(sgd_update)
    state_names = ("momentum_buffer",)
    number_keys = ()

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float | Tensor = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        settings = checked(locals())
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError("Nesterov momentum requires a momentum and zero dampening")
        super().__init__(params, settings)

    def _new_state(self, parameter: Tensor, group: Group) -> dict[str, Any]:
        return {"momentum_buffer": zeros_like(parameter)} if group["momentum"] != 0 else {}

    def _advanced(self, group: Group, numbers: Numbers) -> Numbers:
        return {}

    def _settings(self, group: Group, batch: Batch, after: Numbers) -> dict[str, Any]:
        momentum = group["momentum"]
        return {
            "lr": as_number(group["lr"]),
            "momentum": momentum,
            "keep": 0.0 if batch.is_new else momentum,
            "gain": 1.0 if batch.is_new else 1 - group["dampening"],
            "nesterov": group["nesterov"],
            **decay_settings(group),
        }


def asgd_update(
    p: Any,
    g: Any,
    average: Any,
    *,
    eta: float,
    mu: float,
    shrink: float,
    weight_decay: float,
    decays: bool,
    maximize: bool,
) -> tuple[Any, ...]:
    """p = (1 - lambd eta) p - eta g, average += mu (p - average) (Polyak and Juditsky, 1992)."""
    g = gradient_to_follow(p, g, weight_decay, decays, maximize)
    p = p * shrink - eta * g
    return p, average + (p - average) * mu


class ASGD(Optimizer):
    """Averaged stochastic gradient descent (Polyak and Juditsky, 1992).

    Args:
        params: tensors, (name, tensor) pairs, or groups of them.
        lr: learning rate.
        lambd: decay term.
        alpha: power with which the rate eta falls.
        t0: step at which averaging begins.
        weight_decay: adds weight_decay * p to the gradient.
        maximize: go uphill.
    """

    formula = staticmethod(asgd_update)
    state_names = ("ax",)
    number_keys = ("step", "eta", "mu")

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 1e-2,
        lambd: float = 1e-4,
        alpha: float = 0.75,
        t0: float = 1e6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ) -> None:
        super().__init__(params, checked(locals()))

    def _new_state(self, parameter: Tensor, group: Group) -> dict[str, Any]:
        lr = to_float32(as_number(group["lr"]))
        return {"step": 0.0, "eta": lr, "mu": 1.0, "ax": zeros_like(parameter)}

    def _advanced(self, group: Group, numbers: Numbers) -> Numbers:
        lr, lambd, step = as_number(group["lr"]), group["lambd"], numbers["step"] + 1.0
        eta = lr / (1 + lambd * lr * step) ** group["alpha"]
        return {"step": step, "eta": eta, "mu": 1 / max(1, step - group["t0"])}

    def _settings(self, group: Group, batch: Batch, after: Numbers) -> dict[str, Any]:
        numbers = batch.rows[0]
        eta = numbers["eta"]
        return {
            "eta": eta,
            "mu": numbers["mu"],
            "shrink": 1 - group["lambd"] * eta,
            **decay_settings(group),
        }
