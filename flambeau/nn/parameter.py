"""Parameter and Buffer: tensors that a module registers when they are assigned to it."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import flambeau as fl
from flambeau import Tensor


class Parameter(Tensor):
    """A tensor that a module trains: assigned to a module, it appears in `parameters()`.

    Args:
        data: tensor of any shape; an empty one by default. It is shared, not copied.
        requires_grad: whether gradients are collected in `.grad`.

    Example:
        >>> weight = torch.nn.Parameter(torch.zeros(2, 3))
        >>> weight.requires_grad
        True
    """

    def __new__(cls, data: Tensor | None = None, requires_grad: bool = True) -> Parameter:
        if data is None:
            data = fl.empty(0)
        return Tensor._make_subclass(cls, data, requires_grad)

    # mypy forgets the names of keywords of methods with underscores.
    def __repr__(self, *, tensor_contents: Any = None) -> str:  # type: ignore[override]
        return "Parameter containing:\n" + super().__repr__()

    def __deepcopy__(self, memo: dict[int, Any]) -> Parameter:
        if id(self) not in memo:
            memo[id(self)] = type(self)(self.detach().clone(), self.requires_grad)
        return memo[id(self)]

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return _rebuild_parameter, (self.detach(), self.requires_grad, OrderedDict())


class Buffer(Tensor):
    """A tensor that belongs to a module's state but is not trained (running statistics, masks).

    Args:
        data: tensor of any shape; an empty one by default. It is shared, not copied.
        persistent: whether it is part of `state_dict()`.
    """

    persistent: bool

    def __new__(cls, data: Tensor | None = None, *, persistent: bool = True) -> Buffer:
        if data is None:
            data = fl.empty(0)
        buffer = Tensor._make_subclass(cls, data, data.requires_grad)
        buffer.persistent = persistent
        return buffer

    def __deepcopy__(self, memo: dict[int, Any]) -> Buffer:
        if id(self) not in memo:
            copy = type(self)(self.detach().clone(), persistent=self.persistent)
            copy.requires_grad_(self.requires_grad)
            memo[id(self)] = copy
        return memo[id(self)]

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return _rebuild_buffer, (self.detach(), self.requires_grad, self.persistent)


def _rebuild_parameter(
    data: Tensor, requires_grad: bool, backward_hooks: OrderedDict[int, Any]
) -> Parameter:
    """Unpickle a parameter; the signature is the one that `.pt` files name."""
    return Parameter(data, requires_grad)


def _rebuild_buffer(data: Tensor, requires_grad: bool, persistent: bool) -> Buffer:
    buffer = Buffer(data, persistent=persistent)
    buffer.requires_grad_(requires_grad)
    return buffer
