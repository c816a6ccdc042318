"""Padding, resampling, pixel shuffling, and unfolding of images into columns."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import flambeau as fl
from flambeau import Tensor
from flambeau.ops._composite import composite

from ._functional_pool import (
    adaptive_avg_pool1d,
    adaptive_avg_pool2d,
    adaptive_avg_pool3d,
    per_axis,
)

# --- padding --------------------------------------------------------------------------------


@composite(grad_name="ConstantPadNdBackward0")
def constant_pad_nd(input: Tensor, pad: Sequence[int], value: float = 0) -> Tensor:
    """Extend the last dimensions with a value; arguments as in `pad`."""
    shape = list(input.shape)
    inner: list[tuple[int, int, int]] = []  # dimension, start in the result, length
    for i in range(len(pad) // 2):
        dim, left, right = input.dim() - 1 - i, pad[2 * i], pad[2 * i + 1]
        kept = shape[dim] + min(left, 0) + min(right, 0)
        if kept < 0:
            raise RuntimeError(
                f"pad: the paddings {tuple(pad)} cut more than there is of dimension {dim} of "
                f"shape {tuple(input.shape)}"
            )
        input = input.narrow(dim, max(-left, 0), kept)
        shape[dim] = kept + max(left, 0) + max(right, 0)
        inner.append((dim, max(left, 0), kept))
    out = input.new_full(shape, value)
    middle = out
    for dim, start, length in inner:
        middle = middle.narrow(dim, start, length)
    middle.copy_(input)
    return out


@composite()
def pad(
    input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None
) -> Tensor:
    """Extend the last dimensions at both ends.

    Args:
        input: any shape.
        pad: (left, right) of the last dimension, then of the one before it, and so on; negative
            numbers cut off.
        mode: "constant", or "reflect", "replicate", "circular" for the spatial dimensions of
            (N, C, ...) or (C, ...).
        value: what "constant" fills in, 0 by default.

    Raises:
        RuntimeError: more pairs than dimensions, or a padding too large for the mode.
    """
    if len(pad) % 2 or len(pad) // 2 > input.dim():
        raise RuntimeError(
            f"pad: an even count of at most {2 * input.dim()} paddings is required for shape "
            f"{tuple(input.shape)}, got {tuple(pad)}"
        )
    last = _has_channels_last(input)
    if mode == "constant":
        fill = 0.0 if value is None else value
        if not last:
            return constant_pad_nd(input, list(pad), fill)
        ends = [*pad, *[0] * (2 * input.dim() - len(pad))]
        spatial, channels, batch = ends[:-4], ends[-4:-2], ends[-2:]
        moved = constant_pad_nd(input.movedim(1, -1), [*channels, *spatial, *batch], fill)
        return moved.movedim(-1, 1)
    if value is not None:
        raise ValueError(f"pad: mode {mode!r} takes no value, got {value}")
    if mode not in ("reflect", "replicate", "circular"):
        raise NotImplementedError(
            f"pad: mode must be constant, reflect, replicate or circular, got {mode!r}"
        )
    if input.dim() not in (len(pad) // 2 + 1, len(pad) // 2 + 2):
        raise NotImplementedError(
            f"pad: mode {mode!r} pads the spatial dimensions of (N, C, ...) or (C, ...), "
            f"got {len(pad)} paddings for shape {tuple(input.shape)}"
        )
    if last:
        return _pad_from_places(input.movedim(1, -1), pad, mode, -2).movedim(-1, 1)
    return _pad_from_places(input, pad, mode, -1)


def _pad_from_places(input: Tensor, pad: Sequence[int], mode: str, last_axis: int) -> Tensor:
    """Extend the axes from the last one on with values of their own."""
    for i in range(len(pad) // 2):
        axis = last_axis - i
        places = _source_places(mode, input.shape[axis], pad[2 * i], pad[2 * i + 1])
        if places is not None:
            index = fl.tensor(places, dtype=fl.int64, device=input.device)
            input = input.index_select(axis, index)
    return input


def _source_places(mode: str, size: int, left: int, right: int) -> list[int] | None:
    """For each place along a padded axis, the place that its value comes from."""
    if left == 0 == right:
        return None
    limit = {"reflect": size - 1, "circular": size, "replicate": max(left, right)}[mode]
    if max(left, right) > limit or size == 0:
        raise RuntimeError(
            f"pad: with mode {mode!r} a dimension of size {size} takes at most {max(limit, 0)} "
            f"on a side, got ({left}, {right})"
        )
    places = range(-left, size + right)
    if mode == "replicate":
        return [min(max(i, 0), size - 1) for i in places]
    if mode == "circular":
        return [i % size for i in places]
    last = size - 1
    return [last - abs(last - abs(i)) for i in places]


# --- pixels and channels --------------------------------------------------------------------


@composite()
def pixel_shuffle(input: Tensor, upscale_factor: int) -> Tensor:
    """(..., C r^2, H, W) to (..., C, H r, W r) (Shi et al., 2016)."""
    r = upscale_factor
    if r <= 0 or input.dim() < 3 or input.shape[-3] % (r * r):
        raise RuntimeError(
            f"pixel_shuffle: an input (..., C * {r} * {r}, H, W) is required, "
            f"got {tuple(input.shape)}"
        )
    *lead, channels, height, width = input.shape
    c = channels // (r * r)
    parts = input.reshape(-1, c, r, r, height, width).permute(0, 1, 4, 2, 5, 3)
    return parts.reshape(*lead, c, height * r, width * r)


@composite()
def pixel_unshuffle(input: Tensor, downscale_factor: int) -> Tensor:
    """(..., C, H r, W r) to (..., C r^2, H, W), the inverse of pixel_shuffle."""
    r = downscale_factor
    if r <= 0 or input.dim() < 3 or input.shape[-2] % r or input.shape[-1] % r:
        raise RuntimeError(
            f"pixel_unshuffle: an input whose height and width are multiples of {r} is "
            f"required, got {tuple(input.shape)}"
        )
    *lead, c, height, width = input.shape
    parts = input.reshape(-1, c, height // r, r, width // r, r).permute(0, 1, 3, 5, 2, 4)
    return parts.reshape(*lead, c * r * r, height // r, width // r)


@composite()
def channel_shuffle(input: Tensor, groups: int) -> Tensor:
    """Interleave the groups of channels of (N, C, ...) (Zhang et al., 2017)."""
    n, c = input.shape[:2]
    if c % groups:
        raise RuntimeError(f"channel_shuffle: {c} channels cannot be divided into {groups} groups")
    return input.reshape(n, groups, c // groups, -1).transpose(1, 2).reshape(input.shape)


# --- columns --------------------------------------------------------------------------------


def _window_counts(sizes: Sequence[int], geometry: Sequence[Sequence[int]]) -> list[int]:
    """How many windows fit each axis; geometry is kernel, dilation, padding, stride per axis."""
    return [
        (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
        for size, kernel, dilation, padding, stride in zip(sizes, *geometry, strict=True)
    ]


@composite(grad_name="Im2ColBackward0")
def unfold(
    input: Tensor, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
) -> Tensor:
    """Every window of an image as a column.

    Args:
        input: (N, C, H, W) or (C, H, W).
        kernel_size, dilation, padding, stride: as in conv2d.

    Returns:
        (N, C * kh * kw, windows).
    """
    if input.dim() == 3:
        return unfold(input.unsqueeze(0), kernel_size, dilation, padding, stride).squeeze(0)
    if input.dim() != 4:
        raise RuntimeError(f"unfold: (N, C, H, W) is required, got {tuple(input.shape)}")
    geometry = [per_axis(value, 2) for value in (kernel_size, dilation, padding, stride)]
    (kh, kw), (dh, dw), (ph, pw), (sh, sw) = geometry
    if min(_window_counts(input.shape[2:], geometry)) < 1:
        raise RuntimeError(
            f"unfold: no window of {kh} x {kw} fits into the input of {tuple(input.shape)}"
        )
    padded = constant_pad_nd(input, [pw, pw, ph, ph], 0.0)
    n, c = padded.shape[:2]
    oh, ow = _window_counts(input.shape[2:], geometry)
    by_n, by_c, by_h, by_w = padded.stride()
    windows = padded.as_strided(
        (n, c, kh, kw, oh, ow), (by_n, by_c, by_h * dh, by_w * dw, by_h * sh, by_w * sw)
    )
    return windows.reshape(n, c * kh * kw, oh * ow)


@composite(grad_name="Col2ImBackward0")
def fold(
    input: Tensor,
    output_size: Any,
    kernel_size: Any,
    dilation: Any = 1,
    padding: Any = 0,
    stride: Any = 1,
) -> Tensor:
    """Add columns up to images; where windows overlap, the values are summed.

    Args:
        input: (N, C * kh * kw, windows) or without N.
        output_size: (H, W) of the result.

    Returns:
        (N, C, H, W).
    """
    if input.dim() == 2:
        out = fold(input.unsqueeze(0), output_size, kernel_size, dilation, padding, stride)
        return out.squeeze(0)
    geometry = [per_axis(value, 2) for value in (kernel_size, dilation, padding, stride)]
    (kh, kw), (dh, dw), (ph, pw), (sh, sw) = geometry
    height, width = per_axis(output_size, 2)
    oh, ow = _window_counts((height, width), geometry)
    if input.dim() != 3 or input.shape[1] % (kh * kw) or input.shape[2] != oh * ow:
        raise RuntimeError(
            f"fold: (N, C * {kh * kw}, {oh * ow}) is required for an output of "
            f"({height}, {width}), got {tuple(input.shape)}"
        )
    n, c = input.shape[0], input.shape[1] // (kh * kw)
    columns = input.reshape(n, c, kh, kw, oh, ow)
    image = input.new_zeros(n, c, height + 2 * ph, width + 2 * pw)
    for i in range(kh):
        for j in range(kw):
            top, left = i * dh, j * dw
            rows = slice(top, top + sh * (oh - 1) + 1, sh)
            image[:, :, rows, left : left + sw * (ow - 1) + 1 : sw] += columns[:, :, i, j]
    return image[:, :, ph : ph + height, pw : pw + width]


# --- resampling -----------------------------------------------------------------------------

_AREA_POOLS = {1: adaptive_avg_pool1d, 2: adaptive_avg_pool2d, 3: adaptive_avg_pool3d}
_MODE_AXES = {
    "nearest": (1, 2, 3),
    "nearest-exact": (1, 2, 3),
    "area": (1, 2, 3),
    "linear": (1,),
    "bilinear": (2,),
    "bicubic": (2,),
    "trilinear": (3,),
}

Taps = list[tuple[list[int], list[float]]]


@composite()
def interpolate(
    input: Tensor,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Tensor:
    """Resample the spatial dimensions of (N, C, ...).

    Args:
        size: wanted sizes; or
        scale_factor: factors of the sizes.
        mode: nearest, nearest-exact, linear, bilinear, bicubic, trilinear or area.
        align_corners: place the corner pixels' centres on the corners of the result.
        recompute_scale_factor: use the factor of the rounded sizes instead of scale_factor.
        antialias: must be False.
    """
    axes = input.dim() - 2
    if mode not in _MODE_AXES or axes not in _MODE_AXES[mode]:
        raise NotImplementedError(
            f"interpolate: mode {mode!r} does not apply to shape {tuple(input.shape)}"
        )
    if antialias:
        raise NotImplementedError("interpolate: antialias is not supported; average-pool first")
    if align_corners is not None and mode in ("nearest", "nearest-exact", "area"):
        raise ValueError(f"interpolate: align_corners has no meaning for mode {mode!r}")
    if (size is None) == (scale_factor is None):
        raise ValueError("interpolate: exactly one of size and scale_factor is required")
    inputs = input.shape[2:]
    factors: list[float | None] = [None] * axes
    if size is not None:
        sizes = [int(s) for s in per_axis(size, axes)]
    else:
        given = per_axis(scale_factor, axes)
        sizes = [math.floor(have * f) for have, f in zip(inputs, given, strict=True)]
        if not recompute_scale_factor:
            factors = list(given)
    if len(sizes) != axes or min(sizes) < 1:
        raise ValueError(
            f"interpolate: {axes} positive output sizes are required, got {tuple(sizes)}"
        )
    if mode == "area":
        return _AREA_POOLS[axes](input, sizes)
    last = _has_channels_last(input)
    first = 1 if last else 2
    result = input.movedim(1, -1) if last else input
    for i, (have, want, factor) in enumerate(zip(inputs, sizes, factors, strict=True)):
        step = have / want if factor is None else 1.0 / factor
        taps = _taps(mode, have, want, step, bool(align_corners))
        result = _resample_axis(result, i + first, taps)
    return result.movedim(-1, 1) if last else result


def _has_channels_last(input: Tensor) -> bool:
    """Whether channels lie closest; the axes are resampled in that order then."""
    if input.is_contiguous():
        return False
    formats = (fl.channels_last, fl.channels_last_3d)
    return any(input.is_contiguous(memory_format=form) for form in formats)


def _resample_axis(input: Tensor, axis: int, taps: Taps) -> Tensor:
    """Sum of the tapped places times their weights, along one axis."""
    total: Tensor | None = None
    for places, weights in taps:
        index = fl.tensor(places, dtype=fl.int64, device=input.device)
        part = input.index_select(axis, index)
        if len(taps) > 1:
            shape = [1] * input.dim()
            shape[axis] = -1
            part = part * fl.tensor(weights, dtype=input.dtype, device=input.device).reshape(shape)
        total = part if total is None else total + part
    assert total is not None
    return total


def _taps(mode: str, have: int, want: int, step: float, align_corners: bool) -> Taps:
    """For every place of the result, the places of the input to mix and their weights."""
    last = have - 1
    if mode in ("nearest", "nearest-exact"):
        shift = 0.5 if mode == "nearest-exact" else 0.0
        return [([min(int((i + shift) * step), last) for i in range(want)], [])]
    if align_corners:
        step = last / (want - 1) if want > 1 else 0.0
    centres = [i * step if align_corners else (i + 0.5) * step - 0.5 for i in range(want)]
    if mode == "bicubic":
        floors = [math.floor(x) for x in centres]
        return [
            (
                [min(max(f + tap, 0), last) for f in floors],
                [_cubic(x - f - tap) for x, f in zip(centres, floors, strict=True)],
            )
            for tap in (-1, 0, 1, 2)
        ]
    centres = [max(x, 0.0) for x in centres]
    low = [min(int(x), last) for x in centres]
    share = [min(x - i, 1.0) for x, i in zip(centres, low, strict=True)]
    high = [min(i + 1, last) for i in low]
    return [(low, [1.0 - w for w in share]), (high, share)]


def _cubic(distance: float, a: float = -0.75) -> float:
    """The convolution kernel of bicubic interpolation (Keys, 1981)."""
    d = abs(distance)
    if d <= 1:
        return ((a + 2) * d - (a + 3)) * d * d + 1
    return (((d - 5) * d + 8) * d - 4) * a
