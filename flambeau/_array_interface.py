"""`__cuda_array_interface__`, version 3: memory of GPUs shared with Numba, CuPy and the like.

The protocol is a dictionary (https://numba.readthedocs.io/en/stable/cuda/cuda_array_interface.html).
It names the stream that the data is ready in; whoever reads it lets its own stream wait for that.
"""

from __future__ import annotations

import math
from typing import Any

import flambeau as fl
from flambeau import Tensor, _core

_LEGACY_DEFAULT = 1
_KINDS = {"bool": "|b1", "uint8": "|u1", "int8": "|i1", "bfloat16": "<V2"}
_DTYPES = {
    _KINDS.get(name, f"<{name[0]}{getattr(fl, name).itemsize}"): getattr(fl, name)
    for name in (
        *("bool", "uint8", "int8", "int16", "int32", "int64"),
        *("float16", "float32", "float64", "bfloat16"),
    )
}
_TYPES = {dtype: text for text, dtype in _DTYPES.items()}


def describe(tensor: Tensor) -> dict[str, Any]:
    """Returns the value of `Tensor.__cuda_array_interface__`.

    Raises:
        AttributeError: the tensor is not on a GPU.
        RuntimeError: it requires a gradient.
    """
    if not tensor.is_cuda:
        raise AttributeError(
            f"Can't get __cuda_array_interface__ on non-CUDA tensor type: {tensor.type()}. If CUDA "
            "data is required use tensor.cuda() to copy tensor to device memory."
        )
    if tensor.requires_grad:
        raise RuntimeError(
            "__cuda_array_interface__: Can't get it on Tensor that requires grad. If gradients "
            "aren't required, use tensor.detach()"
        )
    _core.expose_memory(tensor)
    size = tensor.element_size()
    strides = None if tensor.is_contiguous() else tuple(s * size for s in tensor.stride())
    stream = fl.cuda.current_stream(tensor.device).cuda_stream
    return {
        "typestr": _TYPES[tensor.dtype],
        "shape": tuple(tensor.shape),
        "strides": strides,
        "data": (tensor.data_ptr() if tensor.numel() else 0, False),
        "stream": stream or _LEGACY_DEFAULT,
        "version": 3,
    }


def tensor_over(array: Any) -> Tensor:
    """Returns a tensor over the memory of an object with `__cuda_array_interface__`.

    Raises:
        TypeError: an entry is missing or wrong, or the memory is read-only.
        ValueError: the layout is none that tensors can have, or no GPU has this memory.
    """
    found = array.__cuda_array_interface__
    if not isinstance(found, dict):
        raise TypeError("__cuda_array_interface__: a dict is required, got " + type(found).__name__)
    shape = _whole_numbers(found, "shape")
    dtype = _dtype(found)
    pointer = _pointer(found)
    strides = _strides(found, shape, dtype)
    if found.get("mask") is not None:
        raise TypeError("__cuda_array_interface__: masked arrays are not supported; fill it first")
    device = fl.cuda.current_device()
    if math.prod(shape):
        device = _core.cuda_device_of_pointer(pointer)
    if device < 0:
        raise ValueError(
            f"__cuda_array_interface__: The specified pointer {pointer:#x} resides on host memory "
            "and is not registered with any CUDA device."
        )
    _wait_for(found, device)
    return _core.tensor_over_memory(pointer, device, shape, strides, dtype, array)


def _whole_numbers(found: dict[str, Any], name: str) -> tuple[int, ...]:
    numbers = found.get(name)
    if not isinstance(numbers, (tuple, list)) or any(not isinstance(n, int) for n in numbers):
        raise TypeError(
            f"__cuda_array_interface__: `{name}` must be a tuple of ints, got {numbers!r}"
        )
    return tuple(numbers)


def _dtype(found: dict[str, Any]) -> Any:
    text = found.get("typestr")
    dtype = _DTYPES.get(text) if isinstance(text, str) else None
    if dtype is None or dtype is fl.bfloat16:  # two bytes of anything
        raise TypeError(
            f"__cuda_array_interface__: there is no dtype for typestr {text!r}; convert the array"
        )
    return dtype


def _pointer(found: dict[str, Any]) -> int:
    data = found.get("data")
    if not isinstance(data, (tuple, list)) or len(data) != 2 or not isinstance(data[0], int):
        raise TypeError(
            f"__cuda_array_interface__: `data` must be (pointer, read-only), got {data!r}"
        )
    if data[1]:
        raise TypeError(
            "__cuda_array_interface__: the read only flag is not supported, should always be False;"
            " make a copy of the array"
        )
    return data[0]


def _strides(found: dict[str, Any], shape: tuple[int, ...], dtype: Any) -> tuple[int, ...]:
    """In elements."""
    if found.get("strides") is None:
        strides = [1]
        for length in reversed(shape[1:]):
            strides.append(strides[-1] * max(length, 1))
        return tuple(reversed(strides))[len(strides) - len(shape) :]
    strides = list(_whole_numbers(found, "strides"))
    if len(strides) != len(shape):
        raise TypeError(
            f"__cuda_array_interface__: strides must be a sequence of the same length as shape, "
            f"got {strides} for {shape}"
        )
    if any(step % dtype.itemsize for step in strides):
        raise ValueError(
            "__cuda_array_interface__: given array strides not a multiple of the element byte "
            "size. As a workaround, consider copying/reordering the array."
        )
    return tuple(step // dtype.itemsize for step in strides)


def _wait_for(found: dict[str, Any], device: int) -> None:
    stream = found.get("stream")
    if stream is None:
        return
    if not isinstance(stream, int) or stream < 1:
        raise ValueError(
            f"__cuda_array_interface__: `stream` must be None, 1, 2 or a handle, got {stream!r}"
        )
    _core.cuda_order_streams(device, stream, fl.cuda.current_stream(device).cuda_stream)
