"""Sharing memory with arrays of other libraries by DLPack."""

from flambeau._dlpack import DLDeviceType, from_dlpack, to_dlpack

__all__ = ["DLDeviceType", "from_dlpack", "to_dlpack"]
