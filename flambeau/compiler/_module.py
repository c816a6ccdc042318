"""A module whose calls are compiled."""

from __future__ import annotations

from typing import Any

from flambeau.compiler._compile import CompiledFunction
from flambeau.nn.modules.module import Module


class CompiledModule(Module):
    """A module whose calls are compiled; what torch.compile(module) returns.

    Args:
        module: the module itself, as `_orig_mod`; it shares its parameters with this one.
        fullgraph: see `compile`.
    """

    def __init__(self, module: Module, fullgraph: bool = False) -> None:
        super().__init__()
        self._orig_mod = module
        self.training = module.training
        object.__setattr__(self, "_compiled", CompiledFunction(module.__call__, fullgraph))

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Call the module, by its executable if there is one."""
        return self._compiled(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name in ("_orig_mod", "_compiled"):
            raise AttributeError(name)
        return getattr(self._orig_mod, name)

    def report(self) -> Any:
        """The steps of the executable that ran last, with time, bytes and bound of each."""
        return self._compiled.report()

    @property
    def graph(self) -> Any:
        """The optimised graph that ran last."""
        return self._compiled.graph
