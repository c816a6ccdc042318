"""Pickling and deep copies of single tensors (`pickle`, `copy`); files are in serialization.py."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import flambeau
from flambeau._buffers import in_memory_order, storage_tensor, tensor_bytes, tensor_from_bytes

if TYPE_CHECKING:
    from flambeau import Tensor


def reduce_tensor(tensor: Tensor, protocol: int) -> tuple[Any, ...]:
    """Returns what `Tensor.__reduce_ex__` returns: a function and its arguments.

    The elements are stored densely, in the order of the dimensions in memory; a CUDA tensor comes
    back on its GPU.

    Raises:
        RuntimeError: the tensor is the result of a recorded operation.
    """
    _check_leaf(tensor, "pickle")
    values, strides = in_memory_order(tensor.detach().cpu())
    content: Any = tensor_bytes(values)
    content = pickle.PickleBuffer(content) if protocol >= 5 else bytes(content)
    dtype = str(tensor.dtype).removeprefix("torch.")
    arguments: tuple[Any, ...] = (
        *(type(tensor), content, dtype, tuple(tensor.shape), tensor.requires_grad),
    )
    if not tensor.is_cpu or strides is not None:
        arguments += (str(tensor.device),)
    if strides is not None:
        arguments += (strides,)
    attributes = getattr(tensor, "__dict__", None)
    return (rebuild_tensor, arguments, attributes) if attributes else (rebuild_tensor, arguments)


def rebuild_tensor(
    kind: type[Tensor],
    content: Any,
    dtype: str,
    shape: tuple[int, ...],
    requires_grad: bool,
    device: str = "cpu",
    strides: tuple[int, ...] | None = None,
) -> Tensor:
    """Makes the tensor that `reduce_tensor` described."""
    writable = content if not memoryview(content).readonly else bytearray(content)
    tensor = tensor_from_bytes(writable, getattr(flambeau, dtype), shape, strides)
    return _as_kind(placed(tensor, device), kind, requires_grad)


def placed(tensor: Tensor, device: str) -> Tensor:
    """Returns a tensor from a file on the device that it was saved from.

    Raises:
        RuntimeError: there is no such device.
    """
    target = flambeau.device(device)
    if target.type == "cuda" and not flambeau.cuda.is_available():
        raise RuntimeError(
            "load: Attempting to deserialize object on a CUDA device but torch.cuda.is_available() "
            "is False. If you are running on a CPU-only machine, please use torch.load with "
            "map_location=torch.device('cpu') to map your storages to the CPU."
        )
    if target.type == "cuda" and (target.index or 0) >= flambeau.cuda.device_count():
        raise RuntimeError(
            f"load: Attempting to deserialize object on CUDA device {target.index} but "
            f"torch.cuda.device_count() is {flambeau.cuda.device_count()}. Please use torch.load "
            "with map_location to map your storages to an existing device."
        )
    return tensor.to(target)


def deepcopy_tensor(tensor: Tensor, memo: dict[int, Any]) -> Tensor:
    """Returns `copy.deepcopy(tensor)`; tensors that share memory share the copy's memory.

    Args:
        tensor: a leaf of the gradient graph.
        memo: copies made so far by object identity; storages are kept in it too.

    Raises:
        RuntimeError: the tensor is the result of a recorded operation.
    """
    if id(tensor) in memo:
        found: Tensor = memo[id(tensor)]
        return found
    _check_leaf(tensor, "deepcopy")
    data = tensor.detach()
    storages = memo.setdefault(id(_STORAGES), {})
    address = data.untyped_storage().data_ptr()
    if address not in storages:
        storages[address] = storage_tensor(data).clone()
    copied = storages[address].view(data.dtype)
    copied = copied.as_strided(data.shape, data.stride(), data.storage_offset()).detach()
    copied = _as_kind(copied, type(tensor), tensor.requires_grad)
    memo[id(tensor)] = copied
    if tensor.grad is not None:
        copied.grad = deepcopy_tensor(tensor.grad, memo)
    attributes = getattr(tensor, "__dict__", None)
    if attributes:
        import copy

        copied.__dict__.update(copy.deepcopy(attributes, memo))
    return copied


_STORAGES = object()  # its identity is the key of the storages in a memo


def _check_leaf(tensor: Tensor, what: str) -> None:
    if tensor.grad_fn is not None:
        raise RuntimeError(
            f"{what}: Only Tensors created explicitly by the user (graph leaves) are supported, "
            f"got a tensor with grad_fn {tensor.grad_fn.name()}; call .detach() first"
        )


def _as_kind(tensor: Tensor, kind: type[Tensor], requires_grad: bool) -> Tensor:
    if kind is not flambeau.Tensor:
        return flambeau.Tensor._make_subclass(kind, tensor, requires_grad)
    return tensor.requires_grad_(requires_grad)
