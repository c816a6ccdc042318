"""Adam and its relatives: steps scaled by running means of the gradient and of its square."""

from __future__ import annotations

import math
from typing import Any

from flambeau import Tensor

from ._settings import as_number, checked, decay_settings
from ._update import fma, gradient_to_follow, maximum, sqrt
from .optimizer import Batch, Group, Numbers, Optimizer, zeros_like


def decayed(
    p: Any,
    g: Any,
    weight_decay: float,
    shrink: float,
    decays: bool,
    decoupled: bool,
    maximize: bool,
) -> tuple[Any, Any]:
    """Weight decay: added to the gradient, or decoupled (Loshchilov and Hutter, 2019).

    `shrink` is 1 - lr * weight_decay.
    """
    if decays and decoupled:
        p = p * shrink
    return p, gradient_to_follow(p, g, weight_decay, decays and not decoupled, maximize)


def moments(m: Any, v: Any, g: Any, beta2: float, gain1: float, gain2: float) -> tuple[Any, Any]:
    """The running means of g and g^2; the gains are 1 - beta1 and 1 - beta2.

    They are settings of their own because 1 - 0.999 has few digits left in float32.
    """
    return fma(gain1, g - m, m), fma(gain2 * g, g, beta2 * v)


def adam_settings(group: Group, lr: float, beta1: float, beta2: float) -> dict[str, Any]:
    """The settings that Adam, NAdam and RAdam share."""
    settings = decay_settings(group)
    return {
        "beta2": beta2,
        "gain1": 1 - beta1,
        "gain2": 1 - beta2,
        "eps": group["eps"],
        "shrink": 1 - lr * settings["weight_decay"],
        "decoupled": group["decoupled_weight_decay"],
        **settings,
    }


def adam_update(
    p: Any,
    g: Any,
    m: Any,
    v: Any,
    peak: Any,
    *,
    step_size: float,
    beta2: float,
    gain1: float,
    gain2: float,
    unbias2: float,
    eps: float,
    weight_decay: float,
    shrink: float,
    decoupled: bool,
    decays: bool,
    maximize: bool,
) -> tuple[Any, ...]:
    """p = p - step_size m / (sqrt(v) unbias2 + eps) (Kingma and Ba, 2015, algorithm 1).

    `step_size` is lr / (1 - beta1^t), `unbias2` is 1 / sqrt(1 - beta2^t). With amsgrad, `peak`
    is the largest v until now (Reddi et al., 2018).
    """
    p, g = decayed(p, g, weight_decay, shrink, decays, decoupled, maximize)
    m, v = moments(m, v, g, beta2, gain1, gain2)
    if peak is not None:
        peak = maximum(peak, v)
    scale = fma(sqrt(v if peak is None else peak), unbias2, eps)
    return fma(-step_size, m / scale, p), m, v, peak


class Adam(Optimizer):
    """Adam (Kingma and Ba, 2015).

    Args:
        params: tensors, (name, tensor) pairs, or groups of them.
        lr: learning rate.
        betas: decay of the running means of the gradient and of its square.
        eps: added to the denominator.
        weight_decay: adds weight_decay * p to the gradient.
        amsgrad: divide by the largest mean square until now (Reddi et al., 2018).
        maximize: go uphill.
        decoupled_weight_decay: shrink the parameters directly, as AdamW does.

    Example:
        >>> model = torch.nn.Linear(2, 1)
        >>> optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        >>> model(torch.ones(4, 2)).sum().backward()
        >>> optimizer.step()
    """

    formula = staticmethod(adam_update)
    state_names = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
    ) -> None:
        super().__init__(params, checked(locals()))

    def _new_state(self, parameter: Tensor, group: Group) -> dict[str, Any]:
        state = {
            "step": 0.0,
            "exp_avg": zeros_like(parameter),
            "exp_avg_sq": zeros_like(parameter),
        }
        if group["amsgrad"]:
            state["max_exp_avg_sq"] = zeros_like(parameter)
        return state

    def _settings(self, group: Group, batch: Batch, after: Numbers) -> dict[str, Any]:
        lr, t = as_number(group["lr"]), after["step"]
        beta1, beta2 = (as_number(beta) for beta in group["betas"])
        return {
            "step_size": lr / (1 - beta1**t),
            "unbias2": 1 / math.sqrt(1 - beta2**t),
            **adam_settings(group, lr, beta1, beta2),
        }


class AdamW(Adam):
    """Adam with decoupled weight decay: p = (1 - lr weight_decay) p (Loshchilov and Hutter, 2019).

    Arguments as Adam's.
    """

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        settings = {**checked(locals()), "decoupled_weight_decay": True}
        Optimizer.__init__(self, params, settings)


def adamax_update(
    p: Any,
    g: Any,
    m: Any,
    u: Any,
    *,
    step_size: float,
    beta2: float,
    gain1: float,
    eps: float,
    weight_decay: float,
    decays: bool,
    maximize: bool,
) -> tuple[Any, ...]:
    """u = max(beta2 u, |g|), p = p - step_size m / u (Kingma and Ba, 2015, algorithm 2)."""
    g = gradient_to_follow(p, g, weight_decay, decays, maximize)
    m = m + gain1 * (g - m)
    u = maximum(beta2 * u, abs(g) + eps)
    return p - step_size * m / u, m, u


