"""Includes of the core and imports of the package point only downward."""

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent

# From the bottom to the top.
CORE_LAYERS = ("base", "tensor", "blas", "random", "program", "ops", "autograd", "trace", "python")


def core_includes() -> Iterator[tuple[Path, str]]:
    for path in sorted((ROOT / "core").rglob("*")):
        if path.suffix in {".h", ".cpp", ".def"}:
            for name in re.findall(r'^#include "([^"]+)"', path.read_text(), re.MULTILINE):
                yield path.relative_to(ROOT / "core"), name


def test_core_includes_point_downward() -> None:
    wrong = []
    for path, name in core_includes():
        assert (ROOT / "core" / name).exists(), f"{path} includes {name}: write layer/file.h"
        above = CORE_LAYERS.index(path.parts[0]) < CORE_LAYERS.index(name.split("/")[0])
        wrong += [f"{path} includes {name}"] if above else []
    assert not wrong


def test_notes_cited_are_written() -> None:
    cited, written = {}, set()
    for path in (*(ROOT / "core").rglob("*.*"), *(ROOT / "flambeau").rglob("*.py")):
        if path.suffix in {".h", ".cpp", ".def", ".py"}:
            text = path.read_text()
            written |= set(re.findall(r"^\s*(?://|#) Note \[(.+?)\]", text, re.MULTILINE))
            cited |= dict.fromkeys(re.findall(r"[Nn]ote \[(.+?)\]", text), path)
    written |= set(re.findall(r"Note \[(.+?)\]", (ROOT / "CMakeLists.txt").read_text()))
    assert not {title: str(path) for title, path in cited.items() if title not in written}
