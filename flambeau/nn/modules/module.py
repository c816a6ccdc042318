"""Module: the base class of every layer and network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import flambeau as fl
from flambeau import Tensor

from .._hooks import call_with_hooks
from .._members import BUFFER, MODULE, PARAMETER, TRANSIENT_BUFFER, class_name, count_change
from .._state import Stateful

Self = TypeVar("Self", bound="Module")
_NOTHING: Any = object()


class Module(Stateful):
    """The base class of every layer and network.

    A subclass creates its parameters and child modules in `__init__`, after
    `super().__init__()`, and computes in `forward`. Parameters, buffers and modules that are
    assigned to attributes are registered: `parameters()`, `state_dict()`, `to()` find them.

    Example:
        >>> class Net(torch.nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.hidden = torch.nn.Linear(2, 8)
        ...         self.out = torch.nn.Linear(8, 1)
        ...
        ...     def forward(self, x):
        ...         return self.out(self.hidden(x).relu())
        >>> Net()(torch.zeros(3, 2)).shape
        torch.Size([3, 1])
    """

    training: bool

    def __init__(self) -> None:
        state = self.__dict__  # not through __setattr__, which reads what is made here
        state["training"] = True
        state["_kinds"] = {}
        state["_hooks"] = []

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # A `__getattr__` on Module would slow every attribute of every module; it is there only
        # once a subclass has its own, which will want to call super().__getattr__.
        if "__getattr__" in cls.__dict__ and not hasattr(Module, "__getattr__"):
            Module.__getattr__ = _no_such_attribute  # type: ignore[attr-defined]

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the result; every subclass defines it."""
        raise NotImplementedError(
            f'Module [{class_name(self)}] is missing the required "forward" function'
        )

    # The usual calls, with one or two arguments and no hooks, do not pack and unpack them: on
    # CPython 3.11 that halves the cost of a call.
    def __call__(
        self, first: Any = _NOTHING, second: Any = _NOTHING, /, *others: Any, **kwargs: Any
    ) -> Any:
        if others or kwargs or self._hooks or first is _NOTHING:
            args = tuple(x for x in (first, second) if x is not _NOTHING) + others
            if self._hooks:
                return call_with_hooks(self, args, kwargs)
            return self.forward(*args, **kwargs)
        if second is _NOTHING:
            return self.forward(first)
        return self.forward(first, second)

    # --- modes and gradients ------------------------------------------------------------

    def train(self: Self, mode: bool = True) -> Self:
        """Switch to training (dropout drops, batch norm learns), or with False to evaluation."""
        if not isinstance(mode, bool):
            raise ValueError(f"train: mode must be a bool, got {mode!r}")
        for module in self.modules():
            module.training = mode
        return self

    def eval(self: Self) -> Self:
        """Switch to evaluation; the same as `train(False)`."""
        return self.train(False)

    def requires_grad_(self: Self, requires_grad: bool = True) -> Self:
        """Freeze (False) or unfreeze all parameters."""
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters, or set them to zero."""
        for parameter in self.parameters():
            if set_to_none:
                parameter.grad = None
            elif parameter.grad is not None:
                parameter.grad = fl.zeros_like(parameter.grad)

    # --- conversion ---------------------------------------------------------------------

    def apply(self: Self, fn: Callable[[Module], None]) -> Self:
        """Call `fn` on every module below and then on this one; used to initialise."""
        for module in self.children():
            module.apply(fn)
        fn(self)
        return self

    def _apply(self: Self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Replace the data of every parameter, its gradient and every buffer by `fn` of it.

        Parameters keep their identity, so optimizers and ties stay valid.
        """
        if recurse:
            for module in self.children():
                module._apply(fn)
        for parameter in self._parameters.values():
            if parameter is not None:
                parameter.data = fn(parameter.data)
                if parameter.grad is not None:
                    parameter.grad.data = fn(parameter.grad.data)
        for name, buffer in self._buffers.items():
            if buffer is not None:
                self.__dict__[name] = fn(buffer)
        count_change()
        return self

    def to(self: Self, *args: Any, **kwargs: Any) -> Self:
        """Move to a device and/or convert floating-point tensors to a dtype, in place.

        Args:
            *args: a device, a floating-point dtype, both, or a tensor that has both.
            **kwargs: `device`, `dtype`, `non_blocking`, `memory_format` (of parameters and buffers
                with four or five dimensions).

        Returns:
            The module itself.

        Raises:
            TypeError: the dtype is not a floating-point or complex one.
            RuntimeError: the memory format is one of tensors with fewer or more dimensions.
        """
        device, dtype, options = _parse_to(args, kwargs)
        if dtype is not None and not (dtype.is_floating_point or dtype.is_complex):
            raise TypeError(
                f"Module.to: a floating-point or complex dtype is required, got {dtype}"
            )

        def convert(tensor: Tensor) -> Tensor:
            wanted = dict(options)
            if tensor.dim() not in (4, 5):
                wanted.pop("memory_format", None)
            if device is not None:
                wanted["device"] = device
            if dtype is not None and (tensor.is_floating_point() or tensor.is_complex()):
                wanted["dtype"] = dtype
            return tensor.to(**wanted) if wanted else tensor

        return self._apply(convert)

    def to_empty(self: Self, *, device: Any, recurse: bool = True) -> Self:
        """Move to a device without copying values; every tensor is uninitialised."""
        return self._apply(lambda t: fl.empty_like(t, device=device), recurse=recurse)

    def type(self: Self, dst_type: Any) -> Self:
        """Convert all parameters and buffers, integer ones too, to a dtype."""
        return self._apply(lambda t: t.type(dst_type))

    def _to_float(self: Self, dtype: Any) -> Self:
        return self._apply(lambda t: t.to(dtype) if t.is_floating_point() else t)

    def float(self: Self) -> Self:
        """Convert floating-point tensors to float32."""
        return self._to_float(fl.float32)

    def double(self: Self) -> Self:
        """Convert floating-point tensors to float64."""
        return self._to_float(fl.float64)

    def half(self: Self) -> Self:
        """Convert floating-point tensors to float16."""
        return self._to_float(fl.float16)

    def bfloat16(self: Self) -> Self:
        """Convert floating-point tensors to bfloat16."""
        return self._to_float(fl.bfloat16)

    def cuda(self: Self, device: Any = None) -> Self:
        """Move to the GPU."""
        return self._apply(lambda t: t.cuda(device))

    def cpu(self: Self) -> Self:
        """Move to the CPU."""
        return self._apply(lambda t: t.cpu())

    # --- showing, copying ---------------------------------------------------------------

    def extra_repr(self) -> str:
        """What `repr` shows between the parentheses; subclasses name their arguments."""
        return ""

    def _get_name(self) -> str:
        return class_name(self)

    def __repr__(self) -> str:
        extra = self.extra_repr()
        lines = extra.split("\n") if extra else []
        children = [
            f"({name}): {indent(repr(self.__dict__[name]))}" for name in self._names(MODULE)
        ]
        if not children and len(lines) <= 1:
            return f"{self._get_name()}({extra})"
        body = "".join(f"\n  {line}" for line in lines + children)
        return f"{self._get_name()}({body}\n)"

    def __setstate__(self, state: dict[str, Any]) -> None:
        if "_parameters" in state:
            state = _from_pytorch(state)
        self.__dict__.update(state)
        count_change()


def indent(text: str) -> str:
    """Move every line but the first two spaces to the right."""
    return text.replace("\n", "\n  ")


def _from_pytorch(state: dict[str, Any]) -> dict[str, Any]:
    """The state of a module that PyTorch pickled: it has a dictionary for each kind of member."""
    transient = state.get("_non_persistent_buffers_set", ())
    own: dict[str, Any] = {"_kinds": {}, "_hooks": []}
    for table, kind in (("_parameters", PARAMETER), ("_buffers", BUFFER), ("_modules", MODULE)):
        for name, value in state[table].items():
            own[name] = value
            own["_kinds"][name] = TRANSIENT_BUFFER if name in transient else kind
    internal = ("_parameters", "_buffers", "_modules", "_non_persistent_buffers_set")
    for name, value in state.items():
        if name not in internal and not name.endswith(("_hooks", "_hook", "_hooks_with_kwargs")):
            own[name] = value
    return own


def _no_such_attribute(self: Module, name: str) -> Any:
    raise AttributeError(f"'{class_name(self)}' object has no attribute '{name}'")


def _parse_to(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any, dict[str, Any]]:
    """Device, dtype and the remaining options of a call of `to`."""
    options = dict(kwargs)
    device = options.pop("device", None)
    dtype = options.pop("dtype", None)
    tensor = options.pop("tensor", None)
    for arg in args:
        if isinstance(arg, Tensor):
            tensor = arg
        elif isinstance(arg, fl.dtype):
            dtype = arg
        elif isinstance(arg, bool):
            options["non_blocking"] = arg
        elif arg is not None:
            device = arg
    if tensor is not None:
        device, dtype = tensor.device, tensor.dtype
    return device, dtype, options
