"""CUDA's switches; without a GPU they are kept and have no effect."""

from __future__ import annotations

from typing import Any

from flambeau.backends._precision import Switch

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


def flash_sdp_enabled() -> bool:
    """Returns True: attention chooses its way by itself."""
    return True


mem_efficient_sdp_enabled = math_sdp_enabled = cudnn_sdp_enabled = flash_sdp_enabled


def enable_flash_sdp(enabled: bool) -> None:
    """Accepted as PyTorch does; attention chooses its way by itself."""


enable_mem_efficient_sdp = enable_math_sdp = enable_cudnn_sdp = enable_flash_sdp


def preferred_linalg_library(backend: Any = None) -> str:
    """Returns "default"; accepted as PyTorch does."""
    return "default"
