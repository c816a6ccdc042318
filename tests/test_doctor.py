"""The command `flambeau doctor`."""

import subprocess
import sys
from pathlib import Path

import pytest
from test_cuda_libraries import make_driver, pytestmark  # noqa: F401 (makes libraries with g++)

import flambeau as fl
from flambeau import _core, _doctor


def doctor(**environment: str) -> subprocess.CompletedProcess[str]:
    import os

    command = [sys.executable, "-m", "flambeau", "doctor"]
    return subprocess.run(
        command, env=os.environ | environment, capture_output=True, text=True, timeout=120
    )


def test_on_this_machine() -> None:
    done = doctor()
    assert done.stderr == ""
    for word in ("flambeau", "Python", "NumPy", "OpenBLAS", "x86-64-v", "threads", "self-test"):
        assert word in done.stdout or (word == "x86-64-v" and "baseline" in done.stdout)
    assert all(len(line) <= 110 for line in done.stdout.splitlines())
    if not fl.cuda.is_available():
        assert "no GPU, everything runs on the CPU" in done.stdout
        assert done.returncode == 0


@pytest.mark.skipif(fl.cuda.is_available(), reason="a GPU's own driver is found first")
def test_a_driver_that_is_too_old(tmp_path: Path) -> None:
    make_driver(tmp_path, 11020)
    done = doctor(FLAMBEAU_CUDA_LIBRARIES=str(tmp_path))
    assert done.returncode == 1
    text = " ".join(done.stdout.split())
    assert "is too old" in text and "Something does not work." in done.stdout
    assert "for CUDA 11.2 and earlier" in done.stdout


@pytest.mark.skipif(fl.cuda.is_available(), reason="a GPU's own driver is found first")
def test_a_broken_driver(tmp_path: Path) -> None:
    (tmp_path / "libcuda.so.1").write_text("not a library")
    done = doctor(FLAMBEAU_CUDA_LIBRARIES=str(tmp_path))
    assert str(tmp_path) in done.stdout and done.stderr == ""


def test_whatever_fails_is_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*arguments: object) -> None:
        raise OSError("it is broken")

    for name in ("cuda_library", "cuda_device_count", "instruction_set", "usable_memory"):
        monkeypatch.setattr(_core, name, broken)
    assert _doctor.examine() == 1
    text = capsys.readouterr().out
    assert text.count("FAILED: OSError: it is broken") >= 4
    assert "NumPy" in text and "self-test     passed" in text


def test_missing_libraries_are_mended_by_one_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    properties = {"name": "GPU X", "total_memory": 8 << 30, "major": 8, "minor": 6}
    monkeypatch.setattr(_core, "cuda_device_count", lambda: 1)
    monkeypatch.setattr(
        _core, "cuda_properties", lambda i: properties | {"multi_processor_count": 7}
    )
    monkeypatch.setattr(_doctor, "_gpu_works", lambda index: "passed")
    for driver, command in ((12080, "flambeau[cuda12]"), (13000, "flambeau[cuda]")):

        def library(name: str, driver: int = driver) -> tuple[str, int, str]:
            return ("/lib/libcuda.so.1", driver, "") if name == "driver" else ("", 0, "nowhere")

        monkeypatch.setattr(_core, "cuda_library", library)
        assert _doctor.examine() == 1  # nothing works without NVRTC
        text = capsys.readouterr().out
        assert "GPU X, 8.0 GiB, compute capability 8.6, 7 multiprocessors" in text
        assert text.count(f'pip install "{command}"') == 1
