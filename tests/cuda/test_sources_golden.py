"""The CUDA C of a few programs, kept in data/cuda.

`python tests/cuda/test_sources_golden.py` writes the files anew; look at the difference.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from programs import fields, scalar, softmax, trace

import flambeau as fl
from flambeau import _core

FOLDER = Path(__file__).parent.parent / "data" / "cuda"
FLOAT, HALF = fl.float32, fl.float16


def step(p: Any, g: Any, m: Any, rate: Any, momentum: Any) -> Any:
    m = m * momentum + g
    return p - rate * m, m


KERNELS: dict[str, tuple[Any, str, dict[str, Any]]] = {
    "swish_packs": (
        lambda x, y, n: x * scalar.sigmoid(y) * n + 0.5,
        "eeu",
        fields(
            **fields(kind="elements", precision=FLOAT, width=4, outputs=[("unit", FLOAT)]),
            inputs=[("unit", FLOAT), ("unit", HALF), ("number", FLOAT)],
        ),
    ),
    "swish_strided": (
        lambda x, y, n: x * scalar.sigmoid(y) * n + 0.5,
        "eeu",
        fields(
            **fields(kind="elements", precision=FLOAT, dims=3, wide=1),
            inputs=[("stepped", FLOAT), ("single", HALF), ("number", FLOAT)],
            outputs=[("stepped", FLOAT)],
        ),
    ),
    "softmax_warp": (
        softmax,
        "e",
        fields(
            **fields(kind="rows", precision=FLOAT, dims=1, width=4, threads=32, items=2),
            **fields(inputs=[("unit", FLOAT)], outputs=[("unit", FLOAT)]),
        ),
    ),
    "softmax_block": (
        softmax,
        "e",
        fields(
            **fields(kind="rows", precision=FLOAT, dims=1, threads=1024),
            **fields(inputs=[("stepped", HALF)], outputs=[("stepped", HALF)]),
        ),
    ),
    "momentum_lists": (
        step,
        "eeeuu",
        fields(
            **fields(kind="lists", precision=FLOAT, width=4, outputs=[("unit", FLOAT)] * 2),
            inputs=[("unit", FLOAT)] * 3 + [("number", FLOAT)] * 2,
        ),
    ),
}


def source(name: str) -> str:
    formula, extents, form = KERNELS[name]
    text: str = _core.program.cuda_text(trace(formula, extents), form)
    return text


@pytest.mark.parametrize("name", list(KERNELS))
def test_source(name: str) -> None:
    assert source(name) == (FOLDER / f"{name}.cu").read_text()


if __name__ == "__main__":
    for each in KERNELS:
        (FOLDER / f"{each}.cu").write_text(source(each))
