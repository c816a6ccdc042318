"""state_dict and load_state_dict: a module's state under dotted names, in and out."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, NamedTuple

import flambeau as fl
from flambeau import Tensor

from ._hooks import LOAD_POST, LOAD_PRE, STATE_DICT, STATE_DICT_PRE, Hooked
from ._members import BUFFER, MODULE, PARAMETER, Members, class_name, type_name
from .parameter import Parameter

EXTRA_STATE = "_extra_state"


class _Keys(NamedTuple):
    missing_keys: list[str]
    unexpected_keys: list[str]


class _IncompatibleKeys(_Keys):
    """The names that did not match when a state_dict was loaded."""

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return super().__repr__()

    __str__ = __repr__


class Stateful(Members, Hooked):
    """The base of Module that saves and loads its state."""

    _version = 1

    def get_extra_state(self) -> Any:
        """State beside the tensors, for classes that have some; define both methods."""
        raise RuntimeError(f"{class_name(self)} defines no get_extra_state; add it to its class")

    def set_extra_state(self, state: Any) -> None:
        """Take back what `get_extra_state` returned."""
        raise RuntimeError(f"{class_name(self)} defines no set_extra_state; add it to its class")

    # --- saving -------------------------------------------------------------------------

    def state_dict(
        self,
        *args: Any,
        destination: dict[str, Any] | None = None,
        prefix: str = "",
        keep_vars: bool = False,
    ) -> dict[str, Any]:
        """All parameters and persistent buffers, under their dotted names.

        Args:
            destination: a dictionary to fill; a new OrderedDict by default.
            prefix: put before every name.
            keep_vars: return the parameters themselves instead of detached tensors.

        Returns:
            A dictionary of tensors that share memory with the module.

        Example:
            >>> list(torch.nn.Linear(2, 1).state_dict())
            ['weight', 'bias']
        """
        if args:  # the older order of arguments, still used by scripts
            destination, prefix, keep_vars = (*args, destination, prefix, keep_vars)[:3]
        if destination is None:
            destination = OrderedDict()
            destination._metadata = OrderedDict()  # type: ignore[attr-defined]
        metadata = {"version": self._version}
        if hasattr(destination, "_metadata"):
            destination._metadata[prefix[:-1]] = metadata
        for hook in self._hooks_of(STATE_DICT_PRE):
            hook.function(self, prefix, keep_vars)
        self._save_to_state_dict(destination, prefix, keep_vars)
        for name in self._names(MODULE):
            module = self.__dict__[name]
            if module is not None:
                module.state_dict(
                    destination=destination, prefix=f"{prefix}{name}.", keep_vars=keep_vars
                )
        for hook in self._hooks_of(STATE_DICT):
            destination = hook.function(self, destination, prefix, metadata) or destination
        return destination

    def _own_state(self) -> dict[str, Any]:
        """This module's own parameters, then persistent buffers, by name."""
        names = self._names(PARAMETER) + self._names(BUFFER)
        return {name: self.__dict__[name] for name in names if self.__dict__[name] is not None}

    def _save_to_state_dict(
        self, destination: dict[str, Any], prefix: str, keep_vars: bool
    ) -> None:
        """Add this module's own state, without its children's."""
        for name, value in self._own_state().items():
            destination[prefix + name] = value if keep_vars else value.detach()
        if type(self).get_extra_state is not Stateful.get_extra_state:
            destination[prefix + EXTRA_STATE] = self.get_extra_state()

    # --- loading ------------------------------------------------------------------------

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> _IncompatibleKeys:
        """Copy the tensors of `state_dict` into this module's parameters and buffers.

        Args:
            state_dict: what `state_dict()` returned, here or elsewhere.
            strict: raise when names are missing or unexpected.
            assign: take the tensors themselves instead of copying their values.

        Returns:
            A named tuple of `missing_keys` and `unexpected_keys`.

        Raises:
            RuntimeError: names or shapes do not match; the text lists all of them.
            TypeError: `state_dict` is no mapping.
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(
                f"load_state_dict: a dictionary is required, got {type_name(state_dict)}"
            )
        missing_keys: list[str] = []
        unexpected_keys: list[str] = []
        errors: list[str] = []
        metadata = getattr(state_dict, "_metadata", None)
        state = OrderedDict(state_dict)

        def load(module: Any, local_state: dict[str, Any], prefix: str) -> None:
            local_metadata = {} if metadata is None else metadata.get(prefix[:-1], {})
            if assign:
                local_metadata["assign_to_params_buffers"] = True
            module._load_from_state_dict(
                local_state, prefix, local_metadata, True, missing_keys, unexpected_keys, errors
            )
            for name in module._names(MODULE):
                child = module.__dict__[name]
                if child is not None:
                    path = f"{prefix}{name}."
                    below = {k: v for k, v in local_state.items() if k.startswith(path)}
                    load(child, below, path)
            incompatible = _IncompatibleKeys(missing_keys, unexpected_keys)
            for hook in module._hooks_of(LOAD_POST):
                if hook.function(module, incompatible) is not None:
                    raise AssertionError(
                        "load_state_dict post-hook: it must return None and edit the lists"
                    )

        load(self, state, "")
        if strict:
            errors = _key_errors(missing_keys, unexpected_keys) + errors
        if errors:
            details = "\n\t".join(errors)
            raise RuntimeError(
                f"Error(s) in loading state_dict for {class_name(self)}:\n\t{details}"
            )
        return _IncompatibleKeys(missing_keys, unexpected_keys)

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        """Load this module's own state; report into the three lists."""
        for hook in self._hooks_of(LOAD_PRE):
            hook.function(
                self,
                state_dict,
                prefix,
                local_metadata,
                strict,
                missing_keys,
                unexpected_keys,
                error_msgs,
            )
        assign = local_metadata.get("assign_to_params_buffers", False)
        own = self._own_state()
        for name, target in own.items():
            key = prefix + name
            if key in state_dict:
                problem = self._load_tensor(name, target, state_dict[key], key, assign)
                if problem:
                    error_msgs.append(problem)
            elif strict:
                missing_keys.append(key)
        self._load_extra_state(state_dict, prefix + EXTRA_STATE, strict, missing_keys)
        if strict:
            known = {*own, *self._names(MODULE)}
            if type(self).set_extra_state is not Stateful.set_extra_state:
                known.add(EXTRA_STATE)
            for key in state_dict:
                head, dot, _ = key[len(prefix) :].partition(".")
                is_known = head in known and (not dot or self._kinds.get(head) == MODULE)
                if key.startswith(prefix) and not is_known:
                    unexpected_keys.append(key)

    def _load_extra_state(
        self, state_dict: dict[str, Any], key: str, strict: bool, missing_keys: list[str]
    ) -> None:
        if type(self).set_extra_state is not Stateful.set_extra_state:
            if key in state_dict:
                self.set_extra_state(state_dict[key])
            elif strict:
                missing_keys.append(key)

    def _load_tensor(
        self, name: str, target: Tensor, value: Any, key: str, assign: bool
    ) -> str | None:
        """Put `value` into the member `name`; returns what is wrong, if anything."""
        if not isinstance(value, Tensor):
            return f'"{key}": a Tensor is required in the state_dict, got {type_name(value)}'
        if target.dim() == 0 and tuple(value.shape) == (1,):
            value = value[0]  # files of old kept scalars as one element
        if value.shape != target.shape:
            return (
                f"size mismatch for {key}: the state_dict has shape {value.shape}, "
                f"the module has {target.shape}"
            )
        if not assign:
            with fl.no_grad():
                target.copy_(value)
        elif isinstance(target, Parameter) and not isinstance(value, Parameter):
            setattr(self, name, Parameter(value, requires_grad=target.requires_grad))
        else:
            setattr(self, name, value)
        return None


def _key_errors(missing_keys: list[str], unexpected_keys: list[str]) -> list[str]:
    lines = []
    for title, keys in (("Missing", missing_keys), ("Unexpected", unexpected_keys)):
        if keys:
            names = ", ".join(f'"{key}"' for key in keys)
            lines.append(f"{title} key(s) in state_dict: {names}. ")
    return lines
