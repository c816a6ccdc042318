"""Random numbers on GPUs: seeds and states of their default generators.

Seeding starts no GPU: generators are a seed and an offset, and the GPU computes the rest.
"""

from __future__ import annotations

from collections.abc import Iterable

from flambeau import Generator, Tensor, _core
from flambeau.cuda._device import Device, current_device, device_count, index_of


def _generator(device: Device, function: str) -> Generator:
    index = index_of(device, function)
    count = device_count()
    if index < 0:
        index = current_device()
    elif index >= count:
        raise RuntimeError(
            f"{function}: required one of {count} GPUs, got cuda:{index}; see "
            "torch.cuda.device_count()"
        )
    return _core.cuda_default_generator(index)


def manual_seed(seed: int) -> None:
    """Seeds the current GPU's generator; harmless without a GPU.

    Args:
        seed: any integer of 64 bits.
    """
    _core.cuda_default_generator(-1).manual_seed(int(seed))


def manual_seed_all(seed: int) -> None:
    """Seeds the generators of all GPUs; harmless without a GPU.

    Args:
        seed: any integer of 64 bits.
    """
    _core.seed_cuda_generators(int(seed))


def seed() -> None:
    """Seeds the current GPU's generator from the system's entropy; harmless without a GPU."""
    _core.cuda_default_generator(-1).seed()


def seed_all() -> None:
    """Gives the generators of all GPUs one seed from the system's entropy."""
    manual_seed_all(_core.cuda_default_generator(-1).seed())


def initial_seed() -> int:
    """Returns the seed that the current GPU's generator started with.

    Raises:
        RuntimeError: there is no GPU.
    """
    started: int = _generator(None, "initial_seed").initial_seed()
    return started


def get_rng_state(device: Device = "cuda") -> Tensor:
    """Returns the state of a GPU's generator: 16 bytes, seed and offset, as PyTorch's.

    Args:
        device: a GPU; by default the current one.

    Raises:
        RuntimeError: there is no such GPU.
    """
    return _generator(device, "get_rng_state").get_state()


def get_rng_state_all() -> list[Tensor]:
    """Returns the states of the generators of all GPUs."""
    return [get_rng_state(i) for i in range(device_count())]


def set_rng_state(new_state: Tensor, device: Device = "cuda") -> None:
    """Continues from a state that get_rng_state() returned.

    Args:
        new_state: a uint8 tensor on the CPU.
        device: a GPU; by default the current one.

    Raises:
        TypeError: not a uint8 tensor on the CPU.
        RuntimeError: there is no such GPU, or it is no state of one.
    """
    _generator(device, "set_rng_state").set_state(new_state)


def set_rng_state_all(new_states: Iterable[Tensor]) -> None:
    """Continues from the states that get_rng_state_all() returned.

    Args:
        new_states: one state for each GPU.
    """
    for i, state in enumerate(new_states):
        set_rng_state(state, i)
