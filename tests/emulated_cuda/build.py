"""Compiles the emulated CUDA libraries; prints their folder.

python tests/emulated_cuda/build.py
FLAMBEAU_CUDA_LIBRARIES=$(python tests/emulated_cuda/build.py) python ...
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

SOURCES = Path(__file__).resolve().parent
DEFAULT_DIRECTORY = SOURCES.parent.parent / "build" / "emulated_cuda"

LIBRARY_FLAGS = ("-std=c++20", "-O2", "-g1", "-fPIC", "-shared", "-fvisibility=hidden", "-Wall")
ORIGIN = "-Wl,-rpath,$ORIGIN"  # it loads the driver that lies beside it
KERNEL_HEADERS = ("kernel_abi.h", "shim.h", "shim_math.h", "shim_threads.h", "sixteen_bit.h")
# What kernels are compiled with. -fno-weak: variables of templates and inline functions then lie
# in the section of all __shared__ variables, too. A misaligned access and an index outside an
# array of known length end in a trap.
KERNEL_COMPILER = (
    *("g++", "-x", "c++", "-std=c++17", "-O1", "-fPIC", "-fvisibility=hidden", "-w", "-pipe"),
    *("-fno-exceptions", "-fno-rtti", "-fno-weak", "-fno-strict-aliasing"),
    *("-fno-asynchronous-unwind-tables", "-fno-stack-protector", "-fno-math-errno"),
    *("-fsanitize=alignment,bounds", "-fsanitize-undefined-trap-on-error"),
    "-fno-threadsafe-statics",
)


def _compile(folder: Path) -> None:
    def library(name: str, sources: list[Path], *flags: str) -> None:
        command = ["g++", *LIBRARY_FLAGS, f"-Wl,-soname,{name}", *map(str, sources), *flags]
        subprocess.run([*command, "-o", str(folder / name)], check=True)

    for header in KERNEL_HEADERS:
        shutil.copy(SOURCES / header, folder / header)
    shim = str(folder / "shim.h")
    kind = ["c++-header" if part == "c++" else part for part in KERNEL_COMPILER]
    subprocess.run([*kind, shim, "-o", f"{shim}.gch"], check=True)
    driver = [*sorted(SOURCES.glob("driver*.cpp")), SOURCES / "fiber.cpp", SOURCES / "grid.cpp"]
    library("libcuda.so.1", [*driver, SOURCES / "memory.cpp", SOURCES / "stream.cpp"], "-ldl")
    # Its product is the only loop that must be fast.
    product = [SOURCES / "cublaslt.cpp"]
    library("libcublasLt.so.13", product, "-O3", f"-L{folder}", "-l:libcuda.so.1", ORIGIN)
    convolution = sorted(SOURCES.glob("cudnn*.cpp"))
    library("libcudnn.so.9", convolution, "-O3", f"-L{folder}", "-l:libcuda.so.1", ORIGIN)
    words = ",".join(f'"{part}"' for part in KERNEL_COMPILER)
    library("libnvrtc.so.13", [SOURCES / "nvrtc.cpp"], f"-DEMULATED_COMPILER={words}", "-ldl")


def _key() -> str:
    key = hashlib.sha256()
    for path in sorted(SOURCES.glob("*")):
        if path.suffix in {".h", ".cpp"} or path.name == "build.py":
            key.update(path.name.encode() + b"\0" + path.read_bytes())
    return key.hexdigest()[:16]


def build(directory: Path = DEFAULT_DIRECTORY) -> Path:
    """The folder below `directory` with the libraries of these sources, compiled if need be.

    Several processes may call this at once: each compiles into a folder of its own, and whoever
    is first gives his the final name.
    """
    target = directory / _key()
    if target.is_dir():
        return target
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory) as temporary:
        folder = Path(temporary) / "libraries"
        folder.mkdir()
        _compile(folder)
        try:
            os.rename(folder, target)
        except OSError:  # another process was faster
            if not target.is_dir():
                raise
    return target


if __name__ == "__main__":
    print(build())
