"""The examples of the documents, written once and run with PyTorch (for the golden file) and here.

An example is a function of the library. A printing example prints; its text must be PyTorch's.
A training example takes the element type as well and returns its losses; see Note [Rounding].

Note [Rounding]
Sums in another order differ in the last bit, and training makes such a difference grow. How far
it grows is measured, not guessed: PyTorch runs each example in float64 as well, and several times
in float32 with starting values changed by half a unit in the last place. The largest relative
difference so far from the plain run is the spread that rounding makes; our losses must lie within
a few times the spread of PyTorch's.
"""

import contextlib
import io
import random
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np


class Training(NamedTuple):
    function: Callable[[Any, Any], list[float]]
    every: int  # the losses of every so many steps are compared


PRINTING: dict[str, Callable[[Any], None]] = {}
TRAINING: dict[str, Training] = {}


def printing(function: Callable[[Any], None]) -> Callable[[Any], None]:
    """Registers an example that prints."""
    PRINTING[f"{function.__module__}.{function.__name__}"] = function
    return function


def training(every: int) -> Callable[[Callable[[Any, Any], list[float]]], Any]:
    """Registers an example that trains."""

    def register(function: Callable[[Any, Any], list[float]]) -> Any:
        TRAINING[f"{function.__module__}.{function.__name__}"] = Training(function, every)
        return function

    return register


def seed(library: Any) -> None:
    """Gives every source of randomness the same state."""
    library.manual_seed(0)
    random.seed(0)
    np.random.seed(0)


def printed(name: str, library: Any) -> str:
    """Returns what a printing example prints."""
    seed(library)
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        PRINTING[name](library)
    return text.getvalue()


def losses(name: str, library: Any, dtype: Any) -> list[float]:
    """Returns the losses of a training example that are compared."""
    seed(library)
    function, every = TRAINING[name]
    return function(library, dtype)[every - 1 :: every]
