"""Version of the package, and of the CUDA that it finds."""

from __future__ import annotations

__version__ = "0.1.0"
hip = None
git_version = "unknown"


def __getattr__(name: str) -> str | None:
    # Loads NVRTC, so only for those who ask.
    if name != "cuda":
        raise AttributeError(f"module 'flambeau.version' has no attribute '{name}'")
    from flambeau import _core

    number = _core.cuda_library("nvrtc")[1] if _core.cuda_device_count() else 0
    return f"{number // 1000}.{number % 1000 // 10}" if number else None
