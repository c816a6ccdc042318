"""DLPack: tensors that share memory with arrays of other libraries, on the CPU and on GPUs.

The producer of an array makes a capsule, its consumer takes what the capsule holds. On a GPU the
consumer names the stream that it is going to use, and the producer sees to it that this stream
waits for the work that still writes the array.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import flambeau
from flambeau import Tensor, _core


class DLDeviceType(IntEnum):
    """Where memory is, in DLPack's numbers. Tensors are on the first two."""

    kDLCPU = 1
    kDLCUDA = 2
    kDLCUDAHost = 3


_LEGACY_DEFAULT = 1  # the default stream's name, in CUDA as in DLPack


def to_dlpack(tensor: Tensor) -> Any:
    """Returns a DLPack capsule over the tensor's memory, for one consumer.

    Objects are better handed over as they are: consumers call `__dlpack__` themselves.

    Args:
        tensor: a Tensor; its history is not handed over.
    """
    return _core.to_dlpack(tensor, False, None, None, None)


def from_dlpack(ext_tensor: Any, *, device: Any = None, copy: bool | None = None) -> Tensor:
    """Returns a tensor that shares the memory of another library's array.

    Args:
        ext_tensor: an array with `__dlpack__` (NumPy, CuPy, JAX, PyTorch ...), or a capsule.
        device: where the result should be; the array's device if None.
        copy: True: always copy; False: never; None: only if `device` makes it necessary.

    Raises:
        BufferError: the array cannot be shared: its device, element type or layout is none that
            tensors have.
        ValueError: `device` needs a copy, and copy=False.
        RuntimeError: neither an array nor a capsule, or a capsule that was used before.

    Example:
        >>> import numpy
        >>> array = numpy.zeros(2)
        >>> x = torch.from_dlpack(array)
        >>> x += 1
        >>> array
        array([1., 1.])
    """
    if not hasattr(ext_tensor, "__dlpack__"):
        if device is not None or copy is not None:
            raise AssertionError(
                "from_dlpack: device and copy kwargs not supported when ext_tensor is already a "
                "DLPack capsule; move or clone the result"
            )
        return _core.from_dlpack(ext_tensor)
    kind, index = ext_tensor.__dlpack_device__()
    options: dict[str, Any] = {}
    if kind == DLDeviceType.kDLCUDA:
        handle = flambeau.cuda.current_stream(int(index)).cuda_stream
        options["stream"] = handle or _LEGACY_DEFAULT
    target = None if device is None else _parsed(device)
    moves = target is not None and _device_pair(target) != _pair_of(kind, index)
    if moves and copy is False:
        raise ValueError(
            f"from_dlpack: cannot move the array from device {(int(kind), int(index))} to {target} "
            "without copying; use copy=None or copy=True"
        )
    tensor = _received(ext_tensor, options, None if moves else copy)
    if not moves:
        return tensor
    moved = tensor.to(target)
    if tensor.is_cuda:
        flambeau.cuda.current_stream(tensor.device).synchronize()  # the producer may free it now
    return moved


def _received(array: Any, options: dict[str, Any], copy: bool | None) -> Tensor:
    """What the producer hands over; old ones know fewer arguments."""
    wishes = {} if copy is None else {"copy": copy}
    try:
        return _core.from_dlpack(array.__dlpack__(max_version=(1, 0), **wishes, **options))
    except TypeError:
        tensor = _core.from_dlpack(array.__dlpack__(**options))
        return tensor.clone() if copy else tensor


def export(tensor: Tensor, stream: Any, max_version: Any, dl_device: Any, copy: Any) -> Any:
    """Returns what `Tensor.__dlpack__` returns.

    Args:
        tensor: what to share.
        stream: the consumer's stream on a GPU: its handle; 1 and None for the default one, 2 for
            the one of each thread, -1 for no waiting.
        max_version: the newest version that the consumer knows, as (major, minor).
        dl_device: (type, index) of where it should be.
        copy: whether it must (not) be a copy.
    """
    if tensor.requires_grad:
        raise BufferError(
            "__dlpack__: Can't export tensors that require gradient, use tensor.detach()"
        )
    if stream is not None and type(stream) is not int:
        raise TypeError(
            f"__dlpack__: stream must be ``int`` or ``none``, got {type(stream).__name__}"
        )
    place = None if dl_device is None else (int(dl_device[0]), int(dl_device[1]))
    if place is not None and not all(0 <= number < 1 << 31 for number in place):
        raise BufferError(f"__dlpack__: dl_device must be (type, index), got {dl_device!r:.60}")
    kind, _ = place or tensor.__dlpack_device__()
    if not tensor.is_cuda and kind != DLDeviceType.kDLCUDA and stream not in (None, -1):
        raise AssertionError(f"__dlpack__: stream should be None on cpu, got {stream}")
    versioned = max_version is not None and max_version[0] >= 1
    waiting = _stream_that_waits(stream) if kind == DLDeviceType.kDLCUDA else None
    return _core.to_dlpack(tensor, versioned, place, copy, waiting)


def _stream_that_waits(stream: int | None) -> int | None:
    if stream == -1:
        return None
    if stream is not None and stream < 1:
        raise AssertionError(
            f"__dlpack__: unsupported stream on cuda: {stream}; 1 is the default stream, 2 the one "
            "of each thread, -1 means not to wait"
        )
    return _LEGACY_DEFAULT if stream is None else stream


def _parsed(device: Any) -> _core.device:
    if not isinstance(device, (str, _core.device)):
        raise AssertionError(
            f"from_dlpack: unsupported device type: {type(device).__name__}; use a torch.device or "
            "its name"
        )
    return _core.device(device)


def _device_pair(device: _core.device) -> tuple[int, int]:
    if device.type == "cpu":
        return DLDeviceType.kDLCPU, 0
    index = flambeau.cuda.current_device() if device.index is None else device.index
    return DLDeviceType.kDLCUDA, index


def _pair_of(kind: int, index: int) -> tuple[int, int]:
    """The same, of what a producer says; page-locked memory is the CPU's."""
    if kind in (DLDeviceType.kDLCPU, DLDeviceType.kDLCUDAHost):
        return DLDeviceType.kDLCPU, 0
    return int(kind), int(index)
