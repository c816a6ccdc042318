"""`flambeau run`: programs that import torch, run as Python would run them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


def flambeau(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess:
    path = os.pathsep.join(filter(None, sys.path))
    return subprocess.run(
        [sys.executable, "-m", "flambeau", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": path, **environment},
    )


def lines(done: subprocess.CompletedProcess) -> list[str]:
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


SCRIPT = """
import sys
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import optim
from torch.utils.data import DataLoader
import flambeau
from helper import answer

print(torch is flambeau, nn is flambeau.nn, F is flambeau.nn.functional, optim is flambeau.optim)
print(DataLoader is flambeau.utils.data.DataLoader, torch.utils.data.DataLoader is DataLoader)
print(__name__, __file__, __spec__, sys.argv, answer)
print(sys.modules["__main__"].torch is torch, flambeau.nn.__spec__.name)
"""


def test_script(tmp_path: Path) -> None:
    folder = tmp_path / "sub"
    folder.mkdir()
    (folder / "script.py").write_text(SCRIPT)
    (folder / "helper.py").write_text("answer = 42\n")
    assert lines(flambeau("run", "sub/script.py", "--lr", "1", cwd=tmp_path)) == [
        "True True True True",
        "True True",
        "__main__ sub/script.py None ['sub/script.py', '--lr', '1'] 42",
        "True flambeau.nn",
    ]


def test_code_and_module(tmp_path: Path) -> None:
    code = "import sys, torch; print(torch.__name__, sys.argv)"
    assert lines(flambeau("run", "-c", code, "x", cwd=tmp_path)) == ["flambeau ['-c', 'x']"]
    package = tmp_path / "program"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "part.py").write_text("value = 5\n")
    (package / "__main__.py").write_text(
        "import sys\nfrom .part import value\nimport torch\n"
        "print(torch.__name__, __package__, value, sys.argv[1:])\n"
    )
    assert lines(flambeau("run", "-m", "program", "y", cwd=tmp_path)) == [
        "flambeau program 5 ['y']"
    ]


def test_missing_submodule_says_so(tmp_path: Path) -> None:
    code = "import torch\ntry: import torch.no.such\nexcept ImportError as e: print(e.name, e)"
    text = lines(flambeau("run", "-c", code, cwd=tmp_path))[0]
    assert text.startswith("torch.no No module named 'torch.no'") and "Flambeau" in text


def test_traceback_is_the_programs_own(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("def f():\n    return 1 / 0\n\nf()\n")
    done = flambeau("run", "broken.py", cwd=tmp_path)
    assert done.returncode == 1 and done.stderr.startswith("Traceback")
    files = [line for line in done.stderr.splitlines() if line.strip().startswith("File")]
    assert len(files) == 2 and all("broken.py" in line for line in files)
    (tmp_path / "wrong.py").write_text("x = = 1\n")
    done = flambeau("run", "wrong.py", cwd=tmp_path)
    assert done.returncode == 1 and done.stderr.lstrip().startswith('File "wrong.py", line 1')


def test_exit_codes(tmp_path: Path) -> None:
    def code(text: str) -> int:
        return flambeau("run", "-c", text, cwd=tmp_path).returncode

    assert code("import sys; sys.exit(7)") == 7
    assert code("pass") == 0
    assert code("raise KeyboardInterrupt") == 130


PARALLEL = """
import os
import torch
from torch.utils.data import DataLoader, Dataset

class Numbers(Dataset):
    def __len__(self):
        return 4
    def __getitem__(self, index):
        return torch.tensor(index), torch.__name__

if __name__ == "__main__":
    for method in ("fork", "spawn"):
        loader = DataLoader(Numbers(), 2, num_workers=2, multiprocessing_context=method)
        print([(numbers.tolist(), list(names)) for numbers, names in loader])
"""


def test_worker_processes(tmp_path: Path) -> None:
    (tmp_path / "parallel.py").write_text(PARALLEL)
    expected = str([([i, i + 1], ["flambeau", "flambeau"]) for i in (0, 2)])
    assert lines(flambeau("run", "parallel.py", cwd=tmp_path)) == [expected, expected]


def test_python_started_by_the_program(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import builtins\nbuiltins.own = 'kept'\n")
    (tmp_path / "child.py").write_text("import torch\nprint(torch.__name__, own)\n")
    code = "import subprocess, sys; subprocess.run([sys.executable, 'child.py'], check=True)"
    path = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    done = flambeau("run", "-c", code, cwd=tmp_path, PYTHONPATH=path)
    assert lines(done) == ["flambeau kept"]


def test_help_and_version(tmp_path: Path) -> None:
    assert "flambeau run script.py" in flambeau("--help", cwd=tmp_path).stdout
    assert "-m module" in flambeau("run", "--help", cwd=tmp_path).stdout
    assert lines(flambeau("--version", cwd=tmp_path))[0].split()[0] == "flambeau"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), ""),
        (("sing",), "no command 'sing'"),
        (("run",), ""),
        (("run", "absent.py"), "can't open file 'absent.py': No such file"),
        (("run", "-m"), "argument expected after -m"),
        (("run", "-m", "absent"), "no module named 'absent'"),
        (("run", "-x"), "unknown option -x"),
    ],
)
def test_wrong_calls(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    done = flambeau(*arguments, cwd=tmp_path)
    assert done.returncode == 2 and message in done.stderr and "Traceback" not in done.stderr
