"""What `make stubs` writes from the operators' records is up to date."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from flambeau import _core

ROOT = Path(__file__).parent.parent


def in_fresh_process(code: str) -> Any:
    """What `result` is after the code; other tests may have registered operators in this one."""
    prelude = f"import json, sys; sys.path.insert(0, {str(ROOT / 'tools')!r})\n"
    command = [sys.executable, "-c", f"{prelude}{code}\nprint(json.dumps(result))"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_stubs_are_up_to_date() -> None:
    pytest.importorskip("ruff", reason="the stubs are formatted by ruff")
    code = "import stubs; result = {str(path): text for path, text in stubs.stubs().items()}"
    for path, text in in_fresh_process(code).items():
        assert Path(path).read_text() == text, f"{path} is out of date: run `make stubs`"


def test_operator_page_is_up_to_date() -> None:
    code = "import operator_page; result = operator_page.page()"
    page = (ROOT / "docs" / "operators.md").read_text()
    assert page == in_fresh_process(code), "docs/operators.md is out of date: run `make stubs`"


def test_the_core_is_declared() -> None:
    text = (ROOT / "flambeau" / "_core.pyi").read_text()
    declared = set(re.findall(r"^(?:def |class )?(\w+)\b", text, re.MULTILINE))
    names = {name for name in dir(_core) if not name.startswith("__")}
    assert names <= declared, f"declare them in _core.pyi: {sorted(names - declared)}"
