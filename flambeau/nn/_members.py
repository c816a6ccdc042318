"""What belongs to a module: parameters, buffers and child modules, and walking over them.

Note [Members live in the instance]
A member is an ordinary attribute in the instance's `__dict__`, so `self.weight` costs no more
than any Python attribute. `_kinds` says which names are members, of which kind, in the order
of registration. `_parameters`, `_buffers` and `_modules` are views over the two.

Note [Versions of modules]
Every change of an attribute, member or hook of any module counts one number up. Who has looked at
modules before need not look again while `version()` is the same. Changes inside a value (an
element of a list, a tensor's contents) are not seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, MutableMapping
from typing import TYPE_CHECKING, Any

from flambeau import Tensor

from .parameter import Buffer, Parameter

if TYPE_CHECKING:
    from .modules.module import Module

PARAMETER = "parameter"
BUFFER = "buffer"
TRANSIENT_BUFFER = "transient buffer"  # a buffer that state_dict() leaves out
MODULE = "module"
BUFFERS = (BUFFER, TRANSIENT_BUFFER)


_ABSENT = object()
_version = 0


def version() -> int:
    """Differs after every structural change of any module (Note [Versions of modules])."""
    return _version


def count_change() -> None:
    """Say that a module has changed."""
    global _version
    _version += 1


class MemberView(MutableMapping[str, Any]):
    """The members of some kinds of one module as a mapping; writing to it registers."""

    __slots__ = ("_kinds", "_owner")

    def __init__(self, owner: Members, kinds: tuple[str, ...]) -> None:
        self._owner = owner
        self._kinds = kinds

    def __contains__(self, name: object) -> bool:
        return self._owner._kinds.get(name) in self._kinds  # type: ignore[call-overload]

    def __getitem__(self, name: str) -> Any:
        if name not in self:
            raise KeyError(name)
        return self._owner.__dict__[name]

    def __setitem__(self, name: str, value: Any) -> None:
        kind = self._kinds[0] if name not in self else self._owner._kinds[name]
        self._owner._set_member(name, kind, value)

    def __delitem__(self, name: str) -> None:
        if name not in self:
            raise KeyError(name)
        self._owner._forget(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._owner._names(*self._kinds))

    def __len__(self) -> int:
        return len(self._owner._names(*self._kinds))

    def __repr__(self) -> str:
        return repr(dict(self))


def type_name(value: object) -> str:
    """The type of `value` as error messages show it."""
    kind = type(value)
    module = "" if kind.__module__ == "builtins" else kind.__module__ + "."
    return module + kind.__qualname__


def class_name(owner: object) -> str:
    """The name of the class of `owner`, for messages."""
    return type(owner).__name__


class Members:
    """The base of Module that registers members and finds them again."""

    _kinds: dict[str, str]

    def _names(self, *kinds: str) -> list[str]:
        return [name for name, kind in self._kinds.items() if kind in kinds]

    @property
    def _parameters(self) -> MemberView:
        return MemberView(self, (PARAMETER,))

    @property
    def _buffers(self) -> MemberView:
        return MemberView(self, BUFFERS)

    @property
    def _modules(self) -> MemberView:
        return MemberView(self, (MODULE,))

    @property
    def _non_persistent_buffers_set(self) -> set[str]:
        return set(self._names(TRANSIENT_BUFFER))

    # --- registering --------------------------------------------------------------------

    def _set_member(self, name: str, kind: str, value: Any) -> None:
        kinds = self._kinds
        if kinds.get(name) != kind:
            kinds.pop(name, None)
            kinds[name] = kind
        self.__dict__[name] = value
        count_change()

    def _forget(self, name: str) -> None:
        count_change()
        del self._kinds[name]
        del self.__dict__[name]

    def _require_init(self, kind: str) -> None:
        if "_kinds" not in self.__dict__:
            raise AttributeError(
                f"cannot assign a {kind} before Module.__init__() call: "
                f"{class_name(self)}.__init__ must begin with super().__init__()"
            )

    def _check_new_name(self, name: str, kind: str, same_kind: tuple[str, ...]) -> None:
        self._require_init(kind)
        if not isinstance(name, str):
            raise TypeError(f"{kind} name: a str is required, got {type_name(name)}")
        if "." in name:
            raise KeyError(f"{kind} name: '.' separates modules, it cannot be in '{name}'")
        if name == "":
            raise KeyError(f'{kind} name: it cannot be the empty string ""')
        if self._kinds.get(name) not in same_kind and hasattr(self, name):
            raise KeyError(f"{class_name(self)} has already an attribute '{name}'; rename one")

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a parameter under `name`; None reserves the name and stays out of state_dict."""
        self._check_new_name(name, PARAMETER, (PARAMETER,))
        if param is not None and not isinstance(param, Parameter):
            raise TypeError(
                f"register_parameter '{name}': a Parameter or None is required, "
                f"got {type_name(param)}; wrap it in nn.Parameter"
            )
        if param is not None and param.grad_fn is not None:
            raise ValueError(
                f"register_parameter '{name}': a leaf tensor is required, got the result of "
                f"{param.grad_fn}; compute derived values in forward()"
            )
        self._set_member(name, PARAMETER, param)

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Add a tensor that is state but no parameter; `persistent`: it is in state_dict."""
        self._check_new_name(name, BUFFER, BUFFERS)
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(
                f"register_buffer '{name}': a Tensor or None is required, got {type_name(tensor)}"
            )
        self._set_member(name, BUFFER if persistent else TRANSIENT_BUFFER, tensor)

    def add_module(self, name: str, module: Module | None) -> None:
        """Add a child module under `name`."""
        if module is not None and not isinstance(module, Members):
            raise TypeError(f"add_module '{name}': {type_name(module)} is not a Module subclass")
        self._check_new_name(name, MODULE, (MODULE,))
        self._set_member(name, MODULE, module)

    def register_module(self, name: str, module: Module | None) -> None:
        """The same as `add_module`."""
        self.add_module(name, module)

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, (Parameter, Members, Buffer)):
            self._assign_member(name, value)
            return
        if self.__dict__.get(name, _ABSENT) is not value:  # train() sets what is mostly set
            count_change()
        kinds = self.__dict__.get("_kinds")
        if kinds is None or name not in kinds:
            object.__setattr__(self, name, value)
            return
        kind = kinds[name]
        if value is not None and not (kind in BUFFERS and isinstance(value, Tensor)):
            expected = {PARAMETER: "nn.Parameter", MODULE: "nn.Module"}.get(kind, "Tensor")
            raise TypeError(
                f"cannot assign {type_name(value)} to the {kind} '{name}' of {class_name(self)}: "
                f"{expected} or None is required"
            )
        self.__dict__[name] = value

    def _assign_member(self, name: str, value: Parameter | Buffer | Members) -> None:
        """Register what is assigned, whatever the name stood for until now."""
        known = self.__dict__.get("_kinds")
        if isinstance(value, Parameter):
            if known is not None and known.get(name) != PARAMETER:
                self._drop_attribute(name)
            self.register_parameter(name, value)
            return
        if known is not None and known.get(name) == PARAMETER:
            raise TypeError(
                f"cannot assign {type_name(value)} to the parameter '{name}' of "
                f"{class_name(self)}: nn.Parameter or None is required"
            )
        if isinstance(value, Members):
            self._require_init(MODULE)
            self._drop_attribute(name, keep=MODULE)
            self._set_member(name, MODULE, value)
            return
        if known is not None and known.get(name) not in BUFFERS:
            self._drop_attribute(name)
        self.register_buffer(name, value, value.persistent)

    def _drop_attribute(self, name: str, keep: str = "") -> None:
        if self._kinds.get(name, "") == keep != "":
            return
        self._kinds.pop(name, None)
        self.__dict__.pop(name, None)
        count_change()

    def __delattr__(self, name: str) -> None:
        count_change()
        object.__delattr__(self, name)
        self._kinds.pop(name, None)

    # --- finding by name ----------------------------------------------------------------

    def get_submodule(self, target: str) -> Module:
        """The module at a dotted path, such as `"encoder.layers.0"`; "" is this module."""
        module: Any = self
        for name in target.split(".") if target else []:
            found = getattr(module, name, None)
            if found is None:
                raise AttributeError(
                    f"get_submodule '{target}': {class_name(module)} has no attribute '{name}'"
                )
            if not isinstance(found, Members):
                raise AttributeError(f"get_submodule '{target}': '{name}' is not an nn.Module")
            module = found
        return module

    def get_parameter(self, target: str) -> Parameter:
        """The parameter at a dotted path, such as `"encoder.weight"`."""
        return self._get_tensor(target, (PARAMETER,), "an nn.Parameter")

    def get_buffer(self, target: str) -> Tensor:
        """The buffer at a dotted path, such as `"norm.running_mean"`."""
        return self._get_tensor(target, BUFFERS, "a buffer")

    def _get_tensor(self, target: str, kinds: tuple[str, ...], expected: str) -> Any:
        path, _, name = target.rpartition(".")
        module = self.get_submodule(path)
        if not hasattr(module, name):
            raise AttributeError(f"{class_name(module)} has no attribute '{name}' ('{target}')")
        if module._kinds.get(name) not in kinds:
            raise AttributeError(f"'{target}' is not {expected}")
        return getattr(module, name)

    # --- walking ------------------------------------------------------------------------

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The direct children with their names, each module once."""
        seen: set[Any] = set()
        for name in self._names(MODULE):
            module = self.__dict__[name]
            if module is not None and module not in seen:
                seen.add(module)
                yield name, module

    def children(self) -> Iterator[Module]:
        """The direct children, each module once."""
        for _, module in self.named_children():
            yield module

    def named_modules(
        self, memo: set[Module] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        """This module and all below it with their dotted names, parents first."""
        memo = set() if memo is None else memo
        if self in memo:
            return
        if remove_duplicate:
            memo.add(self)  # type: ignore[arg-type]
        yield prefix, self  # type: ignore[misc]
        for name in self._names(MODULE):
            module = self.__dict__[name]
            if module is not None:
                path = f"{prefix}.{name}" if prefix else name
                yield from module.named_modules(memo, path, remove_duplicate)

    def modules(self) -> Iterator[Module]:
        """This module and all below it, each once, parents first."""
        for _, module in self.named_modules():
            yield module

    def _named_members(
        self,
        get_members_fn: Callable[[Any], Iterable[tuple[str, Any]]],
        prefix: str = "",
        recurse: bool = True,
        remove_duplicate: bool = True,
    ) -> Iterator[tuple[str, Any]]:
        """Dotted names and values of what `get_members_fn` finds in each module, each once."""
        seen: set[int] = set()
        modules: Iterable[tuple[str, Any]] = [(prefix, self)]
        if recurse:
            modules = self.named_modules(prefix=prefix, remove_duplicate=remove_duplicate)
        for path, module in modules:
            for name, value in get_members_fn(module):
                if value is None or id(value) in seen:
                    continue
                if remove_duplicate:
                    seen.add(id(value))
                yield (f"{path}.{name}" if path else name), value

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """The parameters with their dotted names, each once."""
        return self._named_members(_parameters_of, prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """The parameters of this module and, with `recurse`, of all below it."""
        if not recurse or type(self).named_parameters is not Members.named_parameters:
            return (parameter for _, parameter in self.named_parameters(recurse=recurse))
        # The same walk without the names: training loops make it at every step.
        found: dict[int, Parameter] = {}
        seen: set[Members] = set()
        waiting: list[Members] = [self]
        while waiting:
            module = waiting.pop()
            if module in seen:
                continue
            seen.add(module)
            values = module.__dict__
            children = []
            for name, kind in module._kinds.items():
                value = values[name]
                if value is None:
                    continue
                if kind == PARAMETER:
                    found[id(value)] = value
                elif kind == MODULE:
                    children.append(value)
            waiting += children[::-1]
        return iter(found.values())

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """The buffers with their dotted names, each once."""
        return self._named_members(_buffers_of, prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """The buffers of this module and, with `recurse`, of all below it."""
        for _, buffer in self.named_buffers(recurse=recurse):
            yield buffer


def _parameters_of(module: Members) -> list[tuple[str, Any]]:
    return [(name, module.__dict__[name]) for name in module._names(PARAMETER)]


def _buffers_of(module: Members) -> list[tuple[str, Any]]:
    return [(name, module.__dict__[name]) for name in module._names(*BUFFERS)]
