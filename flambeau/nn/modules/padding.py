"""Padding layers: F.pad with the widths fixed."""

from __future__ import annotations

from typing import Any, ClassVar

from flambeau import Tensor

from .. import functional as F
from .._functional_pool import per_axis
from .module import Module


class _Pad(Module):
    """Extends the last axes.

    Args:
        padding: one width for all sides, or (left, right) of the last axis, then of the others.
    """

    axes: ClassVar[int]
    mode: ClassVar[str] = "constant"

    def __init__(self, padding: Any) -> None:
        super().__init__()
        self.padding = per_axis(padding, 2 * self.axes)

    def forward(self, input: Tensor) -> Tensor:
        return F.pad(input, self.padding, self.mode)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class _ConstantPad(_Pad):
    def __init__(self, padding: Any, value: float) -> None:
        super().__init__(padding)
        self.value = value

    def forward(self, input: Tensor) -> Tensor:
        return F.pad(input, self.padding, "constant", self.value)

    def extra_repr(self) -> str:
        return f"padding={self.padding}, value={self.value}"


class ConstantPad1d(_ConstantPad):
    """Extend the last axis with a value."""

    axes = 1


class ConstantPad2d(_ConstantPad):
    """Extend the last 2 axes with a value."""

    axes = 2


class ConstantPad3d(_ConstantPad):
    """Extend the last 3 axes with a value."""

    axes = 3


class _ZeroPad(_ConstantPad):
    def __init__(self, padding: Any) -> None:
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class ZeroPad1d(_ZeroPad):
    """Extend the last axis with zeros."""

    axes = 1


class ZeroPad2d(_ZeroPad):
    """Extend the last 2 axes with zeros."""

    axes = 2


class ZeroPad3d(_ZeroPad):
    """Extend the last 3 axes with zeros."""

    axes = 3


class _ReflectionPad(_Pad):
    mode = "reflect"


class ReflectionPad1d(_ReflectionPad):
    """Extend (N, C, L) by its mirror image without the border."""

    axes = 1


class ReflectionPad2d(_ReflectionPad):
    """Extend (N, C, H, W) by its mirror image without the border."""

    axes = 2


class ReflectionPad3d(_ReflectionPad):
    """Extend (N, C, D, H, W) by its mirror image without the border."""

    axes = 3


class _ReplicationPad(_Pad):
    mode = "replicate"


class ReplicationPad1d(_ReplicationPad):
    """Extend (N, C, L) by repeating the border."""

    axes = 1


class ReplicationPad2d(_ReplicationPad):
    """Extend (N, C, H, W) by repeating the border."""

    axes = 2


class ReplicationPad3d(_ReplicationPad):
    """Extend (N, C, D, H, W) by repeating the border."""

    axes = 3


class _CircularPad(_Pad):
    mode = "circular"


class CircularPad1d(_CircularPad):
    """Extend (N, C, L) as if it went round."""

    axes = 1


class CircularPad2d(_CircularPad):
    """Extend (N, C, H, W) as if it went round."""

    axes = 2


class CircularPad3d(_CircularPad):
    """Extend (N, C, D, H, W) as if it went round."""

    axes = 3
