"""Comparisons of whole tensors, and small numerical composites."""

from __future__ import annotations

from typing import Any

import flambeau
from flambeau import Tensor
from flambeau.ops._composite import composite


@composite(method=True)
def equal(input: Tensor, other: Tensor) -> bool:
    """Returns whether two tensors have the same shape and equal elements."""
    return input.shape == other.shape and bool((input == other).all())


@composite(method=True)
def allclose(
    input: Tensor, other: Tensor, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False
) -> bool:
    """Returns whether |input - other| <= atol + rtol * |other| everywhere."""
    if input.dtype is not other.dtype:
        raise RuntimeError(
            f"allclose: {input.dtype} did not match {other.dtype}; convert one with .to(dtype)"
        )
    return bool(flambeau.isclose(input, other, rtol, atol, equal_nan).all())


@composite(method=True)
def diff(
    input: Tensor,
    n: int = 1,
    dim: int = -1,
    prepend: Tensor | None = None,
    append: Tensor | None = None,
) -> Tensor:
    """Returns the n-th forward difference along a dimension."""
    parts = [x for x in (prepend, input, append) if x is not None]
    out = flambeau.cat(parts, dim) if len(parts) > 1 else input
    for _ in range(n):
        length = out.shape[dim]
        after = out.narrow(dim, min(1, length), max(length - 1, 0))
        before = out.narrow(dim, 0, max(length - 1, 0))
        out = after ^ before if out.dtype is flambeau.bool else after - before
    return out


@composite()
def trapezoid(y: Tensor, x: Tensor | None = None, *, dx: Any = 1, dim: int = -1) -> Tensor:
    """Integrates by the trapezoidal rule along a dimension."""
    length = y.shape[dim]
    pairs = y.narrow(dim, 1, length - 1) + y.narrow(dim, 0, length - 1)
    step = dx if x is None else diff(x, dim=dim if x.dim() == y.dim() else -1)
    if x is not None and x.dim() == 1 and y.dim() > 1:
        shape = [1] * y.dim()
        shape[dim] = -1
        step = step.reshape(shape)
    return (pairs * step).sum(dim) / 2


@composite(method=True)
def cov(input: Tensor, *, correction: int = 1) -> Tensor:
    """Returns the covariance matrix of variables (rows) over observations (columns)."""
    rows = input.reshape(1, -1) if input.dim() < 2 else input
    centred = rows - rows.mean(1, keepdim=True)
    result = centred @ centred.t() / max(rows.shape[1] - correction, 0)
    return result.squeeze() if input.dim() < 2 else result


@composite(method=True)
def corrcoef(input: Tensor) -> Tensor:
    """Returns the matrix of correlation coefficients of variables (rows)."""
    matrix = cov(input)
    if matrix.dim() == 0:
        return matrix / matrix
    scale = matrix.diagonal().sqrt()
    return (matrix / scale.unsqueeze(0) / scale.unsqueeze(1)).clamp(-1, 1)


@composite(autocast="float32")
def cdist(x1: Tensor, x2: Tensor, p: float = 2.0, compute_mode: str | None = None) -> Tensor:
    """Returns the p-norm distances of all pairs of rows, (..., P, M) and (..., R, M)."""
    return (x1.unsqueeze(-2) - x2.unsqueeze(-3)).norm(p, dim=-1)
