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
        if grad_name is not None:
            shown = _with_grad_name(function, grad_name)
        composites[function.__name__] = Composite(function.__name__, grad_name, method, shown)
        return shown

    return register


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
