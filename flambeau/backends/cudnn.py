"""cuDNN's switches; without a GPU they are kept and have no effect."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from types import ModuleType

from flambeau import _core
from flambeau.backends._precision import Switch, settings


def is_available() -> bool:
    """Returns whether cuDNN can be used."""
    return _core.cuda_device_count() > 0 and version() is not None


def version() -> int | None:
    """Returns cuDNN's version as a number, None without a GPU or without cuDNN."""
    if not _core.cuda_device_count():
        return None
    return _core.cuda_library("cudnn")[1] or None


@contextlib.contextmanager
def flags(
    enabled: bool = False,
    benchmark: bool = False,
    benchmark_limit: int = 10,
    deterministic: bool = False,
    allow_tf32: bool = True,
) -> Iterator[None]:
    """A scope with other switches.

    Args:
        enabled: whether cuDNN is used at all.
        benchmark: whether its algorithms are timed instead of guessed.
        benchmark_limit: accepted as PyTorch does.
        deterministic: only algorithms that always add in one order.
        allow_tf32: whether convolutions may round float32 to 10 bits of mantissa.
    """
    wanted = {
        "cudnn": enabled,
        "cudnn_benchmark": benchmark,
        "cudnn_deterministic": deterministic,
        "cudnn_tf32": allow_tf32,
    }
    with settings(wanted):
        yield


class _Module(ModuleType):
    """The module with settings of the core as attributes."""

    enabled = Switch("cudnn")
    benchmark = Switch("cudnn_benchmark")
    deterministic = Switch("cudnn_deterministic")
    allow_tf32 = Switch("cudnn_tf32")
    benchmark_limit = 10


sys.modules[__name__].__class__ = _Module
