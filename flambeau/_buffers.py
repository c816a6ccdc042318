"""Tensors as plain bytes, and back, without NumPy."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import flambeau

if TYPE_CHECKING:
    from flambeau import Tensor, dtype


def tensor_bytes(tensor: Tensor) -> memoryview:
    """Returns the elements of a CPU tensor in row-major order; shared where they lie so already."""
    dense = tensor.detach().contiguous()
    start = dense.storage_offset() * dense.element_size()
    content = memoryview(dense.untyped_storage()).cast("B")
    return content[start : start + dense.numel() * dense.element_size()]


def in_memory_order(tensor: Tensor) -> tuple[Tensor, tuple[int, ...] | None]:
    """Returns a tensor without gaps as a line, with its strides; itself and None if contiguous."""
    if tensor.is_contiguous():
        return tensor, None
    dense = tensor.detach().clone()
    return dense.as_strided((dense.numel(),), (1,), 0), dense.stride()


def tensor_from_bytes(
    content: Any, dtype: dtype, shape: tuple[int, ...], strides: tuple[int, ...] | None = None
) -> Tensor:
    """Returns a tensor over the memory of `content`, which it keeps alive.

    Args:
        content: writable buffer of exactly the tensor's bytes.
        dtype: element type.
        shape: its shape.
        strides: of elements that lie in another order than row-major.
    """
    if math.prod(shape) == 0:
        return flambeau.empty(shape, dtype=dtype)
    line = flambeau.frombuffer(content, dtype=dtype)
    return line.reshape(shape) if strides is None else line.as_strided(shape, strides, 0)


def storage_tensor(tensor: Tensor) -> Tensor:
    """Returns the whole storage of a tensor as a 1-d tensor of bytes that shares it."""
    count = tensor.untyped_storage().nbytes() // tensor.element_size()
    return tensor.detach().as_strided((count,), (1,), 0).view(flambeau.uint8)
