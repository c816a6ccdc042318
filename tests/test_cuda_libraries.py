"""Which of NVIDIA's libraries are found, where, and what is said about those that are not."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
NAMES = ("driver", "nvrtc", "cublaslt", "cudnn", "nccl")

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="makes libraries with g++")


def make_library(path: Path, code: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    name = f"-Wl,-soname={path.name}"
    command = ["g++", "-shared", "-fPIC", name, "-x", "c++", "-", "-o", str(path)]
    subprocess.run(command, input=f'extern "C" {{ {code} }}', text=True, check=True)
    return path


def make_nvrtc(path: Path, major: int, minor: int = 0) -> Path:
    code = f"int nvrtcVersion(int* a, int* b) {{ *a = {major}; *b = {minor}; return 0; }}"
    return make_library(path, code)


def make_driver(folder: Path, version: int) -> Path:
    code = f"int cuDriverGetVersion(int* v) {{ *v = {version}; return 0; }}"
    return make_library(folder / "libcuda.so.1", code)


def find(named: Path | None = None, packages: Path | None = None, **more: str) -> dict[str, Any]:
    """(path, version, problem) of each library in a fresh process."""
    hidden = ("CUDA_HOME", "CUDA_PATH", "CONDA_PREFIX", "FLAMBEAU_CUDA_LIBRARIES")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    environment |= more
    if named:
        environment["FLAMBEAU_CUDA_LIBRARIES"] = f"/nowhere:{named}"
    environment["PYTHONPATH"] = f"{packages}:{ROOT}" if packages else str(ROOT)
    code = f"""if True:
        import json
        from flambeau import _core
        print(json.dumps({{name: _core.cuda_library(name) for name in {NAMES}}}))"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_named_directories_come_first(tmp_path: Path) -> None:
    named = make_nvrtc(tmp_path / "named" / "libnvrtc.so.12", 12, 4)
    make_nvrtc(tmp_path / "nvidia" / "cu13" / "lib" / "libnvrtc.so.13", 13)
    assert find(named.parent, tmp_path)["nvrtc"] == [str(named), 12040, ""]


@pytest.mark.parametrize(
    "place", ["nvidia/cu13/lib/libnvrtc.so.13", "nvidia/cuda_nvrtc/lib/libnvrtc.so.12"]
)
def test_wheels(tmp_path: Path, place: str) -> None:
    major = int(place[-2:])
    path = make_nvrtc(tmp_path / place, major)
    assert find(packages=tmp_path)["nvrtc"] == [str(path), 1000 * major, ""]


@pytest.mark.parametrize("variable, folder", [("CUDA_HOME", "lib64"), ("CONDA_PREFIX", "lib")])
def test_toolkits(tmp_path: Path, variable: str, folder: str) -> None:
    # NCCL, as the tests' own environment has no wheel of it, which would come first.
    code = "int ncclGetVersion(int* v) { *v = 22907; return 0; }"
    path = make_library(tmp_path / folder / "libnccl.so", code)
    assert find(**{variable: str(tmp_path)})["nccl"] == [str(path), 22907, ""]


def test_no_library_of_a_later_cuda_than_the_drivers(tmp_path: Path) -> None:
    driver = make_driver(tmp_path / "driver", 12060)
    newer = make_nvrtc(tmp_path / "nvidia" / "cu13" / "lib" / "libnvrtc.so.13", 13)
    found = find(driver.parent, tmp_path)
    assert found["driver"] == [str(driver), 12060, ""]
    path, _, problem = found["nvrtc"]
    assert not path
    assert f"{newer} is for CUDA 13, and the driver runs CUDA 12 at most" in problem
    assert 'pip install "flambeau[cuda12]"' in problem
    fitting = make_nvrtc(tmp_path / "nvidia" / "cuda_nvrtc" / "lib" / "libnvrtc.so.12", 12, 8)
    assert find(driver.parent, tmp_path)["nvrtc"] == [str(fitting), 12080, ""]


def test_builtins_of_nvrtc_are_loaded_with_it(tmp_path: Path) -> None:
    make_library(tmp_path / "libnvrtc-builtins.so.13.1", "int built_in() { return 13100; }")
    code = """
        int built_in() __attribute__((weak));
        void* dlopen(const char*, int); void* dlsym(void*, const char*);
        int nvrtcVersion(int* major, int* minor) {
          *major = 13;  // RTLD_NOLOAD: only what is loaded already
          *minor = dlopen("libnvrtc-builtins.so.13.1", 4 | 1) ? 1 : 0;
          return 0;
        }"""
    make_library(tmp_path / "libnvrtc.so.13", code)
    assert find(tmp_path)["nvrtc"][1] == 13010


def test_what_is_missing(tmp_path: Path) -> None:
    for name, (path, version, problem) in find(tmp_path).items():
        if path:  # the system has it
            continue
        assert version == 0
        assert str(tmp_path) in problem and "/nowhere" in problem
        assert name == "driver" or 'pip install "flambeau[cuda]"' in problem


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "libnvrtc.so.13").write_text("not a library")
    path, _, problem = find(tmp_path)["nvrtc"]
    assert path or str(tmp_path / "libnvrtc.so.13") in problem


def test_broken_python_folders(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.path.append(7)")
    assert set(find(packages=tmp_path)) == set(NAMES)


def test_import_loads_none() -> None:
    code = "import flambeau, flambeau.cuda; print(open('/proc/self/maps').read())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not [name for name in ("libcuda", "nvrtc", "cublas", "cudnn") if name in done.stdout]
