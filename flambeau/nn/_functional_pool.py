"""Pooling beyond the core's max and average pools: adaptive, Lp and unpooling.

`axes` is the number of spatial axes: 1, 2 or 3. Inputs are (N, C, *axes) or (C, *axes).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import flambeau as fl
from flambeau import Tensor
from flambeau.ops._composite import composite

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


def window_bounds(size: int, count: int) -> list[tuple[int, int]]:
    """The `count` windows that cover `size` places evenly: from floor(i s/c) to ceil((i+1) s/c)."""
    return [(i * size // count, -((-(i + 1) * size) // count)) for i in range(count)]


def _average_axis(input: Tensor, axis: int, count: int) -> Tensor:
    """Average evenly placed windows along one axis: a product with a matrix of shares."""
    size = input.shape[axis]
    rows = [
        [1.0 / (end - start) if start <= place < end else 0.0 for place in range(size)]
        for start, end in window_bounds(size, count)
    ]
    shares = fl.tensor(rows, dtype=input.dtype, device=input.device).reshape(count, size)
    return fl.matmul(input.movedim(axis, -1), shares.t()).movedim(-1, axis)


_AVERAGE_POOLS: dict[int, Callable[..., Tensor]] = {
    1: fl.avg_pool1d,
    2: fl.avg_pool2d,
    3: fl.avg_pool3d,
}


def _adaptive_avg_pool(input: Tensor, output_size: Any, axes: int) -> Tensor:
    sizes = _output_sizes(f"adaptive_avg_pool{axes}d", input, output_size, axes)
    inputs = input.shape[-axes:]
    if all(size == 1 for size in sizes):
        return input.mean(tuple(range(-axes, 0)), keepdim=True)
    if all(size > 0 and have % size == 0 for size, have in zip(sizes, inputs, strict=True)):
        return _AVERAGE_POOLS[axes](
            input, [have // size for size, have in zip(sizes, inputs, strict=True)]
        )
    for axis, size in zip(range(-axes, 0), sizes, strict=True):
        input = _average_axis(input, axis, size)
    return input


@composite(grad_name="AdaptiveAvgPool1DBackward0")
def adaptive_avg_pool1d(input: Tensor, output_size: Sizes) -> Tensor:
    """Averages over windows chosen so that the output has `output_size` places."""
    return _adaptive_avg_pool(input, output_size, 1)


@composite(grad_name="AdaptiveAvgPool2DBackward0")
def adaptive_avg_pool2d(input: Tensor, output_size: Sizes) -> Tensor:
    """Averages over windows chosen so that the output has `output_size` (H, W)."""
    return _adaptive_avg_pool(input, output_size, 2)


@composite(grad_name="AdaptiveAvgPool3DBackward0")
def adaptive_avg_pool3d(input: Tensor, output_size: Sizes) -> Tensor:
    """Averages over windows chosen so that the output has `output_size` (D, H, W)."""
    return _adaptive_avg_pool(input, output_size, 3)


def _adaptive_max_pool(input: Tensor, output_size: Any, return_indices: bool, axes: int) -> Any:
    """Gather the windows along every axis, move them to one last axis and take its maximum.

    Windows of one axis may differ by one place; the shorter repeat their last place.
    """
    sizes = _output_sizes(f"adaptive_max_pool{axes}d", input, output_size, axes)
    spatial = input.shape[-axes:]
    places = fl.arange(spatial.numel(), device=input.device).reshape(spatial)
    split: list[int] = []
    for axis, size in enumerate(sizes):
        bounds = window_bounds(spatial[axis], size)
        width = max((end - start for start, end in bounds), default=1)
        index = [min(start + i, end - 1) for start, end in bounds for i in range(width)]
        chosen = fl.tensor(index, dtype=fl.int64, device=input.device)
        input = input.index_select(axis - axes, chosen)
        places = places.index_select(axis, chosen)
        split += [size, width]
    windows = _windows_last(input, split, axes)
    values, best = windows.max(-1)
    if not return_indices:
        return values
    places = _windows_last(places, split, axes).expand_as(windows)
    return values, places.gather(-1, best.unsqueeze(-1)).squeeze(-1)


def _windows_last(input: Tensor, split: list[int], axes: int) -> Tensor:
    """(..., o1 * w1, o2 * w2) to (..., o1, o2, w1 * w2); `split` is o1, w1, o2, w2."""
    lead = input.dim() - axes
    parts = input.reshape(*input.shape[:lead], *split)
    outputs = [lead + 2 * axis for axis in range(axes)]
    widths = [place + 1 for place in outputs]
    return parts.permute(*range(lead), *outputs, *widths).flatten(-axes)


@composite(grad_name="AdaptiveMaxPool1DBackward0")
def adaptive_max_pool1d(input: Tensor, output_size: Sizes, return_indices: bool = False) -> Any:
    """Maxima over windows chosen so that the output has `output_size` places."""
    return _adaptive_max_pool(input, output_size, return_indices, 1)


@composite(grad_name="AdaptiveMaxPool2DBackward0")
def adaptive_max_pool2d(input: Tensor, output_size: Sizes, return_indices: bool = False) -> Any:
    """Maxima over windows chosen so that the output has `output_size` (H, W)."""
    return _adaptive_max_pool(input, output_size, return_indices, 2)


@composite(grad_name="AdaptiveMaxPool3DBackward0")
def adaptive_max_pool3d(input: Tensor, output_size: Sizes, return_indices: bool = False) -> Any:
    """Maxima over windows chosen so that the output has `output_size` (D, H, W)."""
    return _adaptive_max_pool(input, output_size, return_indices, 3)


def _lp_pool(
    input: Tensor, norm_type: float, kernel_size: Any, stride: Any, ceil_mode: bool, axes: int
) -> Tensor:
    """(sum of x^p over each window)^(1/p), the sum being kernel elements times the average."""
    kernel = per_axis(kernel_size, axes)
    mean = _AVERAGE_POOLS[axes](input.pow(norm_type), kernel, stride, 0, ceil_mode)
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


@composite()
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


@composite()
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


# --- the core's max pools with PyTorch's return_indices -------------------------------------


def _max_pool(axes: int, arguments: tuple[Any, ...], return_indices: bool) -> Any:
    if return_indices:
        return _MAX_POOLS_WITH_INDICES[axes](*arguments)
    return _MAX_POOLS[axes](*arguments)


_MAX_POOLS = {1: fl.max_pool1d, 2: fl.max_pool2d, 3: fl.max_pool3d}
_MAX_POOLS_WITH_INDICES = {
    1: fl.max_pool1d_with_indices,
    2: fl.max_pool2d_with_indices,
    3: fl.max_pool3d_with_indices,
}


def max_pool1d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The maximum of every window of (N, C, L), with `return_indices` also where it is."""
    stride = kernel_size if stride is None else stride
    return _max_pool(1, (input, kernel_size, stride, padding, dilation, ceil_mode), return_indices)


def max_pool2d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The maximum of every window of (N, C, H, W), with `return_indices` also where it is."""
    stride = kernel_size if stride is None else stride
    return _max_pool(2, (input, kernel_size, stride, padding, dilation, ceil_mode), return_indices)


def max_pool3d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The maximum of every window of (N, C, D, H, W), with `return_indices` also where."""
    stride = kernel_size if stride is None else stride
    return _max_pool(3, (input, kernel_size, stride, padding, dilation, ceil_mode), return_indices)
