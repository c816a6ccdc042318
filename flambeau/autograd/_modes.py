"""Switches for recording: contexts that are decorators as well."""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeVar, cast

from flambeau import _core

CO_GENERATOR = 0x20  # inspect.CO_GENERATOR; importing inspect costs 10 ms

Function = TypeVar("Function", bound=Callable[..., Any])


class _Decorator:
    """The base of contexts that can be put around a function."""

    def clone(self) -> Any:
        """Returns a fresh context of the same setting."""
        return type(self)()

    def __call__(self, function: Function) -> Function:
        code = getattr(function, "__code__", None)
        if code is not None and code.co_flags & CO_GENERATOR:
            return cast(Function, self._wrap_generator(function))

        @functools.wraps(function)
        def inside(*args: Any, **kwargs: Any) -> Any:
            with self.clone():
                return function(*args, **kwargs)

        return cast(Function, inside)

    def _wrap_generator(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def inside(*args: Any, **kwargs: Any) -> Any:
            # Between two values the caller's own setting must hold.
            generator = function(*args, **kwargs)
            with self.clone():
                try:
                    value = next(generator)
                except StopIteration as stop:
                    return stop.value
            while True:
                try:
                    sent = yield value
                except GeneratorExit:
                    generator.close()
                    raise
                except BaseException as error:
                    with self.clone():
                        value = generator.throw(error)
                    continue
                with self.clone():
                    try:
                        value = generator.send(sent)
                    except StopIteration as stop:
                        return stop.value

        return inside


class _Mode(_Decorator):
    """A context that sets a switch and puts it back; one object may be entered repeatedly."""

    _value = False

    def __init__(self) -> None:
        self._before: list[Any] = []

    def _switch(self, value: Any) -> Any:
        return _core._set_grad_enabled(value)

    def __enter__(self) -> None:
        self._before.append(self._switch(self._value))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._switch(self._before.pop())


class no_grad(_Decorator, _core.GradSwitch):
    """Nothing inside is recorded; results do not require gradients.

    Example:
        >>> x = torch.ones(2, requires_grad=True)
        >>> with torch.no_grad():
        ...     (x * 2).requires_grad
        False
    """

    _value = False


class enable_grad(no_grad):
    """Recording is on inside, also within no_grad."""

    _value = True


class set_grad_enabled(_Mode):
    """Sets recording at once; as a context until its end.

    Args:
        mode: whether to record.
    """

    def __init__(self, mode: bool) -> None:
        super().__init__()
        self._value = bool(mode)
        self._before.append(self._switch(self._value))
        self._entered = False

    def clone(self) -> set_grad_enabled:
        return type(self)(self._value)

    def __enter__(self) -> None:
        # The switch was set when the object was made.
        pass

    def __call__(self, function: Function) -> Function:
        self._switch(self._before.pop())
        return super().__call__(function)


class inference_mode(_Mode):
    """As no_grad, and tensors made inside can never be recorded: a little faster.

    Args:
        mode: False leaves everything as it is.
    """

    def __new__(cls, mode: bool | Callable[..., Any] = True) -> Any:
        if callable(mode):
            return cls()(mode)
        return super().__new__(cls)

    def __init__(self, mode: bool = True) -> None:
        super().__init__()
        self._value = bool(mode)

    def clone(self) -> inference_mode:
        return type(self)(self._value)

    def _switch(self, value: Any) -> Any:
        if not isinstance(value, tuple):
            value = (value, not value and _core.is_grad_enabled())
        inference, grad = value
        return _core._set_inference(inference), _core._set_grad_enabled(grad)


is_grad_enabled = _core.is_grad_enabled
is_inference_mode_enabled = _core.is_inference_mode_enabled
