"""The cases of tests/parity/ops_cases.txt and the tensors that they name, for any library."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np

CASES = Path(__file__).resolve().parent / "parity" / "ops_cases.txt"
INFINITY, NAN = float("inf"), float("nan")


def tensors(library: Any, grad: bool = False, device: str = "cpu") -> dict[str, Any]:
    """The tensors that cases name; floating ones may ask for gradients."""
    random = np.random.default_rng(3)

    def leaf(x: Any) -> Any:
        x = x.to(device)
        return x.requires_grad_() if grad else x

    def floats(*shape: int) -> Any:
        return leaf(library.from_numpy(random.standard_normal(shape).astype(np.float32)))

    def whole(low: int, high: int, *shape: int) -> Any:
        return library.from_numpy(random.integers(low, high, shape)).to(device)

    names = {
        "T": library,
        "inf": INFINITY,
        "nan": NAN,
        "x": floats(3, 4),
        "y": floats(2, 3, 4),
        "z": floats(4, 5),
        "w": floats(2, 4, 5),
        "v": floats(4),
        "u": floats(3),
        "s": floats(),
        "big": floats(70, 90),
        "long": floats(5000),
        "deep": floats(2, 3, 4, 5, 2),
        "ints": whole(-5, 5, 3, 4),
        "index": whole(0, 3, 3, 4),
        "rows": whole(0, 3, 5),
        "many": whole(0, 70, 300),
        "empty": floats(0, 3),
        "nothing": floats(3, 0),
    }
    names["mask"] = names["ints"] > 0
    broken = library.tensor([[1.0, NAN, 3.0, NAN], [2.0, 5.0, -INFINITY, 5.0]])
    names["broken"] = broken.to(device)
    names["equal"] = leaf(library.tensor([[2.0, 1.0, 2.0, 0.0], [0.0, 0.0, 3.0, 3.0]]))
    return names


def cases(*sections: str) -> list[str]:
    """The expressions of sections of ops_cases.txt."""
    found, section = [], ""
    for line in CASES.read_text().splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif section in sections:
            found.append(line)
    return found


def evaluate(case: str, names: dict[str, Any]) -> Any:
    """The value of a case, or the error that it raises."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return eval(case, names)
        except Exception as error:
            return error
