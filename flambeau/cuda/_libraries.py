"""Where NVIDIA's libraries may lie. Called once, when the first of them is needed."""

from __future__ import annotations

import glob
import os
import site
import sys
from collections.abc import Iterator


def _version_of(path: str) -> tuple[int, ...]:
    """(12, 4) of .../cuda-12.4: newer toolkits first."""
    name = os.path.basename(path).removeprefix("cuda-")
    return tuple(int(part) for part in name.split(".") if part.isdigit())


def _package_folders() -> Iterator[str]:
    yield from (path for path in sys.path if path)
    yield from site.getsitepackages()
    yield site.getusersitepackages()


def _candidates() -> Iterator[str]:
    # pip's wheels: nvidia/cu13/lib, and nvidia/cublas/lib and the like.
    for folder in _package_folders():
        yield from sorted(glob.glob(os.path.join(glob.escape(folder), "nvidia", "*", "lib")))
    toolkits = [os.environ[name] for name in ("CUDA_HOME", "CUDA_PATH") if os.environ.get(name)]
    toolkits.append("/usr/local/cuda")
    toolkits += sorted(glob.glob("/usr/local/cuda-*"), key=_version_of, reverse=True)
    for toolkit in toolkits:
        yield os.path.join(toolkit, "lib64")
        yield os.path.join(toolkit, "lib")
    conda = os.environ.get("CONDA_PREFIX")
    if conda:
        yield os.path.join(conda, "lib")
    if os.path.isdir(os.path.join(sys.prefix, "conda-meta")):
        yield os.path.join(sys.prefix, "lib")


def directories() -> list[str]:
    """Returns the folders that exist, in the order in which they are searched.

    pip's wheels come first: they were installed for this interpreter.
    """
    found: dict[str, str] = {}  # by where they really are: toolkits link to each other
    for path in _candidates():
        if os.path.isdir(path):
            found.setdefault(os.path.realpath(path), path)
    return list(found.values())
