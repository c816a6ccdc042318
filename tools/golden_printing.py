"""Writes tests/data/printing_golden.json: what PyTorch prints. Run it where torch is installed.

Each case is an expression over `torch`, print options, and the text of its repr. The tests
evaluate the same expression with Flambeau.
"""

import json
import math
import random
from pathlib import Path

import torch

HAND_WRITTEN = [
    ("torch.tensor(3.5)", {}),
    ("torch.tensor(7)", {}),
    ("torch.tensor(True)", {}),
    ("torch.tensor([])", {}),
    ("torch.empty(0, 3)", {}),
    ("torch.empty(2, 0, dtype=torch.int64)", {}),
    ("torch.empty(0, dtype=torch.int64)", {}),
    ("torch.zeros(2, 3)", {}),
    ("torch.tensor([0., float('nan'), float('-inf')])", {}),
    ("torch.tensor([1., float('nan'), 250.])", {}),
    ("torch.tensor([[True, False], [False, True]])", {}),
    ("torch.tensor([1e-5, 1.])", {}),
    ("torch.tensor([1., 1001.])", {}),
    ("torch.tensor([1.5, 1500.])", {}),
    ("torch.tensor([1e9, 2e9])", {}),
    ("torch.tensor([0.1], dtype=torch.float64)", {}),
    ("torch.tensor([0.1, 2.5], dtype=torch.float16)", {}),
    ("torch.tensor([0.1, 2.5], dtype=torch.bfloat16)", {}),
    ("torch.tensor([1, 2], dtype=torch.uint8)", {}),
    ("torch.tensor([-128, 127], dtype=torch.int8)", {}),
    ("torch.tensor(0.1).double()", {}),
    ("torch.ones(2, requires_grad=True)", {}),
    ("torch.ones(2, requires_grad=True) + 1", {}),
    ("torch.ones(2, requires_grad=True) * 2", {}),
    ("torch.ones(12, 3, requires_grad=True).t()", {}),
    ("torch.arange(1000)", {}),
    ("torch.arange(1001)", {}),
    ("torch.arange(6000.).reshape(20, 30, 10) / 7", {}),
    ("torch.arange(6000).reshape(2, 3, 4, 250)", {}),
    ("torch.arange(1200).reshape(2, 2, 3, 100)", {"edgeitems": 1}),
    ("torch.arange(30.).reshape(5, 6)", {"threshold": 10, "edgeitems": 0}),
    ("torch.arange(30.)", {"linewidth": 30}),
    ("torch.arange(8.) / 3", {"precision": 8}),
    ("torch.arange(8.) / 3", {"profile": "short"}),
    ("torch.arange(8.)", {"sci_mode": True}),
    ("torch.tensor([1e-6, 1.0])", {"sci_mode": False}),
    ("torch.arange(1100)", {"profile": "full"}),
]

FLOATS = ["float32", "float64", "float16", "bfloat16"]
INTEGERS = ["int64", "int32", "int16", "uint8"]


def random_case(draw: random.Random) -> tuple[str, dict]:
    shape = [draw.choice([1, 2, 3, 4, 7]) for _ in range(draw.randint(0, 3))]
    count = math.prod(shape)
    special = draw.random() < 0.25
    if draw.random() < 0.75:
        dtype = draw.choice(FLOATS)
        scale, spread = 10 ** draw.uniform(-6, 8), draw.choice([0.1, 1, 5, 20])
        values = [
            round(draw.gauss(0, 1) * math.exp(draw.gauss(0, spread)), 4) for _ in range(count)
        ]
        values = [float(f"{value * scale:.5g}") for value in values]
        if draw.random() < 0.4:
            values = [float(round(value)) for value in values]
        if special:
            values = [draw.choice([v, 0.0, math.inf, -math.inf, math.nan]) for v in values]
    else:
        dtype = draw.choice(INTEGERS)
        low, high = (0, 255) if dtype == "uint8" else (-(10 ** draw.randint(1, 4)), 9999)
        values = [draw.randint(low, high) for _ in range(count)]
    listed = str(values).replace("nan", "float('nan')").replace("inf", "float('inf')")
    code = f"torch.tensor({listed}, dtype=torch.{dtype}).reshape({shape})"
    options = {}
    if draw.random() < 0.3:
        options = {
            "precision": draw.choice([1, 3, 6]),
            "threshold": draw.choice([10, 50, 1000]),
            "edgeitems": draw.choice([1, 2, 3]),
            "linewidth": draw.choice([30, 80, 120]),
            "sci_mode": draw.choice([None, True, False]),
        }
    return code, options


def main() -> None:
    draw = random.Random(0)
    cases = []
    for code, options in HAND_WRITTEN + [random_case(draw) for _ in range(120)]:
        torch.set_printoptions(profile="default")
        torch.set_printoptions(**options)
        cases.append({"code": code, "options": options, "text": repr(eval(code))})
    path = Path(__file__).parent.parent / "tests" / "data" / "printing_golden.json"
    path.write_text(json.dumps(cases, indent=1) + "\n")


if __name__ == "__main__":
    main()
