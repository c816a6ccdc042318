"""Attention: softmax(Q K^T / sqrt(d)) V, and its multi-head form."""

from __future__ import annotations

import math
from typing import Any, cast

import flambeau as fl
from flambeau import Tensor, _core
from flambeau.ops._composite import composite

from . import _functional_core as core
from ._functional_activation import dropout, softmax
from ._functional_vision import constant_pad_nd


@composite(grad_name="ScaledDotProductFlashAttentionForCpuBackward0", autocast="lower")
def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """softmax(Q K^T * scale + mask) V (Vaswani et al., 2017, eq. 1).

    Args:
        query: (..., L, E).
        key: (..., S, E).
        value: (..., S, V).
        attn_mask: broadcast to (..., L, S); boolean (True takes part) or added to the scores.
        dropout_p: probability with which a weight is dropped; always applied.
        is_causal: position i sees positions up to i.
        scale: 1 / sqrt(E) by default.
        enable_gqa: key and value may have fewer heads, at dimension -3; they are repeated.

    Returns:
        (..., L, V).

    Raises:
        RuntimeError: both attn_mask and is_causal are given.
    """
    if attn_mask is not None and is_causal:
        raise RuntimeError(
            "scaled_dot_product_attention: attn_mask and is_causal exclude each other; "
            "put the causal part into the mask"
        )
    if enable_gqa:
        key = key.repeat_interleave(query.shape[-3] // key.shape[-3], -3)
        value = value.repeat_interleave(query.shape[-3] // value.shape[-3], -3)
    if scale is None:
        scale = 1 / math.sqrt(query.shape[-1])
    if query.is_cuda and dropout_p == 0.0:
        fused = _core.private["fused_attention"](query, key, value, attn_mask, is_causal, scale)
        if fused is not None:
            return cast(Tensor, fused)
    scores = fl.matmul(query * scale, key.transpose(-2, -1))
    alive = None
    if is_causal:
        hidden = fl.ones(scores.shape[-2:], dtype=fl.bool, device=query.device).triu(1)
        scores = scores + _additive(hidden, scores.dtype, "attn_mask")
    elif attn_mask is not None:
        hidden = attn_mask.logical_not() if attn_mask.dtype == fl.bool else attn_mask
        bias, alive = _without_empty_rows(_additive(hidden, scores.dtype, "attn_mask"))
        scores = scores + bias
    weights = softmax(scores, -1)
    if alive is not None:
        weights = weights * alive
    if dropout_p > 0.0:
        weights = fl.dropout(weights, dropout_p, True)
    return fl.matmul(weights, value)


def _without_empty_rows(bias: Tensor) -> tuple[Tensor, Tensor]:
    """A query that may see nothing gets zeros, not NaN: its row of the mask is dropped here, and
    its weights are multiplied by the second result, which is 0 for it and 1 for the others."""
    empty = (bias == -math.inf).all(-1, keepdim=True)
    return bias.masked_fill(empty, 0.0), empty.logical_not().to(bias.dtype)


def _additive(mask: Tensor, dtype: Any, name: str) -> Tensor:
    """A mask as numbers to add; in a boolean one True means: masked out."""
    if mask.dtype == fl.bool:
        return fl.zeros_like(mask, dtype=dtype).masked_fill(mask, -math.inf)
    if not mask.is_floating_point():
        raise AssertionError(f"{name}: bool or floating point is required, got {mask.dtype}")
    return mask


def _in_projection(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    weight: Tensor | tuple[Tensor, Tensor, Tensor],
    bias: Tensor | None,
) -> tuple[Tensor, ...]:
    """The three linear maps, as one product where the inputs are the same tensor."""
    features = query.shape[-1]
    if isinstance(weight, Tensor):
        if query is key and key is value:
            return core.linear(query, weight, bias).chunk(3, -1)
        if key is value:
            sizes = [features, 2 * features]
            query_weight, rest_weight = weight.split(sizes)
            query_bias, rest_bias = (None, None) if bias is None else bias.split(sizes)
            k, v = core.linear(key, rest_weight, rest_bias).chunk(2, -1)
            return core.linear(query, query_weight, query_bias), k, v
    weights = weight.chunk(3) if isinstance(weight, Tensor) else weight
    biases = (None, None, None) if bias is None else bias.chunk(3)
    inputs = (query, key, value)
    return tuple(core.linear(x, w, b) for x, w, b in zip(inputs, weights, biases, strict=True))


def _append(input: Tensor, extra: Tensor) -> Tensor:
    """One more position (S + 1, N, E)."""
    return fl.cat([input, extra.expand(1, *input.shape[1:])])


@composite()
def multi_head_attention_forward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: Tensor | None,
    in_proj_bias: Tensor | None,
    bias_k: Tensor | None,
    bias_v: Tensor | None,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: Tensor,
    out_proj_bias: Tensor | None,
    training: bool = True,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    use_separate_proj_weight: bool = False,
    q_proj_weight: Tensor | None = None,
    k_proj_weight: Tensor | None = None,
    v_proj_weight: Tensor | None = None,
    static_k: Tensor | None = None,
    static_v: Tensor | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Attention in `num_heads` subspaces (Vaswani et al., 2017, section 3.2.2).

    Args:
        query: (L, N, E) or (L, E).
        key, value: (S, N, E') or (S, E').
        key_padding_mask: (N, S); True, or -inf, leaves a position out.
        attn_mask: (L, S) or (N * heads, L, S); True, or -inf, leaves a pair out.
        is_causal: says that attn_mask is the causal one.

    Returns:
        Output (L, N, E), and the weights (N, L, S) averaged over heads, or None.
    """
    if query.dim() == 2:
        padding = None if key_padding_mask is None else key_padding_mask.unsqueeze(0)
        # One tensor stays one tensor, so that its projections are one product.
        q = query.unsqueeze(1)
        k = q if key is query else key.unsqueeze(1)
        v = k if value is key else value.unsqueeze(1)
        out, weights = multi_head_attention_forward(
            q, k, v, embed_dim_to_check, num_heads, in_proj_weight, in_proj_bias, bias_k, bias_v,
            add_zero_attn, dropout_p, out_proj_weight, out_proj_bias, training, padding,
            need_weights, attn_mask, use_separate_proj_weight, q_proj_weight, k_proj_weight,
            v_proj_weight, static_k, static_v, average_attn_weights, is_causal,
        )  # fmt: skip
        return out.squeeze(1), None if weights is None else weights.squeeze(0)
    length, batch, features = query.shape
    if features != embed_dim_to_check or features % num_heads:
        raise AssertionError(
            f"multi_head_attention: queries of {embed_dim_to_check} features, divisible by "
            f"{num_heads} heads, are required, got {tuple(query.shape)}"
        )
    if is_causal and attn_mask is None:
        raise RuntimeError("multi_head_attention: is_causal needs the causal attn_mask as well")
    if attn_mask is not None:
        attn_mask = _additive(attn_mask, query.dtype, "attn_mask")
    if key_padding_mask is not None:
        key_padding_mask = _additive(key_padding_mask, query.dtype, "key_padding_mask")
    projection: Any = in_proj_weight
    if use_separate_proj_weight:
        projection = (q_proj_weight, k_proj_weight, v_proj_weight)
    q, k, v = _in_projection(query, key, value, projection, in_proj_bias)
    extra = 0
    if bias_k is not None and bias_v is not None:
        k, v, extra = _append(k, bias_k), _append(v, bias_v), extra + 1
    head = features // num_heads
    # (length, batch, heads * head) to (batch, heads, length, head)
    q, k, v = (x.reshape(x.shape[0], batch, num_heads, head).permute(1, 2, 0, 3) for x in (q, k, v))
    if static_k is not None:
        k = static_k.reshape(batch, num_heads, -1, head)
    if static_v is not None:
        v = static_v.reshape(batch, num_heads, -1, head)
    if add_zero_attn:
        zeros = k.new_zeros(batch, num_heads, 1, head)
        k, v, extra = fl.cat([k, zeros], 2), fl.cat([v, zeros], 2), extra + 1
    mask = _merge_masks(attn_mask, key_padding_mask, batch, num_heads, extra)
    p = dropout_p if training else 0.0
    weights = None
    if need_weights:
        scores = fl.matmul(q * math.sqrt(1.0 / head), k.transpose(-2, -1))
        weights = softmax(scores if mask is None else scores + mask, -1)
        weights = dropout(weights, p) if p > 0 else weights
        context = fl.matmul(weights, v)
    else:
        context = scaled_dot_product_attention(q, k, v, mask, p)
    joined = context.permute(2, 0, 1, 3).reshape(length, batch, features)
    out = core.linear(joined, out_proj_weight, out_proj_bias)
    if weights is not None and average_attn_weights:
        weights = weights.mean(1)
    return out, weights


def _merge_masks(
    attn_mask: Tensor | None,
    key_padding_mask: Tensor | None,
    batch: int,
    num_heads: int,
    extra: int,
) -> Tensor | None:
    """One additive mask that broadcasts to (batch, heads, L, S + extra)."""
    if attn_mask is not None:
        if attn_mask.dim() == 3:
            attn_mask = attn_mask.reshape(batch, num_heads, *attn_mask.shape[1:])
        attn_mask = constant_pad_nd(attn_mask, [0, extra], 0.0) if extra else attn_mask
    if key_padding_mask is not None:
        if extra:
            key_padding_mask = constant_pad_nd(key_padding_mask, [0, extra], 0.0)
        key_padding_mask = key_padding_mask.reshape(batch, 1, 1, -1)
    if attn_mask is None or key_padding_mask is None:
        return key_padding_mask if attn_mask is None else attn_mask
    return attn_mask + key_padding_mask
