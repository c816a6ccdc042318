"""Steps scaled for each element by past gradients: Adagrad, RMSprop, Adadelta, Rprop."""

from __future__ import annotations

from typing import Any

import flambeau as fl
from flambeau import Tensor

from ._settings import as_number, checked, decay_settings, require
from ._update import clamp, gradient_to_follow, sign, sqrt, where
from .optimizer import Batch, Group, Numbers, Optimizer, zeros_like


def adagrad_update(
    p: Any,
    g: Any,
    total: Any,
    *,
    lr: float,
    eps: float,
    weight_decay: float,
    decays: bool,
    maximize: bool,
) -> tuple[Any, ...]:
    """total += g^2, p = p - lr g / (sqrt(total) + eps) (Duchi et al., 2011)."""
    g = gradient_to_follow(p, g, weight_decay, decays, maximize)
    total = total + g * g
    return p - lr * g / (sqrt(total) + eps), total


class Adagrad(Optimizer):
    """Steps divided by the root of all squared gradients (Duchi et al., 2011).

    Args:
        params: tensors, (name, tensor) pairs, or groups of them.
        lr: learning rate.
        lr_decay: the rate is lr / (1 + (t - 1) lr_decay).
        weight_decay: adds weight_decay * p to the gradient.
        initial_accumulator_value: what the sum of squares begins with.
        eps: added to the denominator.
        maximize: go uphill.
    """

    formula = staticmethod(adagrad_update)
    state_names = ("sum",)

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        super().__init__(params, checked(locals()))
        for group in self.param_groups:  # this state exists before the first step
            for parameter in group["params"]:
                self.state[parameter] = self._new_state(parameter, group)

    def _new_state(self, parameter: Tensor, group: Group) -> dict[str, Any]:
        start = group["initial_accumulator_value"]
        total = fl.full_like(parameter, start, requires_grad=False)
        return {"step": 0.0, "sum": total}

    def _settings(self, group: Group, batch: Batch, after: Numbers) -> dict[str, Any]:
        past = batch.rows[0]["step"]
        return {
            "lr": as_number(group["lr"]) / (1 + past * group["lr_decay"]),
            "eps": group["eps"],
            **decay_settings(group),
        }


def rmsprop_update(
    p: Any,
    g: Any,
    square: Any,
    mean: Any,
    buffer: Any,
    *,
    lr: float,
    alpha: float,
    gain: float,
    eps: float,
    weight_decay: float,
    momentum: float,
    decays: bool,
    maximize: bool,
) -> tuple[Any, ...]:
    """p = p - lr g / (sqrt(running mean of g^2) + eps) (Hinton, lecture 6e).

    Centered, the square of the running mean of g is subtracted (Graves, 2013, eq. 38 to 45).
    `gain` is 1 - alpha.
    """
    g = gradient_to_follow(p, g, weight_decay, decays, maximize)
    square = alpha * square + gain * g * g
    variance = square
    if mean is not None:
        mean = mean + gain * (g - mean)
        variance = square - mean * mean
    direction = g / (sqrt(variance) + eps)
    if buffer is not None:
        buffer = momentum * buffer + direction
        direction = buffer
    return p - lr * direction, square, mean, buffer


class RMSprop(Optimizer):
    """Steps divided by the root of a running mean of squared gradients (Hinton, 2012).

    Args:
        params: tensors, (name, tensor) pairs, or groups of them.
        lr: learning rate.
        alpha: decay of the running means.
        eps: added to the denominator.
        weight_decay: adds weight_decay * p to the gradient.
        momentum: share of the last direction that is kept.
        centered: divide by the standard deviation instead of the root mean square.
        maximize: go uphill.
    """

    formula = staticmethod(rmsprop_update)
    state_names = ("square_avg", "grad_avg", "momentum_buffer")

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        require(alpha >= 0.0, "alpha value", alpha)
        super().__init__(params, checked(locals()))

    def _new_state(self, parameter: Tensor, group: Group) -> dict[str, Any]:
        state = {"step": 0.0, "square_avg": zeros_like(parameter)}
        if group["momentum"] > 0:
            state["momentum_buffer"] = zeros_like(parameter)
        if group["centered"]:
            state["grad_avg"] = zeros_like(parameter)
        return state

    def _settings(self, group: Group, batch: Batch, after: Numbers) -> dict[str, Any]:
        return {
            "lr": as_number(group["lr"]),
            "alpha": group["alpha"],
            "gain": 1 - group["alpha"],
            "eps": group["eps"],
            "momentum": group["momentum"],
            **decay_settings(group),
        }


