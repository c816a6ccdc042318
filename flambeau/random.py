"""The default random generator: seeds, states, and a scope that restores them.

Seeds and states are PyTorch's: the same seed gives the same numbers, and a state saved by one
continues in the other.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

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
    """Seeds the default generator.

    Args:
        seed: any integer of 64 bits; negative ones wrap around.

    Returns:
        The default generator.

    Raises:
        ValueError: the seed is no number or has more than 64 bits.

    Example:
        >>> torch.manual_seed(0).initial_seed()
        0
    """
    return default_generator.manual_seed(int(seed))


def seed() -> int:
    """Seeds the default generator from the system's entropy and returns the seed."""
    fresh: int = default_generator.seed()
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
def fork_rng(devices: Any = None, enabled: bool = True, device_type: str = "cpu") -> Iterator[None]:
    """Restores the default generator's state when the scope ends.

    Args:
        devices: GPUs whose generators are restored, too.
        enabled: False makes the scope do nothing.
        device_type: the kind of ``devices``.

    Example:
        >>> before = torch.manual_seed(3).get_state()
        >>> with torch.random.fork_rng():
        ...     numbers = torch.rand(5)
        >>> torch.equal(torch.get_rng_state(), before)
        True
    """
    if not enabled:
        yield
        return
    state = get_rng_state()
    try:
        yield
    finally:
        set_rng_state(state)


def _in_state(kind: type[Generator], state: Tensor) -> Generator:
    """A pickled or copied generator."""
    return kind().set_state(state)
