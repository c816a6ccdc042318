"""The core's operators that PyTorch keeps in nn.functional: linear, convolutions, pools, ..."""

from __future__ import annotations

from typing import Any

from flambeau import _core

globals().update(_core.functional)


def __getattr__(name: str) -> Any:
    raise AttributeError(f"the core has no operator '{name}' for nn.functional")