def adadelta_update(
    p: Any,
    g: Any,
    square: Any,
    delta_square: Any,
    *,
    lr: float,
    rho: float,
    gain: float,
    eps: float,
    weight_decay: float,
    decays: bool,
    maximize: bool,
) -> tuple[Any, ...]:
    """p = p - lr g sqrt(mean of delta^2 + eps) / sqrt(mean of g^2 + eps) (Zeiler, 2012).

    `gain` is 1 - rho.
    """
    g = gradient_to_follow(p, g, weight_decay, decays, maximize)
    square = rho * square + gain * g * g
    delta = sqrt(delta_square + eps) / sqrt(square + eps) * g
    delta_square = rho * delta_square + gain * delta * delta
    return p - lr * delta, square, delta_square


class Adadelta(Optimizer):
    """Steps in the units of the parameters (Zeiler, 2012).

    Args:
        params: tensors, (name, tensor) pairs, or groups of them.
        lr: factor of the steps.
        rho: decay of the running means.
        eps: added under the roots.
        weight_decay: adds weight_decay * p to the gradient.
        maximize: go uphill.
    """

    formula = staticmethod(adadelta_update)
    state_names = ("square_avg", "acc_delta")

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        capturable: bool = False,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        require(0.0 <= rho <= 1.0, "rho value", rho)
        super().__init__(params, checked(locals()))

    def _new_state(self, parameter: Tensor, group: Group) -> dict[str, Any]:
        return {
            "step": 0.0,
            "square_avg": zeros_like(parameter),
            "acc_delta": zeros_like(parameter),
        }

    def _settings(self, group: Group, batch: Batch, after: Numbers) -> dict[str, Any]:
        return {
            "lr": as_number(group["lr"]),
            "rho": group["rho"],
            "gain": 1 - group["rho"],
            "eps": group["eps"],
            **decay_settings(group),
        }


def rprop_update(
    p: Any,
    g: Any,
    previous: Any,
    step_size: Any,
    *,
    shrink: float,
    grow: float,
    smallest: float,
    largest: float,
    maximize: bool,
) -> tuple[Any, ...]:
    """p = p - sign(g) step_size (Riedmiller and Braun, 1993).

    The step grows while the gradient keeps its sign; when it changes, the step shrinks and the
    element rests once.
    """
    g = -g if maximize else g
    agreement = g * previous
    kept_or_shrunk = where(agreement < 0, step_size * shrink, step_size)
    step_size = where(agreement > 0, step_size * grow, kept_or_shrunk)
    step_size = clamp(step_size, smallest, largest)
    g = where(agreement < 0, 0.0, g)
    return p - sign(g) * step_size, g, step_size


class Rprop(Optimizer):
    """Steps by the sign of the gradient only (Riedmiller and Braun, 1993).

    Args:
        params: tensors, (name, tensor) pairs, or groups of them.
        lr: first step size.
        etas: factors with which steps shrink and grow.
        step_sizes: smallest and largest step.
        maximize: go uphill.
    """

    formula = staticmethod(rprop_update)
    state_names = ("prev", "step_size")

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 1e-2,
        etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50),
        *,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        require(0.0 < etas[0] < 1.0 < etas[1], "eta values", f"{etas[0]}, {etas[1]}")
        super().__init__(params, checked(locals()))

    def _new_state(self, parameter: Tensor, group: Group) -> dict[str, Any]:
        first = fl.full_like(parameter, as_number(group["lr"]), requires_grad=False)
        return {"step": 0.0, "prev": zeros_like(parameter), "step_size": first}

    def _settings(self, group: Group, batch: Batch, after: Numbers) -> dict[str, Any]:
        shrink, grow = group["etas"]
        smallest, largest = group["step_sizes"]
        return {
            "shrink": shrink,
            "grow": grow,
            "smallest": smallest,
            "largest": largest,
            "maximize": group["maximize"],
        }
