"""Optimizer: groups of parameters, their state, and what all optimizers share."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import wraps
from itertools import chain
from operator import itemgetter
from typing import Any, ClassVar, NamedTuple

import flambeau as fl
from flambeau import Tensor
from flambeau.compiler._sources import recording_sources, refuse
from flambeau.nn._hooks import Hook, HookEntry, RemovableHandle

from ._settings import to_float32
from ._source import record_update
from ._update import Formula, run_formula

Closure = Callable[[], Any]
Group = dict[str, Any]
Numbers = dict[str, float]

STEP_PRE = "step pre"
STEP_POST = "step post"


class Required:
    """Stands for a setting without default."""

    def __repr__(self) -> str:
        return "<required parameter>"


required = Required()


class Batch(NamedTuple):
    """Parameters that have taken equally many steps, with their gradients and states."""

    is_new: bool  # this is their first step
    parameters: list[Tensor]
    gradients: list[Tensor]
    rows: list[dict[str, Any]]  # the state of each parameter

    def write(self, numbers: Numbers) -> None:
        """Put numbers into the state of all."""
        for name, value in numbers.items():
            value = to_float32(value)
            for row in self.rows:
                row[name] = value

    def column(self, name: str) -> Any:
        """A tensor of the state of every parameter, or None if it is not kept."""
        return [row[name] for row in self.rows] if name in self.rows[0] else None


class Optimizer:
    """The base of optimizers.

    Args:
        params: tensors, (name, tensor) pairs, or dictionaries of settings with "params".
        defaults: settings of the groups that do not name them.

    A subclass of our own defines `formula`, `state_names`, `_new_state` and `_settings`; a user's
    may define `step`.
    """

    # Note [Update formulas]; its columns after the gradients are these entries of the state.
    formula: ClassVar[Formula]
    state_names: ClassVar[tuple[str, ...]] = ()
    # Entries of the state that are numbers here, and tensors in state_dict().
    number_keys: ClassVar[tuple[str, ...]] = ("step",)

    # `foreach`, `fused` and `capturable` choose between implementations of PyTorch. They are kept
    # because state_dicts carry them, and change nothing: there is one implementation.

    def __init__(self, params: Any, defaults: dict[str, Any]) -> None:
        if defaults.get("differentiable"):
            raise NotImplementedError(
                f"{type(self).__name__}: differentiable=True is not supported; write the update "
                "with ordinary tensor operations instead"
            )
        refuse("an optimizer was made; make it before the compiled function")
        self.defaults = defaults
        self.state: defaultdict[Tensor, dict[str, Any]] = defaultdict(dict)
        self.param_groups: list[Group] = []
        self._hooks: list[HookEntry] = []
        self._opt_called = False  # whether a step was taken; schedulers ask
        if isinstance(params, Tensor):
            raise TypeError(
                f"{type(self).__name__}: an iterable of Tensors or dicts is required, got a "
                "Tensor; put it into a list"
            )
        groups = list(params)
        if not groups:
            raise ValueError(f"{type(self).__name__} got an empty parameter list")
        if not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        for group in groups:
            self.add_param_group(group)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "step" in cls.__dict__:  # a user's own step runs the hooks too
            cls.step = _with_hooks(cls.__dict__["step"])  # type: ignore[method-assign]

    # --- groups -------------------------------------------------------------------------

    def add_param_group(self, param_group: Group) -> None:
        """Add parameters with settings of their own, such as unfrozen layers.

        Args:
            param_group: "params" and any settings; the others have their defaults.
        """
        if not isinstance(param_group, dict):
            raise TypeError(f"param_group must be a dict, got {type(param_group).__name__}")
        given = param_group["params"]
        if isinstance(given, set):
            raise TypeError("parameters must be in an ordered collection, got a set; use a list")
        members = [given] if isinstance(given, Tensor) else list(given)
        if members and all(isinstance(member, tuple) for member in members):
            param_group["param_names"] = [name for name, _ in members]
            members = [parameter for _, parameter in members]
        if self.param_groups and ("param_names" in self.param_groups[0]) != (
            "param_names" in param_group
        ):
            raise ValueError("all parameter groups must be with names, or all without names")
        param_group["params"] = members
        for member in members:
            if not isinstance(member, Tensor):
                raise TypeError(f"optimizer can only optimize Tensors, got {type(member).__name__}")
            if not (member.is_leaf or member.retains_grad):
                raise ValueError("can't optimize a non-leaf Tensor; optimize what it comes from")
        for name, default in self.defaults.items():
            if default is required and name not in param_group:
                raise ValueError(f"parameter group has no {name}, and there is no default")
            param_group.setdefault(name, default)
        if len({id(member) for member in members}) != len(members):
            warnings.warn("a parameter group has duplicate parameters; it will soon be an error")
        known = {id(member) for group in self.param_groups for member in group["params"]}
        if any(id(member) in known for member in members):
            raise ValueError("some parameters appear in more than one parameter group")
        self.param_groups.append(param_group)

    def __repr__(self) -> str:
        text = f"{type(self).__name__} ("
        for i, group in enumerate(self.param_groups):
            text += f"\nParameter Group {i}\n"
            for key in sorted(group):
                if key != "params":
                    text += f"    {key}: {group[key]}\n"
        return text + ")"

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters, or set them to zero."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if set_to_none:
                    parameter.grad = None
                elif parameter.grad is not None:
                    parameter.grad = fl.zeros_like(parameter.grad)

    # --- a step -------------------------------------------------------------------------

    def step(self, closure: Closure | None = None) -> Any:
        """Update all parameters that have a gradient.

        Args:
            closure: computes the loss again and calls backward; run first.

        Returns:
            What the closure returned, or None.
        """
        self._opt_called = True
        if self._hooks:
            self._run_hooks(STEP_PRE, (closure,), {})
        loss = None
        if closure is not None:
            with fl.enable_grad():
                loss = closure()
        for group in self.param_groups:
            self._update_group(group)
        if self._hooks:
            self._run_hooks(STEP_POST, (closure,), {})
        return loss

    def _update_group(self, group: Group) -> None:
        sources = recording_sources()
        for batch in self._batches(group):
            columns = [batch.parameters, batch.gradients]
            for name in self.state_names:
                columns.append(batch.column(name))
            after = self._advanced(group, batch.rows[0])
            settings = self._settings(group, batch, after)
            if sources is not None:
                record_update(sources, self, group, batch)
            run_formula(self.formula, columns, settings)
            batch.write(after)

    # Numbers are computed apart from the update: a replay of it computes new ones (Note [Sources]).

    def _advanced(self, group: Group, numbers: Numbers) -> Numbers:
        """The numbers of the state after a step, from those before it."""
        return {"step": numbers["step"] + 1.0}

    def _settings(self, group: Group, batch: Batch, after: Numbers) -> dict[str, Any]:
        """The settings of the formula for a step, numbers and bools; nothing is changed.

        Args:
            batch: what is updated, its state as it was before the step.
            after: the numbers of the state after the step.
        """
        raise NotImplementedError(f"{type(self).__name__} must define step or _settings")

    def _new_state(self, parameter: Tensor, group: Group) -> dict[str, Any]:
        """The state before the first step, numbers first."""
        raise NotImplementedError(f"{type(self).__name__} must define step or _new_state")

    def _batches(self, group: Group) -> Iterator[Batch]:
        """The group's parameters with gradients; those with equal numbers together."""
        batches: dict[Any, Batch] = {}
        row_of = self.state.get
        # Without numbers in the state, rows differ only in whether there is any.
        numbers_of = itemgetter(*self.number_keys) if self.number_keys else bool
        for parameter in group["params"]:
            gradient = parameter.grad
            if gradient is None:
                continue
            row = row_of(parameter)
            is_new = row is None
            if row is None:
                row = self._new_state(parameter, group)
                if row:
                    self.state[parameter] = row
            key = (is_new, numbers_of(row))
            batch = batches.get(key)
            if batch is None:
                batch = batches[key] = Batch(is_new, [], [], [])
            batch.parameters.append(parameter)
            batch.gradients.append(gradient)
            batch.rows.append(row)
        yield from batches.values()

    # --- hooks --------------------------------------------------------------------------

    def register_step_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call `hook(optimizer, args, kwargs)` before every step."""
        return self._add_hook(Hook(STEP_PRE, hook))

    def register_step_post_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call `hook(optimizer, args, kwargs)` after every step."""
        return self._add_hook(Hook(STEP_POST, hook))

    def _add_hook(self, hook: Hook) -> RemovableHandle:
        entry = HookEntry(hook)
        self._hooks.append(entry)
        return RemovableHandle(self._hooks, entry)

    def _run_hooks(self, kind: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        for entry in list(self._hooks):
            if entry.hook.kind == kind:
                refuse("an optimizer has step hooks, which run at every step; remove them")
                entry.hook.function(self, args, kwargs)

    # --- state --------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """State and settings, parameters being numbered in the order of the groups.

        Returns:
            {"state": {number: {name: value}}, "param_groups": [{..., "params": [numbers]}]}.
        """
        order = self._parameters()
        number = {id(parameter): i for i, parameter in enumerate(order)}
        state: dict[Any, Any] = {
            number.get(id(parameter), parameter): self._export(row)
            for parameter, row in self.state.items()
        }
        groups = [
            {**group, "params": [number[id(parameter)] for parameter in group["params"]]}
            for group in (dict(group) for group in self.param_groups)
        ]
        for group in groups:  # PyTorch writes the parameters last
            group["params"] = group.pop("params")
        return {"state": state, "param_groups": groups}

    def _parameters(self) -> list[Tensor]:
        return list(chain.from_iterable(group["params"] for group in self.param_groups))

    def _export(self, row: dict[str, Any]) -> dict[str, Any]:
        return {
            key: fl.tensor(float(value)) if key in self.number_keys else value
            for key, value in row.items()
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the state and settings that `state_dict()` returned.

        Raises:
            ValueError: the groups, or their numbers of parameters, differ.
        """
        saved = deepcopy(state_dict["param_groups"])
        if len(saved) != len(self.param_groups):
            raise ValueError(
                f"load_state_dict: {len(self.param_groups)} parameter groups are required, "
                f"got {len(saved)}: a different number of parameter groups"
            )
        for i, (old, new) in enumerate(zip(self.param_groups, saved, strict=True)):
            if len(old["params"]) != len(new["params"]):
                raise ValueError(
                    f"load_state_dict: group {i} has {len(old['params'])} parameters, the loaded "
                    f"state {len(new['params'])}: it doesn't match the size of optimizer's group"
                )
        numbers = chain.from_iterable(group["params"] for group in saved)
        by_number = dict(zip(numbers, self._parameters(), strict=True))
        self.state = defaultdict(dict)
        for key, row in state_dict["state"].items():
            parameter = by_number.get(key)
            self.state[key if parameter is None else parameter] = (
                row if parameter is None else self._import(row, parameter)
            )
        for old, new in zip(self.param_groups, saved, strict=True):
            new["params"] = old["params"]
            if "param_names" in old:
                new.setdefault("param_names", old["param_names"])
        self.param_groups = saved

    def _import(self, row: dict[str, Any], parameter: Tensor) -> dict[str, Any]:
        """The state of one parameter, with its dtype and device, not shared with the file."""

        def convert(key: str, value: Any) -> Any:
            if key in self.number_keys:
                return float(value)
            if isinstance(value, Tensor):
                dtype = parameter.dtype if parameter.is_floating_point() else value.dtype
                return value.detach().to(device=parameter.device, dtype=dtype).clone()
            return deepcopy(value)

        return {key: convert(key, value) for key, value in row.items()}

    def __getstate__(self) -> dict[str, Any]:
        return {
            "defaults": self.defaults,
            "state": self.state,
            "param_groups": self.param_groups,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._hooks = []
        self._opt_called = True


def _with_hooks(step: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(step)
    def step_with_hooks(self: Optimizer, *args: Any, **kwargs: Any) -> Any:
        self._opt_called = True
        self._run_hooks(STEP_PRE, args, kwargs)
        result = step(self, *args, **kwargs)
        self._run_hooks(STEP_POST, args, kwargs)
        return result

    return step_with_hooks


def zeros_like(parameter: Tensor) -> Tensor:
    """A state tensor of zeros."""
    return fl.zeros_like(parameter, requires_grad=False)
