"""Normalisation: y = (x - mean) / sqrt(var + eps), then a scale and a shift."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flambeau as fl
from flambeau import Tensor
from flambeau.autograd.function import Function
from flambeau.ops._composite import composite
from flambeau.ops._records import pointwise

Number = Any  # what a formula of one element is made of


def layer_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise over the last dimensions (Ba et al., 2016).

    Args:
        input: (..., *normalized_shape).
        normalized_shape: the shape of one normalised group.
        weight: scale of that shape, or None.
        bias: shift of that shape, or None.
        eps: added to the variance.
    """
    return fl.layer_norm(input, normalized_shape, weight, bias, eps)


def rms_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    eps: float | None = None,
) -> Tensor:
    """x / sqrt(mean(x^2) + eps) over the last dimensions (Zhang and Sennrich, 2019)."""
    shape = tuple(normalized_shape)
    if tuple(input.shape[input.dim() - len(shape) :]) != shape:
        raise RuntimeError(
            f"rms_norm: an input whose last dimensions are {shape} is required, "
            f"got {tuple(input.shape)}"
        )
    if eps is None:
        eps = fl.finfo(input.dtype).eps
    dims = tuple(range(-len(shape), 0))
    out = input * (input.square().mean(dims, keepdim=True) + eps).rsqrt()
    return out if weight is None else out * weight


def _per_channel(value: Tensor | None, dim: int) -> Tensor | None:
    """A (C) tensor shaped to broadcast over (N, C, ...) of `dim` dimensions."""
    return None if value is None else value.reshape(1, -1, *[1] * (dim - 2))


@pointwise
def _affine(x: Number, scale: Number, shift: Number) -> Number:
    return x * scale + shift


@pointwise
def _squared_deviation(x: Number, mean: Number) -> Number:
    return fl.square(x - mean)


