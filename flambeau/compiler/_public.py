"""The public functions of torch.compile and torch.compiler."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from flambeau import _core
from flambeau.compiler._compile import CompiledFunction, compiled_functions


def compile(
    model: Any = None,
    *,
    fullgraph: bool = False,
    dynamic: bool | None = None,
    backend: Any = None,
    mode: str | None = None,
    options: dict[str, Any] | None = None,
    disable: bool = False,
) -> Any:
    """Make a function, a module or a whole training step run as one optimised graph.

    The first calls run eagerly and are recorded. Once two recordings agree, calls replay the
    optimised graph without Python, as long as shapes, dtypes, modes, parameters and the Python
    values that the function reads are those of the recording; else it is recorded again.

    Args:
        model: a function of tensors, or a module; None makes a decorator.
        fullgraph: raise CompileError where the function would otherwise stay eager.
        dynamic, backend, mode, options: accepted for PyTorch's sake; there is one compiler.
        disable: return `model` as it is.

    Returns:
        A function, or a module around `model`, with `report()` and `graph` to look at.

    Example:
        >>> @torch.compile
        ... def scaled(x, y):
        ...     return (x * 2 + y).relu()
        >>> scaled(torch.ones(2), torch.zeros(2))
        tensor([2., 2.])
    """
    if model is None:

        def decorate(function: Any) -> Any:
            return compile(
                function, fullgraph=fullgraph, dynamic=dynamic, backend=backend, disable=disable
            )

        return decorate
    if disable:
        return model
    from flambeau.compiler._module import CompiledModule
    from flambeau.nn.modules.module import Module

    if isinstance(model, CompiledModule | CompiledFunction):
        return model
    if isinstance(model, Module):
        return CompiledModule(model, fullgraph)
    if not callable(model):
        raise TypeError(
            f"compile: a function or a module is required, got {type(model).__name__}; "
            "compile the function that is called"
        )
    return CompiledFunction(model, fullgraph)


def disable(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorates a function that must not be part of a graph: its callers stay eager."""

    @wraps(function)
    def disabled(*args: Any, **kwargs: Any) -> Any:
        recording = _core.recording()
        if recording is not None:
            recording.fail(f"{function.__qualname__} is decorated with compiler.disable")
        return function(*args, **kwargs)

    return disabled


def is_compiling() -> bool:
    """Whether this thread is being recorded."""
    return _core.recording() is not None


def reset() -> None:
    """Forget all executables and recordings of all compiled functions."""
    for function in compiled_functions:
        function.reset()
