"""Losses over classes, margins and embeddings."""

from __future__ import annotations

from collections.abc import Callable

import flambeau as fl
from flambeau import Tensor, _core
from flambeau.ops._composite import composite

from ._functional_linear import pairwise_distance
from ._functional_loss import logit_entropy, reduce_loss, reduction_name

# --- cross-entropy --------------------------------------------------------------------------


def _check_classes(name: str, input: Tensor, target: Tensor) -> None:
    """Class indices must have the input's shape without the dimension of classes."""
    if input.dim() < 1:
        raise RuntimeError(f"{name}: an input with a dimension of classes is required, got 0-D")
    if target.dtype not in (fl.int64, fl.uint8):
        raise RuntimeError(
            f"{name}: expected scalar type Long for class indices, got {target.dtype}; "
            "convert with target.long()"
        )
    expected = input.shape[:1] + input.shape[2:] if input.dim() > 1 else ()
    if tuple(target.shape) == tuple(expected):
        return
    same_batch = target.dim() > 0 and target.shape[0] == input.shape[0]
    kind = RuntimeError if input.dim() < 2 or (input.dim() == 2 and same_batch) else ValueError
    raise kind(
        f"{name}: a target of shape {tuple(expected)} is required for an input of "
        f"{tuple(input.shape)}, got {tuple(target.shape)}"
    )


def _gather_classes(name: str, input: Tensor, target: Tensor, class_dim: int) -> Tensor:
    """input[n, target[n]]; a class out of range raises IndexError."""
    try:
        index = target.unsqueeze(class_dim)
        picked: Tensor = _core.private["gather_classes"](input, class_dim, index)
        return picked.squeeze(class_dim)
    except (RuntimeError, IndexError):
        low, high, count = int(target.min()), int(target.max()), input.shape[class_dim]
        if 0 <= low <= high < count:
            raise
        raise IndexError(
            f"{name}: Target {high if high >= count else low} is out of bounds for {count} classes"
        ) from None


@composite(grad_name="NllLossBackward0", autocast="float32")
def nll_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """-w_y x_y: the negative log-likelihood of the target classes.

    Args:
        input: log-probabilities (N, C), (C) or (N, C, ...).
        target: int64 classes (N), () or (N, ...).
        weight: one factor per class (C), or None.
        ignore_index: targets of this value do not count.
        reduction: "mean" (weighted), "sum" or "none".

    Raises:
        IndexError: a target is not in [0, C).
    """
    reduction = reduction_name(size_average, reduce, reduction)
    _check_classes("nll_loss", input, target)
    loss, share = _class_loss(input, target, weight, ignore_index)
    return loss.sum() / share.sum() if reduction == "mean" else reduce_loss(loss, reduction)


def _class_loss(
    input: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int
) -> tuple[Tensor, Tensor]:
    """The loss of every target and its share in the mean."""
    if weight is not None and tuple(weight.shape) != (input.shape[min(input.dim() - 1, 1)],):
        raise RuntimeError(
            f"nll_loss: one weight per class is required for an input of {tuple(input.shape)}, "
            f"got {tuple(weight.shape)}"
        )
    ignored = target == ignore_index
    classes = target.long().masked_fill(ignored, 0)
    picked = _gather_classes("nll_loss", input, classes, min(input.dim() - 1, 1))
    loss = (-picked).masked_fill(ignored, 0.0)
    if weight is None:
        return loss, ignored.logical_not()
    share = weight[classes].masked_fill(ignored, 0.0)
    return loss * share, share


@composite(grad_name="NllLossBackward0", autocast="float32")
def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """-sum_c w_c p_c log(softmax(x)_c), for classes or for probabilities p.

    Args:
        input: scores (N, C), (C) or (N, C, ...).
        target: int64 classes (N), () or (N, ...); or probabilities of the input's shape.
        weight: one factor per class (C), or None.
        ignore_index: target classes of this value do not count.
        reduction: "mean" (weighted, for classes), "sum" or "none".
        label_smoothing: share of the uniform distribution in p (Szegedy et al., 2016).

    Raises:
        IndexError: a class is not in [0, C).

    Example:
        >>> torch.nn.functional.cross_entropy(torch.zeros(2, 4), torch.tensor([0, 3]))
        tensor(1.3863)
    """
    reduction = reduction_name(size_average, reduce, reduction)
    if not 0.0 <= label_smoothing <= 1.0:
        raise RuntimeError(
            f"cross_entropy: label_smoothing between 0 and 1 is required, got {label_smoothing}"
        )
    class_dim = min(input.dim() - 1, 1)
    if target.shape == input.shape and target.is_floating_point():
        return _soft_cross_entropy(input, target, weight, reduction, label_smoothing)
    _check_classes("cross_entropy", input, target)
    log_p = fl.log_softmax(input, class_dim)
    loss, share = _class_loss(log_p, target, weight, ignore_index)
    if label_smoothing > 0.0:
        uniform = -_weigh_classes(log_p, weight).sum(class_dim)
        uniform = uniform.masked_fill(target == ignore_index, 0.0)
        rest = label_smoothing / input.shape[class_dim]
        loss = (1.0 - label_smoothing) * loss + rest * uniform
    return loss.sum() / share.sum() if reduction == "mean" else reduce_loss(loss, reduction)


