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

# See Note [Rounding] in registry.py. Two float32 runs differ from each other by the sum of their
# differences from the exact one, and a factor lets one of them be luckier than the other.
ROUNDING = 4.0
LEAST = 2e-6  # relative, where the differences happen to vanish: 16 units in the last place


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
    assert len(found) == len(golden["float32"])
    spread = LEAST
    for step, (loss, expected, exact) in enumerate(
        zip(found, golden["float32"], golden["float64"], strict=True)
    ):
        spread = max(spread, abs(expected / exact - 1))
        assert loss == pytest.approx(expected, rel=ROUNDING * spread), f"value {step}"
