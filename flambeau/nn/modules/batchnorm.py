"""Batch normalisation, and what it shares with instance normalisation."""

from __future__ import annotations

from typing import Any, ClassVar

import flambeau as fl
from flambeau import Tensor

from .. import functional as F
from ._affine import add_affine, reset_affine
from .module import Module


class _NormBase(Module):
    """The base of batch and instance normalisation: running statistics per channel."""

    _version = 2
    input_dims: ClassVar[tuple[int, ...]]

    weight: Tensor | None
    bias: Tensor | None
    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None

    def __init__(
        self,
        num_features: int,
        eps: float,
        momentum: float | None,
        affine: bool,
        track_running_stats: bool,
        device: Any,
        dtype: Any,
        bias: bool,
    ) -> None:
        super().__init__()
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.affine = affine
        self.track_running_stats = track_running_stats
        add_affine(self, (num_features,), affine, affine and bias, device, dtype)
        mean = var = count = None
        if track_running_stats:
            mean = fl.zeros(num_features, device=device, dtype=dtype)
            var = fl.ones(num_features, device=device, dtype=dtype)
            count = fl.tensor(0, dtype=fl.int64, device=device)
        self.register_buffer("running_mean", mean)
        self.register_buffer("running_var", var)
        self.register_buffer("num_batches_tracked", count)
        self.reset_parameters()

    def reset_running_stats(self) -> None:
        """Forget what was learnt about the data."""
        starts = ((self.running_mean, 0), (self.running_var, 1), (self.num_batches_tracked, 0))
        for statistic, start in starts:
            if statistic is not None:
                statistic.fill_(start)

    def reset_parameters(self) -> None:
        """Forget the statistics, set weight to 1 and bias to 0."""
        self.reset_running_stats()
        reset_affine(self.weight, self.bias)

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() not in self.input_dims:
            expected = " or ".join(f"{dim}D" for dim in self.input_dims)
            raise ValueError(
                f"{type(self).__name__}: expected {expected} input (got {input.dim()}D input)"
            )

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, "
            f"affine={self.affine}, bias={self.bias is not None}, "
            f"track_running_stats={self.track_running_stats}"
        )

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        *lists: Any,
    ) -> None:
        """Files of version 1 have no count of batches; ours is kept for them."""
        key = prefix + "num_batches_tracked"
        version = local_metadata.get("version")
        if self.track_running_stats and (version is None or version < 2) and key not in state_dict:
            state_dict[key] = fl.tensor(0) if version is None else self.num_batches_tracked
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *lists)


class _BatchNorm(_NormBase):
    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(
            num_features, eps, momentum, affine, track_running_stats, device, dtype, bias
        )

    def forward(self, input: Tensor) -> Tensor:
        self._check_input_dim(input)
        use_batch = self.training or self.running_mean is None
        momentum = 0.0 if self.momentum is None else self.momentum
        if self.training and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            if self.momentum is None:  # the plain average of all batches
                momentum = 1.0 / float(self.num_batches_tracked)
        update = not self.training or self.track_running_stats
        return F.batch_norm(
            input,
            self.running_mean if update else None,
            self.running_var if update else None,
            self.weight,
            self.bias,
            use_batch,
            momentum,
            self.eps,
        )


class BatchNorm1d(_BatchNorm):
    """Batch normalisation of (N, C) or (N, C, L); arguments as BatchNorm2d's."""

    input_dims = (2, 3)


class BatchNorm2d(_BatchNorm):
    """Normalise each channel of (N, C, H, W) over the batch (Ioffe and Szegedy, 2015).

    Args:
        num_features: C.
        eps: added to the variance.
        momentum: share of a batch in the running statistics; None for the plain average.
        affine: learn a weight and a bias per channel.
        track_running_stats: keep running statistics and use them in evaluation.
    """

    input_dims = (4,)


class BatchNorm3d(_BatchNorm):
    """Batch normalisation of (N, C, D, H, W); arguments as BatchNorm2d's."""

    input_dims = (5,)
