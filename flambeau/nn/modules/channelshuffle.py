"""Shuffling of groups of channels."""

from __future__ import annotations

from flambeau import Tensor

from .. import functional as F
from .module import Module


class ChannelShuffle(Module):
    """Interleave the groups of channels (Zhang et al., 2017)."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, input: Tensor) -> Tensor:
        return F.channel_shuffle(input, self.groups)

    def extra_repr(self) -> str:
        return f"groups={self.groups}"
