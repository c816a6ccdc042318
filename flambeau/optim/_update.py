"""Update formulas: written once for numbers, run over whole lists of parameters.

Note [Update formulas]
A formula is a function of the values of one element: the parameter `p`, its gradient `g` and
the state, then keyword-only settings. It returns the new `p` and the new state. A state that an
optimizer does not keep is None, going in and coming out. Settings that are bool choose between
formulas; numbers are passed at every call, so a changed learning rate needs no new program.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import flambeau as fl
from flambeau import Tensor, _core
from flambeau.ops._records import scalar

Column = Sequence[Tensor] | None
Formula = Callable[..., tuple[Any, ...]]

# The core may run a formula for all elements of all parameters in one pass, in place.
_foreach_program: Callable[..., None] | None = getattr(_core, "foreach_program", None)

# The functions that formulas use beside arithmetic and comparisons.
clamp = fl.clamp
maximum = fl.maximum
sign = fl.sign
sqrt = fl.sqrt
where = fl.where


def fma(a: Any, b: Any, c: Any) -> Any:
    """a b + c, one instruction of a program instead of two."""
    if any(isinstance(x, _core.program.Symbol) for x in (a, b, c)):
        return scalar.fma(a, b, c)
    return a * b + c


def gradient_to_follow(p: Any, g: Any, weight_decay: float, decays: bool, maximize: bool) -> Any:
    """The gradient, turned round to maximize, plus weight_decay * p."""
    g = -g if maximize else g
    return fma(weight_decay, p, g) if decays else g


def fused_update(formula: Formula) -> Callable[..., None]:
    """Make a formula of one element (Note [Update formulas]) an update of columns of tensors.

    Returns:
        update(parameters, gradients, *states, **settings): every column is a list of tensors,
        one per parameter, or None for a state that is not kept. Parameters and states are
        changed in place.

    Example:
        >>> @fused_update
        ... def descend(p, g, *, lr):
        ...     return (p - lr * g,)
        >>> weight, gradient = torch.tensor([1.0]), torch.tensor([2.0])
        >>> descend([weight], [gradient], lr=0.1)
        >>> weight
        tensor([0.8000])
    """

    def update(*columns: Column, **settings: Any) -> None:
        if _foreach_program is not None:
            _foreach_program(formula, columns, settings)
        else:
            run_formula(formula, columns, settings)

    update.__name__ = formula.__name__
    update.__doc__ = formula.__doc__
    return update


def run_formula(formula: Formula, columns: Sequence[Column], settings: dict[str, Any]) -> None:
    """The formula with ordinary tensor operations: the reference for the fused program."""
    with fl.no_grad():
        for i in range(len(columns[0] or ())):
            row = [None if column is None else column[i] for column in columns]
            new = formula(*row, **settings)
            targets = [row[0], *row[2:]]  # everything but the gradient
            for target, value in zip(targets, new, strict=True):
                if target is not None:
                    target.copy_(value)
