"""Decorators for the two methods of a torch.autograd.Function that is used under autocast."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import flambeau as fl
from flambeau import Tensor, _core
from flambeau.amp._autocast import _device_type, autocast


def _cast(value: Any, device_type: str, dtype: fl.dtype) -> Any:
    """The value with the floating tensors of the device in it cast; float64 stays."""
    if isinstance(value, Tensor):
        casts = (
            value.is_floating_point()
            and value.device.type == device_type
            and value.dtype is not fl.float64
        )
        return value.to(dtype) if casts else value
    if isinstance(value, Mapping):
        return {key: _cast(item, device_type, dtype) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_cast(item, device_type, dtype) for item in value)
    return value


def custom_fwd(
    fwd: Callable[..., Any] | None = None,
    *,
    device_type: str,
    cast_inputs: fl.dtype | None = None,
) -> Callable[..., Any]:
    """Decorates `forward`: keeps autocast's setting for a `backward` with custom_bwd.

    Args:
        fwd: the method; without it, a decorator is returned.
        device_type: "cuda" or "cpu".
        cast_inputs: the type that floating inputs are cast to when autocast is on; the method then
            runs with autocast off. None: inputs stay, and autocast holds inside.
    """
    _device_type(device_type)
    if fwd is None:
        return functools.partial(custom_fwd, device_type=device_type, cast_inputs=cast_inputs)

    @functools.wraps(fwd)
    def forward(*args: Any, **kwargs: Any) -> Any:
        is_on = _core.is_autocast_enabled(device_type)
        args[0]._dtype = _core.get_autocast_dtype(device_type)
        if cast_inputs is None:
            args[0]._fwd_used_autocast = is_on
            return fwd(*args, **kwargs)
        args[0]._fwd_used_autocast = False
        if not is_on:
            return fwd(*args, **kwargs)
        with autocast(device_type, enabled=False):
            return fwd(
                *_cast(args, device_type, cast_inputs), **_cast(kwargs, device_type, cast_inputs)
            )

    return forward


def custom_bwd(bwd: Callable[..., Any] | None = None, *, device_type: str) -> Callable[..., Any]:
    """Decorates `backward`: it runs with the setting that autocast had in `forward`.

    Args:
        bwd: the method; without it, a decorator is returned.
        device_type: "cuda" or "cpu".
    """
    _device_type(device_type)
    if bwd is None:
        return functools.partial(custom_bwd, device_type=device_type)

    @functools.wraps(bwd)
    def backward(*args: Any, **kwargs: Any) -> Any:
        ctx = args[0]
        with autocast(device_type, enabled=ctx._fwd_used_autocast, dtype=ctx._dtype):
            return bwd(*args, **kwargs)

    return backward
