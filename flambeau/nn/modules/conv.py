"""Convolutions of 1 to 3 axes and their transposes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import flambeau as fl
from flambeau import Tensor

from .. import functional as F
from .. import init
from .._functional_pool import per_axis
from ..parameter import Parameter
from .module import Module

_PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


class _ConvNd(Module):
    """What all convolutions share: arguments, weights and repr.

    Args:
        in_channels, out_channels: channels of the input and output, multiples of groups.
        kernel_size, stride, dilation: a number, or one per axis.
        padding: a number, one per axis, "valid" (none) or "same" (output as large as input).
        groups: blocks of channels that are convolved separately.
        bias: whether there is one.
        padding_mode: what the padding holds: zeros, reflect, replicate or circular.
    """

    axes: ClassVar[int]
    transposed: ClassVar[bool] = False
    function: ClassVar[Callable[..., Tensor]]

    weight: Tensor
    bias: Tensor | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
        *,
        output_padding: Any = 0,
    ) -> None:
        super().__init__()
        _check_arguments(in_channels, out_channels, groups, padding, stride, padding_mode)
        axes = self.axes
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = per_axis(kernel_size, axes)
        self.stride = per_axis(stride, axes)
        self.padding = padding if isinstance(padding, str) else per_axis(padding, axes)
        self.dilation = per_axis(dilation, axes)
        self.output_padding = per_axis(output_padding, axes)
        self.groups = groups
        self.padding_mode = padding_mode
        channels = (out_channels, in_channels // groups)
        if self.transposed:
            channels = (in_channels, out_channels // groups)
        self.weight = Parameter(fl.empty(*channels, *self.kernel_size, device=device, dtype=dtype))
        if bias:
            self.bias = Parameter(fl.empty(out_channels, device=device, dtype=dtype))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weight and bias from U(-b, b), b = 1 / sqrt(fan_in)."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            fan_in, _ = init._calculate_fan_in_and_fan_out(self.weight)
            if fan_in != 0:
                bound = 1 / math.sqrt(fan_in)
                init.uniform_(self.bias, -bound, bound)

    def forward(self, input: Tensor) -> Tensor:
        padding: Any = self.padding
        if self.padding_mode != "zeros":
            input = F.pad(input, self._pad_widths(), mode=self.padding_mode)
            padding = 0
        return type(self).function(
            input, self.weight, self.bias, self.stride, padding, self.dilation, self.groups
        )

    def _pad_widths(self) -> list[Any]:
        """The padding as F.pad takes it: (left, right) of the last axis first."""
        widths: list[Any] = []
        for axis in reversed(range(self.axes)):
            if self.padding == "same":
                total = self.dilation[axis] * (self.kernel_size[axis] - 1)
                widths += [total // 2, total - total // 2]
            else:
                width = 0 if self.padding == "valid" else self.padding[axis]
                widths += [width, width]
        return widths

    def extra_repr(self) -> str:
        text = (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, "
            f"stride={self.stride}"
        )
        zeros, ones = (0,) * self.axes, (1,) * self.axes
        if self.padding != zeros:
            text += f", padding={self.padding}"
        if self.dilation != ones:
            text += f", dilation={self.dilation}"
        if self.output_padding != zeros:
            text += f", output_padding={self.output_padding}"
        if self.groups != 1:
            text += f", groups={self.groups}"
        if self.bias is None:
            text += ", bias=False"
        if self.padding_mode != "zeros":
            text += f", padding_mode={self.padding_mode}"
        return text


def _check_arguments(
    in_channels: int, out_channels: int, groups: int, padding: Any, stride: Any, mode: str
) -> None:
    if groups <= 0:
        raise ValueError(f"convolution: groups must be positive, got {groups}")
    if in_channels % groups or out_channels % groups:
        raise ValueError(
            f"convolution: in_channels and out_channels must be multiples of groups={groups}, "
            f"got {in_channels} and {out_channels}"
        )
    if isinstance(padding, str):
        if padding not in ("same", "valid"):
            raise ValueError(f"convolution: padding must be same or valid, got {padding!r}")
        steps = stride if isinstance(stride, Sequence) else (stride,)
        if padding == "same" and any(step != 1 for step in steps):
            raise ValueError(f"convolution: padding='same' needs stride 1, got {stride}")
    if mode not in _PADDING_MODES:
        raise ValueError(f"convolution: padding_mode must be in {_PADDING_MODES}, got {mode!r}")


class Conv1d(_ConvNd):
    """Convolution of (N, C, L) or (C, L) with kernels (out, C / groups, K).

    Arguments as Conv2d's, with one axis.
    """

    axes = 1
    function = F.conv1d


class Conv2d(_ConvNd):
    """Convolution of (N, C, H, W) or (C, H, W) with kernels (out, C / groups, KH, KW).

    Args:
        in_channels, out_channels: channels of the input and output, multiples of groups.
        kernel_size, stride, dilation: a number, or one per axis.
        padding: a number, one per axis, "valid" (none) or "same" (output as large as input).
        groups: blocks of channels that are convolved separately.
        bias: whether there is one.
        padding_mode: what the padding holds: zeros, reflect, replicate or circular.

    Shape:
        H becomes floor((H + 2 padding - dilation (kernel_size - 1) - 1) / stride) + 1.

    Example:
        >>> torch.nn.Conv2d(3, 8, 3, padding=1)(torch.zeros(1, 3, 32, 32)).shape
        torch.Size([1, 8, 32, 32])
    """

    axes = 2
    function = F.conv2d


class Conv3d(_ConvNd):
    """Convolution of (N, C, D, H, W) or (C, D, H, W); arguments as Conv2d's."""

    axes = 3
    function = F.conv3d