def _weigh_classes(log_p: Tensor, weight: Tensor | None) -> Tensor:
    if weight is None:
        return log_p
    if log_p.dim() == 1:
        return log_p * weight
    return log_p * weight.reshape(1, -1, *[1] * (log_p.dim() - 2))


def _soft_cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None, reduction: str, smoothing: float
) -> Tensor:
    """Cross-entropy against probabilities; the mean is over samples."""
    class_dim = min(input.dim() - 1, 1)
    classes = input.shape[class_dim]
    if smoothing > 0.0:
        target = target * (1 - smoothing) + smoothing / classes
    loss = -(_weigh_classes(fl.log_softmax(input, class_dim), weight) * target).sum(class_dim)
    if reduction == "mean":
        return loss.sum() / (input.numel() / classes)
    return reduce_loss(loss, reduction)


# --- margins --------------------------------------------------------------------------------


@composite(autocast="float32")
def hinge_embedding_loss(
    input: Tensor,
    target: Tensor,
    margin: float = 1.0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """x where y = 1, max(0, margin - x) where y = -1."""
    reduction = reduction_name(size_average, reduce, reduction)
    zero = fl.zeros_like(input, requires_grad=False)
    near = fl.where(target != -1, input, zero)
    far = fl.where(target != 1, (margin - input).clamp(min=0), zero)
    return reduce_loss(near + far, reduction)


@composite(autocast="float32")
def margin_ranking_loss(
    input1: Tensor,
    input2: Tensor,
    target: Tensor,
    margin: float = 0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """max(0, -y (x1 - x2) + margin): x1 should rank above x2 where y = 1, below where -1."""
    reduction = reduction_name(size_average, reduce, reduction)
    if not input1.dim() == input2.dim() == target.dim():
        raise RuntimeError(
            "margin_ranking_loss: three tensors of equal dimensions are required, got "
            f"{tuple(input1.shape)}, {tuple(input2.shape)} and {tuple(target.shape)}"
        )
    return reduce_loss((-target * (input1 - input2) + margin).clamp(min=0), reduction)


@composite(autocast="float32")
def cosine_embedding_loss(
    input1: Tensor,
    input2: Tensor,
    target: Tensor,
    margin: float = 0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """1 - cos(x1, x2) where y = 1, max(0, cos(x1, x2) - margin) where y = -1.

    Args:
        input1, input2: (N, D) or (D).
        target: (N) or (), of 1 and -1.
    """
    reduction = reduction_name(size_average, reduce, reduction)
    if target.dim() != input1.dim() - 1 or input1.dim() not in (1, 2):
        raise RuntimeError(
            "cosine_embedding_loss: inputs (N, D) with a target (N), or (D) with (), are "
            f"required, got {tuple(input1.shape)} and {tuple(target.shape)}"
        )
    eps = 1e-12
    square1 = input1.square().sum(-1) + eps
    square2 = input2.square().sum(-1) + eps
    cosine = (input1 * input2).sum(-1) / (square1 * square2).sqrt()
    zero = fl.zeros_like(cosine, requires_grad=False)
    alike = fl.where(target == 1, 1 - cosine, zero)
    unlike = fl.where(target == -1, (cosine - margin).clamp(min=0), zero)
    return reduce_loss(alike + unlike, reduction)


def _triplet(to_positive: Tensor, to_negative: Tensor, margin: float, reduction: str) -> Tensor:
    return reduce_loss((to_positive - to_negative + margin).clamp(min=0), reduction)


@composite(autocast="float32")
def triplet_margin_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    margin: float = 1.0,
    p: float = 2,
    eps: float = 1e-6,
    swap: bool = False,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """max(0, |a - p| - |a - n| + margin) (Balntas et al., 2016).

    Args:
        anchor, positive, negative: (N, D) or (D).
        swap: take the smaller of the distances of anchor and positive to the negative.
    """
    reduction = reduction_name(size_average, reduce, reduction)

    def distance(x: Tensor, y: Tensor) -> Tensor:
        return pairwise_distance(x, y, p, eps)

    return triplet_margin_with_distance_loss(
        anchor,
        positive,
        negative,
        distance_function=distance,
        margin=margin,
        swap=swap,
        reduction=reduction,
    )


@composite()
def triplet_margin_with_distance_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    *,
    distance_function: Callable[[Tensor, Tensor], Tensor] | None = None,
    margin: float = 1.0,
    swap: bool = False,
    reduction: str = "mean",
) -> Tensor:
    """triplet_margin_loss with any distance."""
    if margin <= 0:
        raise ValueError(f"triplet_margin_loss: margin must be positive, got {margin}")
    if not anchor.dim() == positive.dim() == negative.dim():
        raise RuntimeError(
            "triplet_margin_loss: three tensors of equal dimensions are required, got "
            f"{tuple(anchor.shape)}, {tuple(positive.shape)} and {tuple(negative.shape)}"
        )
    distance = pairwise_distance if distance_function is None else distance_function
    to_negative = distance(anchor, negative)
    if swap:
        to_negative = fl.minimum(to_negative, distance(positive, negative))
    return _triplet(distance(anchor, positive), to_negative, margin, reduction)


@composite(grad_name="MultiMarginLossBackward0", autocast="float32")
def multi_margin_loss(
    input: Tensor,
    target: Tensor,
    p: int = 1,
    margin: float = 1.0,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """sum over c != y of w_y max(0, margin - x_y + x_c)^p / C.

    Args:
        input: (N, C) or (C).
        target: int64 (N) or ().
        p: 1 or 2.
    """
    reduction = reduction_name(size_average, reduce, reduction)
    if p not in (1, 2):
        raise ValueError(f"multi_margin_loss: p must be 1 or 2, got {p}")
    if input.dim() == 1:
        input, target = input.unsqueeze(0), target.reshape(1)
        out = _multi_margin(input, target, p, margin, weight)
        return out.squeeze(0) if reduction == "none" else reduce_loss(out, reduction)
    _check_classes("multi_margin_loss", input, target)
    return reduce_loss(_multi_margin(input, target, p, margin, weight), reduction)


def _multi_margin(
    input: Tensor, target: Tensor, p: int, margin: float, weight: Tensor | None
) -> Tensor:
    correct = _gather_classes("multi_margin_loss", input, target, 1).unsqueeze(1)
    excess = (margin - correct + input).clamp(min=0)
    if p == 2:
        excess = excess.square()
    is_target = fl.arange(input.shape[1], device=input.device) == target.unsqueeze(1)
    if weight is not None:
        excess = excess * weight[target].unsqueeze(1)
    return excess.masked_fill(is_target, 0).sum(1) / input.shape[1]


@composite(grad_name="MultilabelMarginLossBackward0", autocast="float32")
def multilabel_margin_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """sum over labels y and other classes c of max(0, 1 - (x_y - x_c)) / C.

    Args:
        input: (N, C) or (C).
        target: int64 of the same shape: the labels, then -1.
    """
    reduction = reduction_name(size_average, reduce, reduction)
    if input.shape != target.shape or input.dim() not in (1, 2):
        raise RuntimeError(
            "multilabel_margin_loss: input and target (N, C) or (C) are required, got "
            f"{tuple(input.shape)} and {tuple(target.shape)}"
        )
    counts = (target >= 0).long().cumprod(-1).bool()  # labels end at the first -1
    labels = target.masked_fill(counts.logical_not(), 0)
    ones = counts.to(input.dtype)
    is_label = fl.zeros_like(input, requires_grad=False).scatter_add(-1, labels, ones) > 0
    gap = 1 - (input.gather(-1, labels).unsqueeze(-1) - input.unsqueeze(-2))  # (..., label, class)
    used = counts.unsqueeze(-1) & is_label.logical_not().unsqueeze(-2)
    loss = gap.clamp(min=0).masked_fill(used.logical_not(), 0).sum((-1, -2)) / input.shape[-1]
    return reduce_loss(loss, reduction)


@composite()
def multilabel_soft_margin_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Mean over classes of the binary cross-entropy of sigmoid(x).

    Args:
        input: (N, C) or (C).
        target: the same shape, of 0 and 1.
    """
    reduction = reduction_name(size_average, reduce, reduction)
    loss = logit_entropy(input, target)
    loss = loss if weight is None else loss * weight
    return reduce_loss(loss.mean(-1), reduction)
