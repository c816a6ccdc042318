"""Operators: the records, and the composites written over them."""

from __future__ import annotations

from typing import Any

from flambeau import _core


def public_functions() -> dict[str, Any]:
    """Returns every public function by name; attaches those that are methods to Tensor."""
    functions = dict(_core.functions)
    return functions
