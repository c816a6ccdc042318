"""The scope in which operators choose the types that they compute in."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeVar

import flambeau as fl
from flambeau import _core
from flambeau.autograd._modes import _Decorator
from flambeau.ops._composite import note_autocast

Function = TypeVar("Function", bound=Callable[..., Any])

note_autocast()

_DEVICE_TYPES = ("cpu", "cuda")
_CPU_DTYPES = (fl.bfloat16, fl.float16)


def _device_type(device_type: Any) -> str:
    if not isinstance(device_type, str):
        raise ValueError(
            f"autocast: expected device_type of type `str`, got `{type(device_type)}`; "
            "use device.type of a torch.device"
        )
    if device_type not in _DEVICE_TYPES:
        raise RuntimeError(
            f"autocast: 'cpu' or 'cuda' is required, got an unsupported autocast device_type "
            f"'{device_type}'"
        )
    return device_type


def is_autocast_available(device_type: str) -> bool:
    """Returns whether autocast knows the type of device.

    Args:
        device_type: such as "cuda".
    """
    return device_type in _DEVICE_TYPES


class autocast(_Decorator):
    """A scope, or a decorator, in which operators cast their floating inputs.

    Products of matrices, linear layers, convolutions and attention compute in `dtype`; losses, and
    on GPUs also exponentials, norms, softmax and sums, in float32; the rest in the type of what
    they get. Parameters stay float32, and so do their gradients. Which operator does what is in
    its record (docs/mixed_precision.md). Backward passes belong outside of the scope.

    Args:
        device_type: "cuda" or "cpu".
        dtype: float16 or bfloat16; by default float16 on GPUs and bfloat16 on the CPU.
        enabled: False switches autocast off inside of the scope.
        cache_enabled: whether float32 parameters, once cast, are kept until the outermost scope
            ends.

    Raises:
        RuntimeError: an unknown type of device; bfloat16 on a GPU that cannot compute in it.

    Example:
        >>> x = flambeau.ones(2, 2)
        >>> with flambeau.autocast("cpu", dtype=flambeau.bfloat16):
        ...     print((x @ x).dtype, flambeau.nn.functional.mse_loss(x @ x, x).dtype)
        torch.bfloat16 torch.float32
    """

    def __init__(
        self,
        device_type: str,
        dtype: fl.dtype | None = None,
        enabled: bool = True,
        cache_enabled: bool | None = None,
    ) -> None:
        self.device = _device_type(device_type)
        self.fast_dtype = dtype if dtype is not None else _core.get_autocast_dtype(device_type)
        self._cache_enabled = (
            _core.is_autocast_cache_enabled() if cache_enabled is None else cache_enabled
        )
        self._enabled = enabled and self._is_supported()
        self._before: list[tuple[bool, fl.dtype, bool]] = []

    def _is_supported(self) -> bool:
        if self.device == "cpu":
            if self.fast_dtype in _CPU_DTYPES:
                return True
            warnings.warn(
                "In CPU autocast, but the target dtype is not supported. Disabling autocast.\n"
                f"CPU Autocast only supports dtype of {', '.join(map(str, _CPU_DTYPES))} "
                "currently.",
                stacklevel=3,
            )
            return False
        if not fl.cuda.is_available():
            warnings.warn(
                "User provided device_type of 'cuda', but CUDA is not available. Disabling",
                stacklevel=3,
            )
            return False
        if self.fast_dtype == fl.bfloat16 and not fl.cuda.is_bf16_supported():
            raise RuntimeError(
                "autocast: a GPU that computes in bfloat16 is required, got "
                f"{fl.cuda.get_device_name()}; use dtype=torch.float16"
            )
        return True

    def clone(self) -> autocast:
        """Returns a fresh scope of the same setting."""
        fresh = object.__new__(type(self))
        fresh.__dict__.update(self.__dict__, _before=[])
        return fresh

    def __enter__(self) -> autocast:
        device = self.device
        self._before.append(
            (
                _core.is_autocast_enabled(device),
                _core.get_autocast_dtype(device),
                _core.is_autocast_cache_enabled(),
            )
        )
        _core.set_autocast_dtype(device, self.fast_dtype)
        _core.set_autocast_enabled(device, self._enabled)
        _core.set_autocast_cache_enabled(self._cache_enabled)
        _core.autocast_increment_nesting()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        enabled, dtype, cache = self._before.pop()
        if _core.autocast_decrement_nesting() == 0:
            _core.clear_autocast_cache()
        _core.set_autocast_dtype(self.device, dtype)
        _core.set_autocast_enabled(self.device, enabled)
        _core.set_autocast_cache_enabled(cache)


def is_autocast_enabled(device_type: str | None = None) -> bool:
    """Returns whether autocast is on.

    Args:
        device_type: "cuda", the default, or "cpu".
    """
    return _core.is_autocast_enabled(_device_type(device_type or "cuda"))


def set_autocast_enabled(device_type: Any, enabled: bool | None = None) -> None:
    """Switches autocast on or off; with one argument, that of CUDA.

    Args:
        device_type: "cuda" or "cpu"; left out, `enabled` comes first.
        enabled: what it is from now on.
    """
    if enabled is None:
        device_type, enabled = "cuda", device_type
    _core.set_autocast_enabled(_device_type(device_type), bool(enabled))


def get_autocast_dtype(device_type: str) -> fl.dtype:
    """Returns the type that autocast casts to.

    Args:
        device_type: "cuda" or "cpu".
    """
    return _core.get_autocast_dtype(_device_type(device_type))


def set_autocast_dtype(device_type: str, dtype: fl.dtype) -> None:
    """Sets the type that autocast casts to.

    Args:
        device_type: "cuda" or "cpu".
        dtype: a floating type.
    """
    _core.set_autocast_dtype(_device_type(device_type), dtype)


def is_autocast_cpu_enabled() -> bool:
    """Returns whether autocast of the CPU is on."""
    return _core.is_autocast_enabled("cpu")


def set_autocast_cpu_enabled(enabled: bool) -> None:
    """Switches autocast of the CPU on or off."""
    _core.set_autocast_enabled("cpu", enabled)


def get_autocast_cpu_dtype() -> fl.dtype:
    """Returns the type that autocast of the CPU casts to."""
    return _core.get_autocast_dtype("cpu")


def set_autocast_cpu_dtype(dtype: fl.dtype) -> None:
    """Sets the type that autocast of the CPU casts to."""
    _core.set_autocast_dtype("cpu", dtype)


def get_autocast_gpu_dtype() -> fl.dtype:
    """Returns the type that autocast of GPUs casts to."""
    return _core.get_autocast_dtype("cuda")


def set_autocast_gpu_dtype(dtype: fl.dtype) -> None:
    """Sets the type that autocast of GPUs casts to."""
    _core.set_autocast_dtype("cuda", dtype)
