"""What a benchmark case is, and the list of all of them.

A case is a function from a library to the statement to time, so one body serves every library
with PyTorch's API:

    @case("overhead", "x + y, 16 elements", target=10)
    def add(torch):
        return Statement("x + y", x=torch.rand(16), y=torch.rand(16))

`@add.on("numpy")` gives the same work in a library with another API.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Library = Any  # flambeau, torch, numpy or jax as a module


class Statement:
    """A Python statement and the names it uses; timed without the cost of a call around it."""

    def __init__(self, code: str, **names: Any) -> None:
        self.code = code
        self.names = names


def call(function: Callable[[], object]) -> Statement:
    """The statement that calls `function`, for work that dwarfs the 50 ns of a call."""
    return Statement("function()", function=function)


Body = Callable[[Library], Statement]


@dataclass
class Case:
    """One line of the table.

    `steps` is how many steps one run of the statement makes; times are given per step. `target`
    is the least ratio of the rival's time to ours that is asked for, or None. The README shows the
    cases with `headline`. `bodies` holds one function for each library that can do the work.
    `bytes` and `flops` are what a step moves and computes, where a rate says more than a time.
    """

    group: str
    name: str
    target: float | None
    steps: int
    headline: bool
    rival: str  # whose time `target` is about
    bodies: dict[str, Body]
    bytes: float = 0
    flops: float = 0

    def rate(self, seconds: float) -> str:
        """What was achieved, as text; empty without bytes and flops."""
        if self.bytes:
            return f"{self.bytes / seconds / 1e9:.0f} GB/s"
        return f"{self.flops / seconds / 1e12:.3g} TFLOP/s" if self.flops else ""

    def on(self, library: str) -> Callable[[Body], Body]:
        """Decorator: the same work in a library with another API."""

        def register(body: Body) -> Body:
            self.bodies[library] = body
            return body

        return register


CASES: list[Case] = []


def case(
    group: str,
    name: str,
    target: float | None = None,
    steps: int = 1,
    headline: bool = False,
    rival: str = "torch",
    bytes: float = 0,
    flops: float = 0,
) -> Callable[[Body], Case]:
    """Decorator that makes a case of a function."""

    def register(body: Body) -> Case:
        bodies = {"flambeau": body, "torch": body}
        CASES.append(Case(group, name, target, steps, headline, rival, bodies, bytes, flops))
        return CASES[-1]

    return register
