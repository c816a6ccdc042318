"""Every Python example of the documents and of the docstrings runs."""

import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import flambeau

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
MODULES = ["flambeau"] + [
    module.name
    for module in pkgutil.walk_packages(flambeau.__path__, "flambeau.")
    if not module.name.endswith(("__main__", "_core"))
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_page(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = page.read_text()
    names: dict[str, object] = {"__name__": "__example__"}
    for match in re.finditer(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        line = text.count("\n", 0, match.start(1))
        code = "\n" * line + match[1]  # so that a traceback names the page's line
        exec(compile(code, str(page), "exec"), names)


@pytest.mark.parametrize("name", MODULES)
def test_docstrings(name: str) -> None:
    module = importlib.import_module(name)
    names: dict[str, object] = {"torch": flambeau, "flambeau": flambeau}
    if module is not flambeau:  # where `bool` and `float` are element types
        names = vars(module) | names
    finder = doctest.DocTestFinder(exclude_empty=True)
    for example in finder.find(module, globs=names):
        runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
        report: list[str] = []
        failed = runner.run(example, out=report.append).failed
        assert not failed, "".join(report)
