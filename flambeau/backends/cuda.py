"""CUDA's switches; without a GPU they are kept and have no effect."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flambeau import _core
from flambeau.backends._precision import Switch, settings

__all__ = ["is_built", "matmul"]


class _Matmul:
    """How matrices are multiplied."""

    # Whether float32 products may round what they multiply to 10 bits of mantissa.
    allow_tf32 = Switch("matmul_tf32")
    allow_fp16_reduced_precision_reduction = True
    allow_bf16_reduced_precision_reduction = True

    @property
    def fp32_precision(self) -> str:
        """ "tf32" or "ieee"."""
        return "tf32" if self.allow_tf32 else "ieee"

    @fp32_precision.setter
    def fp32_precision(self, value: str) -> None:
        self.allow_tf32 = value == "tf32"


matmul = _Matmul()


def is_built() -> bool:
    """Returns whether CUDA can be used; nothing of it is needed to build the package."""
    return True


_math_sdp = True


def flash_sdp_enabled() -> bool:
    """Returns whether attention may be computed by a kernel of our own."""
    return _core.math_setting("attention_flash")


def mem_efficient_sdp_enabled() -> bool:
    """Returns whether attention may be computed by a kernel of our own, by PyTorch's other name."""
    return _core.math_setting("attention_efficient")


def cudnn_sdp_enabled() -> bool:
    """Returns whether attention may be computed by cuDNN."""
    return _core.math_setting("attention_cudnn")


def math_sdp_enabled() -> bool:
    """Returns what enable_math_sdp was given."""
    return _math_sdp


def enable_flash_sdp(enabled: bool) -> None:
    """Permits or forbids attention by a kernel of our own; see torch.nn.attention.sdpa_kernel."""
    _core.set_math_setting("attention_flash", bool(enabled))


def enable_mem_efficient_sdp(enabled: bool) -> None:
    """As enable_flash_sdp; the kernel is used if either permits it."""
    _core.set_math_setting("attention_efficient", bool(enabled))


def enable_cudnn_sdp(enabled: bool) -> None:
    """Permits or forbids attention by cuDNN."""
    _core.set_math_setting("attention_cudnn", bool(enabled))


def enable_math_sdp(enabled: bool) -> None:
    """Kept for math_sdp_enabled: products and softmax always compute what nothing else can."""
    global _math_sdp
    _math_sdp = bool(enabled)


@contextmanager
def sdp_kernel(
    enable_flash: bool = True,
    enable_math: bool = True,
    enable_mem_efficient: bool = True,
    enable_cudnn: bool = True,
) -> Iterator[None]:
    """PyTorch's older form of torch.nn.attention.sdpa_kernel."""
    wanted = {
        "attention_flash": enable_flash,
        "attention_efficient": enable_mem_efficient,
        "attention_cudnn": enable_cudnn,
    }
    before = math_sdp_enabled()
    enable_math_sdp(enable_math)
    try:
        with settings(wanted):
            yield
    finally:
        enable_math_sdp(before)


def preferred_linalg_library(backend: Any = None) -> str:
    """Returns "default"; accepted as PyTorch does."""
    return "default"
