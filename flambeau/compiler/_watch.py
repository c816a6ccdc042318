"""What a function reads beside its arguments: globals, closures, attributes.

Note [Watches]
A recording holds the values of all Python variables that the function looked at. A watch finds
these from the function's code - names of globals, cells of closures, attributes of the objects
that are reached - and keeps what they were. If one of them has changed, the function is recorded
again. What cannot be watched (an iterator) is a reason not to replay at all.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from functools import partial
from operator import is_
from types import (
    BuiltinFunctionType,
    CellType,
    CodeType,
    FunctionType,
    MethodType,
    ModuleType,
)
from typing import TYPE_CHECKING, Any

from flambeau import Tensor, _core
from flambeau.compiler._sizes import SizeNumber
from flambeau.nn._members import version

if TYPE_CHECKING:
    from flambeau.nn import Module

_SCALARS = frozenset((bool, int, float, complex, str, bytes, type(None), SizeNumber))
_ABSENT = object()
_NONE: tuple[list[Any], list[Any], list[Any]] = ([], [], [])
_LONGEST = 10_000  # elements of a watched list
_LARGEST = 1 << 14  # bytes of a watched array
# With these names, code may read learning rates by itself: they are part of what it computes then.
_READS_SETTINGS = frozenset(("param_groups", "get_last_lr", "state_dict"))
# How code gets at attributes that it does not name.
_BY_NAME = frozenset(("getattr", "vars", "__dict__", "asdict", "attrgetter"))


def _is_ours(module: str | None) -> bool:
    return module is not None and (module == "flambeau" or module.startswith("flambeau."))


def _is_library(name: str) -> bool:
    top = name.partition(".")[0]
    return top in sys.stdlib_module_names or top in ("flambeau", "torch", "numpy")


class Watch:
    """The Python values that a call of `function` may read, as they are now (Note [Watches])."""

    def __init__(self, function: Callable[..., Any], arguments: Iterable[Any]) -> None:
        self.refusal: str | None = None
        self._version = version()
        self._variables: list[tuple[Any, str, Any]] = []
        self._cells: list[tuple[CellType, Any]] = []
        self._copies: list[tuple[Any, list[Any]]] = []
        self._arrays: list[tuple[Any, bytes]] = []
        self._seen: set[int] = set()
        self._reached_classes: set[int] = set()
        self._kept: list[Any] = []  # what `_seen` holds the identities of
        self._names: set[str] = set()
        self._objects: list[Any] = []
        self._modules: list[ModuleState] = []
        self.settings = Settings()
        self._reach(function)
        for argument in arguments:
            self._reach(argument)
        self._watch_objects()
        if not _READS_SETTINGS.isdisjoint(self._names):
            self._copies += self.settings.groups
        # The same by columns, for the usual case that nothing has changed.
        containers, names, values = map(list, zip(*self._variables)) if self._variables else _NONE
        cells, contents = map(list, zip(*self._cells)) if self._cells else _NONE[:2]
        self._usual = _core.Variables(containers, names, values, cells, contents)
        # Whether nothing has changed; if not, changed() looks closer. One call in the core where
        # variables are all there is to look at.
        only_variables = not (self._modules or self._copies or self._arrays)
        self.holds: Callable[[], bool] = (
            self._usual.same if only_variables else lambda: self.changed() is None
        )

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing that could change."""
        return not (self._modules or self._variables or self._cells or self._copies or self._arrays)

    @property
    def tells_types(self) -> bool:
        """Whether the code may ask for exact types, which tracked sizes do not have."""
        return "type" in self._names

    def changed(self) -> str | None:
        """The name of a variable that is not what it was, or None."""
        if self._modules and version() != self._version:
            latest = version()
            if not all(map(_unchanged, self._modules)):
                return "an attribute of a module"
            # The change was elsewhere, or was taken back as by train() and eval().
            self._version = latest
        if not self._usual.same():
            for container, name, expected in self._variables:
                now = container.get(name, _ABSENT)
                if now is not expected and not _equal(now, expected):
                    return name
            for cell, expected in self._cells:
                now = _contents(cell)
                if now is not expected and not _equal(now, expected):
                    return "a variable of an enclosing function"
        for container, items in self._copies:
            if not _holds(container, items):
                return f"the contents of a {type(container).__name__}"
        for array, before in self._arrays:
            if array.tobytes() != before:
                return "a NumPy array"
        return None

    # --- finding ------------------------------------------------------------------------

    def _refuse(self, reason: str) -> None:
        self.refusal = self.refusal or reason

    def _reach(self, value: Any) -> None:
        kind = type(value)
        if kind in _SCALARS or isinstance(value, (Tensor, BuiltinFunctionType)):
            return
        if id(value) in self._seen:
            return
        self._seen.add(id(value))
        self._kept.append(value)
        if isinstance(value, FunctionType):
            self._reach_function(value)
        elif isinstance(value, type):
            self._reach_class(value)
        elif isinstance(value, MethodType):
            self._reach(value.__func__)
            self._reach(value.__self__)
        elif isinstance(value, partial):
            for part in (value.func, value.args, value.keywords):
                self._reach(part)
        elif isinstance(value, (list, tuple, set, frozenset, dict)):
            self._reach_container(value)
        elif isinstance(value, ModuleType):
            if not _is_library(value.__name__):
                self._objects.append(value)
        else:
            self._reach_object(value)

    def _reach_container(self, value: Any) -> None:
        if len(value) > _LONGEST:
            self._refuse(f"it reads a {type(value).__name__} of {len(value)} elements")
            return
        items = _items(value)
        if not isinstance(value, (tuple, frozenset)):
            self._copies.append((value, items))
        for item in items:
            self._reach(item)

    def _reach_function(self, function: FunctionType) -> None:
        wrapped = getattr(function, "__wrapped__", None)
        if wrapped is not None:
            self._reach(wrapped)
        if _is_ours(function.__module__) and function.__closure__ is None:
            return
        if not _is_ours(function.__module__):
            self._reach_code(function.__code__, function.__globals__)
            if function.__dict__:
                self._objects.append(function)
        for cell in function.__closure__ or ():
            contents = _contents(cell)
            self._cells.append((cell, contents))
            self._reach(contents)
        for default in (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()):
            self._reach(default)

    def _reach_code(self, code: CodeType, variables: dict[str, Any]) -> None:
        self._names.update(code.co_names)
        for name in code.co_names:
            # pytest rewrites assertions with names that no source can have.
            if name in variables and not name.startswith("@"):
                value = variables[name]
                if not isinstance(value, ModuleType):
                    self._variables.append((variables, name, value))
                self._reach(value)
        for constant in code.co_consts:
            if isinstance(constant, CodeType):
                self._reach_code(constant, variables)

    def _reach_object(self, value: Any) -> None:
        from flambeau.nn.modules.module import Module

        kind = type(value)
        if not isinstance(kind.__module__, str):
            return  # an operator of ours, whose type answers for its objects
        if _is_ours(getattr(getattr(kind, "step", None), "__module__", None)):
            self.settings.watch(value)
            return  # optimizers and schedulers: their steps leave sources
        if isinstance(value, Module):
            for module in value.modules():
                self._modules.append(_state_of(module))
                self._reach_class(type(module))
                for name, attribute in module.__dict__.items():
                    if not name.startswith("_") and not isinstance(attribute, Module):
                        self._reach(attribute)
            return
        if hasattr(value, "__array__"):
            self._reach_array(value)
            return
        if hasattr(kind, "__next__") or kind.__module__.startswith("numpy.random"):
            self._refuse(f"it reads from a {kind.__name__}")
            return
        if _is_ours(kind.__module__):
            return
        if hasattr(value, "__dict__") and not _is_library(kind.__module__):
            self._objects.append(value)
            self._reach_class(kind)

    def _reach_array(self, array: Any) -> None:
        if array.nbytes > _LARGEST:
            self._refuse(
                f"it reads a NumPy array of {array.nbytes} bytes; make it a tensor outside"
            )
        else:
            self._arrays.append((array, array.tobytes()))

    def _reach_class(self, kind: type) -> None:
        for base in kind.__mro__:
            if _is_library(base.__module__) or id(base) in self._reached_classes:
                continue
            self._reached_classes.add(id(base))
            self._kept.append(base)
            self._objects.append(base)
            for member in vars(base).values():
                if isinstance(member, (staticmethod, classmethod)):
                    member = member.__func__
                if isinstance(member, property):
                    member = member.fget
                if isinstance(member, FunctionType) and member.__name__ != "__init__":
                    self._reach(member)

    def _watch_objects(self) -> None:
        # Attributes may lead to other objects, whose code names other attributes.
        done: set[tuple[int, str]] = set()
        while True:
            before = len(self._objects), len(self._names)
            for value in list(self._objects):
                variables = vars(value)
                every = not _BY_NAME.isdisjoint(self._names)
                for name in variables if every else self._names & variables.keys():
                    if (id(value), name) in done or (every and name.startswith("__")):
                        continue
                    done.add((id(value), name))
                    self._variables.append((variables, name, variables[name]))
                    self._reach(variables[name])
            if before == (len(self._objects), len(self._names)):
                return


