"""GPUs. None can be used yet: is_available() is False and moving a tensor there raises."""

from __future__ import annotations

from typing import Any

_MESSAGE = (
    "cuda: no NVIDIA GPU can be used (this build of Flambeau runs on the CPU only); use "
    "device='cpu', or torch.device('cuda' if torch.cuda.is_available() else 'cpu')"
)


def _require() -> None:
    raise RuntimeError(_MESSAGE)


def is_available() -> bool:
    """Returns whether a GPU can be used."""
    return False


def device_count() -> int:
    """Returns the number of GPUs that can be used."""
    return 0


def current_device() -> int:
    """Returns the index of the current GPU.

    Raises:
        RuntimeError: there is none.
    """
    _require()
    return -1


def set_device(device: Any) -> None:
    """Chooses the current GPU.

    Raises:
        RuntimeError: there is none.
    """
    _require()


def synchronize(device: Any = None) -> None:
    """Waits for the GPU.

    Raises:
        RuntimeError: there is none.
    """
    _require()


def is_initialized() -> bool:
    """Returns whether CUDA was used in this process."""
    return False


def is_bf16_supported(including_emulation: bool = True) -> bool:
    """Returns whether the current GPU computes in bfloat16."""
    return False


def empty_cache() -> None:
    """Returns unused cached GPU memory; nothing to do without a GPU."""


def manual_seed(seed: int) -> None:
    """Seeds the current GPU's generator; ignored without a GPU."""


def manual_seed_all(seed: int) -> None:
    """Seeds all GPUs' generators; ignored without a GPU."""


def memory_allocated(device: Any = None) -> int:
    """Returns the bytes that tensors take on the GPU."""
    return 0


def max_memory_allocated(device: Any = None) -> int:
    """Returns the most bytes that tensors have taken on the GPU."""
    return 0


def memory_reserved(device: Any = None) -> int:
    """Returns the bytes that the GPU allocator holds."""
    return 0
