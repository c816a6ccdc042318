"""Calls that give the same bits every time."""

from __future__ import annotations

from flambeau import _core

_MODES = ("default", "warn", "error")
_warn_only = False


def use_deterministic_algorithms(mode: bool, *, warn_only: bool = False) -> None:
    """Asks for the same bits from every run of the same program on the same machine.

    The CPU always gives them. On a GPU some kernels add in an order that varies: `scatter_add`,
    `scatter_reduce`, gradients of `gather` and of pooling whose windows overlap, `bincount` with
    weights, assignments that name a place twice, and some of cuDNN's. With this mode others compute
    them, at worst the CPU from copies, so nothing raises an error for being unordered.

    Args:
        mode: on or off.
        warn_only: kept for `is_deterministic_algorithms_warn_only_enabled`; there is nothing to
            warn of.

    Raises:
        TypeError: mode is no bool.
    """
    global _warn_only
    if not isinstance(mode, bool):
        raise TypeError(
            f"use_deterministic_algorithms: mode must be a bool, got {type(mode).__name__}; "
            "pass True or False"
        )
    _core.set_math_setting("deterministic", mode)
    _warn_only = mode and bool(warn_only)


def are_deterministic_algorithms_enabled() -> bool:
    """Returns whether use_deterministic_algorithms is on."""
    return _core.math_setting("deterministic")


def is_deterministic_algorithms_warn_only_enabled() -> bool:
    """Returns what use_deterministic_algorithms was given as warn_only."""
    return _warn_only


def set_deterministic_debug_mode(debug_mode: int | str) -> None:
    """use_deterministic_algorithms by one word.

    Args:
        debug_mode: "default" or 0: off; "warn" or 1: on with warn_only; "error" or 2: on.

    Raises:
        TypeError: it is neither an int nor a string.
        RuntimeError: it is another number or word.
    """
    if not isinstance(debug_mode, int | str):
        raise TypeError(
            "set_deterministic_debug_mode: debug_mode must be an int or a str, got "
            f"{type(debug_mode).__name__}; pass 'default', 'warn' or 'error'"
        )
    known = _MODES if isinstance(debug_mode, str) else tuple(range(len(_MODES)))
    if debug_mode not in known:
        raise RuntimeError(
            f"set_deterministic_debug_mode: one of {', '.join(map(repr, known))} is required, got "
            f"{debug_mode!r}"
        )
    number = known.index(debug_mode)
    use_deterministic_algorithms(number > 0, warn_only=number == 1)


def get_deterministic_debug_mode() -> int:
    """Returns 0, 1 or 2, as set_deterministic_debug_mode takes them."""
    return (1 if _warn_only else 2) if are_deterministic_algorithms_enabled() else 0
