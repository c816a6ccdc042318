"""Names of the backward graph's parts."""

from flambeau._core import HookHandle, Node

__all__ = ["HookHandle", "Node"]
