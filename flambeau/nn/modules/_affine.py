"""The learnt scale and shift of normalisation layers."""

from __future__ import annotations

from typing import Any

import flambeau as fl
from flambeau import Tensor

from ..parameter import Parameter
from .module import Module


def add_affine(
    module: Module, shape: tuple[int, ...], weight: bool, bias: bool, device: Any, dtype: Any
) -> None:
    """Register the learnt scale and shift, or None in their place."""
    for name, wanted in (("weight", weight), ("bias", bias)):
        value = Parameter(fl.empty(shape, device=device, dtype=dtype)) if wanted else None
        module.register_parameter(name, value)


def reset_affine(weight: Tensor | None, bias: Tensor | None) -> None:
    with fl.no_grad():
        if weight is not None:
            weight.fill_(1.0)
        if bias is not None:
            bias.fill_(0.0)
