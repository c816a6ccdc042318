"""The shape of a tensor."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, SupportsIndex, overload

from flambeau import _core


class Size(tuple[int, ...]):
    """A tuple of lengths, printed as PyTorch prints it."""

    __slots__ = ()

    def numel(self) -> int:
        """Returns the number of elements of a tensor of this shape."""
        return math.prod(self)

    def __repr__(self) -> str:
        return f"torch.Size([{', '.join(map(str, self))}])"

    @overload
    def __getitem__(self, index: SupportsIndex) -> int: ...
    @overload
    def __getitem__(self, index: slice) -> Size: ...
    def __getitem__(self, index: Any) -> Any:
        item = tuple.__getitem__(self, index)
        return Size(item) if isinstance(index, slice) else item

    def __add__(self, other: Iterable[int]) -> Size:  # type: ignore[override]
        return Size((*self, *other))

    def __radd__(self, other: Iterable[int]) -> Size:
        return Size((*other, *self))

    def __mul__(self, count: SupportsIndex) -> Size:
        return Size(tuple.__mul__(self, count))

    __rmul__ = __mul__

    def __reduce__(self) -> tuple[type[Size], tuple[tuple[int, ...]]]:
        return Size, (tuple(self),)


_core._set_size_type(Size)