class Settings:
    """Learning rates and the like, which a function may read anew but not set.

    A replay takes them from the optimizer, as they are then; only schedulers' steps are repeated.
    """

    def __init__(self) -> None:
        self.groups: list[tuple[dict[str, Any], list[Any]]] = []

    def watch(self, owner: Any) -> None:
        """Adds those of an optimizer, or of a scheduler's."""
        optimizer = getattr(owner, "optimizer", owner)
        for group in getattr(optimizer, "param_groups", ()):
            self.groups.append((group, _items(group)))

    def changed(self) -> bool:
        """Whether a group is not what it was."""
        return not all(_holds(group, items) for group, items in self.groups)

    def renew(self) -> None:
        """What they are now is what they shall be."""
        self.groups = [(group, _items(group)) for group, _ in self.groups]


# The attributes of a module with their values, and what is in those that are containers.
ModuleState = tuple[dict[str, Any], list[tuple[str, Any, list[Any] | None]]]


def _state_of(module: Module) -> ModuleState:
    variables = vars(module)
    return variables, [
        (name, value, _items(value) if isinstance(value, (list, dict)) else None)
        for name, value in variables.items()
    ]


def _unchanged(state: ModuleState) -> bool:
    variables, entries = state
    if len(variables) != len(entries):
        return False
    for name, value, items in entries:
        if variables.get(name, _ABSENT) is not value:
            return False
        if items is not None and not _holds(value, items):
            return False
    return True


def _holds(container: Any, items: list[Any]) -> bool:
    """Whether a container has exactly these items."""
    now = _items(container)
    return len(now) == len(items) and all(map(_same, now, items))


def _contents(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # a variable that has no value yet
        return _ABSENT


def _items(container: Any) -> list[Any]:
    if isinstance(container, dict):
        return [item for pair in container.items() for item in pair]
    return list(container)


def _equal(a: Any, b: Any) -> bool:
    kind = type(a)
    return kind is type(b) and kind in _SCALARS and a == b


def _same(a: Any, b: Any) -> bool:
    return is_(a, b) or _equal(a, b)
