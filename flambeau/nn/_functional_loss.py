"""Losses that compare elementwise: a formula of one element, then mean, sum or nothing.

`_functional_classification.py` has the losses over classes.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import flambeau as fl
from flambeau import Tensor
from flambeau.ops._composite import composite
from flambeau.ops._records import pointwise

Number = Any  # what a formula of one element is made of


def reduction_name(size_average: bool | None, reduce: bool | None, reduction: str) -> str:
    """The reduction, from it or from the two older flags that scripts still pass."""
    if size_average is not None or reduce is not None:
        warnings.warn("size_average and reduce are old; pass reduction='none', 'mean' or 'sum'")
        if reduce is False:
            return "none"
        return "sum" if size_average is False else "mean"
    return reduction


def reduce_loss(loss: Tensor, reduction: str) -> Tensor:
    """Mean or sum of all elements, or the loss as it is."""
    if reduction == "mean":
        return loss.mean()
    if reduction == "sum":
        return loss.sum()
    if reduction == "none":
        return loss
    raise ValueError(f"reduction must be 'none', 'mean' or 'sum', got {reduction!r}")


def _warn_broadcast(name: str, input: Tensor, target: Tensor) -> None:
    if input.shape != target.shape:
        warnings.warn(
            f"{name}: target has shape {tuple(target.shape)}, input {tuple(input.shape)}; "
            "broadcasting them is likely a mistake",
            stacklevel=3,
        )


def _weighted(loss: Tensor, weight: Tensor | None, reduction: str) -> Tensor:
    """Reduce with one weight per element; the mean divides by the sum of the weights."""
    if weight is None:
        return reduce_loss(loss, reduction)
    loss = loss * weight
    if reduction == "mean":
        return loss.sum() / weight.expand_as(loss).sum()
    return reduce_loss(loss, reduction)


@pointwise
def squared_error(x: Number, y: Number) -> Number:
    """(x - y)^2."""
    return fl.square(x - y)


@composite(grad_name="MseLossBackward0", autocast="float32")
def mse_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    weight: Tensor | None = None,
) -> Tensor:
    """(x - y)^2.

    Args:
        input: any shape.
        target: the same shape.
        reduction: "mean", "sum" or "none".
        weight: a factor for each element, or None.
    """
    if size_average is not None or reduce is not None:
        reduction = reduction_name(size_average, reduce, reduction)
    if input.shape != target.shape:
        _warn_broadcast("mse_loss", input, target)
    loss = squared_error(input, target)
    return reduce_loss(loss, reduction) if weight is None else _weighted(loss, weight, reduction)


@pointwise
def absolute_error(x: Number, y: Number) -> Number:
    """|x - y|."""
    return abs(x - y)


@composite(grad_name="MeanBackward0", autocast="float32")
def l1_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    weight: Tensor | None = None,
) -> Tensor:
    """|x - y|; arguments as mse_loss."""
    if size_average is not None or reduce is not None:
        reduction = reduction_name(size_average, reduce, reduction)
    if input.shape != target.shape:
        _warn_broadcast("l1_loss", input, target)
    loss = absolute_error(input, target)
    return reduce_loss(loss, reduction) if weight is None else _weighted(loss, weight, reduction)


@pointwise
def smooth_absolute_error(x: Number, y: Number, *, beta: Number) -> Number:
    """d^2 / (2 beta) where d = |x - y| < beta, else d - beta / 2."""
    d = abs(x - y)
    return fl.where(d < beta, 0.5 * d * d / beta, d - 0.5 * beta)


@composite(grad_name="SmoothL1LossBackward0", autocast="float32")
def smooth_l1_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    beta: float = 1.0,
) -> Tensor:
    """d^2 / (2 beta) where d = |x - y| < beta, else d - beta / 2 (Girshick, 2015)."""
    reduction = reduction_name(size_average, reduce, reduction)
    if beta < 0:
        raise RuntimeError(f"smooth_l1_loss: beta must not be negative, got {beta}")
    if input.shape != target.shape:
        _warn_broadcast("smooth_l1_loss", input, target)
    if beta == 0:
        return reduce_loss(absolute_error(input, target), reduction)
    return reduce_loss(smooth_absolute_error(input, target, beta=beta), reduction)


@pointwise
def huber_error(x: Number, y: Number, *, delta: Number) -> Number:
    """d^2 / 2 where d = |x - y| < delta, else delta (d - delta / 2)."""
    d = abs(x - y)
    return fl.where(d < delta, 0.5 * d * d, delta * (d - 0.5 * delta))


@composite(grad_name="HuberLossBackward0", autocast="float32")
def huber_loss(
    input: Tensor,
    target: Tensor,
    reduction: str = "mean",
    delta: float = 1.0,
    weight: Tensor | None = None,
) -> Tensor:
    """d^2 / 2 where d = |x - y| < delta, else delta (d - delta / 2) (Huber, 1964)."""
    if delta <= 0:
        raise RuntimeError(f"huber_loss: delta must be positive, got {delta}")
    if input.shape != target.shape:
        _warn_broadcast("huber_loss", input, target)
    return _weighted(huber_error(input, target, delta=delta), weight, reduction)


@pointwise
def soft_margin(x: Number, y: Number) -> Number:
    """log(1 + exp(-y x))."""
    return fl.log1p(fl.exp(-y * x))


@composite(grad_name="SoftMarginLossBackward0", autocast="float32")
def soft_margin_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """log(1 + exp(-y x)) with y = 1 or -1."""
    reduction = reduction_name(size_average, reduce, reduction)
    return reduce_loss(soft_margin(input, target), reduction)


def _entropy_derivative(x: Number, y: Number, out: Number, g: Number) -> tuple[Number, Number]:
    # Finite at 0 and 1, where that of the limited logarithms is 0 * infinity.
    by_x = (x - y) / fl.maximum(x * (1 - x), 1e-12)
    return g * by_x, g * (fl.log1p(-x) - fl.log(x))


def _entropy(x: Number, y: Number) -> Number:
    return (y - 1) * fl.maximum(fl.log1p(-x), -100.0) - y * fl.maximum(fl.log(x), -100.0)


# -(y log(x) + (1 - y) log(1 - x)), the logarithms limited to -100.
binary_entropy = pointwise(_entropy, derivative=_entropy_derivative)


@composite(grad_name="BinaryCrossEntropyBackward0", autocast="float32 on cpu, refused on cuda")
def binary_cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """-(y log(x) + (1 - y) log(1 - x)) with the logarithms limited to -100 and more.

    Args:
        input: probabilities of any shape.
        target: the same shape, between 0 and 1.
        weight: factors that broadcast, or None.
    """
    reduction = reduction_name(size_average, reduce, reduction)
    if input.shape != target.shape:
        raise ValueError(
            f"binary_cross_entropy: input and target of equal shape are required, got "
            f"{tuple(input.shape)} and {tuple(target.shape)}; unsqueeze or reshape one"
        )
    if not ((input >= 0) & (input <= 1)).all():
        raise RuntimeError(
            "binary_cross_entropy: all elements of input should be between 0 and 1; "
            "use binary_cross_entropy_with_logits for raw scores"
        )
    loss = binary_entropy(input, target)
    return reduce_loss(loss if weight is None else loss * weight, reduction)


@pointwise
def logit_entropy(x: Number, y: Number) -> Number:
    """(1 - y) x - log(sigmoid(x))."""
    return (1 - y) * x - fl.logsigmoid(x)


@pointwise
def weighted_logit_entropy(x: Number, y: Number, positive: Number) -> Number:
    """(1 - y) x - (1 + (positive - 1) y) log(sigmoid(x))."""
    return (1 - y) * x - ((positive - 1) * y + 1) * fl.logsigmoid(x)


@composite(grad_name="BinaryCrossEntropyWithLogitsBackward0", autocast="float32")
def binary_cross_entropy_with_logits(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor:
    """Binary cross-entropy of sigmoid(x), without overflow: (1 - y) x - log(sigmoid(x)).

    Args:
        input: scores of any shape.
        target: the same shape, between 0 and 1.
        weight: factors that broadcast, or None.
        pos_weight: factors of the positive part, or None.
    """
    reduction = reduction_name(size_average, reduce, reduction)
    if input.shape != target.shape:
        raise ValueError(
            f"binary_cross_entropy_with_logits: input and target of equal shape are required, "
            f"got {tuple(input.shape)} and {tuple(target.shape)}; unsqueeze or reshape one"
        )
    if pos_weight is None:
        loss = logit_entropy(input, target)
    else:
        loss = weighted_logit_entropy(input, target, pos_weight)
    return reduce_loss(loss if weight is None else loss * weight, reduction)


@pointwise
def divergence(x: Number, y: Number) -> Number:
    """y (log(y) - x), 0 where y is."""
    return fl.xlogy(y, y) - y * x


@pointwise
def log_divergence(x: Number, y: Number) -> Number:
    """exp(y) (y - x)."""
    return fl.exp(y) * (y - x)


@composite(grad_name="KlDivBackward0", autocast="float32")
def kl_div(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    log_target: bool = False,
) -> Tensor:
    """y (log(y) - x), where x is the logarithm of a probability (Kullback and Leibler, 1951).

    Args:
        input: log-probabilities.
        target: probabilities, or with `log_target` their logarithms.
        reduction: "batchmean" (the mathematical one), "mean", "sum" or "none".
    """
    reduction = reduction_name(size_average, reduce, reduction)
    if reduction == "mean":
        warnings.warn(
            "kl_div: reduction='mean' divides by the number of elements; the divergence is "
            "what 'batchmean' gives"
        )
    loss = (log_divergence if log_target else divergence)(input, target)
    if reduction == "batchmean":
        total = loss.sum()
        return total / input.shape[0] if input.dim() else total
    return reduce_loss(loss, reduction)


@pointwise
def poisson_log_rate(x: Number, y: Number) -> Number:
    """exp(x) - y x."""
    return fl.exp(x) - y * x


@pointwise
def poisson_rate(x: Number, y: Number, *, eps: Number) -> Number:
    """x - y log(x + eps)."""
    return x - y * fl.log(x + eps)


@pointwise
def stirling(y: Number) -> Number:
    """y log(y) - y + log(2 pi y) / 2, about log(y!), where y > 1, else 0."""
    safe = fl.maximum(y, 1.0)
    term = safe * fl.log(safe) - safe + 0.5 * fl.log(2 * math.pi * safe)
    return fl.where(y > 1, term, 0.0)


@composite(autocast="float32")
def poisson_nll_loss(
    input: Tensor,
    target: Tensor,
    log_input: bool = True,
    full: bool = False,
    size_average: bool | None = None,
    eps: float = 1e-8,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Negative log-likelihood of counts y under Poisson(exp(x)), or Poisson(x).

    Args:
        input: logarithm of the rate, or with `log_input=False` the rate.
        target: counts.
        full: add Stirling's approximation of log(y!) for y > 1.
    """
    reduction = reduction_name(size_average, reduce, reduction)
    loss = poisson_log_rate(input, target) if log_input else poisson_rate(input, target, eps=eps)
    if full:
        loss = loss + stirling(target)
    return reduce_loss(loss, reduction)