class _ConvTransposeNd(_ConvNd):
    """The gradient of a convolution with respect to its input, as a layer."""

    transposed = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Any = 1,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        if padding_mode != "zeros":
            raise ValueError(
                f"{type(self).__name__}: only padding_mode='zeros' exists, got {padding_mode!r}"
            )
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            groups,
            bias,
            padding_mode,
            device,
            dtype,
            output_padding=output_padding,
        )

    def forward(self, input: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        extra = self.output_padding
        if output_size is not None:
            extra = self._output_padding_for(input, output_size)
        return type(self).function(
            input,
            self.weight,
            self.bias,
            self.stride,
            self.padding,
            extra,
            self.groups,
            self.dilation,
        )

    def _output_padding_for(self, input: Tensor, output_size: Sequence[int]) -> tuple[int, ...]:
        """The output padding that gives exactly `output_size`."""
        name = type(self).__name__
        if len(output_size) not in (self.axes, input.dim()):
            raise ValueError(
                f"{name}: output_size must have {self.axes} or {input.dim()} numbers, "
                f"got {len(output_size)}"
            )
        wanted = tuple(output_size)[-self.axes :]
        extra = []
        for axis, size in enumerate(input.shape[-self.axes :]):
            reach = self.dilation[axis] * (self.kernel_size[axis] - 1) + 1
            least = (size - 1) * self.stride[axis] - 2 * self.padding[axis] + reach
            most = least + self.stride[axis] - 1
            if not least <= wanted[axis] <= most:
                raise ValueError(
                    f"{name}: output_size {wanted} is out of reach, axis {axis} can be "
                    f"{least} to {most} for an input of {tuple(input.shape)}"
                )
            extra.append(wanted[axis] - least)
        return tuple(extra)


class ConvTranspose1d(_ConvTransposeNd):
    """Transposed convolution of (N, C, L); arguments as ConvTranspose2d's, with one axis."""

    axes = 1
    function = F.conv_transpose1d


class ConvTranspose2d(_ConvTransposeNd):
    """Transposed convolution of (N, C, H, W) with kernels (C, out / groups, KH, KW).

    Args:
        in_channels, out_channels: channels of the input and output, multiples of groups.
        kernel_size, stride, padding, dilation: those of the convolution it transposes.
        output_padding: added to one side of the output, less than stride or dilation.
        groups: blocks of channels that are convolved separately.
        bias: whether there is one.

    Shape:
        H becomes (H - 1) stride - 2 padding + dilation (kernel_size - 1) + output_padding + 1.
    """

    axes = 2
    function = F.conv_transpose2d


class ConvTranspose3d(_ConvTransposeNd):
    """Transposed convolution of (N, C, D, H, W); arguments as ConvTranspose2d's."""

    axes = 3
    function = F.conv_transpose3d
