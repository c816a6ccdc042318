"""Writes tests/data/seeds_golden.json: the documents' examples run with PyTorch.

Run it where torch is installed. See tests/seeds/registry.py.
"""

import importlib
import json
import sys
from pathlib import Path

import torch
import torch.utils.data  # the examples use it by attribute

TESTS = Path(__file__).parent.parent / "tests"
sys.path.insert(0, str(TESTS / "seeds"))

import registry  # noqa: E402


def main() -> None:
    for path in sorted((TESTS / "seeds").glob("document_*.py")):
        importlib.import_module(path.stem)
    golden = {
        "printed": {name: registry.printed(name, torch) for name in registry.PRINTING},
        "losses": {
            name: {
                "float32": registry.losses(name, torch, torch.float32),
                "float64": registry.losses(name, torch, torch.float64),
            }
            for name in registry.TRAINING
        },
    }
    (TESTS / "data" / "seeds_golden.json").write_text(json.dumps(golden, indent=1) + "\n")


if __name__ == "__main__":
    main()
