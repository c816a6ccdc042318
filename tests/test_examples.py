"""The programs in examples/ run and learn what they should."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


def run(folder: Path, name: str, *arguments: str) -> str:
    command = [sys.executable, str(EXAMPLES / name), *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_linear_regression(tmp_path: Path) -> None:
    output = run(tmp_path, "linear_regression.py")
    slope, offset = re.search(r"y = (\S+) x \+ (\S+)", output).groups()
    assert float(slope) == pytest.approx(3, abs=0.1)
    assert float(offset) == pytest.approx(-0.5, abs=0.1)


def test_spirals(tmp_path: Path) -> None:
    *_, accuracy = re.findall(r"accuracy ([\d.]+)%", run(tmp_path, "spirals.py"))
    assert float(accuracy) > 93


def test_gpt(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("the quick brown fox jumps over the lazy dog. " * 40)
    output = run(tmp_path, "gpt.py", "--steps", "30", "--text", str(text))
    first, *_, last = re.findall(r"loss ([\d.]+),", output)
    assert float(last) < 0.8 * float(first)


def test_digits(tmp_path: Path) -> None:
    output = run(tmp_path, "digits.py")
    assert float(re.search(r"([\d.]+)% of 360 test images", output)[1]) > 98
    files = {path.name for path in (tmp_path / "demo-output").iterdir()}
    assert files == {
        "digits.pt",
        "graph.png",
        "graph.svg",
        "learning-curve.png",
        "predictions.png",
    }


def test_static_graph(tmp_path: Path) -> None:
    right = re.search(r"(\d+) of 64 points are right", run(tmp_path, "static_graph.py")).group(1)
    assert int(right) >= 56
