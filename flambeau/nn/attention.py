"""torch.nn.attention: the choice of a kernel for scaled_dot_product_attention."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Any


class SDPBackend(Enum):
    """PyTorch's kernels. Here there is one implementation per device, whatever is chosen."""

    ERROR = -1
    MATH = 0
    FLASH_ATTENTION = 1
    EFFICIENT_ATTENTION = 2
    CUDNN_ATTENTION = 3
    OVERRIDEABLE = 4


@contextmanager
def sdpa_kernel(backends: Any, set_priority: bool = False) -> Iterator[None]:
    """Accept PyTorch's choice of kernels for a block; it changes nothing here."""
    chosen = [backends] if isinstance(backends, SDPBackend) else list(backends)
    if not chosen or not all(isinstance(backend, SDPBackend) for backend in chosen):
        raise AssertionError(f"sdpa_kernel: one or more SDPBackend are required, got {backends}")
    yield
