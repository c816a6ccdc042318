"""Pooling beyond the core's max and average pools: adaptive, Lp and unpooling.

`axes` is the number of spatial axes: 1, 2 or 3. Inputs are (N, C, *axes) or (C, *axes).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flambeau as fl
from flambeau import Tensor
from flambeau.ops._composite import composite

from . import _functional_core as core

Sizes = int | Sequence[int | None] | None


def per_axis(value: Any, axes: int) -> tuple[Any, ...]:
    """`value` once for every axis: `3` becomes `(3, 3)`."""
    if isinstance(value, Sequence):
        return tuple(value) * axes if len(value) == 1 else tuple(value)
    return (value,) * axes


def _check_dims(name: str, input: Tensor, axes: int) -> None:
    if input.dim() not in (axes + 1, axes + 2):
        raise RuntimeError(
            f"{name}: an input of {axes + 1} or {axes + 2} dimensions is required, "
            f"got shape {tuple(input.shape)}"
        )


def _output_sizes(name: str, input: Tensor, output_size: Any, axes: int) -> list[int]:
    """The wanted sizes, None standing for the size of the input."""
    _check_dims(name, input, axes)
    wanted = per_axis(output_size, axes)
    if len(wanted) != axes:
        raise RuntimeError(f"{name}: output_size of {axes} numbers is required, got {wanted}")
    sizes = [
        have if want is None else int(want)
        for want, have in zip(wanted, input.shape[-axes:], strict=True)
    ]
    if any(size < 0 for size in sizes):
        raise RuntimeError(f"{name}: output sizes must not be negative, got {tuple(sizes)}")
    return sizes


def adaptive_avg_pool1d(input: Tensor, output_size: Sizes) -> Tensor:
    """Averages over windows chosen so that the output has `output_size` places."""
    sizes = _output_sizes("adaptive_avg_pool1d", input, output_size, 1)
    return fl.adaptive_avg_pool1d(input, sizes)


def adaptive_avg_pool2d(input: Tensor, output_size: Sizes) -> Tensor:
    """Averages over windows chosen so that the output has `output_size` (H, W)."""
    sizes = _output_sizes("adaptive_avg_pool2d", input, output_size, 2)
    return fl.adaptive_avg_pool2d(input, sizes)


def adaptive_avg_pool3d(input: Tensor, output_size: Sizes) -> Tensor:
    """Averages over windows chosen so that the output has `output_size` (D, H, W)."""
    sizes = _output_sizes("adaptive_avg_pool3d", input, output_size, 3)
    return fl.adaptive_avg_pool3d(input, sizes)


def adaptive_max_pool1d(input: Tensor, output_size: Sizes, return_indices: bool = False) -> Any:
    """Maxima over windows chosen so that the output has `output_size` places."""
    sizes = _output_sizes("adaptive_max_pool1d", input, output_size, 1)
    values, indices = fl.adaptive_max_pool1d(input, sizes)
    return (values, indices) if return_indices else values


def adaptive_max_pool2d(input: Tensor, output_size: Sizes, return_indices: bool = False) -> Any:
    """Maxima over windows chosen so that the output has `output_size` (H, W)."""
    sizes = _output_sizes("adaptive_max_pool2d", input, output_size, 2)
    values, indices = fl.adaptive_max_pool2d(input, sizes)
    return (values, indices) if return_indices else values


def adaptive_max_pool3d(input: Tensor, output_size: Sizes, return_indices: bool = False) -> Any:
    """Maxima over windows chosen so that the output has `output_size` (D, H, W)."""
    sizes = _output_sizes("adaptive_max_pool3d", input, output_size, 3)
    values, indices = fl.adaptive_max_pool3d(input, sizes)
    return (values, indices) if return_indices else values


def _lp_pool(
    input: Tensor, norm_type: float, kernel_size: Any, stride: Any, ceil_mode: bool, axes: int
) -> Tensor:
    """(sum of x^p over each window)^(1/p), the sum being kernel elements times the average."""
    kernel = per_axis(kernel_size, axes)
    average = getattr(core, f"avg_pool{axes}d")
    mean = average(input.pow(norm_type), kernel, stride, 0, ceil_mode)
    count = 1
    for size in kernel:
        count *= size
    return (mean.sign() * mean.abs() * count).pow(1.0 / norm_type)


@composite()
def lp_pool1d(
    input: Tensor, norm_type: float, kernel_size: int, stride: Any = None, ceil_mode: bool = False
) -> Tensor:
    """The p-norm of each window of (N, C, L)."""
    return _lp_pool(input, norm_type, kernel_size, stride, ceil_mode, 1)


@composite()
def lp_pool2d(
    input: Tensor, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False
) -> Tensor:
    """The p-norm of each window of (N, C, H, W)."""
    return _lp_pool(input, norm_type, kernel_size, stride, ceil_mode, 2)


@composite()
def lp_pool3d(
    input: Tensor, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False
) -> Tensor:
    """The p-norm of each window of (N, C, D, H, W)."""
    return _lp_pool(input, norm_type, kernel_size, stride, ceil_mode, 3)


def _max_unpool(
    input: Tensor,
    indices: Tensor,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    output_size: Any,
    axes: int,
) -> Tensor:
    """Put each value back to the place it was the maximum of; all other places are zero."""
    _check_dims(f"max_unpool{axes}d", input, axes)
    kernel = per_axis(kernel_size, axes)
    steps = kernel if stride is None else per_axis(stride, axes)
    pads = per_axis(padding, axes)
    if output_size is None:
        sizes = [
            (have - 1) * steps[axis] - 2 * pads[axis] + kernel[axis]
            for axis, have in enumerate(input.shape[-axes:])
        ]
    else:
        sizes = list(output_size)[-axes:]
    lead = input.shape[:-axes]
    count = 1
    for size in sizes:
        count *= size
    empty = input.new_zeros(*lead, count)
    out = empty.scatter(-1, indices.flatten(-axes), input.flatten(-axes))
    return out.reshape(*lead, *sizes)


@composite()
def max_unpool1d(
    input: Tensor,
    indices: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    output_size: Any = None,
) -> Tensor:
    """The partial inverse of max_pool1d with the indices that it returned."""
    return _max_unpool(input, indices, kernel_size, stride, padding, output_size, 1)


@composite(autocast="float32 on cpu")
def max_unpool2d(
    input: Tensor,
    indices: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    output_size: Any = None,
) -> Tensor:
    """The partial inverse of max_pool2d with the indices that it returned."""
    return _max_unpool(input, indices, kernel_size, stride, padding, output_size, 2)


@composite(autocast="float32 on cpu")
def max_unpool3d(
    input: Tensor,
    indices: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    output_size: Any = None,
) -> Tensor:
    """The partial inverse of max_pool3d with the indices that it returned."""
    return _max_unpool(input, indices, kernel_size, stride, padding, output_size, 3)
