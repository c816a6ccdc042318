"""Containers of modules: Sequential, ModuleList and ModuleDict."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, SupportsIndex, TypeVar, overload

from .._members import MODULE, type_name
from ._parameter_containers import ParameterDict as ParameterDict
from ._parameter_containers import ParameterList as ParameterList
from .module import Module, indent

SequentialT = TypeVar("SequentialT", bound="Sequential")


class _Numbered(Module):
    """The base of containers whose modules are named "0", "1", ..."""

    def _name_at(self, index: SupportsIndex) -> str:
        names = self._names(MODULE)
        place = operator.index(index)
        if not -len(names) <= place < len(names):
            raise IndexError(f"index {place} is out of range for {len(names)} modules")
        return names[place]

    def _set_all(self, modules: Iterable[Module | None]) -> None:
        """Replace everything, numbered from zero."""
        modules = list(modules)
        for name in self._names(MODULE):
            self._forget(name)
        for i, module in enumerate(modules):
            self.add_module(str(i), module)

    def _values(self) -> list[Any]:
        return [self.__dict__[name] for name in self._names(MODULE)]

    def __setitem__(self, index: int, module: Module) -> None:
        setattr(self, self._name_at(index), module)

    def __delitem__(self, index: int | slice) -> None:
        names = self._names(MODULE)
        doomed = names[index] if isinstance(index, slice) else [self._name_at(index)]
        self._set_all([self.__dict__[name] for name in names if name not in doomed])

    def __len__(self) -> int:
        return len(self._names(MODULE))

    def __iter__(self) -> Iterator[Any]:
        return iter(self._values())

    def __dir__(self) -> list[str]:
        return [key for key in super().__dir__() if not key.isdigit()]

    def pop(self, index: int | slice) -> Any:
        """Take a module out and return it."""
        module = self[index]  # type: ignore[index]
        del self[index]
        return module


class Sequential(_Numbered):
    """Calls its modules one after the other.

    Args:
        *args: modules, or one OrderedDict of named modules.

    Example:
        >>> net = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))
        >>> net(torch.zeros(3, 2)).shape
        torch.Size([3, 1])
    """

    def __init__(self, *args: Any) -> None:
        super().__init__()
        if len(args) == 1 and isinstance(args[0], Mapping):
            for name, module in args[0].items():
                self.add_module(name, module)
        else:
            for i, module in enumerate(args):
                self.add_module(str(i), module)

    def forward(self, input: Any) -> Any:
        members = self.__dict__
        for name, kind in self._kinds.items():
            if kind == MODULE:
                input = members[name](input)
        return input

    @overload
    def __getitem__(self: SequentialT, index: slice) -> SequentialT: ...
    @overload
    def __getitem__(self, index: int) -> Any: ...
    def __getitem__(self, index: int | slice) -> Any:
        if not isinstance(index, slice):
            return self.__dict__[self._name_at(index)]
        part = type(self)()
        for name in self._names(MODULE)[index]:
            part.add_module(name, self.__dict__[name])
        return part

    def append(self: SequentialT, module: Module) -> SequentialT:
        """Add a module at the end."""
        self.add_module(str(len(self)), module)
        return self

    def insert(self: SequentialT, index: int, module: Module) -> SequentialT:
        """Add a module before `index`."""
        if not isinstance(module, Module):
            raise AssertionError(
                f"Sequential.insert: a Module is required, got {type_name(module)}"
            )
        count = len(self)
        if not -count <= index <= count:
            raise IndexError(
                f"Sequential.insert: index {index} is out of range for {count} modules"
            )
        values = self._values()
        values.insert(index, module)
        self._set_all(values)
        return self

    def extend(self: SequentialT, sequential: Iterable[Module]) -> SequentialT:
        """Add several modules at the end."""
        for module in sequential:
            self.append(module)
        return self

    def __add__(self, other: Sequential) -> Sequential:
        if not isinstance(other, Sequential):
            raise ValueError(f"Sequential + : a Sequential is required, got {type_name(other)}")
        return Sequential(*self, *other)

    def __iadd__(self: SequentialT, other: Sequential) -> SequentialT:
        if not isinstance(other, Sequential):
            raise ValueError(f"Sequential += : a Sequential is required, got {type_name(other)}")
        return self.extend(other)

    def __mul__(self, count: int) -> Sequential:
        return Sequential(*self._repeated(count))

    __rmul__ = __mul__

    def __imul__(self: SequentialT, count: int) -> SequentialT:
        modules = self._repeated(count)
        return self.extend(modules[len(self) :])

    def _repeated(self, count: int) -> list[Any]:
        if not isinstance(count, int):
            raise TypeError(f"Sequential * : an int is required, got {type_name(count)}")
        if count <= 0:
            raise ValueError(f"Sequential * : a positive number is required, got {count}")
        return self._values() * count


class ModuleList(_Numbered):
    """A list of modules that are registered.

    Args:
        modules: the first ones.
    """

    def __init__(self, modules: Iterable[Module] | None = None) -> None:
        super().__init__()
        if modules is not None:
            self.extend(modules)

    @overload
    def __getitem__(self, index: slice) -> ModuleList: ...
    @overload
    def __getitem__(self, index: int) -> Any: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return type(self)(self._values()[index])
        return self.__dict__[self._name_at(index)]

    def append(self, module: Module) -> ModuleList:
        """Add a module at the end."""
        self.add_module(str(len(self)), module)
        return self

    def insert(self, index: int, module: Module) -> None:
        """Add a module before `index`."""
        values = self._values()
        values.insert(index, module)
        self._set_all(values)

    def extend(self, modules: Iterable[Module]) -> ModuleList:
        """Add several modules at the end."""
        if not isinstance(modules, Iterable):
            raise TypeError(f"ModuleList.extend: an iterable is required, got {type_name(modules)}")
        for module in list(modules):
            self.append(module)
        return self

    def __add__(self, other: Iterable[Module]) -> ModuleList:
        return ModuleList([*self, *other])

    def __iadd__(self, modules: Iterable[Module]) -> ModuleList:
        return self.extend(modules)

    def __repr__(self) -> str:
        """Equal neighbours are shown once, with their range and number."""
        runs: list[tuple[int, int, str]] = []
        for i, module in enumerate(self):
            text = repr(module)
            if runs and runs[-1][2] == text:
                runs[-1] = (runs[-1][0], i, text)
            else:
                runs.append((i, i, text))
        if not runs:
            return f"{self._get_name()}()"
        lines = [
            f"({first}): {indent(text)}"
            if first == last
            else f"({first}-{last}): {last - first + 1} x {indent(text)}"
            for first, last, text in runs
        ]
        body = "".join(f"\n  {line}" for line in lines)
        return f"{self._get_name()}({body}\n)"


class ModuleDict(Module):
    """A dictionary of modules that are registered.

    Args:
        modules: a mapping or pairs of names and modules.
    """

    def __init__(self, modules: Any = None) -> None:
        super().__init__()
        if modules is not None:
            self.update(modules)

    def __getitem__(self, key: str) -> Any:
        return self._modules[key]

    def __setitem__(self, key: str, module: Module) -> None:
        self.add_module(key, module)

    def __delitem__(self, key: str) -> None:
        del self._modules[key]

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names(MODULE))

    def __contains__(self, key: object) -> bool:
        return key in self._modules

    def clear(self) -> None:
        """Remove everything."""
        for name in self._names(MODULE):
            self._forget(name)

    def pop(self, key: str) -> Any:
        """Take a module out and return it."""
        module = self[key]
        del self[key]
        return module

    def keys(self) -> list[str]:
        """The names."""
        return self._names(MODULE)

    def items(self) -> list[tuple[str, Any]]:
        """The names and modules."""
        return [(name, self.__dict__[name]) for name in self._names(MODULE)]

    def values(self) -> list[Any]:
        """The modules."""
        return [self.__dict__[name] for name in self._names(MODULE)]

    def update(self, modules: Any) -> None:
        """Add the modules of a mapping or of pairs."""
        if not isinstance(modules, Iterable):
            raise TypeError(
                f"ModuleDict.update: a mapping or pairs are required, got {type_name(modules)}"
            )
        pairs = modules.items() if hasattr(modules, "items") else modules
        for i, pair in enumerate(pairs):
            if not isinstance(pair, Iterable):
                raise TypeError(f"ModuleDict.update: element {i} is no pair: {type_name(pair)}")
            pair = tuple(pair)
            if len(pair) != 2:
                raise ValueError(f"ModuleDict.update: element {i} has length {len(pair)}, not 2")
            self[pair[0]] = pair[1]
