"""Compiled kernels on disk: found again, damaged files, several writers, no place to write."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

RUN = """
import flambeau as torch
x = torch.arange(6.0, device="cuda")
print((x * 3 + 1).sum().item(), torch.tanh(x).sum().item())
"""
EXPECTED = "51.0 4.7199"


def start(cache: str, **variables: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "FLAMBEAU_CACHE": cache, **variables}
    return subprocess.Popen(
        [sys.executable, "-c", RUN],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> None:
    out, error = process.communicate(timeout=120)
    assert process.returncode == 0, error
    assert out.startswith(EXPECTED), out


def files_in(cache: Path) -> dict[str, tuple[int, bytes]]:
    kernels = cache / "kernels"
    return {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in kernels.iterdir()}


def test_kernels_are_found_again(tmp_path: Path) -> None:
    finish(start(str(tmp_path)))
    first = files_in(tmp_path)
    assert first and all("." not in name for name in first)  # nothing unfinished is left
    finish(start(str(tmp_path)))
    assert files_in(tmp_path) == first


@pytest.mark.parametrize("damage", ["empty", "cut", "flipped", "longer", "other"])
def test_damaged_files_are_replaced(tmp_path: Path, damage: str) -> None:
    finish(start(str(tmp_path)))
    good = files_in(tmp_path)
    names = sorted(good)
    for name in names:
        path = tmp_path / "kernels" / name
        contents = good[name][1]
        middle = len(contents) // 2
        flipped = bytes([contents[middle] ^ 1])
        path.write_bytes(
            {
                "empty": b"",
                "cut": contents[:middle],
                "flipped": contents[:middle] + flipped + contents[middle + 1 :],
                "longer": b"x" * 8 + contents,
                "other": good[names[names.index(name) - 1]][1],  # of another kernel
            }[damage]
        )
    finish(start(str(tmp_path)))
    assert {name: data for name, (_, data) in files_in(tmp_path).items()} == {
        name: data for name, (_, data) in good.items()
    }


def test_several_processes_write_at_once(tmp_path: Path) -> None:
    for process in [start(str(tmp_path)) for _ in range(4)]:
        finish(process)
    assert all("." not in name for name in files_in(tmp_path))


def test_without_a_place_to_write(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    finish(start(str(blocked)))  # a file where the folder should be
    finish(start(""))  # switched off


def test_a_gpu_that_is_newer_than_the_compiler(tmp_path: Path) -> None:
    if os.path.exists("/dev/nvidiactl"):
        pytest.skip("needs the emulated GPU, whose generation can be chosen")
    finish(start(str(tmp_path), EMULATED_CUDA_MAJOR="90"))  # gets PTX for the driver
    kernels = files_in(tmp_path)
    finish(start(str(tmp_path)))
    assert len(files_in(tmp_path)) == 2 * len(kernels)
