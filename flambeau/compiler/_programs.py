"""What the passes must know about a program, read off its text."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from flambeau import _core

if TYPE_CHECKING:
    from flambeau import dtype


class ProgramFacts(NamedTuple):
    """Facts about one program."""

    key: tuple[str, int]  # equal for equal programs; the text alone rounds constants
    rows: bool  # contains values of one number per row
    values: int  # how many instructions, inputs and constants


@lru_cache(maxsize=4096)
def facts(program: Any) -> ProgramFacts:
    """The facts about a program."""
    text = repr(program)
    rows = " row " in text or " row_" in text
    return ProgramFacts((text, hash(program)), rows, text.count("\n") - 1)


def precision(dtype: dtype) -> str:
    """What the registers of a program hold that computes in this type."""
    if dtype.is_floating_point:
        return "float64" if dtype.itemsize == 8 else "float32"
    return "int64"


class Symbols(Protocol):
    """What builds a program (`_core.ProgramBuilder`); values are numbered."""

    def input(self, index: int, extent: str) -> int: ...
    def constant(self, value: float) -> int: ...
    def apply(self, name: str, a: int = -1, b: int = -1, c: int = -1) -> int: ...
    def inline(self, program: Any, inputs: list[int]) -> list[int]: ...
    def extent(self, value: int) -> str: ...
    def finish(self, input_count: int, outputs: list[int]) -> Any: ...


def builder() -> Symbols:
    """An empty program."""
    made: Symbols = _core.ProgramBuilder()
    return made


def build(formula: Callable[[Symbols, int], int]) -> Any:
    """The program of a formula of one element."""
    symbols = builder()
    return symbols.finish(1, [formula(symbols, symbols.input(0, "element"))])


def holds_exactly(number: float) -> bool:
    """Whether a number is the same as a constant of a program, which is a double."""
    return isinstance(number, float) or abs(number) <= 1 << 53
