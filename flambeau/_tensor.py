"""Methods of Tensor that are best said in Python: conversion, printing, interchange."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from flambeau import _core
from flambeau._core import Tensor, device, dtype, memory_format

if TYPE_CHECKING:
    from builtins import type as _type

    import numpy as np


def _device_of(value: Any) -> device | None:
    if value is None or isinstance(value, device):
        return value
    return device(value)


def _move(
    self: Tensor,
    target: device | None,
    non_blocking: bool = False,
    memory_format: memory_format | None = None,
) -> Tensor:
    if target is not None and target != self.device:
        moved: Tensor = _core.private["to_device"](self, target, non_blocking, memory_format)
        if moved is not self:
            return moved
    if memory_format is None:
        return self
    return _core.to_dtype(self, self.dtype, memory_format)


def to(
    self: Tensor,
    *args: Any,
    dtype: dtype | None = None,
    device: Any = None,
    copy: bool = False,
    non_blocking: bool = False,
    memory_format: memory_format | None = None,
) -> Tensor:
    """Returns the tensor with another dtype, on another device or in another order of elements.

    It is the tensor itself if nothing changes.

    Args:
        *args: a dtype, a device (object, name or index), a tensor to take both from, or
            a device and a dtype.
        dtype, device: the same by name.
        copy: copy even if nothing changes.
        memory_format: torch.channels_last and the like; by default the order stays as it is.

    Raises:
        RuntimeError: the memory format is one of tensors of other ranks.
    """
    for value in args:
        if isinstance(value, Tensor):
            dtype, device = value.dtype, value.device
        elif isinstance(value, _core.dtype) or value in (float, int, bool):
            dtype = value
        elif isinstance(value, bool):
            continue  # non_blocking and copy by position
        elif value is not None:
            device = value
    result = self
    if dtype is not None and self.is_cuda:
        result = _core.to_dtype(result, dtype, memory_format)  # where it is faster
    result = _move(result, _device_of(device), non_blocking, memory_format)
    if dtype is not None:
        result = _core.to_dtype(result, dtype, memory_format)
    return result.clone(memory_format=memory_format) if copy and result is self else result


def _cast(target: dtype) -> Callable[[Tensor], Tensor]:
    def cast(self: Tensor, memory_format: memory_format | None = None) -> Tensor:
        return _core.to_dtype(self, target, memory_format)

    cast.__doc__ = f"Returns the tensor as {target}; itself if it is already."
    return cast


_TYPE_NAMES = {
    "float32": "Float",
    "float64": "Double",
    "float16": "Half",
    "bfloat16": "BFloat16",
    "int64": "Long",
    "int32": "Int",
    "int16": "Short",
    "int8": "Char",
    "uint8": "Byte",
    "bool": "Bool",
}


def _dtype_of_type_name(name: str) -> dtype:
    short = name.rsplit(".", 1)[-1].removesuffix("Tensor")
    for dtype_name, type_name in _TYPE_NAMES.items():
        if short == type_name:
            found: dtype = getattr(_core, dtype_name)
            return found
    raise ValueError(f"type: invalid type: '{name}'; use a dtype such as torch.float32")


def type(
    self: Tensor,
    dtype: Any = None,
    non_blocking: bool = False,
    memory_format: memory_format | None = None,
) -> Any:
    """Returns the historical type name, or with `dtype` the tensor converted to it."""
    if dtype is None:
        prefix = "torch.cuda." if self.is_cuda else "torch."
        return prefix + _TYPE_NAMES[self.dtype.name] + "Tensor"
    if isinstance(dtype, str):
        dtype = _dtype_of_type_name(dtype)
    return _core.to_dtype(self, getattr(dtype, "dtype", dtype), memory_format)


def type_as(self: Tensor, other: Tensor) -> Tensor:
    """Returns the tensor converted to other's dtype and device."""
    return to(self, other)


def cpu(self: Tensor, memory_format: memory_format | None = None) -> Tensor:
    """Returns the tensor in host memory."""
    return _move(self, device("cpu"), memory_format=memory_format)


def cuda(
    self: Tensor,
    device: Any = None,
    non_blocking: bool = False,
    memory_format: memory_format | None = None,
) -> Tensor:
    """Returns the tensor on a GPU.

    Raises:
        RuntimeError: there is none.
    """
    wanted = _device_of("cuda" if device is None else device)
    return _move(self, wanted, non_blocking, memory_format)


def numpy(self: Tensor, *, force: bool = False) -> np.ndarray[Any, Any]:
    """Returns a NumPy array that shares the tensor's memory.

    Args:
        force: detach and copy where sharing is not possible.

    Raises:
        RuntimeError: the tensor requires a gradient or is on a GPU.
        TypeError: NumPy has no such type (bfloat16).
    """
    import numpy

    tensor = self.detach().cpu() if force else self
    return numpy.asarray(memoryview(tensor))


def __array__(self: Tensor, dtype: Any = None, copy: bool | None = None) -> Any:
    array = numpy(self)
    if dtype is not None and array.dtype != dtype:
        return array.astype(dtype)
    return array.copy() if copy else array


def __array_wrap__(self: Tensor, array: Any, context: Any = None, scalar: bool = False) -> Tensor:
    return _core.tensor_from_data(array, None)


def __repr__(self: Tensor, *, tensor_contents: Any = None) -> str:
    from flambeau._printing import tensor_repr

    return tensor_repr(self)


def __format__(self: Tensor, spec: str) -> str:
    from flambeau._printing import tensor_format

    return tensor_format(self, spec)


def as_subclass(self: Tensor, cls: _type[Tensor]) -> Tensor:
    """Returns a tensor of class `cls`, derived from Tensor, over the same memory."""
    return Tensor._make_subclass(cls, self, self.requires_grad)


