"""Random numbers on GPUs: seeds and states of their default generators."""

from __future__ import annotations

from collections.abc import Iterable

from flambeau import Generator, Tensor, _core
from flambeau.cuda._device import Device, current_device, device_count, index_of


def _generator(device: Device, function: str) -> Generator:
    index = index_of(device, function)
    index = current_device() if index < 0 else index
    if not hasattr(_core, "cuda_default_generator"):
        raise NotImplementedError(f"{function}: random numbers on GPUs are not built yet")
    return _core.cuda_default_generator(index)


def _all(function: str) -> list[Generator]:
    if not hasattr(_core, "cuda_default_generator"):
        return []
    return [_generator(i, function) for i in range(device_count())]


def manual_seed(seed: int) -> None:
    """Seeds the current GPU's generator; ignored without a GPU.

    Args:
        seed: any integer of 64 bits.
    """
    if _all("manual_seed"):
        _generator(None, "manual_seed").manual_seed(int(seed))


def manual_seed_all(seed: int) -> None:
    """Seeds the generators of all GPUs; ignored without a GPU.

    Args:
        seed: any integer of 64 bits.
    """
    for generator in _all("manual_seed_all"):
        generator.manual_seed(int(seed))


def seed() -> None:
    """Seeds the current GPU's generator from the system's entropy; ignored without a GPU."""
    if _all("seed"):
        _generator(None, "seed").seed()


def seed_all() -> None:
    """Gives the generators of all GPUs one seed from the system's entropy."""
    generators = _all("seed_all")
    if generators:
        manual_seed_all(generators[0].seed())


def initial_seed() -> int:
    """Returns the seed that the current GPU's generator started with.

    Raises:
        RuntimeError: there is no GPU.
    """
    return _generator(None, "initial_seed").initial_seed()


def get_rng_state(device: Device = "cuda") -> Tensor:
    """Returns the state of a GPU's generator as a uint8 tensor.

    Args:
        device: a GPU; by default the current one.

    Raises:
        RuntimeError: there is no such GPU.
    """
    return _generator(device, "get_rng_state").get_state()


def get_rng_state_all() -> list[Tensor]:
    """Returns the states of the generators of all GPUs."""
    return [generator.get_state() for generator in _all("get_rng_state_all")]


def set_rng_state(new_state: Tensor, device: Device = "cuda") -> None:
    """Continues from a state that get_rng_state() returned.

    Args:
        new_state: a uint8 tensor.
        device: a GPU; by default the current one.
    """
    _generator(device, "set_rng_state").set_state(new_state)


def set_rng_state_all(new_states: Iterable[Tensor]) -> None:
    """Continues from the states that get_rng_state_all() returned.

    Args:
        new_states: one state for each GPU.
    """
    for i, state in enumerate(new_states):
        set_rng_state(state, i)
