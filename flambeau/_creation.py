"""Tensors from data."""

from __future__ import annotations

from typing import Any

from flambeau import _core
from flambeau._core import Tensor, dtype
from flambeau._tensor import to


def _on_gpu(data: Any) -> Tensor | None:
    """A tensor over memory of a GPU that another library has, if that is what it is."""
    if isinstance(data, (list, tuple, float, int)) or not hasattr(data, "__cuda_array_interface__"):
        return None
    from flambeau._array_interface import tensor_over

    return tensor_over(data)


def _copied(data: Any, dtype: dtype | None, device: Any, requires_grad: bool) -> Tensor:
    shared = None if isinstance(data, Tensor) else _on_gpu(data)
    if shared is not None:
        result = to(shared, dtype=dtype, device=device, copy=True)
        return result.requires_grad_() if requires_grad else result
    result = _core.tensor_from_data(data, dtype)
    if device is not None:
        result = to(result, device=device)
    return result.requires_grad_() if requires_grad else result


def tensor(
    data: Any,
    *,
    dtype: dtype | None = None,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:
    """Returns a new tensor with a copy of the data.

    Args:
        data: a number, nested sequences of numbers, a NumPy array, a buffer, a Tensor, or an array
            on a GPU with `__cuda_array_interface__`, which stays on it.
        dtype: element type; inferred if None (floats: the default dtype, integers: int64).
        device: 'cpu' or 'cuda:N'.
        requires_grad: whether operations on the tensor are recorded.
        pin_memory: put it in page-locked memory, for copies to a GPU.

    Raises:
        ValueError: the rows have different lengths.
        TypeError: something in the data is no number.

    Example:
        >>> torch.tensor([[1, 2], [3, 4]])
        tensor([[1, 2],
                [3, 4]])
    """
    if isinstance(data, Tensor):
        import warnings

        warnings.warn(
            "tensor: to copy construct from a tensor, use tensor.detach().clone() or "
            "tensor.detach().clone().requires_grad_(True)",
            UserWarning,
            stacklevel=2,
        )
    if pin_memory:
        pinned = _core.pin_memory(_copied(data, dtype, device, False))
        return pinned.requires_grad_() if requires_grad else pinned
    return _copied(data, dtype, device, requires_grad)


def from_numpy(array: Any) -> Tensor:
    """Returns a tensor that shares the memory of a NumPy array.

    Raises:
        TypeError: not an array, or of a type that tensors do not have.
        ValueError: the array has negative strides.
    """
    if not _core.is_array(array):
        raise TypeError(
            f"from_numpy: expected np.ndarray (got {type(array).__name__}); "
            "use torch.tensor(data) for other data"
        )
    return _core.tensor_from_buffer(array)


def as_tensor(data: Any, dtype: dtype | None = None, device: Any = None) -> Tensor:
    """Returns data as a tensor, sharing its memory if it is a tensor or array that fits.

    Args:
        data: as for torch.tensor.
        dtype: element type; the data's own if None.
        device: 'cpu' or 'cuda:N'.
    """
    if isinstance(data, Tensor):
        return to(data, dtype=dtype, device=device)
    if _core.is_array(data) and getattr(data, "ndim", 0) > 0 and min(data.strides, default=0) >= 0:
        return to(from_numpy(data), dtype=dtype, device=device)
    shared = _on_gpu(data)
    if shared is not None:
        return to(shared, dtype=dtype, device=device)
    return _copied(data, dtype, device, False)


def _knows_dlpack(obj: Any) -> bool:
    return type(obj).__name__ == "PyCapsule" or hasattr(obj, "__dlpack__")


def asarray(
    obj: Any,
    *,
    dtype: dtype | None = None,
    device: Any = None,
    copy: bool | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Returns obj as a tensor; `copy` decides about sharing memory (None: share if possible).

    Args:
        obj: as for torch.tensor, or what torch.from_dlpack takes.
    """
    if not isinstance(obj, Tensor) and not _core.is_array(obj) and _knows_dlpack(obj):
        from flambeau._dlpack import from_dlpack

        is_array = hasattr(obj, "__dlpack__")
        obj = from_dlpack(obj, copy=copy) if is_array else from_dlpack(obj)
        copy = copy and not is_array
    if copy:
        result = _copied(obj, dtype, device, False)
    else:
        result = as_tensor(obj, dtype, device)
    return result.requires_grad_() if requires_grad else result


def frombuffer(
    buffer: Any, *, dtype: dtype, count: int = -1, offset: int = 0, requires_grad: bool = False
) -> Tensor:
    """Returns a 1-d tensor over the bytes of a buffer, sharing its memory.

    Args:
        buffer: an object with the buffer protocol.
        dtype: element type.
        count: number of elements; -1 for all.
        offset: where to begin, in bytes.
    """
    content = memoryview(buffer).cast("B")[offset:]
    if count >= 0:
        content = content[: count * dtype.itemsize]
    if len(content) == 0 or len(content) % dtype.itemsize:
        raise ValueError(
            f"frombuffer: both buffer length ({len(content)}) after offset ({offset}) must be "
            f"a positive multiple of element size ({dtype.itemsize})"
        )
    result = _core.view_dtype(_core.tensor_from_buffer(content), dtype)
    return result.requires_grad_() if requires_grad else result


def is_tensor(obj: Any) -> bool:
    """Returns whether obj is a Tensor."""
    return isinstance(obj, Tensor)


def is_storage(obj: Any) -> bool:
    """Returns whether obj is a storage."""
    return isinstance(obj, _core.UntypedStorage)


def is_floating_point(input: Tensor) -> bool:
    """Returns whether the elements are floating-point numbers."""
    return input.is_floating_point()


def is_complex(input: Tensor) -> bool:
    """Returns whether the elements are complex numbers (never, so far)."""
    return False


def numel(input: Tensor) -> int:
    """Returns the number of elements."""
    return input.numel()


def _legacy_type(name: str, element: dtype) -> Any:
    """FloatTensor and its kin: constructors, and types for isinstance."""

    class LegacyType(type):
        def __instancecheck__(cls, instance: Any) -> bool:
            return isinstance(instance, Tensor) and instance.dtype is element

        def __call__(cls, *args: Any) -> Tensor:
            if len(args) == 1 and not isinstance(args[0], int):
                return _core.tensor_from_data(args[0], element)
            return _core.to_dtype(Tensor(*args), element)

    return LegacyType(name, (), {"dtype": element, "__module__": "flambeau"})


def legacy_types() -> dict[str, Any]:
    """Returns the historical constructors by name."""
    from flambeau._tensor import _TYPE_NAMES

    return {
        short + "Tensor": _legacy_type(short + "Tensor", getattr(_core, name))
        for name, short in _TYPE_NAMES.items()
    }