def __reversed__(self: Tensor) -> Tensor:
    return self.flip(0) if self.dim() else self


def __deepcopy__(self: Tensor, memo: dict[int, Any]) -> Tensor:
    from flambeau._pickle import deepcopy_tensor

    return deepcopy_tensor(self, memo)


def __reduce_ex__(self: Tensor, protocol: Any) -> Any:
    from flambeau._pickle import reduce_tensor

    return reduce_tensor(self, protocol)


def __dir__(self: Tensor) -> list[str]:
    return sorted({*dir(self.__class__), *self.__dict__})


def new_tensor(
    self: Tensor,
    data: Any,
    *,
    dtype: dtype | None = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Returns a new tensor from data, by default of this tensor's dtype and device."""
    result = _core.tensor_from_data(data, dtype or self.dtype)
    return to(result, device=device or self.device).requires_grad_(requires_grad)


def new(self: Tensor, *args: Any) -> Tensor:
    """Returns a tensor of this one's dtype and device, from sizes or data as Tensor takes them."""
    return to(Tensor(*args), self.device, self.dtype)


def untyped_storage(self: Tensor) -> _core.UntypedStorage:
    """Returns the memory that the tensor is a view of."""
    return _core.untyped_storage(self)


def is_shared(self: Tensor) -> bool:
    """Returns whether the memory is shared between processes."""
    return False


def is_pinned(self: Tensor, device: Any = None) -> bool:
    """Returns whether the memory is page-locked for copies to a GPU."""
    return _core.is_pinned(self)


def pin_memory(self: Tensor, device: Any = None) -> Tensor:
    """Returns the tensor in page-locked memory, which copies to GPUs need not wait for.

    Args:
        device: accepted as PyTorch does.

    Returns:
        A copy, or the tensor itself if it is pinned already.

    Raises:
        RuntimeError: there is no GPU.
    """
    return _core.pin_memory(self)


def record_stream(self: Tensor, stream: Any) -> None:
    """Keeps the tensor's memory until work that a stream has now is done.

    Args:
        stream: a torch.cuda.Stream that uses the tensor, which another stream has made.
    """
    _core.cuda_record_stream(self, stream._core)


def get_device(self: Tensor) -> int:
    """Returns the index of the GPU, -1 for host memory."""
    return -1 if self.is_cpu else (self.device.index or 0)


def register_hook(self: Tensor, hook: Callable[[Tensor], Tensor | None]) -> _core.HookHandle:
    """Calls hook(gradient) whenever this tensor's gradient is known; a result replaces it.

    Args:
        hook: takes and may return a Tensor of this tensor's shape.

    Returns:
        A handle whose remove() takes the hook away.

    Raises:
        RuntimeError: the tensor requires no gradient.
    """
    return _core.register_hook(self, hook)


def register_post_accumulate_grad_hook(
    self: Tensor, hook: Callable[[Tensor], None]
) -> _core.HookHandle:
    """Calls hook(tensor) after backward() has updated this leaf's .grad."""
    return _core.register_post_accumulate_grad_hook(self, hook)


def tolist(self: Tensor) -> Any:
    """Returns the elements as nested lists of Python numbers; a 0-d tensor as a number."""
    return _core.tolist(self)


def __dlpack__(
    self: Tensor,
    *,
    stream: int | None = -1,
    max_version: tuple[int, int] | None = None,
    dl_device: tuple[int, int] | None = None,
    copy: bool | None = None,
) -> Any:
    """Returns a DLPack capsule that shares the memory; `torch.from_dlpack` is the other end.

    Args:
        stream: on a GPU, the consumer's stream, which will wait until the tensor is written: its
            handle; 1 or None for the default stream, 2 for the one of each thread. -1: no waiting.
        max_version: the newest version of DLPack that the consumer knows.
        dl_device: (type, index) of where the consumer wants it; a copy if it is not there.
        copy: True: always a copy; False: never.

    Raises:
        BufferError: the tensor requires a gradient, or a copy would be needed with copy=False.
    """
    from flambeau._dlpack import export

    return export(self, stream, max_version, dl_device, copy)


def __dlpack_device__(self: Tensor) -> tuple[int, int]:
    from flambeau._dlpack import DLDeviceType

    if self.is_cpu:
        return DLDeviceType.kDLCUDAHost if self.is_pinned() else DLDeviceType.kDLCPU, 0
    return DLDeviceType.kDLCUDA, self.get_device()


def __cuda_array_interface__(self: Tensor) -> dict[str, Any]:
    """The tensor's memory for libraries that know this protocol; only on GPUs."""
    from flambeau._array_interface import describe

    return describe(self)


_METHODS = (
    to,
    type,
    type_as,
    cpu,
    cuda,
    numpy,
    new_tensor,
    new,
    untyped_storage,
    is_shared,
    is_pinned,
    pin_memory,
    record_stream,
    get_device,
    register_hook,
    register_post_accumulate_grad_hook,
    tolist,
    __array__,
    __array_wrap__,
    __repr__,
    __format__,
    as_subclass,
    __reversed__,
    __deepcopy__,
    __reduce_ex__,
    __dir__,
    __dlpack__,
    __dlpack_device__,
)

for _method in _METHODS:
    setattr(Tensor, _method.__name__, _method)
for _method in (__cuda_array_interface__,):
    setattr(Tensor, _method.__name__, property(_method))
for _name in _TYPE_NAMES:
    _method = _cast(getattr(_core, _name))
    _method.__name__ = _TYPE_NAMES[_name].lower()
    setattr(Tensor, _method.__name__, _method)
