"""Instance normalisation."""

from __future__ import annotations

from typing import Any

from flambeau import Tensor

from .. import functional as F
from .batchnorm import _NormBase


class _InstanceNorm(_NormBase):
    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
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
        is_single = input.dim() == min(self.input_dims)
        batch = input.unsqueeze(0) if is_single else input
        if batch.shape[1] != self.num_features and self.affine:
            raise ValueError(
                f"{type(self).__name__}: {self.num_features} channels are required, "
                f"got {tuple(input.shape)}"
            )
        out = F.instance_norm(
            batch,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training or not self.track_running_stats,
            0.0 if self.momentum is None else self.momentum,
            self.eps,
        )
        return out.squeeze(0) if is_single else out


class InstanceNorm1d(_InstanceNorm):
    """Instance normalisation of (N, C, L) or (C, L)."""

    input_dims = (2, 3)


class InstanceNorm2d(_InstanceNorm):
    """Normalise each channel of each sample of (N, C, H, W) (Ulyanov et al., 2016).

    Args:
        num_features: C.
        eps: added to the variance.
        momentum: share of a batch in the running statistics.
        affine: learn a weight and a bias per channel.
        track_running_stats: keep running statistics and use them in evaluation.
    """

    input_dims = (3, 4)


class InstanceNorm3d(_InstanceNorm):
    """Instance normalisation of (N, C, D, H, W) or (C, D, H, W)."""

    input_dims = (4, 5)
