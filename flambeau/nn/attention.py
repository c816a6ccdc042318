"""torch.nn.attention: the choice of a kernel for scaled_dot_product_attention."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Any

from flambeau.backends import cuda


class SDPBackend(Enum):
    """Ways to compute attention on GPUs; there is one on the CPU, whatever is chosen.

    CUDNN_ATTENTION is cuDNN's, for 16-bit floats; FLASH_ATTENTION and EFFICIENT_ATTENTION are one
    kernel of our own; MATH is products and softmax, which also compute what the others cannot.
    """

    ERROR = -1
    MATH = 0
    FLASH_ATTENTION = 1
    EFFICIENT_ATTENTION = 2
    CUDNN_ATTENTION = 3
    OVERRIDEABLE = 4


@contextmanager
def sdpa_kernel(
    backends: SDPBackend | list[SDPBackend], set_priority: bool = False
) -> Iterator[None]:
    """Permits only some ways to compute attention on GPUs in a block.

    Args:
        backends: one or more SDPBackend. Where none of them can compute a call, products and
            softmax do (PyTorch raises an error then).
        set_priority: accepted; cuDNN comes first, then the kernel of our own.

    Raises:
        AssertionError: anything else than an SDPBackend, or none.
    """
    chosen: list[Any] = [backends] if isinstance(backends, SDPBackend) else list(backends)
    if not chosen or not all(isinstance(backend, SDPBackend) for backend in chosen):
        raise AssertionError(f"sdpa_kernel: one or more SDPBackend are required, got {backends}")
    with cuda.sdp_kernel(
        enable_flash=SDPBackend.FLASH_ATTENTION in chosen,
        enable_math=SDPBackend.MATH in chosen,
        enable_mem_efficient=SDPBackend.EFFICIENT_ATTENTION in chosen,
        enable_cudnn=SDPBackend.CUDNN_ATTENTION in chosen,
    ):
        yield
