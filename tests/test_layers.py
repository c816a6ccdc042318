"""Includes of the core and imports of the package point only downward."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent

# From the bottom to the top.
CORE_LAYERS = (
    "base",
    "tensor",
    "random",
    "blas",
    "cuda",
    "program",
    "ops",
    "autograd",
    "trace",
    "python",
)
# Modules of the package that users build with, from the bottom to the top. The private modules
# and the operators beside `_core` lie below all of them. `import flambeau` itself is the public
# surface, which every module may use when it runs.
PACKAGE_LAYERS = (
    "autograd",
    "amp",
    "cuda",
    "accelerator",
    "nn",
    "compiler",
    "optim",
    "utils",
    "_run",
    "__main__",
)


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


def package_imports() -> Iterator[tuple[Path, str]]:
    """(module, the part of the package that it imports); imports for type checkers are free."""
    for path in sorted((ROOT / "flambeau").rglob("*.py")):
        tree = ast.parse(path.read_text())
        for_checkers = {
            inner
            for node in ast.walk(tree)
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
            for inner in ast.walk(node)
        }
        names: list[str] = []
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node not in for_checkers:
                names += [f"{node.module}.{alias.name}" for alias in node.names]
            elif isinstance(node, ast.Import) and node not in for_checkers:
                names += [alias.name for alias in node.names]
        for name in names:
            if name.startswith("flambeau."):
                yield path.relative_to(ROOT / "flambeau"), name.split(".")[1]


def package_layer(part: str) -> int:
    return PACKAGE_LAYERS.index(part) if part in PACKAGE_LAYERS else -1


def test_package_imports_point_downward() -> None:
    wrong = [
        f"{path} imports flambeau.{part}"
        for path, part in package_imports()
        if path.name != "__init__.py" or len(path.parts) > 1
        if package_layer(path.parts[0].removesuffix(".py")) < package_layer(part)
    ]
    assert not wrong


def test_notes_cited_are_written() -> None:
    cited, written = {}, set()
    for path in (*(ROOT / "core").rglob("*.*"), *(ROOT / "flambeau").rglob("*.py")):
        if path.suffix in {".h", ".cpp", ".def", ".py"}:
            text = path.read_text()
            written |= set(re.findall(r'^\s*(?://|#|""")?\s*Note \[(.+?)\]', text, re.MULTILINE))
            cited |= dict.fromkeys(re.findall(r"[Nn]ote \[(.+?)\]", text), path)
    written |= set(re.findall(r"Note \[(.+?)\]", (ROOT / "CMakeLists.txt").read_text()))
    assert not {title: str(path) for title, path in cited.items() if title not in written}
