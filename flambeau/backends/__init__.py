"""Settings of the libraries underneath."""

from flambeau.backends import cuda, cudnn, mps

__all__ = ["cuda", "cudnn", "mps"]
