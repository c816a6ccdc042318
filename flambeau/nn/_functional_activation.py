"""Activations, softmax and dropout.

The elementwise formulas are records in `flambeau.ops`; here they get PyTorch's `inplace` flag.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import flambeau as fl
from flambeau import Tensor
from flambeau.ops._composite import composite


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """max(x, 0)."""
    return fl.relu_(input) if inplace else fl.relu(input)


def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """min(max(x, 0), 6)."""
    return fl.relu6_(input) if inplace else fl.relu6(input)


def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """x where x > 0, else negative_slope * x."""
    function = fl.leaky_relu_ if inplace else fl.leaky_relu
    return function(input, negative_slope)


def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x where x > 0, else alpha * (exp(x) - 1)."""
    return fl.elu_(input, alpha) if inplace else fl.elu(input, alpha)


def selu(input: Tensor, inplace: bool = False) -> Tensor:
    """ELU with the slope and scale that keep mean 0 and variance 1 (Klambauer et al., 2017)."""
    return fl.selu_(input) if inplace else fl.selu(input)


def celu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """max(x, 0) + min(alpha * (exp(x / alpha) - 1), 0)."""
    return fl.celu_(input, alpha) if inplace else fl.celu(input, alpha)


def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """x * sigmoid(x)."""
    return fl.silu_(input) if inplace else fl.silu(input)


def mish(input: Tensor, inplace: bool = False) -> Tensor:
    """x * tanh(softplus(x)) (Misra, 2019)."""
    return fl.mish_(input) if inplace else fl.mish(input)


def hardtanh(
    input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False
) -> Tensor:
    """x limited to [min_val, max_val]."""
    if min_val > max_val:
        raise ValueError(f"hardtanh: min_val <= max_val is required, got {min_val} and {max_val}")
    function = fl.hardtanh_ if inplace else fl.hardtanh
    return function(input, min_val, max_val)


def hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    """x / 6 + 1 / 2 limited to [0, 1]."""
    return fl.hardsigmoid_(input) if inplace else fl.hardsigmoid(input)


def hardswish(input: Tensor, inplace: bool = False) -> Tensor:
    """x * hardsigmoid(x)."""
    return fl.hardswish_(input) if inplace else fl.hardswish(input)


def threshold(input: Tensor, threshold: float, value: float, inplace: bool = False) -> Tensor:
    """x where x > threshold, else value."""
    function = fl.threshold_ if inplace else fl.threshold
    return function(input, threshold, value)


@composite(grad_name="PreluKernelBackward0", autocast="lower")
def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """x where x > 0, else weight * x with one weight in all or one per channel.

    Args:
        input: (N, C, ...).
        weight: one element, or C.
    """
    channels = input.shape[1] if input.dim() > 1 else 1
    if weight.dim() > 1 or weight.numel() not in (1, channels):
        raise RuntimeError(
            f"prelu: weight must have 1 element or one per channel ({channels}), "
            f"got shape {tuple(weight.shape)}"
        )
    if weight.numel() > 1:
        weight = weight.reshape(-1, *[1] * (input.dim() - 2))
    return fl.where(input > 0, input, weight * input)


@composite(grad_name="RreluWithNoiseBackward0")
def rrelu(
    input: Tensor,
    lower: float = 1.0 / 8,
    upper: float = 1.0 / 3,
    training: bool = False,
    inplace: bool = False,
) -> Tensor:
    """Leaky ReLU whose slope is drawn from U(lower, upper) in training, else their mean."""
    if not training:
        return leaky_relu(input, (lower + upper) / 2, inplace)
    is_positive = input > 0
    if input.is_cuda:  # a number for every element, as PyTorch does there
        draws = fl.empty(input.shape, dtype=input.dtype, device=input.device)
        slope = fl.where(is_positive, 1.0, draws.uniform_(lower, upper))
    else:
        slope = fl.ones_like(input, requires_grad=False)
        count = input.numel() - int(is_positive.sum())
        draws = fl.empty(count, dtype=fl.float64).uniform_(lower, upper)
        slope[~is_positive] = draws.to(input.dtype)
    return input.mul_(slope) if inplace else input * slope


@composite(grad_name="GluBackward0")
def glu(input: Tensor, dim: int = -1) -> Tensor:
    """a * sigmoid(b) where a and b are the halves of the input along `dim`."""
    if input.dim() == 0 or input.shape[dim] % 2 != 0:
        raise RuntimeError(
            f"glu: an even size is required along dimension {dim}, got {tuple(input.shape)}"
        )
    a, b = input.chunk(2, dim)
    return a * b.sigmoid()


# --- softmax --------------------------------------------------------------------------------


def _implied_dim(name: str, input: Tensor) -> int:
    warnings.warn(f"{name}: the dimension is guessed; pass dim=... to say which", stacklevel=3)
    return 0 if input.dim() in (0, 1, 3) else 1


def softmax(
    input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None
) -> Tensor:
    """exp(x) / sum(exp(x)) along `dim`.

    Args:
        input: any shape, floating point.
        dim: the dimension whose values sum to one.
        dtype: convert the input to this dtype first.
    """
    if dim is None:
        dim = _implied_dim("softmax", input)
    return fl.softmax(input, dim, dtype=dtype)


