"""Writes tests/data/random_golden.json: random values as PyTorch draws them.

Run it under a Python that has torch: ``python tools/golden_random.py``. Each case seeds the default
generator and evaluates expressions in which ``torch`` is the package; tests/test_random.py
evaluates the same expressions with flambeau and compares.
"""

import json
import struct
import zlib
from pathlib import Path
from typing import Any

import torch

TARGET = Path(__file__).parent.parent / "tests" / "data" / "random_golden.json"

SEEDS = [0, 42, 2**32 + 5, 2**63 + 11, -1]

# The same stream for every seed: the main producers, one after the other.
FOR_EVERY_SEED = [
    "torch.rand(5)",
    "torch.randn(5)",
    "torch.randn(16)",
    "torch.randn(17)",
    "torch.randn(100)",
    "torch.randint(0, 10, (20,))",
    "torch.randperm(20)",
    "torch.empty(3, dtype=torch.int64).random_()",
]

# Sequences of calls, each with its own seed.
SEQUENCES = [
    ["torch.rand(1)", "torch.rand(623)", "torch.rand(2, 3)"],
    ["torch.rand(1000, dtype=torch.float64)", "torch.rand(())"],
    ["torch.rand(1000, dtype=torch.float16)", "torch.rand(40, dtype=torch.bfloat16)"],
    ["torch.randn(3)", "torch.rand(3)", "torch.randn(2)", "torch.randn(16)", "torch.randn(1)"],
    [
        "torch.randn(5, dtype=torch.float64)",
        "torch.randn(1)",
        "torch.randn(17, dtype=torch.float64)",
    ],
    ["torch.randn(33, dtype=torch.float16)", "torch.randn(4, dtype=torch.bfloat16)"],
    ["torch.randn(1000003)"],
    ["torch.randn_like(torch.zeros(4, 5))", "torch.rand_like(torch.zeros(3, dtype=torch.float64))"],
    ["torch.empty(1001).normal_(3, 2)", "torch.empty(7).normal_(-1, 0.1)"],
    ["torch.empty(6, 4)[:, ::2].normal_()", "torch.empty(6, 8)[:, ::2].normal_(1, 2)"],
    ["torch.empty(5, 8).t().normal_()", "torch.empty(5, 8).t().uniform_()"],
    ["torch.normal(2.0, 3.0, (4, 5))", "torch.normal(torch.arange(5.0), torch.arange(1.0, 6.0))"],
    ["torch.normal(torch.arange(20.0), 0.5)", "torch.normal(0.25, torch.arange(1.0, 21.0))"],
    [
        "torch.empty(300).uniform_(-0.37, 2.13)",
        "torch.empty(9, dtype=torch.float64).uniform_(-5, 7)",
    ],
    ["torch.empty(300, dtype=torch.float16).uniform_(-0.37, 2.13)"],
    ["torch.randint(100, (3, 4))", "torch.randint(-5, 7, (9,), dtype=torch.int32)"],
    ["torch.randint(0, 2**28 - 1, (9,))", "torch.randint(0, 2**28, (9,))"],
    [
        "torch.randint(-(2**63), 2**63 - 1, (9,))",
        "torch.randint(0, 2**31 - 1, (9,), dtype=torch.int32)",
    ],
    ["torch.randint(0, 50, (9,), dtype=torch.float32)", "torch.randint_like(torch.zeros(5), 3, 9)"],
    ["torch.empty(9, dtype=torch.bool).random_()", "torch.empty(9, dtype=torch.uint8).random_()"],
    ["torch.empty(9, dtype=torch.int8).random_()", "torch.empty(9, dtype=torch.int16).random_()"],
    ["torch.empty(9, dtype=torch.int32).random_()", "torch.empty(9, dtype=torch.int64).random_()"],
    ["torch.empty(9).random_()", "torch.empty(9, dtype=torch.float64).random_()"],
    ["torch.empty(9).random_(17)", "torch.empty(9, dtype=torch.int64).random_(-3, None)"],
    [
        "torch.empty(9, dtype=torch.int64).random_(-(2**63), None)",
        "torch.empty(3).random_(0, 2**30)",
    ],
    ["torch.randperm(1)", "torch.randperm(10)", "torch.randperm(1000)", "torch.randperm(30001)"],
    ["torch.randperm(20, dtype=torch.int32)", "torch.randperm(20, dtype=torch.float32)"],
    ["torch.empty(50).bernoulli_(0.3)", "torch.empty(50, dtype=torch.bool).bernoulli_(0.7)"],
    ["torch.bernoulli(torch.arange(50.0) / 50)", "torch.bernoulli(torch.full((50,), 0.5), 0.1)"],
    ["torch.bernoulli(torch.arange(50, dtype=torch.float64) / 50)"],
    ["torch.empty(9).bernoulli_(torch.full((9,), 0.5))", "torch.empty(9).bernoulli_()"],
    [
        "torch.nn.functional.dropout(torch.ones(50), 0.3)",
        "torch.nn.functional.dropout(torch.ones(9))",
    ],
    ["torch.nn.Dropout(0.25)(torch.ones(4, 5))", "torch.rand(2)"],
    ["torch.empty(50).exponential_()", "torch.empty(50).exponential_(0.37)"],
    ["torch.empty(50).geometric_(0.3)", "torch.empty(50, dtype=torch.int64).geometric_(0.1)"],
    [
        "torch.empty(50).log_normal_()",
        "torch.empty(50).cauchy_()",
        "torch.empty(50).cauchy_(1, 0.5)",
    ],
    ["torch.empty(9, dtype=torch.float64).exponential_(2.5)"],
    [
        "torch.multinomial(torch.arange(1.0, 9.0), 5)",
        "torch.multinomial(torch.arange(1.0, 9.0), 1)",
    ],
    ["torch.multinomial(torch.arange(1.0, 9.0), 30, replacement=True)"],
    ["torch.multinomial(torch.arange(1.0, 25.0).reshape(4, 6), 6)"],
    ["torch.multinomial(torch.arange(1.0, 25.0).reshape(4, 6), 9, True)"],
    ["torch.multinomial(torch.arange(1, 9, dtype=torch.float64), 9, True)", "torch.rand(1)"],
    ["torch.nn.Linear(10, 5)", "torch.nn.Linear(7, 3, bias=False)"],
    ["torch.nn.Conv2d(3, 8, 3)", "torch.nn.Embedding(6, 4)"],
    [
        "torch.nn.init.kaiming_normal_(torch.empty(4, 6))",
        "torch.nn.init.xavier_uniform_(torch.empty(4, 6))",
    ],
    [
        "torch.nn.init.trunc_normal_(torch.empty(40))",
        "torch.nn.init.orthogonal_(torch.empty(3, 4))",
    ],
    ["torch.randn(1)", "torch.get_rng_state()", "torch.randn(1)"],
    ["torch.rand(3, generator=torch.Generator().manual_seed(7))", "torch.rand(3)"],
    ["torch.utils.data.random_split(range(10), [7, 3])[0].indices"],
]

