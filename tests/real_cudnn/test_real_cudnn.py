"""The real cuDNN accepts what is described to it (README.md)."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
EMULATED = HERE.parent / "emulated_cuda"


def folder_of(package: str) -> Path:
    found = importlib.util.find_spec("nvidia")
    assert found is not None and found.submodule_search_locations is not None
    folders = [Path(p, package, "lib") for p in found.submodule_search_locations]
    existing = [folder for folder in folders if folder.is_dir()]
    assert existing, f"{folders} are missing: run make test-cudnn"
    return existing[0]


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("libraries")
    driver = [*EMULATED.glob("driver*.cpp"), *map(EMULATED.joinpath, ("fiber.cpp", "grid.cpp"))]
    driver += [EMULATED / "memory.cpp", EMULATED / "stream.cpp", HERE / "driver_stubs.cpp"]
    for name, sources in (("libcuda.so.1", driver), ("libcudnn.so.9", [HERE / "cudnn.cpp"])):
        flags = ["-std=c++20", "-O1", "-fPIC", "-shared", "-fvisibility=hidden"]
        output = ["-ldl", f"-Wl,-soname,{name}", "-o", str(folder / name)]
        subprocess.run(["g++", *flags, *map(str, sources), *output], check=True)
    for library in folder_of("cu13").glob("libnvrtc*.so*"):
        (folder / library.name).symlink_to(library)
    return folder


@pytest.mark.parametrize("capability", [800, 900])
@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        *(("convolutions", dtype) for dtype in ("float32", "float16", "bfloat16")),
        *(("attentions", dtype) for dtype in ("float16", "bfloat16")),
    ],
)
def test_plans(libraries: Path, capability: int, kind: str, dtype: str) -> None:
    cudnn = folder_of("cudnn")
    environment = {
        **os.environ,
        "COMPUTE_CAPABILITY": str(capability),
        "REAL_CUDNN": str(cudnn / "libcudnn.so.9"),
        "LD_LIBRARY_PATH": f"{libraries}:{cudnn}:{folder_of('cu13')}",
        "FLAMBEAU_CUDA_LIBRARIES": str(libraries),
        "FLAMBEAU_CACHE": str(libraries / "cache"),
    }
    command = [sys.executable, str(HERE / "plans.py"), kind, dtype]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    names = [line.rsplit(maxsplit=1) for line in done.stdout.splitlines()]
    # Attention: the result and all gradients at once; else two gradients.
    each = 2 if kind == "attentions" else 3
    assert [int(count) for _, count in names] == [each * (i + 1) for i in range(len(names))]
    assert names
