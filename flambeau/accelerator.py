"""The device beside the CPU, whatever it is: here CUDA, or none."""

from __future__ import annotations

from typing import Any

from flambeau import _core, cuda
from flambeau._core import device

__all__ = [
    "current_accelerator",
    "current_device_idx",
    "current_device_index",
    "current_stream",
    "device_count",
    "device_index",
    "empty_cache",
    "get_device_capability",
    "get_memory_info",
    "is_available",
    "max_memory_allocated",
    "max_memory_reserved",
    "memory_allocated",
    "memory_reserved",
    "memory_stats",
    "reset_accumulated_memory_stats",
    "reset_peak_memory_stats",
    "set_device_idx",
    "set_device_index",
    "set_stream",
    "synchronize",
]


def _require() -> None:
    if not is_available():
        raise RuntimeError(
            "Cannot access accelerator device when none is available. " + _core.cuda_problem()
        )


def is_available() -> bool:
    """Returns whether there is one."""
    return cuda.is_available()


def device_count() -> int:
    """Returns how many there are."""
    return cuda.device_count()


def current_accelerator(check_available: bool = False) -> device | None:
    """Returns the accelerator's type of device, None without one.

    Args:
        check_available: accepted as PyTorch does; here it is always checked.
    """
    return device("cuda") if is_available() else None


def current_device_index() -> int:
    """Returns the number of the current one.

    Raises:
        RuntimeError: there is none.
    """
    _require()
    return cuda.current_device()


def set_device_index(device: Any, /) -> None:
    """Chooses the current one.

    Args:
        device: a device or its number.

    Raises:
        RuntimeError: there is no such accelerator.
    """
    _require()
    cuda.set_device(device)


current_device_idx = current_device_index
set_device_idx = set_device_index


class device_index(cuda.device):
    """A scope in which another accelerator is current; None changes nothing.

    Args:
        device: its number, or None.
    """

    def __init__(self, device: int | None, /) -> None:
        super().__init__(-1 if device is None else device)


def synchronize(device: Any = None, /) -> None:
    """Waits for all work of the accelerator.

    Args:
        device: a device or its number; by default the current one.

    Raises:
        RuntimeError: there is none.
    """
    _require()
    cuda.synchronize(device)


def current_stream(device: Any = None, /) -> cuda.Stream:
    """Returns the stream that work of this thread goes to.

    Args:
        device: a device or its number; by default the current one.

    Raises:
        RuntimeError: there is none.
    """
    _require()
    return cuda.current_stream(device)


def set_stream(stream: cuda.Stream) -> None:
    """Sends work of this thread to a stream, and makes its device current.

    Args:
        stream: the stream.
    """
    cuda.set_stream(stream)


def get_device_capability(device: Any = None, /) -> dict[str, Any]:
    """Returns the types of elements that the accelerator has.

    Args:
        device: a device or its number; by default the current one.
    """
    import flambeau

    _require()
    names = "float64 float32 float16 bfloat16 int64 int32 int16 int8 uint8 bool".split()
    return {"supported_dtypes": {getattr(flambeau, name) for name in names}}


def empty_cache() -> None:
    """Gives cached memory back to the driver."""
    _require()
    cuda.empty_cache()


def memory_stats(device: Any = None, /) -> dict[str, Any]:
    """Returns counts of the allocator; see torch.cuda.memory_stats."""
    _require()
    return cuda.memory_stats(device)


def memory_allocated(device: Any = None, /) -> int:
    """Returns the bytes that tensors take."""
    _require()
    return cuda.memory_allocated(device)


def max_memory_allocated(device: Any = None, /) -> int:
    """Returns the most bytes that tensors have taken."""
    _require()
    return cuda.max_memory_allocated(device)


def memory_reserved(device: Any = None, /) -> int:
    """Returns the bytes that the cache holds."""
    _require()
    return cuda.memory_reserved(device)


def max_memory_reserved(device: Any = None, /) -> int:
    """Returns the most bytes that the cache has held."""
    _require()
    return cuda.max_memory_reserved(device)


def reset_accumulated_memory_stats(device: Any = None, /) -> None:
    """Nothing to do: counts go on for the life of the process."""
    _require()


def reset_peak_memory_stats(device: Any = None, /) -> None:
    """Sets the peaks to what is used now."""
    _require()
    cuda.reset_peak_memory_stats(device)


def get_memory_info(device: Any = None, /) -> tuple[int, int]:
    """Returns the free and the total bytes of the accelerator."""
    _require()
    return cuda.mem_get_info(device)