@pointwise
def gaussian(x: Number, y: Number, variance: Number) -> Number:
    """(log(variance) + (x - y)^2 / variance) / 2."""
    return 0.5 * (fl.log(variance) + fl.square(x - y) / variance)


@composite()
def gaussian_nll_loss(
    input: Tensor,
    target: Tensor,
    var: Tensor | float,
    full: bool = False,
    eps: float = 1e-6,
    reduction: str = "mean",
) -> Tensor:
    """(log(var) + (x - y)^2 / var) / 2 with var at least eps (Nix and Weigend, 1994).

    Args:
        input: predicted means.
        target: observations of the same shape.
        var: predicted variances; a number, the same shape, or with a last dimension of 1.
        full: add the constant log(2 pi) / 2.
    """
    if not isinstance(var, Tensor):
        var = fl.full_like(input, var, requires_grad=False)
    if var.shape != input.shape:
        if input.shape[:-1] == var.shape:
            var = var.unsqueeze(-1)
        elif input.shape[:-1] != var.shape[:-1] or var.shape[-1] != 1:
            raise ValueError(
                f"gaussian_nll_loss: var of shape {tuple(input.shape)}, or with a last "
                f"dimension of 1, is required, got {tuple(var.shape)}"
            )
    if (var < 0).any():
        raise ValueError("gaussian_nll_loss: var must not be negative")
    limited = var.detach().clamp(min=eps)
    var = var + (limited - var.detach())  # the limit is not differentiated
    loss = gaussian(input, target, var)
    return reduce_loss(loss + 0.5 * math.log(2 * math.pi) if full else loss, reduction)
