"""Writes tests/data/seeds_golden.json: the documents' examples run with PyTorch.

Run it where torch is installed. See tests/seeds/registry.py.
"""

import importlib
import json
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import torch.utils.data  # the examples use it by attribute

TESTS = Path(__file__).parent.parent / "tests"
sys.path.insert(0, str(TESTS / "seeds"))

import registry  # noqa: E402

RUNS = 4


def changed_in_the_last_place(run: int) -> Any:
    """Returns a `Tensor.to` that changes floats by up to half a unit in the last place."""
    generator = torch.Generator().manual_seed(run)
    original = torch.Tensor.to

    def to(self: torch.Tensor, *arguments: Any, **options: Any) -> torch.Tensor:
        result = original(self, *arguments, **options)
        if not result.is_floating_point():
            return result
        noise = torch.rand(result.shape, generator=generator) - 0.5
        return (result.detach() * (1 + noise * 2**-23)).requires_grad_(result.requires_grad)

    return to


def losses_and_spread(name: str) -> dict[str, list[float]]:
    plain = registry.losses(name, torch, torch.float32)
    runs = [registry.losses(name, torch, torch.float64)]
    for run in range(RUNS):
        with mock.patch.object(torch.Tensor, "to", changed_in_the_last_place(run)):
            runs.append(registry.losses(name, torch, torch.float32))
    spread, largest = [], 0.0
    for expected, *others in zip(plain, *runs, strict=True):
        largest = max(largest, *(abs(other / expected - 1) for other in others))
        spread.append(float(f"{largest:.2e}"))
    return {"losses": plain, "spread": spread}


def main() -> None:
    for path in sorted((TESTS / "seeds").glob("document_*.py")):
        importlib.import_module(path.stem)
    golden = {
        "printed": {name: registry.printed(name, torch) for name in registry.PRINTING},
        "losses": {name: losses_and_spread(name) for name in registry.TRAINING},
    }
    (TESTS / "data" / "seeds_golden.json").write_text(json.dumps(golden, indent=1) + "\n")


if __name__ == "__main__":
    main()
