"""The machine code of a few programs as text, kept in data/emitter.

`python tests/test_emitter_listings.py` writes the files anew; look at the difference.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import flambeau as fl
from flambeau import _core

FOLDER = Path(__file__).parent / "data" / "emitter"
api = _core.program
scalar: Any = type("Scalar", (), {k: staticmethod(v) for k, v in api.instructions.items()})

PROGRAMS: dict[str, tuple[Any, str, str]] = {
    "scaled_relu_v4": (lambda x, n: scalar.relu(x) * n + 1, "eu", "v4"),
    "exp_v3": (scalar.exp, "e", "v3"),
    "centered_v4": (lambda x: x - scalar.row_sum(x) / scalar.row_count(x), "e", "v4"),
}


def listing(name: str) -> str:
    formula, extents, isa = PROGRAMS[name]
    program = api.trace(formula, extents)
    inputs = [fl.zeros(3, 40) if e == "e" else 1.0 for e in extents]
    prepared = api.prepare(program, inputs, [fl.zeros(3, 40)], isa)
    text: str = prepared.listing
    return f"{program}\n{text}"


@pytest.mark.parametrize("name", list(PROGRAMS))
def test_listing(name: str) -> None:
    if PROGRAMS[name][2] not in api.instruction_sets():
        pytest.skip("this processor lacks the instruction set")
    assert listing(name) == (FOLDER / f"{name}.txt").read_text()


if __name__ == "__main__":
    for each in PROGRAMS:
        (FOLDER / f"{each}.txt").write_text(listing(each))
