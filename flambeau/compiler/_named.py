"""Names of the tensors that a function refers to: parameters, buffers, state of optimizers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from types import CodeType, FunctionType, MethodType
from typing import Any

from flambeau import Tensor
from flambeau.compiler._graph import Buffer

Named = list[tuple[str, Tensor]]


def named_tensors(
    function: Callable[..., Any], state: Mapping[str, Any] | None
) -> Callable[[Buffer], Named]:
    """A function from captured memory to the named tensors that lie in it.

    Args:
        function: its own parameters, or those of what its variables refer to, are named.
        state: objects by name, instead of what the function refers to.
    """
    found: dict[int, Named] = {}
    roots = _roots(function) if state is None else state.items()
    for name, root in roots:
        for full_name, tensor in _tensors(name, root):
            if tensor.numel():
                named = found.setdefault(tensor.untyped_storage().data_ptr(), [])
                if all(full_name != known for known, _ in named):
                    named.append((full_name, tensor))

    def named_in(buffer: Buffer) -> Named:
        if buffer.tensor is None or not buffer.bytes:
            return []
        return found.get(buffer.tensor.untyped_storage().data_ptr(), [])

    return named_in


def _roots(function: Any) -> Iterator[tuple[str, Any]]:
    """What a function refers to, by the variables' names; "" for a module itself."""
    from flambeau.nn import Module

    if isinstance(function, partial):
        yield from _roots(function.func)
        for place, argument in enumerate(function.args):
            yield str(place), argument
        yield from function.keywords.items()
    elif isinstance(function, Module):
        yield "", function
    elif isinstance(function, MethodType):
        owner = function.__self__
        yield from [("", owner)] if isinstance(owner, Module) else vars(owner).items()
    elif isinstance(function, FunctionType):
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or ()):
            try:
                yield name, cell.cell_contents
            except ValueError:  # a variable that has no value yet
                continue
        for name in _global_names(function.__code__):
            if name in function.__globals__:
                yield name, function.__globals__[name]


def _global_names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _global_names(constant)


def _tensors(name: str, root: Any) -> Iterator[tuple[str, Tensor]]:
    from flambeau.nn import Module

    prefix = f"{name}." if name else ""
    if isinstance(root, Tensor):
        yield name, root
    elif isinstance(root, Module):
        for key, tensor in (*root.named_parameters(), *root.named_buffers()):
            yield prefix + key, tensor
    elif hasattr(root, "param_groups"):  # an optimizer; they lie above this package
        order = [tensor for group in root.param_groups for tensor in group["params"]]
        for place, parameter in enumerate(order):
            for key, value in root.state.get(parameter, {}).items():
                if isinstance(value, Tensor):
                    yield f"{prefix}state.{place}.{key}", value
