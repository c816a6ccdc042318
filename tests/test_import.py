"""`import flambeau` is quick and loads nothing that it does not need."""

import os
import subprocess
import sys

MEASURE = "import time; a = time.perf_counter(); import flambeau; print(time.perf_counter() - a)"
LIMIT_SECONDS = 0.1

# Packages (not of ours) that importing must not load, however small the gain of loading them is.
HEAVY = {
    "asyncio",
    "concurrent",
    "ctypes",
    "dataclasses",
    "email",
    "http",
    "inspect",
    "logging",
    "multiprocessing",
    "numpy",
    "scipy",
    "scipy_openblas32",
    "subprocess",
    "threading",
    "tempfile",
    "torch",
    "typing_extensions",
    "unittest",
    "urllib",
}


def run(code: str) -> str:
    # As installed: with compiled bytecode, which pip makes and some environments forbid.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-c", code]
    return subprocess.run(
        command, capture_output=True, text=True, check=True, env=environment
    ).stdout


def test_import_time() -> None:
    # One run in peace is enough: other programs on the machine make some of them slower.
    assert any(float(run(MEASURE)) < LIMIT_SECONDS for _ in range(20))


def test_modules_loaded() -> None:
    start = set(run("import sys; print(*sys.modules)").split())
    loaded = set(run("import sys, flambeau; print(*sys.modules)").split()) - start
    print(*sorted(loaded), sep="\n")
    assert not {name.split(".")[0] for name in loaded} & HEAVY


def test_no_thread_is_started() -> None:
    code = "import flambeau, os; print(len(os.listdir('/proc/self/task')))"
    assert int(run(code)) == 1


def test_thread_local_memory_is_small() -> None:
    """Note [Thread-local memory]: else the module cannot be loaded after PyTorch."""
    import struct

    from flambeau import _core

    with open(_core.__file__, "rb") as file:
        image = file.read(64 * 1024)
    (start,) = struct.unpack_from("<Q", image, 32)
    size, count = struct.unpack_from("<HH", image, 54)
    headers = [struct.unpack_from("<IIQQQQQQ", image, start + i * size) for i in range(count)]
    thread_local = [header[6] for header in headers if header[0] == 7]  # PT_TLS
    assert sum(thread_local) <= 256
