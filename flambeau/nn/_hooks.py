"""Hooks: functions that run around `forward`, the backward pass and `state_dict`.

A module has one list of them, empty for almost every module; calling it then costs one test.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import flambeau as fl
from flambeau import Tensor

from ._members import count_change

if TYPE_CHECKING:
    from .modules.module import Module

FORWARD_PRE = "forward pre"
FORWARD = "forward"
BACKWARD_PRE = "backward pre"
BACKWARD = "backward"
STATE_DICT_PRE = "state_dict pre"
STATE_DICT = "state_dict"
LOAD_PRE = "load_state_dict pre"
LOAD_POST = "load_state_dict post"


class Hook(NamedTuple):
    """One registered function, and how it wants to be called."""

    kind: str
    function: Callable[..., Any]
    with_kwargs: bool = False  # forward hooks: pass the keyword arguments too
    always_call: bool = False  # forward hooks: run even when forward raises


class HookEntry:
    """A hook's place in its list; two registrations of one function are two entries."""

    __slots__ = ("hook",)

    def __init__(self, hook: Hook) -> None:
        self.hook = hook


class RemovableHandle:
    """Removes its hook with `remove()`, or at the end of a `with` block."""

    def __init__(self, entries: list[HookEntry], entry: HookEntry) -> None:
        self._entries = entries
        self._entry = entry
        self.id = id(entry)

    def remove(self) -> None:
        """Take the hook away; a second call does nothing."""
        if self._entry in self._entries:
            self._entries.remove(self._entry)
            count_change()

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *exception: object) -> None:
        self.remove()


class Hooked:
    """The base of Module that keeps its hooks and calls them."""

    _hooks: list[HookEntry]

    def _add_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        entry = HookEntry(hook)
        self._hooks.insert(0 if prepend else len(self._hooks), entry)
        count_change()
        return RemovableHandle(self._hooks, entry)

    def _hooks_of(self, kind: str) -> list[Hook]:
        return [entry.hook for entry in self._hooks if entry.hook.kind == kind]

    def register_forward_pre_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """Call `hook(module, args)` before forward; what it returns replaces the arguments.

        Args:
            hook: the function; with `with_kwargs`, `hook(module, args, kwargs)` which returns
                None or `(args, kwargs)`.
            prepend: run before the hooks registered until now.
            with_kwargs: pass the keyword arguments too.

        Returns:
            A handle whose `remove()` takes the hook away.
        """
        return self._add_hook(Hook(FORWARD_PRE, hook, with_kwargs), prepend)

    def register_forward_hook(
        self,
        hook: Callable[..., Any],
        *,
        prepend: bool = False,
        with_kwargs: bool = False,
        always_call: bool = False,
    ) -> RemovableHandle:
        """Call `hook(module, args, output)` after forward; what it returns replaces the output.

        Args:
            hook: the function; with `with_kwargs`, `hook(module, args, kwargs, output)`.
            prepend: run before the hooks registered until now.
            with_kwargs: pass the keyword arguments too.
            always_call: run also when forward raises (with the output None).

        Returns:
            A handle whose `remove()` takes the hook away.
        """
        return self._add_hook(Hook(FORWARD, hook, with_kwargs, always_call), prepend)

    def register_full_backward_pre_hook(
        self, hook: Callable[..., Any], prepend: bool = False
    ) -> RemovableHandle:
        """Call `hook(module, grad_output)` before the module's backward.

        A returned tuple replaces the gradients. Returns a handle to remove the hook.
        """
        return self._add_hook(Hook(BACKWARD_PRE, hook), prepend)

    def register_full_backward_hook(
        self, hook: Callable[..., Any], prepend: bool = False
    ) -> RemovableHandle:
        """Call `hook(module, grad_input, grad_output)` after the gradient of the inputs.

        A returned tuple replaces `grad_input`. Returns a handle to remove the hook.
        """
        return self._add_hook(Hook(BACKWARD, hook), prepend)

    register_backward_hook = register_full_backward_hook

    def register_state_dict_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call `hook(module, prefix, keep_vars)` before `state_dict()` collects."""
        return self._add_hook(Hook(STATE_DICT_PRE, hook))

    def register_state_dict_post_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call `hook(module, state_dict, prefix, local_metadata)` after `state_dict()`."""
        return self._add_hook(Hook(STATE_DICT, hook))

    def register_load_state_dict_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call `hook(module, state_dict, prefix, local_metadata, strict, missing_keys,
        unexpected_keys, error_msgs)` before this module loads its part."""
        return self._add_hook(Hook(LOAD_PRE, hook))

    def register_load_state_dict_post_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call `hook(module, incompatible_keys)` after loading; it may edit the two lists."""
        return self._add_hook(Hook(LOAD_POST, hook))


