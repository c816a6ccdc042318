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


def tensor_from_bytes(content: Any, dtype: dtype, shape: tuple[int, ...]) -> Tensor:
    """Returns a tensor over the memory of `content`, which it keeps alive.

    Args:
        content: writable buffer of exactly the tensor's bytes.
        dtype: element type.
        shape: its shape.
    """
    if math.prod(shape) == 0:
        return flambeau.empty(shape, dtype=dtype)
    return flambeau.frombuffer(content, dtype=dtype).reshape(shape)


def storage_tensor(tensor: Tensor) -> Tensor:
    """Returns the whole storage of a tensor as a 1-d tensor of bytes that shares it."""
    count = tensor.untyped_storage().nbytes() // tensor.element_size()
    return tensor.detach().as_strided((count,), (1,), 0).view(flambeau.uint8)
