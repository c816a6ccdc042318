"""What `make stubs` writes from the operators' records is up to date."""

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest

from flambeau import _core

ROOT = Path(__file__).parent.parent


def tool(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_stubs_are_up_to_date() -> None:
    pytest.importorskip("ruff", reason="the stubs are formatted by ruff")
    for path, text in tool("stubs").stubs().items():
        assert path.read_text() == text, f"{path.name} is out of date: run `make stubs`"


def test_operator_page_is_up_to_date() -> None:
    page = tool("operator_page")
    assert page.PAGE.read_text() == page.page(), "docs/operators.md is out of date: `make stubs`"


def test_the_core_is_declared() -> None:
    text = (ROOT / "flambeau" / "_core.pyi").read_text()
    declared = set(re.findall(r"^(?:def |class )?(\w+)\b", text, re.MULTILINE))
    names = {name for name in dir(_core) if not name.startswith("__")}
    assert names <= declared, f"declare them in _core.pyi: {sorted(names - declared)}"
