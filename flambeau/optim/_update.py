"""Update formulas: written once for numbers, run over whole lists of parameters.

Note [Update formulas]
A formula is a function of the values of one element: the parameter `p`, its gradient `g` and
the state, then keyword-only settings. It returns the new `p` and the new state. A state that an
optimizer does not keep is None, going in and coming out. Settings that are bool choose between
formulas; numbers are passed at every call, so a changed learning rate needs no new program.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flambeau as fl
from flambeau import _core
from flambeau.ops._records import scalar

Formula = Callable[..., tuple[Any, ...]]

# run_formula(formula, columns, settings): every column is a list of tensors, one per parameter,
# or None for a state that is not kept. Parameters and states are changed in place, in one pass.
run_formula = _core.foreach_program

# The functions that formulas use beside arithmetic and comparisons; fma(a, b, c) is a b + c, one
# instruction instead of two.
clamp = fl.clamp
fma = scalar.fma
maximum = fl.maximum
sign = fl.sign
sqrt = fl.sqrt
where = fl.where


def gradient_to_follow(p: Any, g: Any, weight_decay: float, decays: bool, maximize: bool) -> Any:
    """The gradient, turned round to maximize, plus weight_decay * p."""
    g = -g if maximize else g
    return fma(weight_decay, p, g) if decays else g
