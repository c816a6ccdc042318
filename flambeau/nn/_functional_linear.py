"""Linear maps, embeddings and distances."""

from __future__ import annotations

import flambeau as fl
from flambeau import Tensor
from flambeau.ops._composite import composite


@composite(autocast="promote")
def bilinear(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """y_o = x1^T W_o x2 + b_o.

    Args:
        input1: (..., I).
        input2: (..., J).
        weight: (O, I, J).
        bias: (O) or None.

    Returns:
        (..., O).
    """
    if input1.shape[-1] != weight.shape[1] or input2.shape[-1] != weight.shape[2]:
        raise RuntimeError(
            f"bilinear: last dimensions {weight.shape[1]} and {weight.shape[2]} are required, "
            f"got {tuple(input1.shape)} and {tuple(input2.shape)}"
        )
    out = fl.einsum("...i,oij,...j->...o", input1, weight, input2)
    return out if bias is None else out + bias


# --- embeddings -----------------------------------------------------------------------------


def _row_of_padding(padding_idx: int | None, weight: Tensor) -> int | None:
    if padding_idx is None:
        return None
    rows = int(weight.shape[0])
    if not -rows <= padding_idx < rows:
        raise AssertionError(
            f"embedding: padding_idx must be within the {rows} rows of weight, got {padding_idx}"
        )
    return padding_idx % rows


def _limit_norms(weight: Tensor, indices: Tensor, max_norm: float, norm_type: float) -> None:
    """Scale down, in place, the rows in use that are longer than `max_norm`."""
    with fl.no_grad():
        rows = indices.unique()
        used = weight[rows]
        norm = used.norm(norm_type, dim=-1, keepdim=True)
        weight[rows] = fl.where(norm > max_norm, used * (max_norm / (norm + 1e-7)), used)


def embedding(
    input: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """The rows of `weight` that `input` names.

    Args:
        input: integer indices of any shape.
        weight: (rows, features).
        padding_idx: a row that gets no gradient.
        max_norm: rows in use that are longer are first scaled down, in place.
        norm_type: the p of that norm.
        scale_grad_by_freq: divide gradients by how often an index occurs in `input`.
        sparse: must be False; gradients are dense.

    Returns:
        (*input.shape, features).
    """
    if sparse:
        raise NotImplementedError("embedding: sparse gradients do not exist here; use sparse=False")
    padding_row = _row_of_padding(padding_idx, weight)
    if max_norm is not None:
        _limit_norms(weight, input, max_norm, norm_type)
    return fl.embedding(
        weight, input, -1 if padding_row is None else padding_row, scale_grad_by_freq
    )


def _bags(input: Tensor, offsets: Tensor, include_last_offset: bool) -> tuple[Tensor, int]:
    """The bag of each element of a flat `input`, and the number of bags."""
    starts = offsets[:-1] if include_last_offset else offsets
    places = fl.arange(input.shape[0], device=input.device)
    bag = (places.unsqueeze(1) >= starts.unsqueeze(0)).sum(1) - 1
    return bag, starts.shape[0]


@composite(grad_name="EmbeddingBagBackward0")
def embedding_bag(
    input: Tensor,
    weight: Tensor,
    offsets: Tensor | None = None,
    max_norm: float | None = None,
    norm_type: float = 2,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Tensor:
    """Sum, mean or maximum of the embeddings in each bag of indices.

    Args:
        input: (bags, n) indices, or flat ones with `offsets`.
        weight: (rows, features).
        offsets: where each bag starts in a flat `input`.
        mode: "sum", "mean" or "max".
        per_sample_weights: factors of the embeddings, for mode "sum".
        padding_idx: an index that does not count.

    Returns:
        (bags, features); an empty bag gives zeros.
    """
    if mode not in ("sum", "mean", "max"):
        raise ValueError(f"embedding_bag: mode must be sum, mean or max, got {mode!r}")
    if per_sample_weights is not None and mode != "sum":
        raise NotImplementedError(
            f"embedding_bag: per_sample_weights need mode='sum', got {mode!r}"
        )
    if input.dim() == 2:
        if offsets is not None:
            raise ValueError("embedding_bag: offsets are for a flat input, got a 2-D input")
        count = input.shape[0]
        bag = fl.arange(count, device=input.device).repeat_interleave(input.shape[1])
    elif input.dim() == 1 and offsets is not None:
        bag, count = _bags(input, offsets, include_last_offset)
    else:
        raise ValueError(
            f"embedding_bag: a 2-D input, or a flat one with offsets, is required, "
            f"got shape {tuple(input.shape)}"
        )
    flat = input.flatten()
    rows = embedding(flat, weight, padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse)
    if per_sample_weights is not None:
        rows = rows * per_sample_weights.flatten().unsqueeze(-1)
    padding_row = _row_of_padding(padding_idx, weight)
    if padding_row is not None:
        kept = flat != padding_row
        rows, bag = rows[kept], bag[kept]
    zeros = rows.new_zeros(count, weight.shape[1])
    if mode == "max":
        index = bag.unsqueeze(-1).expand_as(rows)
        return zeros.scatter_reduce(0, index, rows, "amax", include_self=False)
    total = zeros.index_add(0, bag, rows)
    if mode == "sum":
        return total
    members = fl.bincount(bag, minlength=count).clamp(min=1)
    return total / members.unsqueeze(-1)


# --- distances ------------------------------------------------------------------------------


@composite(autocast="float32 on cuda")
def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """x1 . x2 / (|x1| |x2|) along `dim`; norms are at least eps."""
    length1 = x1.norm(2, dim, keepdim=True).clamp(min=eps)
    length2 = x2.norm(2, dim, keepdim=True).clamp(min=eps)
    return ((x1 / length1) * (x2 / length2)).sum(dim)


@composite()
def pairwise_distance(
    x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False
) -> Tensor:
    """The p-norm of x1 - x2 + eps over the last dimension."""
    return (x1 - x2 + eps).norm(p, -1, keepdim=keepdim)


@composite()
def normalize(
    input: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12, out: Tensor | None = None
) -> Tensor:
    """x / max(|x|_p, eps) along `dim`."""
    length = input.norm(p, dim, keepdim=True).clamp(min=eps).expand_as(input)
    return fl.div(input, length, out=out) if out is not None else input / length