def softmin(
    input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None
) -> Tensor:
    """softmax of -x."""
    if dim is None:
        dim = _implied_dim("softmin", input)
    return fl.softmax(-input, dim, dtype=dtype)


def log_softmax(
    input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None
) -> Tensor:
    """x - log(sum(exp(x))) along `dim`, without overflow."""
    if dim is None:
        dim = _implied_dim("log_softmax", input)
    return fl.log_softmax(input, dim, dtype=dtype)


@composite()
def gumbel_softmax(
    logits: Tensor, tau: float = 1, hard: bool = False, eps: float = 1e-10, dim: int = -1
) -> Tensor:
    """A sample that is nearly one-hot and differentiable (Jang et al., 2017).

    Args:
        logits: unnormalised log-probabilities.
        tau: temperature; small is close to one-hot.
        hard: return exact one-hot vectors, with the gradient of the soft ones.
    """
    gumbel = -fl.empty_like(logits, requires_grad=False).exponential_().log()
    soft = ((logits + gumbel) / tau).softmax(dim)
    if not hard:
        return soft
    index = soft.max(dim, keepdim=True)[1]
    one_hot = fl.zeros_like(logits, requires_grad=False).scatter_(dim, index, 1.0)
    return one_hot - soft.detach() + soft


# --- dropout --------------------------------------------------------------------------------


def _check_probability(name: str, p: float) -> None:
    if p < 0.0 or p > 1.0:
        raise ValueError(f"{name}: the probability must be between 0 and 1, got {p}")


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Zero each element with probability p and divide the others by 1 - p (Hinton et al., 2012)."""
    _check_probability("dropout", p)
    return fl.dropout_(input, p, training) if inplace else fl.dropout(input, p, training)


def _drop_channels(input: Tensor, p: float, training: bool, inplace: bool) -> Tensor:
    """Zero whole channels of an input (N, C, ...)."""
    if not training or p == 0 or input.numel() == 0:
        return input
    noise = fl.empty(
        *input.shape[:2], *[1] * (input.dim() - 2), dtype=input.dtype, device=input.device
    )
    keep = 1 - p
    noise = noise.bernoulli_(keep) / keep if keep > 0 else noise.zero_()
    return input.mul_(noise) if inplace else input * noise


def _channel_dropout(
    name: str, axes: int, input: Tensor, p: float, training: bool, inplace: bool
) -> Tensor:
    """Channel dropout of (C, *axes) or (N, C, *axes)."""
    _check_probability(name, p)
    if input.dim() not in (axes + 1, axes + 2):
        raise RuntimeError(
            f"{name}: an input of {axes + 1} or {axes + 2} dimensions is required, "
            f"got shape {tuple(input.shape)}"
        )
    if input.dim() == axes + 2:
        return _drop_channels(input, p, training, inplace)
    out = _drop_channels(input.unsqueeze(0), p, training, inplace)
    return out.squeeze(0)


@composite()
def dropout1d(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """Dropout of whole channels of (N, C, L) or (C, L)."""
    return _channel_dropout("dropout1d", 1, input, p, training, inplace)


@composite()
def dropout2d(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """Dropout of whole channels of (N, C, H, W)."""
    _check_probability("dropout2d", p)
    return _drop_channels(input, p, training, inplace)


@composite()
def dropout3d(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """Dropout of whole channels of (N, C, D, H, W)."""
    _check_probability("dropout3d", p)
    return _drop_channels(input, p, training, inplace)


_ALPHA = 1.7580993408473766  # -lim x -> -inf of selu(x)


def _alpha_drop(input: Tensor, noise: Tensor, p: float, inplace: bool) -> Tensor:
    """Set dropped elements to -alpha, then restore mean and variance (SELU paper, section 3)."""
    scale = 1.0 / math.sqrt((_ALPHA**2 * p + 1) * (1 - p))
    noise = noise.bernoulli_(1 - p)
    shift = (noise - 1) * (_ALPHA * scale) + _ALPHA * scale * p
    noise = noise * scale
    return input.mul_(noise).add_(shift) if inplace else input * noise + shift


def _alpha_dropout(input: Tensor, noise: Tensor, p: float, training: bool, inplace: bool) -> Tensor:
    if not training or p == 0 or input.numel() == 0:
        return input
    if p == 1:
        return input.zero_() if inplace else input * 0
    return _alpha_drop(input, noise, p, inplace)


@composite()
def alpha_dropout(
    input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False
) -> Tensor:
    """Dropout for SELU networks, which keeps mean and variance (Klambauer et al., 2017)."""
    _check_probability("alpha_dropout", p)
    noise = fl.empty_like(input, requires_grad=False)
    return _alpha_dropout(input, noise, p, training, inplace)


@composite()
def feature_alpha_dropout(
    input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False
) -> Tensor:
    """Alpha dropout of whole channels of (N, C, ...)."""
    _check_probability("feature_alpha_dropout", p)
    shape = (*input.shape[:2], *[1] * (input.dim() - 2))
    noise = fl.empty(*shape, dtype=input.dtype, device=input.device)
    return _alpha_dropout(input, noise, p, training, inplace)
