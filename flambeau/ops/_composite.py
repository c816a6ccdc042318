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
    autocast: str  # what torch.autocast does to its inputs, as for elementwise records
    function: Callable[..., Any]


composites: dict[str, Composite] = {}


def composite(
    *, grad_name: str | None = None, method: bool = False, autocast: str = ""
) -> Callable[[Function], Function]:
    """Register a function written over other functions.

    Args:
        grad_name: name that `grad_fn` of its result shows, such as `MseLossBackward0`.
        method: whether the function also becomes a method of Tensor.
        autocast: what torch.autocast does to tensors among its arguments (see elementwise); the
            functions that it calls then leave theirs alone.

    Returns:
        A decorator.

    Example:
        >>> @composite(grad_name="MseLossBackward0")
        ... def mse_loss(x, y):
        ...     return (x - y).square().mean()
    """

    def register(function: Function) -> Function:
        shown = function
        if autocast:
            shown = _with_autocast(function, autocast, grad_name)
        elif grad_name is not None:
            shown = _with_grad_name(function, grad_name)
        name = function.__name__
        composites[name] = Composite(name, grad_name, method, autocast, shown)
        return shown

    return register


# Set at the first use of autocast, so that composites ask the core only in programs that use it.
autocast_was_used = False


def note_autocast() -> None:
    """Autocast is used from now on."""
    global autocast_was_used
    autocast_was_used = True


def _with_autocast(function: Function, policy: str, grad_name: str | None) -> Function:
    # One wrapper for both, so that tracebacks stay short.
    name = None if grad_name is None else _core.grad_name(grad_name)
    rename = _core.rename_grad_fn

    @wraps(function)
    def casting(*args: Any, **kwargs: Any) -> Any:
        if autocast_was_used and _core.autocast_is_on():
            out = _core.call_autocast(function, policy, args, kwargs)
        else:
            out = function(*args, **kwargs)
        if name is not None and out.requires_grad:
            for x in args:
                if out is x:  # an argument handed back unchanged: that node is not the composite's
                    return out
            rename(out, name)
        return out

    return cast(Function, casting)


def _with_grad_name(function: Function, grad_name: str) -> Function:
    name, rename = _core.grad_name(grad_name), _core.rename_grad_fn

    @wraps(function)
    def named(*args: Any, **kwargs: Any) -> Any:
        out = function(*args, **kwargs)
        if out.requires_grad:
            for x in args:
                if out is x:  # an argument handed back unchanged: that node is not the composite's
                    return out
            rename(out, name)
        return out

    return cast(Function, named)
