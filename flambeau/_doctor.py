"""The command `flambeau doctor`: what was found on this machine, and how to mend what is missing.

Every line is found out on its own, so that one broken part does not hide the others.
"""

from __future__ import annotations

import os
import platform
import sys
import textwrap
from collections.abc import Callable, Iterator
from functools import partial

from flambeau import _core

_WIDTH = 100
_LABELS = 14  # columns of the labels
_INSTALL = {13: 'pip install "flambeau[cuda]"', 12: 'pip install "flambeau[cuda12]"'}


class _Examination:
    """Lines for the terminal, and what is to be done."""

    def __init__(self) -> None:
        self.is_well = True
        self.remedies: dict[str, None] = {}  # in order, each once

    def line(self, label: str, find: Callable[[], str]) -> None:
        """Print a label and what the function finds, or why it cannot."""
        try:
            text = find()
        except BaseException as error:  # whatever is broken
            if isinstance(error, KeyboardInterrupt):
                raise
            self.is_well = False
            text = f"FAILED: {type(error).__name__}: {error}"
        _show(label, text)

    def title(self, text: str) -> None:
        print(f"\n{text}")

    def mend(self, command: str) -> None:
        self.remedies[command] = None


def _show(label: str, text: str) -> None:
    indent = " " * (2 + _LABELS)
    lines = [
        wrapped
        for part in text.splitlines() or [""]
        for wrapped in textwrap.wrap(
            part, _WIDTH - len(indent), break_long_words=False, break_on_hyphens=False
        )
        or [""]
    ]
    print(f"  {label:{_LABELS}}{lines[0]}")
    for line in lines[1:]:
        print(indent + line)


def _size(count: int) -> str:
    return f"{count / 2**30:.1f} GiB"


# --- the machine without its GPUs ---------------------------------------------------------------


def _package() -> str:
    import flambeau

    return f"{flambeau.__version__}  {os.path.dirname(flambeau.__file__)}"


def _python() -> str:
    return f"{platform.python_version()}  {sys.executable}"


def _numpy() -> str:
    import numpy

    return str(numpy.__version__)


def _openblas() -> str:
    from importlib.metadata import version

    return f"{version('scipy-openblas32')}  (scipy-openblas32)"


def _processor() -> str:
    name = platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
            names = [line.partition(":")[2] for line in lines if line.startswith("model name")]
        name = names[0].strip() if names else name
    except OSError:
        pass
    return f"{name}, kernels for {_core.instruction_set()}"


def _threads() -> str:
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return (
        f"{_core.thread_count()}  (processors: {affinity}; cores that the container's quota "
        f"allows: {_core.usable_processors()})"
    )


def _settings() -> str:
    names = sorted(name for name in os.environ if name.startswith("FLAMBEAU_"))
    return "\n".join(f"{name}={os.environ[name]}" for name in names) or "none"


def _processor_works() -> str:
    import flambeau as fl

    x = fl.arange(6.0).reshape(2, 3).requires_grad_()
    loss = (x @ x.t()).exp().log().sum()
    loss.backward()
    if x.grad is None or not fl.allclose(x.grad, 2 * x.detach().sum(0).expand(2, 3)):
        raise RuntimeError("a product, its logarithm and its gradient have wrong values")
    return "passed"


# --- GPUs ---------------------------------------------------------------------------------------


def _version(name: str, number: int) -> str:
    """The number that a library tells, as people write it."""
    if name in ("driver", "nvrtc"):
        return f"{number // 1000}.{number % 1000 // 10}"
    return f"{number // 10000}.{number % 10000 // 100}.{number % 100}"


def _driver(examination: _Examination) -> str:
    path, number, problem = _core.cuda_library("driver")
    if path:
        return f"for CUDA {_version('driver', number)} and earlier  {path}"
    if os.path.exists("/dev/nvidia0") or os.path.exists("/dev/dxg"):
        examination.is_well = False
        examination.mend("install NVIDIA's driver: the machine has a GPU")
    return f"none  ({problem})"


def _no_gpu(examination: _Examination) -> str:
    problem = _core.cuda_problem()
    if _core.cuda_library("driver")[0] and "no GPU" not in problem:
        examination.is_well = False
        return f"cannot be used: {problem}"
    return "no GPU, everything runs on the CPU"


def _gpu(index: int) -> str:
    found = _core.cuda_properties(index)
    return (
        f"{found['name']}, {_size(found['total_memory'])}, compute capability "
        f"{found['major']}.{found['minor']}, {found['multi_processor_count']} multiprocessors"
    )


def _library(examination: _Examination, name: str, purpose: str, is_required: bool) -> str:
    path, number, problem = _core.cuda_library(name)
    if path:
        return f"{_version(name, number)}  {path}"
    driver = _core.cuda_library("driver")[1] // 1000
    examination.mend(_INSTALL[12 if driver == 12 else 13])
    if is_required:
        examination.is_well = False
    return f"missing: {purpose}\n{problem}"


def _gpu_works(index: int) -> str:
    import flambeau as fl

    host = fl.arange(12.0).reshape(3, 4) / 10
    device = fl.device("cuda", index)
    x = host.to(device).requires_grad_()
    loss = (x @ x.t()).exp().sum()
    loss.backward()
    reference = host.clone().requires_grad_()
    (reference @ reference.t()).exp().sum().backward()
    fl.cuda.synchronize(device)
    if x.grad is None or reference.grad is None:
        raise RuntimeError("there is no gradient")
    if not fl.allclose(x.grad.cpu(), reference.grad, rtol=1e-2):
        raise RuntimeError("a product, its exponential and its gradient differ from the CPU's")
    return "passed"


_LIBRARIES = (
    ("NVRTC", "nvrtc", "nothing can be computed on the GPU without it", True),
    ("cuBLASLt", "cublaslt", "products of matrices are slower without it", False),
    ("cuDNN", "cudnn", "convolutions and attention are slower without it", False),
    ("NCCL", "nccl", "several GPUs cannot work together without it", False),
)


def _examine_gpus(examination: _Examination) -> None:
    examination.line("driver", partial(_driver, examination))
    try:
        count = _core.cuda_device_count()
    except Exception:
        count = 0
    if not count:
        examination.line("GPU", partial(_no_gpu, examination))
        return
    for index in range(count):
        examination.line(f"GPU {index}", partial(_gpu, index))
    for label, name, purpose, is_required in _LIBRARIES:
        examination.line(label, partial(_library, examination, name, purpose, is_required))
    for index in range(count):
        examination.line(f"self-test {index}", partial(_gpu_works, index))


def _machine() -> Iterator[tuple[str, Callable[[], str]]]:
    yield "flambeau", _package
    yield "Python", _python
    yield "NumPy", _numpy
    yield "OpenBLAS", _openblas
    yield "processor", _processor
    yield "threads", _threads
    yield "memory", lambda: f"{_size(_core.usable_memory())} may be used"
    yield "settings", _settings
    yield "self-test", _processor_works


def examine() -> int:
    """Prints what was found, what is missing, and what mends it.

    Returns:
        0 if what is there works; a machine without a GPU is well.
    """
    examination = _Examination()
    print("CPU")
    for label, find in _machine():
        examination.line(label, find)
    examination.title("GPU")
    _examine_gpus(examination)
    if examination.remedies:
        examination.title("To mend it")
        for remedy in examination.remedies:
            print(f"  {remedy}")
    examination.title("All is well." if examination.is_well else "Something does not work.")
    return 0 if examination.is_well else 1
