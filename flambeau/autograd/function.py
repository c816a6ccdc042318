"""Operators with a backward pass written by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any, TypeVar, cast

import flambeau
from flambeau import Tensor, _core

Backward = TypeVar("Backward", bound=Callable[..., Any])


class FunctionCtx:
    """What forward() leaves for backward(): saved tensors and any attributes."""

    def __init__(self) -> None:
        self.needs_input_grad: tuple[bool, ...] = ()
        self._to_save: tuple[Tensor | None, ...] = ()
        self._dirty: tuple[Tensor, ...] = ()
        self._constant: tuple[Tensor, ...] = ()
        self._materialize = True
        self._saved: Any = None

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Keeps inputs or outputs; changing them in place before backward() is an error."""
        for tensor in tensors:
            if tensor is not None and not isinstance(tensor, Tensor):
                raise TypeError(
                    "save_for_backward can only save tensors, but an argument has type "
                    f"{type(tensor).__name__}; keep other values as attributes of ctx"
                )
        self._to_save = tensors

    def mark_dirty(self, *tensors: Tensor) -> None:
        """Says that forward() changed these inputs in place."""
        self._dirty = tensors

    def mark_non_differentiable(self, *tensors: Tensor) -> None:
        """Says that these outputs have no gradient."""
        self._constant = tensors

    def set_materialize_grads(self, value: bool) -> None:
        """False: backward() gets None instead of zeros for outputs that got no gradient."""
        self._materialize = value

    @property
    def saved_tensors(self) -> tuple[Tensor, ...]:
        """What save_for_backward() kept, in that order."""
        if self._saved is None:
            return cast("tuple[Tensor, ...]", self._to_save)
        return cast("tuple[Tensor, ...]", self._saved.unpack())


class Function:
    """Base of operators with their own backward pass.

    Subclasses define the static methods `forward(ctx, *args)` and `backward(ctx, *grads)`, or
    `forward(*args)` with `setup_context(ctx, inputs, output)`. backward returns one gradient per
    argument of forward, None where there is none.

    Example:
        >>> class Double(torch.autograd.Function):
        ...     @staticmethod
        ...     def forward(ctx, x):
        ...         return x * 2
        ...     @staticmethod
        ...     def backward(ctx, g):
        ...         return g * 2
        >>> x = torch.ones(1, requires_grad=True)
        >>> Double.apply(x).backward()
        >>> x.grad
        tensor([2.])
    """

    @staticmethod
    def forward(*args: Any, **kwargs: Any) -> Any:
        """Computes the outputs."""
        raise NotImplementedError(
            "You must implement the forward function for custom autograd.Function."
        )

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> Any:
        """Fills ctx after a forward() that takes none."""
        raise NotImplementedError("setup_context is not implemented.")

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        """Computes the gradients of the arguments from those of the outputs."""
        raise NotImplementedError(
            "You must implement either the backward or vjp method for your custom "
            "autograd.Function to use it with backward mode AD."
        )

    vjp = backward

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError(
            "Legacy autograd function with non-static forward method is deprecated. Please use "
            f"new-style autograd function with static forward method: {type(self).__name__}.apply"
        )

    @classmethod
    def apply(cls, *args: Any, **kwargs: Any) -> Any:
        """Runs forward() and records it; returns its outputs."""
        ctx = FunctionCtx()
        recording = _core.is_grad_enabled()
        ctx.needs_input_grad = tuple(isinstance(x, Tensor) and x.requires_grad for x in args)
        before = _core._set_grad_enabled(False)
        try:
            if cls.setup_context is Function.setup_context:
                output = cls.forward(ctx, *args, **kwargs)
            else:
                output = cls.forward(*args, **kwargs)
                cls.setup_context(ctx, args, output)
        finally:
            _core._set_grad_enabled(before)
        if not (recording and any(ctx.needs_input_grad)):
            return output
        single = not isinstance(output, (tuple, list))
        outputs = (output,) if single else tuple(output)
        recorded, ctx._saved = _core.record_function(
            cls._backward_with(ctx, outputs),
            cls.__name__ + "Backward",
            args,
            outputs,
            ctx._to_save,
            ctx._dirty,
            ctx._constant,
        )
        ctx._to_save = ctx._dirty = ctx._constant = ()
        return recorded[0] if single else recorded

    @classmethod
    def _backward_with(cls, ctx: FunctionCtx, outputs: Iterable[Any]) -> Callable[..., Any]:
        rule = cls.backward if cls.backward is not Function.backward else cls.vjp
        likes = [(x.shape, x.dtype, x.device) if isinstance(x, Tensor) else None for x in outputs]

        def backward(*grads: Tensor | None) -> Any:
            if ctx._materialize:
                grads = tuple(
                    flambeau.zeros(like[0], dtype=like[1], device=like[2])
                    if g is None and like is not None
                    else g
                    for g, like in zip(grads, likes, strict=True)
                )
            return rule(ctx, *grads)

        return backward


def once_differentiable(backward: Backward) -> Backward:
    """Decorates a backward() that must not be differentiated itself."""

    @wraps(backward)
    def guarded(ctx: Any, *grads: Any) -> Any:
        recording = _core._set_grad_enabled(False)
        try:
            results = backward(ctx, *grads)
        finally:
            _core._set_grad_enabled(recording)
        if not recording or not any(isinstance(g, Tensor) and g.requires_grad for g in grads):
            return results
        tuple_of = results if isinstance(results, tuple) else (results,)
        marked = tuple(_Once.apply(r) if isinstance(r, Tensor) else r for r in tuple_of)
        return marked if isinstance(results, tuple) else marked[0]

    return cast(Backward, guarded)


class _Once(Function):
    """The identity, with a backward pass that refuses."""

    @classmethod
    def apply(cls, *args: Any, **kwargs: Any) -> Any:
        # Requires a gradient so that a second backward pass reaches it.
        return super().apply(args[0].detach().requires_grad_())

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        raise RuntimeError(
            "trying to differentiate twice a function that was marked with @once_differentiable"
        )
