"""The promise of CONTRIBUTING.md: one record in one file is a whole operator.

The record is taken from the page itself and appended to a copy of the package; everything is then
looked at from another process, in which the copy is the package.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import flambeau

ROOT = Path(__file__).parent.parent
NAME = "snake"
INSIDE = f"""
import sys
sys.path[:0] = [{str(ROOT / "tests")!r}, {str(ROOT / "tools")!r}]
import flambeau as torch
x = torch.tensor([-1.0, 0.5, 2.0], dtype=torch.float64, requires_grad=True)
expected = x + torch.sin(0.5 * x) ** 2 / 0.5
"""


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a copy of the package that has the new record."""
    folder = tmp_path_factory.mktemp("extended")
    package = Path(flambeau.__path__[0])
    shutil.copytree(package, folder / "flambeau", ignore=shutil.ignore_patterns("__pycache__"))
    match = re.search(r"```py\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL)
    assert match is not None and f"def {NAME}(" in match[1]
    with (folder / "flambeau" / "ops" / "_activation.py").open("a") as file:
        file.write("\n\n" + match[1])
    return folder


def check(folder: Path, code: str) -> None:
    environment = os.environ | {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", INSIDE + code],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


CHECKS = {
    "function": "assert torch.allclose(torch.snake(x, alpha=0.5), expected)",
    "method": "assert torch.allclose(x.snake(alpha=0.5), expected)",
    "in place": "y = x.detach().clone(); assert y.snake_(0.5) is y and torch.allclose(y, expected)",
    "out": "o = torch.empty(3, dtype=x.dtype); torch.snake(x.detach(), 0.5, out=o)\n"
    "assert torch.allclose(o, expected)",
    "gradient": "assert torch.autograd.gradcheck(torch.snake, (x,))",
    "second gradient": "assert torch.autograd.gradgradcheck(torch.snake, (x,))",
    "grad_fn": "assert torch.snake(x).grad_fn.name() == 'SnakeBackward0'",
    "promotion": "assert torch.snake(torch.arange(3)).dtype == torch.float32",
    "documentation": "assert 'Ziyin' in torch.snake.__doc__",
    "page": "import operator_page; assert '`snake(input, alpha=1.0)`' in operator_page.page()",
    "stub": "import stubs; assert 'def snake(' in stubs.package_stub()\n"
    "assert 'def snake_(' in stubs.core_stub()",
    "tests": "import test_elementwise as tests\n"
    "record = {p.values[0].name: p.values[0] for p in tests.RECORDS}['snake']\n"
    "tests.test_forms_agree(record); tests.test_gradients(record)\n"
    "tests.test_bad_operands(record); tests.test_second_gradients_in_one_direction(record)",
}


@pytest.mark.parametrize("what", CHECKS)
def test_one_record_gives(what: str, extended: Path) -> None:
    check(extended, CHECKS[what])
