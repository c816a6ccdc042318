"""Initial values of weights, in place and without gradient.

Equal seeds give PyTorch's values: every function draws in the same order.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import flambeau as fl
from flambeau import Tensor

Generator = Any  # flambeau.Generator or None

_GAINS = {
    "linear": 1.0,
    "conv1d": 1.0,
    "conv2d": 1.0,
    "conv3d": 1.0,
    "conv_transpose1d": 1.0,
    "conv_transpose2d": 1.0,
    "conv_transpose3d": 1.0,
    "sigmoid": 1.0,
    "tanh": 5.0 / 3,
    "relu": math.sqrt(2.0),
    "selu": 3.0 / 4,
}


def calculate_gain(nonlinearity: str, param: Any = None) -> float:
    """The factor of the standard deviation that suits an activation.

    Args:
        nonlinearity: name of the function in nn.functional.
        param: the negative slope of "leaky_relu", 0.01 by default.

    Raises:
        ValueError: the name is unknown.
    """
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else param
        if isinstance(slope, bool) or not isinstance(slope, (int, float)):
            raise ValueError(f"calculate_gain: a number is required as slope, got {slope!r}")
        return math.sqrt(2.0 / (1 + slope**2))
    if nonlinearity not in _GAINS:
        known = ", ".join([*_GAINS, "leaky_relu"])
        raise ValueError(f"calculate_gain: one of {known} is required, got {nonlinearity!r}")
    return _GAINS[nonlinearity]


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: Generator = None) -> Tensor:
    """Fill with draws from U(a, b)."""
    with fl.no_grad():
        return tensor.uniform_(a, b, generator=generator)


def normal_(
    tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: Generator = None
) -> Tensor:
    """Fill with draws from N(mean, std^2)."""
    with fl.no_grad():
        return tensor.normal_(mean, std, generator=generator)


def trunc_normal_(
    tensor: Tensor,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    generator: Generator = None,
) -> Tensor:
    """Fill with draws from N(mean, std^2) restricted to [a, b], by rejection.

    Where [a, b] holds over 0.3 of the distribution, normal draws outside of it are repeated.
    Otherwise proposals from U(a, b) are accepted with probability density(x) / peak density.
    """

    def cdf(x: float) -> float:
        return (1.0 + math.erf(x / math.sqrt(2.0))) / 2.0

    def log_density(x: Any) -> Any:
        return -0.5 * ((x - mean) / std) ** 2

    if mean < a - 2 * std or mean > b + 2 * std:
        warnings.warn("trunc_normal_: mean is over 2 std from [a, b]; few draws will be accepted")
    is_likely = cdf((b - mean) / std) - cdf((a - mean) / std) > 0.3
    low, high = tensor.new_tensor([a, b]).tolist() if is_likely else (a, b)
    log_peak = log_density(max(a, min(mean, b)))

    def propose(out: Tensor) -> Tensor:
        if is_likely:
            return out.normal_(mean, std, generator=generator)
        return out.uniform_(a, b, generator=generator)

    def is_rejected(x: Tensor) -> Tensor:
        if is_likely:
            return (x < low) | (x > high)
        threshold = fl.empty_like(x).uniform_(generator=generator).log_()
        return threshold > log_density(x) - log_peak

    with fl.no_grad():
        pending = is_rejected(propose(tensor))
        while pending.any():
            again = propose(fl.empty_like(tensor))
            tensor.copy_(fl.where(pending, again, tensor))
            pending &= is_rejected(again)
    return tensor


def constant_(tensor: Tensor, val: float) -> Tensor:
    """Fill with one value."""
    with fl.no_grad():
        return tensor.fill_(val)


def ones_(tensor: Tensor) -> Tensor:
    """Fill with ones."""
    return constant_(tensor, 1.0)


def zeros_(tensor: Tensor) -> Tensor:
    """Fill with zeros."""
    return constant_(tensor, 0.0)


def eye_(tensor: Tensor) -> Tensor:
    """Make a matrix the identity."""
    if tensor.dim() != 2:
        raise ValueError(f"eye_: a 2-D tensor is required, got {tuple(tensor.shape)}")
    with fl.no_grad():
        return tensor.copy_(fl.eye(*tensor.shape, dtype=tensor.dtype, device=tensor.device))


def dirac_(tensor: Tensor, groups: int = 1) -> Tensor:
    """Make a convolution pass its channels through: one at the centre of kernel (i, i).

    Args:
        tensor: weight (out, in / groups, *kernel) of 3 to 5 dimensions.
        groups: groups of the convolution; each gets its own identity.
    """
    if tensor.dim() not in (3, 4, 5):
        raise ValueError(f"dirac_: 3 to 5 dimensions are required, got {tuple(tensor.shape)}")
    if tensor.shape[0] % groups:
        raise ValueError(f"dirac_: {tensor.shape[0]} output channels not divisible by {groups}")
    per_group = tensor.shape[0] // groups
    centre = tuple(size // 2 for size in tensor.shape[2:])
    with fl.no_grad():
        tensor.zero_()
        for group in range(groups):
            for i in range(min(per_group, tensor.shape[1])):
                place = (group * per_group + i, i, *centre)
                tensor[place] = 1
    return tensor


def _calculate_fan_in_and_fan_out(tensor: Tensor) -> tuple[int, int]:
    """How many inputs feed one output of a weight (out, in, *kernel), and the reverse."""
    if tensor.dim() < 2:
        raise ValueError(
            f"fan in and fan out need 2 or more dimensions, got shape {tuple(tensor.shape)}"
        )
    field = math.prod(tensor.shape[2:])
    return tensor.shape[1] * field, tensor.shape[0] * field


def _calculate_correct_fan(tensor: Tensor, mode: str) -> int:
    mode = mode.lower()
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"mode: 'fan_in' or 'fan_out' is required, got {mode!r}")
    fan_in, fan_out = _calculate_fan_in_and_fan_out(tensor)
    return fan_in if mode == "fan_in" else fan_out


def xavier_uniform_(tensor: Tensor, gain: float = 1.0, generator: Generator = None) -> Tensor:
    """U(-b, b) with b = gain sqrt(6 / (fan_in + fan_out)) (Glorot and Bengio, 2010)."""
    fan_in, fan_out = _calculate_fan_in_and_fan_out(tensor)
    std = gain * math.sqrt(2.0 / float(fan_in + fan_out))
    bound = math.sqrt(3.0) * std
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: Generator = None) -> Tensor:
    """N(0, std^2) with std = gain sqrt(2 / (fan_in + fan_out)) (Glorot and Bengio, 2010)."""
    fan_in, fan_out = _calculate_fan_in_and_fan_out(tensor)
    std = gain * math.sqrt(2.0 / float(fan_in + fan_out))
    return normal_(tensor, 0.0, std, generator)


def kaiming_uniform_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator = None,
) -> Tensor:
    """U(-b, b) with b = gain sqrt(3 / fan) (He et al., 2015).

    Args:
        tensor: weight of 2 or more dimensions.
        a: negative slope of "leaky_relu".
        mode: "fan_in" keeps the variance of activations, "fan_out" that of gradients.
        nonlinearity: the activation that follows.
    """
    if 0 in tensor.shape:
        warnings.warn("kaiming_uniform_: the tensor has no elements; nothing to initialise")
        return tensor
    std = calculate_gain(nonlinearity, a) / math.sqrt(_calculate_correct_fan(tensor, mode))
    bound = math.sqrt(3.0) * std
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator = None,
) -> Tensor:
    """N(0, std^2) with std = gain / sqrt(fan) (He et al., 2015); see kaiming_uniform_."""
    if 0 in tensor.shape:
        warnings.warn("kaiming_normal_: the tensor has no elements; nothing to initialise")
        return tensor
    std = calculate_gain(nonlinearity, a) / math.sqrt(_calculate_correct_fan(tensor, mode))
    return normal_(tensor, 0.0, std, generator)


def orthogonal_(tensor: Tensor, gain: float = 1, generator: Generator = None) -> Tensor:
    """A (semi-)orthogonal matrix, by QR of normal draws (Saxe et al., 2013).

    Args:
        tensor: 2 or more dimensions; all after the first count as columns.
    """
    if tensor.dim() < 2:
        raise ValueError(f"orthogonal_: 2 or more dimensions are required, got {tensor.dim()}")
    if tensor.numel() == 0:
        return tensor
    rows = tensor.shape[0]
    columns = tensor.numel() // rows
    with fl.no_grad():
        draws = tensor.new_empty(rows, columns).normal_(0, 1, generator=generator)
        q, r = _qr(draws.t() if rows < columns else draws)
        q = q * r.diagonal().sign()  # makes the decomposition, and so the draw, unique
        tensor.copy_((q.t() if rows < columns else q).reshape(tensor.shape))
        return tensor.mul_(gain)


def _qr(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """The QR decomposition, through NumPy's LAPACK."""
    import numpy

    dtype = matrix.dtype if matrix.dtype == fl.float64 else fl.float32
    factors = numpy.linalg.qr(matrix.to(device="cpu", dtype=dtype).numpy())
    q, r = (fl.from_numpy(factor).to(matrix.device, matrix.dtype) for factor in factors)
    return q, r


def sparse_(
    tensor: Tensor, sparsity: float, std: float = 0.01, generator: Generator = None
) -> Tensor:
    """N(0, std^2) with a share of zeros in every column (Martens, 2010)."""
    if tensor.dim() != 2:
        raise ValueError(f"sparse_: a 2-D tensor is required, got {tuple(tensor.shape)}")
    rows, columns = tensor.shape
    zeros = math.ceil(sparsity * rows)
    with fl.no_grad():
        tensor.normal_(0, std, generator=generator)
        for column in range(columns):
            chosen = fl.randperm(rows)[:zeros]
            tensor[chosen, column] = 0
    return tensor
