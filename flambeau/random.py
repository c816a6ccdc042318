"""The default random generators: seeds, states, and a scope that restores them.

Seeds and states are PyTorch's: the same seed gives the same numbers, and a state saved by one
continues in the other. States here are those of the CPU; those of GPUs are in torch.cuda.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

from flambeau import _core
from flambeau._core import Generator, Tensor, default_generator

__all__ = [
    "Generator",
    "default_generator",
    "fork_rng",
    "get_rng_state",
    "initial_seed",
    "manual_seed",
    "seed",
    "set_rng_state",
]


def manual_seed(seed: int) -> Generator:
    """Seeds the default generators of the CPU and of all GPUs; starts no GPU.

    Args:
        seed: any integer of 64 bits; negative ones wrap around.

    Returns:
        The CPU's default generator.

    Raises:
        ValueError: the seed is no number or has more than 64 bits.

    Example:
        >>> torch.manual_seed(0).initial_seed()
        0
    """
    seed = int(seed)
    _core.seed_cuda_generators(seed)
    return default_generator.manual_seed(seed)


def seed() -> int:
    """Seeds the default generators from the system's entropy and returns the seed."""
    fresh: int = default_generator.seed()
    _core.seed_cuda_generators(fresh)
    return fresh


def initial_seed() -> int:
    """Returns the seed that the default generator started with."""
    started: int = default_generator.initial_seed()
    return started


def get_rng_state() -> Tensor:
    """Returns the state of the default generator as a uint8 tensor."""
    return default_generator.get_state()


def set_rng_state(new_state: Tensor) -> None:
    """Continues from a state that :func:`get_rng_state` returned.

    Args:
        new_state: uint8 tensor.

    Raises:
        TypeError: not a uint8 tensor.
        RuntimeError: not the state of a generator.
    """
    default_generator.set_state(new_state)


@contextlib.contextmanager
def fork_rng(
    devices: Iterable[Any] | None = None, enabled: bool = True, device_type: str = "cuda"
) -> Iterator[None]:
    """Restores the states of the default generators when the scope ends.

    Args:
        devices: GPUs whose generators are restored beside the CPU's; by default all of them.
        enabled: False makes the scope do nothing.
        device_type: the kind of ``devices``; "cpu" leaves those of GPUs alone.

    Raises:
        RuntimeError: another kind of device.

    Example:
        >>> before = torch.manual_seed(3).get_state()
        >>> with torch.random.fork_rng():
        ...     numbers = torch.rand(5)
        >>> torch.equal(torch.get_rng_state(), before)
        True
    """
    if device_type not in ("cpu", "cuda"):
        raise RuntimeError(
            f"fork_rng: required device_type 'cuda' or 'cpu', got {device_type!r}; there are no "
            "random generators of that kind"
        )
    if not enabled:
        yield
        return
    if devices is None and device_type == "cuda":
        everywhere = _core.DefaultStates()
        try:
            yield
        finally:
            everywhere.restore()
        return
    generators = [default_generator]
    if device_type == "cuda":
        generators += [_gpu_generator(device) for device in devices or ()]
    states = [generator.get_state() for generator in generators]
    try:
        yield
    finally:
        for generator, state in zip(generators, states, strict=True):
            generator.set_state(state)


def _gpu_generator(device: Any) -> Generator:
    if isinstance(device, int):
        return _core.cuda_default_generator(device)
    gpu = _core.device(device)
    if gpu.type != "cuda":
        raise ValueError(f"fork_rng: devices are GPUs, got {gpu}; the CPU is always restored")
    return _core.cuda_default_generator(-1 if gpu.index is None else gpu.index)


def _in_state(kind: type[Generator], state: Tensor, device: str = "cpu") -> Generator:
    """A pickled or copied generator."""
    return kind(device).set_state(state)
