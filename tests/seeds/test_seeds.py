"""Every example of the documents, with Flambeau: what it prints, and how its training goes."""

import json
from pathlib import Path

import document_000
import document_001
import document_002
import document_003
import document_004
import pytest
import registry

import flambeau

DOCUMENTS = (document_000, document_001, document_002, document_003, document_004)
GOLDEN = json.loads((Path(__file__).parent.parent / "data" / "seeds_golden.json").read_text())

# See Note [Rounding] in registry.py. The spread of a few runs is not yet the largest possible.
ROUNDING = 4.0
LEAST = 2e-6  # where the few runs happen to agree: 16 units in the last place


def test_every_example_has_golden_values() -> None:
    assert set(GOLDEN["printed"]) == set(registry.PRINTING)
    assert set(GOLDEN["losses"]) == set(registry.TRAINING)


@pytest.mark.parametrize("name", registry.PRINTING)
def test_printed(name: str) -> None:
    assert registry.printed(name, flambeau) == GOLDEN["printed"][name]


@pytest.mark.parametrize("name", registry.TRAINING)
def test_training(name: str) -> None:
    golden = GOLDEN["losses"][name]
    found = registry.losses(name, flambeau, flambeau.float32)
    rows = zip(found, golden["losses"], golden["spread"], strict=True)
    for number, (loss, expected, spread) in enumerate(rows):
        allowed = ROUNDING * max(spread, LEAST)
        assert loss == pytest.approx(expected, rel=allowed), f"value {number}"