def call_with_hooks(module: Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run `forward` with the hooks around it."""
    pending = module._hooks_of(FORWARD)
    try:
        args, kwargs = _run_pre_hooks(module, args, kwargs)
        gates = _BackwardGates(module) if _wants_backward(module) else None
        if gates is not None:
            args = gates.enter(args)
        output = module.forward(*args, **kwargs)
        while pending:
            output = _run_forward_hook(module, pending.pop(0), args, kwargs, output)
        return output if gates is None else gates.leave(output)
    except Exception:
        for hook in pending:
            if hook.always_call:
                _run_after_failure(module, hook, args, kwargs)
        raise


def _run_pre_hooks(
    module: Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    for hook in module._hooks_of(FORWARD_PRE):
        if hook.with_kwargs:
            changed = hook.function(module, args, kwargs)
            if changed is None:
                continue
            if not isinstance(changed, tuple) or len(changed) != 2:
                raise RuntimeError(
                    f"forward pre-hook: None or a tuple (args, kwargs) is required, got {changed}"
                )
            args, kwargs = changed
        else:
            changed = hook.function(module, args)
            if changed is not None:
                args = changed if isinstance(changed, tuple) else (changed,)
    return args, kwargs


def _run_forward_hook(
    module: Module, hook: Hook, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
) -> Any:
    if hook.with_kwargs:
        changed = hook.function(module, args, kwargs, output)
    else:
        changed = hook.function(module, args, output)
    return output if changed is None else changed


def _run_after_failure(
    module: Module, hook: Hook, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    """An always-called hook must not hide the exception that is on its way."""
    try:
        _run_forward_hook(module, hook, args, kwargs, None)
    except Exception as error:
        warnings.warn(f"forward hook with always_call=True raised {error!r}; it was silenced")


# --- hooks of the backward pass -------------------------------------------------------------


def _wants_backward(module: Module) -> bool:
    return any(entry.hook.kind in (BACKWARD, BACKWARD_PRE) for entry in module._hooks)


class _BackwardGates:
    """Two identity operations around one call, through which all its gradients pass.

    The gate at the output sees the gradients that enter the module and runs the pre-hooks; the
    gate at the input sees those that leave it and runs the hooks.
    """

    def __init__(self, module: Module) -> None:
        self.module = module
        self.grad_output: tuple[Tensor | None, ...] | None = None
        self.input_count = 0
        self.has_input_gate = False

    def enter(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        self.input_count = len(args)
        gated, self.has_input_gate = _through_gate(args, self._on_grad_input)
        return gated

    def leave(self, output: Any) -> Any:
        outputs = output if isinstance(output, tuple) else (output,)
        gated, _ = _through_gate(outputs, self._on_grad_output)
        return gated if isinstance(output, tuple) else gated[0]

    def _on_grad_output(self, grads: tuple[Tensor | None, ...]) -> tuple[Tensor | None, ...]:
        for hook in self.module._hooks_of(BACKWARD_PRE):
            changed = hook.function(self.module, grads)
            if changed is not None:
                grads = _as_gradients(changed, len(grads), "full backward pre-hook")
        self.grad_output = grads
        if not self.has_input_gate:
            self._on_grad_input((None,) * self.input_count)
        return grads

    def _on_grad_input(self, grads: tuple[Tensor | None, ...]) -> tuple[Tensor | None, ...]:
        if self.grad_output is None:  # gradients came by another way than the output
            return grads
        for hook in self.module._hooks_of(BACKWARD):
            changed = hook.function(self.module, grads, self.grad_output)
            if changed is None:
                continue
            if not self.has_input_gate:
                raise RuntimeError(
                    "full backward hook: it returned gradients, but no input requires grad; "
                    "return None"
                )
            grads = _as_gradients(changed, len(grads), "full backward hook")
        self.grad_output = None
        return grads


def _as_gradients(changed: Any, count: int, where: str) -> tuple[Tensor | None, ...]:
    grads = changed if isinstance(changed, tuple) else (changed,)
    if len(grads) != count:
        raise RuntimeError(f"{where}: {count} gradients are required, got {len(grads)}")
    return grads


def _through_gate(
    values: tuple[Any, ...], on_backward: Callable[..., Any]
) -> tuple[tuple[Any, ...], bool]:
    """Pass the tensors among `values` through an identity that reports their gradients."""
    places = [i for i, value in enumerate(values) if isinstance(value, Tensor)]
    if not (fl.is_grad_enabled() and any(values[i].requires_grad for i in places)):
        return values, False

    def on_gradients(grads: tuple[Tensor | None, ...]) -> tuple[Tensor | None, ...]:
        packed: list[Tensor | None] = [None] * len(values)
        for place, grad in zip(places, grads, strict=True):
            packed[place] = grad
        changed = on_backward(tuple(packed))
        return tuple(changed[place] for place in places)

    gated = list(values)
    passed = _gate_function().apply(on_gradients, *(values[i] for i in places))
    for place, tensor in zip(places, passed, strict=True):
        gated[place] = tensor
    return tuple(gated), True


_gate: Any = None


def _gate_function() -> Any:
    """The identity with a callback as an autograd Function, made when first needed."""
    global _gate
    if _gate is None:
        from flambeau.autograd import Function

        class HookGate(Function):
            @staticmethod
            def forward(ctx: Any, on_gradients: Any, *tensors: Tensor) -> tuple[Tensor, ...]:
                ctx.on_gradients = on_gradients
                ctx.mark_non_differentiable(*(t for t in tensors if not t.requires_grad))
                return tuple(t.view_as(t) for t in tensors)

            @staticmethod
            def backward(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
                return (None, *ctx.on_gradients(grads))

        _gate = HookGate
    return _gate
