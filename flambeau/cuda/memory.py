"""Memory of GPUs: what tensors take, what the cache holds, what is free."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from flambeau import _core
from flambeau.cuda._device import Device, get_device_name, index_of, is_available
from flambeau.cuda.streams import ExternalStream, StreamContext

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def _statistics(device: Device, function: str) -> dict[str, int]:
    index = index_of(device, function)
    if not is_available():
        return {}
    return _core.cuda_memory_statistics(index)


def memory_allocated(device: Device = None) -> int:
    """Returns the bytes that tensors take.

    Args:
        device: a GPU; by default the current one.
    """
    return _statistics(device, "memory_allocated").get("allocated", 0)


def max_memory_allocated(device: Device = None) -> int:
    """Returns the most bytes that tensors have taken since reset_peak_memory_stats().

    Args:
        device: a GPU; by default the current one.
    """
    return _statistics(device, "max_memory_allocated").get("peak_allocated", 0)


def memory_reserved(device: Device = None) -> int:
    """Returns the bytes that the cache has from the driver, in use or not.

    Args:
        device: a GPU; by default the current one.
    """
    return _statistics(device, "memory_reserved").get("reserved", 0)


def max_memory_reserved(device: Device = None) -> int:
    """Returns the most bytes that the cache has had since reset_peak_memory_stats().

    Args:
        device: a GPU; by default the current one.
    """
    return _statistics(device, "max_memory_reserved").get("peak_reserved", 0)


def memory_stats(device: Device = None) -> dict[str, Any]:
    """Returns counts of the allocator under PyTorch's names; empty without a GPU.

    Args:
        device: a GPU; by default the current one.
    """
    now = _statistics(device, "memory_stats")
    if not now:
        return OrderedDict()
    stats = {
        "allocated_bytes.all.current": now["allocated"],
        "allocated_bytes.all.peak": now["peak_allocated"],
        "allocation.all.allocated": now["allocations"],
        "num_alloc_retries": now["retries"],
        "num_device_alloc": now["driver_allocations"],
        "num_ooms": now["out_of_memory"],
        "reserved_bytes.all.current": now["reserved"],
        "reserved_bytes.all.peak": now["peak_reserved"],
    }
    return OrderedDict(sorted(stats.items()))


def _size(count: int) -> str:
    value, unit = float(count), 0
    while value >= 1024 and unit + 1 < len(_UNITS):
        value, unit = value / 1024, unit + 1
    return f"{value:.1f} {_UNITS[unit]}" if unit else f"{count} B"


def memory_summary(device: Device = None, abbreviated: bool = False) -> str:
    """Returns a table of what the memory of a GPU is used for.

    Args:
        device: a GPU; by default the current one.
        abbreviated: leave the counts out.
    """
    now = _statistics(device, "memory_summary")
    if not now:
        return "CUDA memory: no GPU can be used"
    free, total = mem_get_info(device)
    lines = [
        f"CUDA memory of {get_device_name(device)}",
        f"{'':24}{'now':>12}{'at most':>12}",
        f"{'in tensors':24}{_size(now['allocated']):>12}{_size(now['peak_allocated']):>12}",
        f"{'held by the cache':24}{_size(now['reserved']):>12}{_size(now['peak_reserved']):>12}",
        f"{'free on the GPU':24}{_size(free):>12}",
        f"{'in all':24}{_size(total):>12}",
    ]
    if not abbreviated:
        counts = (
            ("blocks handed out", "allocations"),
            ("blocks from the driver", "driver_allocations"),
            ("cache emptied", "retries"),
            ("out of memory", "out_of_memory"),
        )
        lines += [f"{label:24}{now[key]:>12}" for label, key in counts]
    return "\n".join(lines)


def reset_peak_memory_stats(device: Device = None) -> None:
    """Sets the peaks to what is used now.

    Args:
        device: a GPU; by default the current one.
    """
    index = index_of(device, "reset_peak_memory_stats")
    if is_available():
        _core.cuda_reset_peaks(index)


reset_max_memory_allocated = reset_peak_memory_stats


def reset_accumulated_memory_stats(device: Device = None) -> None:
    """Nothing to do: counts go on for the life of the process.

    Args:
        device: a GPU; by default the current one.
    """
    index_of(device, "reset_accumulated_memory_stats")


def empty_cache() -> None:
    """Gives cached memory back to the driver, for other programs."""
    if _core.cuda_initialized():
        _core.cuda_empty_cache()


def mem_get_info(device: Device = None) -> tuple[int, int]:
    """Returns the free and the total bytes of the GPU, for all programs together.

    Args:
        device: a GPU; by default the current one.

    Raises:
        RuntimeError: there is no such GPU.
    """
    return _core.cuda_memory_info(index_of(device, "mem_get_info"))


_handed_out: dict[int, int] = {}  # addresses of caching_allocator_alloc and their GPUs


def caching_allocator_alloc(size: int, device: Device = None, stream: Any = None) -> int:
    """Returns the address of memory from the cache, for other libraries.

    Args:
        size: in bytes.
        device: a GPU; by default the current one.
        stream: the torch.cuda.Stream, or its handle, that uses the memory; by default the current
            one.

    Raises:
        OutOfMemoryError: there is not so much.
    """
    if not isinstance(size, int) or size < 0:
        raise ValueError(f"caching_allocator_alloc: a number of bytes is required, got {size!r}")
    index = index_of(device, "caching_allocator_alloc")
    index = _core.cuda_current_device() if index < 0 else index
    if isinstance(stream, int):
        stream = ExternalStream(stream, index)
    with StreamContext(stream):
        pointer = _core.cuda_allocate(size, index)
    _handed_out[pointer] = index
    return pointer


def caching_allocator_delete(mem_ptr: int) -> None:
    """Gives memory of caching_allocator_alloc back to the cache.

    Args:
        mem_ptr: its address.

    Raises:
        RuntimeError: the address is not of such memory.
    """
    if mem_ptr not in _handed_out:
        raise RuntimeError(
            f"caching_allocator_delete: invalid device pointer: {mem_ptr!r}; it must be one that "
            "caching_allocator_alloc returned, and not be deleted before"
        )
    _core.cuda_deallocate(mem_ptr, _handed_out.pop(mem_ptr))


def set_per_process_memory_fraction(fraction: float, device: Device = None) -> None:
    """Limits the share of the GPU's memory that this process takes.

    Args:
        fraction: between 0 and 1; beyond it OutOfMemoryError is raised.
        device: a GPU; by default the current one.

    Raises:
        ValueError: a number outside of [0, 1].
    """
    if not isinstance(fraction, (int, float)):
        raise TypeError(
            f"Invalid type for fraction argument, must be `float`, got {type(fraction).__name__}"
        )
    if not 0 <= fraction <= 1:
        raise ValueError(f"Invalid fraction value: {fraction}. Allowed range: 0~1")
    index = index_of(device, "set_per_process_memory_fraction")
    _core.cuda_set_memory_fraction(float(fraction), index)


def get_allocator_backend() -> str:
    """Returns "native": blocks are cached by Flambeau itself."""
    return "native"
