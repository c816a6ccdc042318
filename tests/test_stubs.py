"""The stubs that type checkers read say what the package has: `make stubs` writes them."""

import importlib.util
import re
from pathlib import Path

import pytest

from flambeau import _core

ROOT = Path(__file__).parent.parent


def test_stubs_are_up_to_date() -> None:
    pytest.importorskip("ruff", reason="the stubs are formatted by ruff")
    spec = importlib.util.spec_from_file_location("stubs", ROOT / "tools" / "stubs.py")
    assert spec is not None and spec.loader is not None
    stubs = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(stubs)
    for path, text in stubs.stubs().items():
        assert path.read_text() == text, f"{path.name} is out of date: run `make stubs`"


def test_the_core_is_declared() -> None:
    text = (ROOT / "flambeau" / "_core.pyi").read_text()
    declared = set(re.findall(r"^(?:def |class )?(\w+)\b", text, re.MULTILINE))
    names = {name for name in dir(_core) if not name.startswith("__")}
    assert names <= declared, f"declare them in _core.pyi: {sorted(names - declared)}"
