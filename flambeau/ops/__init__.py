"""Operators: the records of elementwise formulas, and the composites written over operators."""

from __future__ import annotations

from typing import Any

from flambeau import _core

from . import _activation as _activation
from . import _arithmetic as _arithmetic
from . import _comparison as _comparison
from . import _mathematics as _mathematics
from ._records import Record as Record
from ._records import pointwise as pointwise
from ._records import registry as registry

globals().update(_core.functions)


def _where(self: Any, condition: Any, other: Any) -> Any:
    """self where condition is true, else other."""
    return _core.functions["where"](condition, self, other)


def public_functions() -> dict[str, Any]:
    """Returns every public function by name; attaches those that are methods to Tensor."""
    _core.Tensor.where = _where
    return dict(_core.functions)


def __getattr__(name: str) -> Any:
    raise AttributeError(f"flambeau.ops has no operator named '{name}'")
