"""Under autocast, results have the types that PyTorch's have, and so have gradients."""

import pytest
import torch

import flambeau

# `t` is the library, `F` its functional, x, y (4, 4) float32, h (4, 4) 16-bit, v, w vectors.
EXPRESSIONS = """
x @ y | h @ y | x.mm(h) | x.matmul(v) | t.addmm(x, y, h) | x.mv(v) | v.dot(w) | t.outer(v, w)
t.bmm(x[None], y[None]) | t.baddbmm(x[None], x[None], y[None]) | t.addbmm(x, x[None], y[None])
F.linear(x, y) | F.linear(x, y, v) | t.einsum('ij,jk->ik', x, h) | t.tensordot(x, y, 1)
F.conv1d(x[None], x[:, :, None]) | F.conv2d(x[None, None], y[None, None])
F.conv_transpose1d(x[None], x[:, :, None]) | F.scaled_dot_product_attention(x, y, y)
F.bilinear(x, y, t.ones(2, 4, 4)) | F.prelu(x, v[:1])
t.exp(h) | t.log(h.abs()) | h**2 | h.pow(3) | t.softmax(h, 1) | t.log_softmax(h, 1) | h.sum()
h.mean() | h.prod() | h.cumsum(0) | h.norm() | t.logsumexp(h, 0) | h.trace() | h.quantile(0.5)
h + x | h * h | h + 1.5
t.cat([x, h]) | t.stack([h, x]) | t.cat([h, h]) | x.index_copy(0, i, h[:2])
F.layer_norm(h, (4,)) | F.group_norm(h, 2) | F.gelu(h) | F.softplus(h) | F.cosine_similarity(h, x)
F.mse_loss(h, x) | F.l1_loss(h, h) | F.smooth_l1_loss(h, x) | F.huber_loss(h, x)
F.cross_entropy(h, i4) | F.nll_loss(t.log_softmax(h, 1), i4) | F.kl_div(h, x, reduction='sum')
F.binary_cross_entropy_with_logits(h, h.abs()) | F.binary_cross_entropy(h.sigmoid(), h.sigmoid())
F.poisson_nll_loss(h, x) | F.soft_margin_loss(h, x.detach()) | F.cosine_embedding_loss(h, x, s)
F.margin_ranking_loss(h[0], h[1], s) | F.triplet_margin_loss(h, x, h) | F.hinge_embedding_loss(h, x)
F.multi_margin_loss(h, i4) | F.multilabel_margin_loss(h, t.zeros(4, 4, dtype=t.int64))
t.cdist(x, h) | x.double() @ y.double() | F.softmax(h, 1, dtype=t.float32) | h.sum(dtype=t.float64)
t.where(h > 0, h, x) | F.relu(h) | F.dropout(h, 0.0) | h.to(t.float32) | x.clone()
t.add(x, h, out=t.empty(4, 4)) | x.clone().add_(h) | x.clone().addmm_(x, y)
t.nn.Linear(4, 3)(h) | t.nn.LayerNorm(4)(h)
t.nn.BatchNorm1d(4)(h) | t.nn.GroupNorm(2, 4)(h) | t.nn.BatchNorm1d(4).eval()(h)
t.nn.Embedding(3, 4)(i) | t.nn.MultiheadAttention(4, 2)(x, x, x)[0]
t.nn.TransformerEncoderLayer(4, 2, 8)(x)
"""
ALL = [part.strip() for line in EXPRESSIONS.strip().splitlines() for part in line.split("|")]


def outcome(library, expression: str, dtype: str, differentiate: bool = False) -> tuple[str, ...]:
    library.manual_seed(0)
    x, y = (library.rand(4, 4).requires_grad_(differentiate) for _ in range(2))
    h = library.rand(4, 4).to(getattr(library, dtype)).requires_grad_(differentiate)
    v, w = library.rand(4), library.rand(4)
    s = library.tensor([1, -1, 1, -1])
    i, i4 = library.tensor([0, 2]), library.tensor([0, 2, 1, 3])
    F = library.nn.functional
    names = {"t": library, "F": F, "x": x, "y": y, "h": h, "v": v, "w": w, "s": s, "i": i, "i4": i4}
    try:
        with library.autocast("cpu", dtype=getattr(library, dtype)):
            result = eval(expression, names)
    except (RuntimeError, TypeError, ValueError, NotImplementedError) as error:
        return (type(error).__name__,)
    if differentiate and result.requires_grad:
        result.float().sum().backward()
        return tuple(str(z.grad.dtype) if z.grad is not None else "none" for z in (x, y, h))
    return (str(result.dtype),)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("expression", ALL)
def test_types(expression: str, dtype: str) -> None:
    assert outcome(flambeau, expression, dtype) == outcome(torch, expression, dtype)


@pytest.mark.parametrize("expression", ALL)
def test_types_of_gradients(expression: str) -> None:
    ours = outcome(flambeau, expression, "bfloat16", differentiate=True)
    assert ours == outcome(torch, expression, "bfloat16", differentiate=True)
