"""The registry of composites: functions written over other public tensor functions."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, NamedTuple, TypeVar, cast

from flambeau import _core

Function = TypeVar("Function", bound=Callable[..., Any])


class Composite(NamedTuple):
    """What is known about one composite."""

    name: str
    grad_name: str | None  # what `grad_fn` of the result is called, where PyTorch shows one node
    method: bool  # whether it is also a method of Tensor
    function: Callable[..., Any]


composites: dict[str, Composite] = {}

# The core may offer to rename the last node of a result; without it the inner name shows.
_rename_grad_fn: Callable[[Any, str], None] | None = getattr(_core, "rename_grad_fn", None)


def composite(
    *, grad_name: str | None = None, method: bool = False
) -> Callable[[Function], Function]:
    """Register a function written over other functions.

    Args:
        grad_name: name that `grad_fn` of its result shows, such as `MseLossBackward0`.
        method: whether the function also becomes a method of Tensor.

    Returns:
        A decorator.

    Example:
        >>> @composite(grad_name="MseLossBackward0")
        ... def mse_loss(x, y):
        ...     return (x - y).square().mean()
    """

    def register(function: Function) -> Function:
        shown = function
        if grad_name is not None and _rename_grad_fn is not None:
            shown = _with_grad_name(function, grad_name, _rename_grad_fn)
        composites[function.__name__] = Composite(function.__name__, grad_name, method, shown)
        return shown

    return register


def _with_grad_name(
    function: Function, grad_name: str, rename: Callable[[Any, str], None]
) -> Function:
    @wraps(function)
    def named(*args: Any, **kwargs: Any) -> Any:
        out = function(*args, **kwargs)
        # A composite may hand an argument back unchanged; that node is not its own.
        if out.requires_grad and all(out is not x for x in args):
            rename(out, grad_name)
        return out

    return cast(Function, named)