class Adamax(Optimizer):
    """Adam with the infinity norm (Kingma and Ba, 2015, section 7).

    Arguments as Adam's.
    """

    formula = staticmethod(adamax_update)
    state_names = ("exp_avg", "exp_inf")

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ) -> None:
        super().__init__(params, checked(locals()))

    def _new_state(self, parameter: Tensor, group: Group) -> dict[str, Any]:
        return {
            "step": 0.0,
            "exp_avg": zeros_like(parameter),
            "exp_inf": zeros_like(parameter),
        }

    def _settings(self, group: Group, batch: Batch, after: Numbers) -> dict[str, Any]:
        beta1, beta2 = group["betas"]
        return {
            "step_size": as_number(group["lr"]) / (1 - beta1 ** after["step"]),
            "beta2": beta2,
            "gain1": 1 - beta1,
            "eps": group["eps"],
            **decay_settings(group),
        }


def nadam_update(
    p: Any,
    g: Any,
    m: Any,
    v: Any,
    *,
    step_g: float,
    step_m: float,
    beta2: float,
    gain1: float,
    gain2: float,
    correction2: float,
    eps: float,
    weight_decay: float,
    shrink: float,
    decoupled: bool,
    decays: bool,
    maximize: bool,
) -> tuple[Any, ...]:
    """p = p - (step_g g + step_m m) / (sqrt(v / correction2) + eps) (Dozat, 2016).

    `step_g` is lr (1 - mu_t) / (1 - mu_1 ... mu_t), `step_m` is
    lr mu_{t+1} / (1 - mu_1 ... mu_{t+1}), `correction2` is 1 - beta2^t.
    """
    p, g = decayed(p, g, weight_decay, shrink, decays, decoupled, maximize)
    m, v = moments(m, v, g, beta2, gain1, gain2)
    scale = sqrt(v / correction2) + eps
    return p - step_g * g / scale - step_m * m / scale, m, v


class NAdam(Optimizer):
    """Adam with Nesterov momentum (Dozat, 2016).

    Args:
        momentum_decay: how fast the momentum approaches beta1.

    The other arguments are Adam's.
    """

    formula = staticmethod(nadam_update)
    state_names = ("exp_avg", "exp_avg_sq")
    number_keys = ("step", "mu_product")

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
    ) -> None:
        super().__init__(params, checked(locals()))

    def _new_state(self, parameter: Tensor, group: Group) -> dict[str, Any]:
        return {
            "step": 0.0,
            "mu_product": 1.0,
            "exp_avg": zeros_like(parameter),
            "exp_avg_sq": zeros_like(parameter),
        }

    def _advanced(self, group: Group, numbers: Numbers) -> Numbers:
        t = numbers["step"] + 1.0
        return {"step": t, "mu_product": numbers["mu_product"] * _nadam_momentum(group, t)}

    def _settings(self, group: Group, batch: Batch, after: Numbers) -> dict[str, Any]:
        lr, (beta1, beta2) = as_number(group["lr"]), group["betas"]
        t, product = after["step"], after["mu_product"]
        mu_next = _nadam_momentum(group, t + 1)
        return {
            "step_g": lr * (1.0 - _nadam_momentum(group, t)) / (1.0 - product),
            "step_m": lr * mu_next / (1.0 - product * mu_next),
            "correction2": 1 - beta2**t,
            **adam_settings(group, lr, beta1, beta2),
        }


def _nadam_momentum(group: Group, t: float) -> float:
    """mu_t, which approaches beta1."""
    mu: float = group["betas"][0] * (1.0 - 0.5 * 0.96 ** (t * group["momentum_decay"]))
    return mu


def radam_update(
    p: Any,
    g: Any,
    m: Any,
    v: Any,
    *,
    step_size: float,
    beta2: float,
    gain1: float,
    gain2: float,
    rectifier: float,
    eps: float,
    weight_decay: float,
    shrink: float,
    is_rectified: bool,
    decoupled: bool,
    decays: bool,
    maximize: bool,
) -> tuple[Any, ...]:
    """p = p - step_size m rectifier / (sqrt(v) + eps), or without v early on (Liu et al., 2020).

    `step_size` is lr / (1 - beta1^t), `rectifier` is r_t sqrt(1 - beta2^t).
    """
    p, g = decayed(p, g, weight_decay, shrink, decays, decoupled, maximize)
    m, v = moments(m, v, g, beta2, gain1, gain2)
    direction = m * (rectifier / (sqrt(v) + eps)) if is_rectified else m
    return p - step_size * direction, m, v


class RAdam(Optimizer):
    """Adam that waits until the variance of its scale is known (Liu et al., 2020).

    Arguments as Adam's.
    """

    formula = staticmethod(radam_update)
    state_names = ("exp_avg", "exp_avg_sq")

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
    ) -> None:
        super().__init__(params, checked(locals()))

    def _new_state(self, parameter: Tensor, group: Group) -> dict[str, Any]:
        return {
            "step": 0.0,
            "exp_avg": zeros_like(parameter),
            "exp_avg_sq": zeros_like(parameter),
        }

    def _settings(self, group: Group, batch: Batch, after: Numbers) -> dict[str, Any]:
        lr, (beta1, beta2) = as_number(group["lr"]), group["betas"]
        t = after["step"]
        rectification = _rectification(beta2, t)
        return {
            "step_size": lr / (1 - beta1**t),
            "rectifier": (rectification or 0.0) * math.sqrt(1 - beta2**t),
            "is_rectified": rectification is not None,
            **adam_settings(group, lr, beta1, beta2),
        }


def _rectification(beta2: float, step: float) -> float | None:
    """r_t of algorithm 2, or None while the length rho_t of the average is 5 or less."""
    longest: float = 2 / (1 - beta2) - 1
    length: float = longest - 2 * step * beta2**step / (1 - beta2**step)
    if length <= 5.0:
        return None
    square: float = (length - 4) * (length - 2) * longest
    return math.sqrt(square / ((longest - 4) * (longest - 2) * length))
