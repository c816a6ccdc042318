"""Operators: the records, and the composites written over them.

The core's own operators (C++, `core/ops`), the elementwise records and the composites of this
folder together are the public functions of `flambeau` and the methods of `Tensor`.
"""

from __future__ import annotations

import importlib
from typing import Any

from flambeau import _core
from flambeau.ops._composite import composites
from flambeau.ops._records import Record as Record
from flambeau.ops._records import pointwise as pointwise
from flambeau.ops._records import registry as registry

# In the order of definition: formulas of later files call those of earlier ones.
_FORMULAS = ("_arithmetic", "_comparison", "_mathematics", "_activation")
_COMPOSITES = ("_shape", "_compare", "_products")


def _where(self: Any, condition: Any, other: Any) -> Any:
    """self where condition is true, else other."""
    return _core.functions["where"](condition, self, other)


def public_functions() -> dict[str, Any]:
    """Returns every public function by name; gives Tensor those that are methods."""
    for name in _FORMULAS:
        importlib.import_module("flambeau.ops." + name)
    functions: dict[str, Any] = dict(_core.functions)
    globals().update(functions)
    for name in _COMPOSITES:
        importlib.import_module("flambeau.ops." + name)
    for record in composites.values():
        functions[record.name] = record.function
        if record.method:
            setattr(_core.Tensor, record.name, record.function)
    setattr(_core.Tensor, "where", _where)  # noqa: B010 (a method for checkers, an attribute here)
    return functions


def __getattr__(name: str) -> Any:
    raise AttributeError(f"flambeau.ops has no operator named '{name}'")
