"""The device beside the CPU, whatever it is; none so far."""

from __future__ import annotations

from flambeau._core import device


def is_available() -> bool:
    """Returns whether there is one."""
    return False


def device_count() -> int:
    """Returns how many there are."""
    return 0


def current_accelerator(check_available: bool = False) -> device | None:
    """Returns the accelerator's device type, None without one."""
    return None