# Computed in double by the system's mathematics library, so equal only to rounding elsewhere.
ROUNDED = (
    "dtype=torch.float64).exponential_",
    "torch.randn(5, dtype=torch.float64)",
    "torch.randn(17, dtype=torch.float64)",
    "orthogonal_",
)


def record(result: Any) -> list[dict[str, Any]]:
    """The tensors of a result: its shape, some values, and a checksum of all of them."""
    if isinstance(result, torch.nn.Module):
        return [entry for parameter in result.parameters() for entry in record(parameter)]
    tensor = torch.as_tensor(result).detach()
    values = (
        tensor.double().flatten().tolist()
        if tensor.is_floating_point()
        else tensor.flatten().tolist()
    )
    kept = values if len(values) <= 24 else values[:8] + values[-8:]
    packed = struct.pack(f"<{len(values)}{'d' if tensor.is_floating_point() else 'q'}", *values)
    return [
        {
            "shape": list(tensor.shape),
            "dtype": str(tensor.dtype),
            "values": kept,
            "checksum": zlib.crc32(packed),
        }
    ]


def run(seed: int, expressions: list[str]) -> dict[str, Any]:
    torch.manual_seed(seed)
    steps = [
        {
            "code": code,
            "rounded": any(part in code for part in ROUNDED),
            "tensors": record(eval(code)),
        }
        for code in expressions
    ]
    return {"seed": seed, "steps": steps}


def main() -> None:
    cases = [run(seed, FOR_EVERY_SEED) for seed in SEEDS]
    cases += [run(1000 + number, steps) for number, steps in enumerate(SEQUENCES)]
    lines = ",\n".join(json.dumps(case) for case in cases)
    TARGET.write_text(f"[\n{lines}\n]\n")
    print(f"{TARGET}: {len(cases)} cases, {TARGET.stat().st_size} bytes, torch {torch.__version__}")


if __name__ == "__main__":
    main()
