"""The settings of optimizers: collected from constructors, checked, read as numbers."""

from __future__ import annotations

from struct import Struct
from typing import Any

from flambeau import Tensor

# Settings that must not be negative, with the names that error messages use for them.
_NOT_NEGATIVE = {
    "lr": "learning rate",
    "eps": "epsilon value",
    "momentum": "momentum value",
    "weight_decay": "weight_decay value",
    "lr_decay": "lr_decay value",
    "momentum_decay": "momentum_decay value",
    "initial_accumulator_value": "initial_accumulator_value value",
}


def require(is_valid: Any, setting: str, value: Any) -> None:
    """Raise ValueError unless a setting is valid."""
    if not is_valid:
        raise ValueError(f"Invalid {setting}: {value}")


def checked(arguments: dict[str, Any]) -> dict[str, Any]:
    """The settings among a constructor's local variables.

    Args:
        arguments: `locals()` at the constructor's first line.

    Returns:
        All but the parameters, in the order of the signature.

    Raises:
        ValueError: a setting that optimizers share is out of its range.
    """
    settings = {
        name: value
        for name, value in arguments.items()
        if name not in ("self", "params", "__class__")
    }
    lr = settings["lr"]
    if isinstance(lr, Tensor) and lr.numel() != 1:
        raise ValueError(f"Invalid learning rate: one element is required, got {lr.numel()}")
    for name, title in _NOT_NEGATIVE.items():
        if name in settings:
            require(settings[name] >= 0.0, title, settings[name])
    for i, beta in enumerate(settings.get("betas", ())):
        require(0.0 <= beta < 1.0, f"beta parameter at index {i}", beta)
    return settings


def decay_settings(group: dict[str, Any]) -> dict[str, Any]:
    """What formulas want to know about weight decay and direction."""
    weight_decay = as_number(group["weight_decay"])
    return {
        "weight_decay": weight_decay,
        "decays": weight_decay != 0,
        "maximize": group["maximize"],
    }


_FLOAT32 = Struct("f")


def to_float32(value: float) -> float:
    """The number as state_dict() keeps it, so that resuming continues exactly."""
    rounded: float = _FLOAT32.unpack(_FLOAT32.pack(value))[0]
    return rounded


def as_number(value: Any) -> float:
    """A setting that may be a tensor of one element, as a number."""
    return float(value) if isinstance(value, Tensor) else value
