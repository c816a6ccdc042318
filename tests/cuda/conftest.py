"""Tests of the GPU run on an emulated one where there is no other (tests/emulated_cuda)."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent


def use_emulated_gpu() -> None:
    """Before the first use of CUDA in this process, unless there is a GPU."""
    if os.path.exists("/dev/nvidiactl") or "FLAMBEAU_CUDA_LIBRARIES" in os.environ:
        return
    build = ROOT / "tests" / "emulated_cuda" / "build.py"
    made = subprocess.run(
        [sys.executable, str(build)], check=True, capture_output=True, text=True
    ).stdout.strip()
    os.environ["FLAMBEAU_CUDA_LIBRARIES"] = made
    os.environ["FLAMBEAU_CACHE"] = str(Path(made) / "cache")  # of compiled kernels


use_emulated_gpu()


@pytest.fixture(autouse=True)
def exact_convolutions() -> Iterator[None]:
    """Compared with the CPU's: not rounded for tensor cores, which is the default."""
    from flambeau.backends import cudnn

    before = cudnn.allow_tf32
    cudnn.allow_tf32 = False
    yield
    cudnn.allow_tf32 = before


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says which GPU it was."""
    import flambeau

    terminalreporter.write_line(f"GPU: {flambeau.cuda.get_device_name()}")