def _scale_and_shift(input: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    """input * weight + bias per channel, in the input's type: 16 bits beside float32 weights."""
    scale, shift = _per_channel(weight, input.dim()), _per_channel(bias, input.dim())
    if scale is not None and shift is not None:
        return _affine(input, scale, shift).to(input.dtype)
    out = input if scale is None else input * scale
    return (out if shift is None else out + shift).to(input.dtype)


@composite(grad_name="NativeGroupNormBackward0", autocast="float32 on cuda")
def group_norm(
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise each group of channels of each sample (Wu and He, 2018).

    Args:
        input: (N, C, ...), C a multiple of num_groups.
        weight: scale (C) or None.
        bias: shift (C) or None.
    """
    if input.dim() < 2 or input.shape[1] % num_groups != 0:
        raise RuntimeError(
            f"group_norm: an input (N, C, ...) with C a multiple of {num_groups} is required, "
            f"got {tuple(input.shape)}"
        )
    groups = input.reshape(input.shape[0], num_groups, -1)
    normal = fl.layer_norm(groups, groups.shape[2:], None, None, eps).reshape(input.shape)
    if input.dim() == 4 and not input.is_contiguous():
        if input.is_contiguous(memory_format=fl.channels_last):
            normal = normal.contiguous(memory_format=fl.channels_last)
    return _scale_and_shift(normal, weight, bias)


def _update_running(running: Tensor | None, value: Tensor, momentum: float) -> None:
    if running is not None:
        running.mul_(1 - momentum).add_(value.to(running.dtype), alpha=momentum)


@pointwise
def _product_with_deviation(g: Number, x: Number, mean: Number) -> Number:
    return g * (x - mean)


@pointwise
def _normalised_gradient(
    g: Number, x: Number, mean: Number, scale: Number, mean_g: Number, slope: Number
) -> Number:
    return scale * (g - mean_g - (x - mean) * slope)


def _batch_statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and (biased) variance of every channel of (N, C, ...), as (1, C, 1, ...)."""
    dims = (0, *range(2, x.dim()))
    mean = x.mean(dims, keepdim=True, dtype=fl.promote_types(x.dtype, fl.float32))
    return mean, _squared_deviation(x, mean).mean(dims, keepdim=True)


class _NormalisedBatch(Function):
    """(x - mean) / sqrt(var + eps) * weight + bias with the statistics of the batch itself.

    The gradient is written out (Ioffe and Szegedy, 2015, section 3), which takes three passes over
    memory; derived step by step it would take eight:
    dx = weight / sqrt(var + eps) * (g - mean(g) - (x - mean) mean(g (x - mean)) / (var + eps)).
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        mean: Tensor,
        var: Tensor,
        eps: float,
    ) -> Tensor:
        ctx.save_for_backward(x, weight, mean, var)
        ctx.eps = eps
        scale = (var + eps).rsqrt()
        scale = scale if weight is None else scale * weight
        shift = -mean * scale if bias is None else bias - mean * scale
        return _affine(x, scale, shift).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, var = ctx.saved_tensors
        if fl.is_grad_enabled():  # the second derivative goes through the statistics too
            mean, var = _batch_statistics(x)
        dims = (0, *range(2, x.dim()))
        inverse = (var + ctx.eps).rsqrt()
        scale = inverse if weight is None else inverse * weight
        count = x.numel() // x.shape[1]
        sum_g = g.sum(dims, keepdim=True)
        product = _product_with_deviation(g, x, mean).sum(dims, keepdim=True)
        slope = product * inverse.square() / count
        dx = _normalised_gradient(g, x, mean, scale, sum_g / count, slope)
        return dx, None if weight is None else product * inverse, sum_g, None, None, None


@composite(grad_name="NativeBatchNormBackward0")
def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise each channel over the batch (Ioffe and Szegedy, 2015).

    Args:
        input: (N, C, ...).
        running_mean, running_var: (C); updated in training, used in evaluation.
        weight, bias: scale and shift (C), or None.
        training: use the statistics of this batch instead of the running ones.
        momentum: share of this batch in the running statistics.
    """
    if input.dim() < 2:
        raise ValueError(f"batch_norm: an input (N, C, ...) is required, got {tuple(input.shape)}")
    if not training:
        if running_mean is None or running_var is None:
            raise RuntimeError(
                "batch_norm: running_mean and running_var are required in evaluation"
            )
        mean, var = running_mean, running_var
    else:
        count = input.numel() // max(input.shape[1], 1)
        if count <= 1:
            raise ValueError(
                "batch_norm: more than 1 value per channel is required when training, "
                f"got input size {input.shape}; use a larger batch or eval()"
            )
        with fl.no_grad():
            mean, var = _batch_statistics(input)
            _update_running(running_mean, mean.flatten(), momentum)
            _update_running(running_var, var.flatten() * (count / (count - 1)), momentum)
        scale, shift = _per_channel(weight, input.dim()), _per_channel(bias, input.dim())
        return _NormalisedBatch.apply(input, scale, shift, mean, var, eps)
    scale = (var + eps).rsqrt()
    if weight is not None:
        scale = scale * weight
    shift = -mean * scale if bias is None else bias - mean * scale
    return _scale_and_shift(input, scale, shift)


@composite()
def instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise each channel of each sample (Ulyanov et al., 2016); arguments as batch_norm."""
    if not use_input_stats:
        return batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    flat = input.flatten(2)
    if flat.shape[2] <= 1:
        raise ValueError(
            "instance_norm: more than 1 spatial element is required when training, "
            f"got input size {input.shape}"
        )
    if running_mean is not None or running_var is not None:
        with fl.no_grad():
            _update_running(running_mean, flat.mean(2).mean(0), momentum)
            _update_running(running_var, flat.var(2).mean(0), momentum)
    normal = fl.layer_norm(flat, flat.shape[2:], None, None, eps).reshape(input.shape)
    return _scale_and_shift(normal, weight, bias)


@composite()
def local_response_norm(
    input: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Tensor:
    """x / (k + alpha * mean(x^2 over `size` neighbouring channels))^beta (AlexNet, 3.3).

    Args:
        input: (N, C, ...).
    """
    if input.dim() < 3:
        raise ValueError(
            f"local_response_norm: 3 or more dimensions are required, got {tuple(input.shape)}"
        )
    squares = input.square().flatten(2)
    before, after = size // 2, (size - 1) // 2
    padded = fl.nn.functional.pad(squares, (0, 0, before, after))
    mean = padded.unfold(1, size, 1).sum(-1) / size
    return input / (mean * alpha + k).pow(beta).reshape(input.shape)
