"""Which GPUs there are, which one is current, and what they can do."""

from __future__ import annotations

from types import TracebackType
from typing import Any, NamedTuple, TypeAlias

import flambeau as fl
from flambeau import Tensor, _core

Device: TypeAlias = Any  # a torch.device, "cuda:1", a number, or None for the current GPU


def index_of(device: Device, function: str = "cuda") -> int:
    """Returns the number of a GPU, -1 for the current one.

    Raises:
        ValueError: a device that is no GPU.
        TypeError: no device at all.
    """
    if device is None:
        return -1
    if isinstance(device, int) and not isinstance(device, bool):
        return device
    if isinstance(device, str):
        device = fl.device(device)
    if not isinstance(device, fl.device):
        raise TypeError(
            f"{function}: a device, its name or its number is required, got {type(device).__name__}"
        )
    if device.type != "cuda":
        raise ValueError(f"{function}: Expected a cuda device, but got: {device}")
    return -1 if device.index is None else device.index


def is_available() -> bool:
    """Returns whether a GPU can be used."""
    return _core.cuda_device_count() > 0


def device_count() -> int:
    """Returns the number of GPUs that can be used."""
    return _core.cuda_device_count()


def init() -> None:
    """Starts CUDA now; without this call its first use does.

    Raises:
        RuntimeError: no GPU can be used; the message says why.
    """
    _core.cuda_current_device()
    _core.cuda_synchronize(-1)


def is_initialized() -> bool:
    """Returns whether CUDA was used in this process."""
    return _core.cuda_initialized()


def current_device() -> int:
    """Returns the number of the current GPU.

    Raises:
        RuntimeError: there is none.
    """
    return _core.cuda_current_device()


def set_device(device: Device) -> None:
    """Chooses the GPU that "cuda" means in this thread from now on.

    Args:
        device: a device or its number; a negative number changes nothing.

    Raises:
        RuntimeError: there is no such GPU.
    """
    index = index_of(device, "set_device")
    if index >= 0:
        _core.cuda_set_device(index)


class device:
    """A scope in which another GPU is current.

    Args:
        device: a device or its number; a negative number changes nothing.
    """

    def __init__(self, device: Device) -> None:
        self.idx = index_of(device, "torch.cuda.device")
        self.prev_idx = -1

    def __enter__(self) -> None:
        self.prev_idx = _core.cuda_current_device() if self.idx >= 0 else -1
        if self.idx >= 0:
            _core.cuda_set_device(self.idx)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.prev_idx >= 0:
            _core.cuda_set_device(self.prev_idx)


class device_of(device):
    """A scope in which the GPU of a tensor is current; a CPU tensor changes nothing.

    Args:
        obj: a tensor.
    """

    def __init__(self, obj: Tensor) -> None:
        super().__init__(obj.get_device() if obj.is_cuda else -1)


class DeviceProperties(NamedTuple):
    """What a GPU is and has: sizes in bytes, clocks in kHz."""

    name: str
    major: int
    minor: int
    total_memory: int
    multi_processor_count: int
    uuid: str
    L2_cache_size: int
    warp_size: int
    max_threads_per_block: int
    max_threads_per_multi_processor: int
    regs_per_multiprocessor: int
    shared_memory_per_block: int
    shared_memory_per_block_optin: int
    shared_memory_per_multiprocessor: int
    clock_rate: int
    memory_clock_rate: int
    memory_bus_width: int
    is_integrated: int
    is_multi_gpu_board: int

    def __repr__(self) -> str:
        return (
            f"_CudaDeviceProperties(name='{self.name}', major={self.major}, minor={self.minor}, "
            f"total_memory={self.total_memory >> 20}MB, "
            f"multi_processor_count={self.multi_processor_count}, uuid={self.uuid}, "
            f"L2_cache_size={self.L2_cache_size >> 20}MB)"
        )


def get_device_properties(device: Device = None) -> DeviceProperties:
    """Returns what the GPU is and has.

    Args:
        device: a device or its number; by default the current one.

    Raises:
        RuntimeError: there is no such GPU.
    """
    return DeviceProperties(**_core.cuda_properties(index_of(device, "get_device_properties")))


def get_device_name(device: Device = None) -> str:
    """Returns the GPU's name.

    Args:
        device: a device or its number; by default the current one.
    """
    return get_device_properties(device).name


def get_device_capability(device: Device = None) -> tuple[int, int]:
    """Returns the GPU's compute capability, such as (9, 0).

    Args:
        device: a device or its number; by default the current one.
    """
    properties = get_device_properties(device)
    return properties.major, properties.minor


def get_arch_list() -> list[str]:
    """Returns the architectures of the GPUs: kernels are compiled for those that are there."""
    found = {get_device_capability(i) for i in range(device_count())}
    return [f"sm_{major}{minor}" for major, minor in sorted(found)]


def get_gencode_flags() -> str:
    """Returns nvcc's options for get_arch_list()."""
    numbers = [name.removeprefix("sm_") for name in get_arch_list()]
    return " ".join(f"-gencode compute=compute_{n},code=sm_{n}" for n in numbers)


def is_bf16_supported(including_emulation: bool = True) -> bool:
    """Returns whether the current GPU computes in bfloat16.

    Args:
        including_emulation: count GPUs that only convert it (compute capability below 8.0).
    """
    if not is_available():
        return False
    return including_emulation or get_device_capability() >= (8, 0)


def is_tf32_supported() -> bool:
    """Returns whether the current GPU multiplies in TF32."""
    return is_available() and get_device_capability() >= (8, 0)


def can_device_access_peer(device: Device, peer_device: Device) -> bool:
    """Returns whether a GPU reads the memory of another one directly.

    Args:
        device: the one that reads.
        peer_device: the other one.

    Raises:
        RuntimeError: there is no such GPU.
        ValueError: twice the same.
    """
    first = index_of(device, "can_device_access_peer")
    second = index_of(peer_device, "can_device_access_peer")
    if first == second:
        raise ValueError(f"can_device_access_peer: two different GPUs are required, got {first}")
    return _core.cuda_can_access_peer(first, second)


def synchronize(device: Device = None) -> None:
    """Waits for all work on the GPU; raises what kernels have met, such as a wrong index.

    Args:
        device: a device or its number; by default the current one.

    Raises:
        RuntimeError: there is no such GPU.
    """
    _core.cuda_synchronize(index_of(device, "synchronize"))


def ipc_collect() -> None:
    """Nothing to do: no memory of GPUs is shared between processes here."""
    init()
