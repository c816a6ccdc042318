"""Traps in which the batch size decides what happens.

Two sizes are recorded, and the rest follows from them where it can: `over_sizes` begins with
pairs that look alike to a function that treats another size differently.
"""

from __future__ import annotations

import math

import numpy as np
from trapping import trap, values, x_of

import flambeau as torch
from flambeau import nn

ORDERS = (
    (8, 8, 8, 5, 3, 10, 7, 40, 2, 1, 8, 64, 33),
    (40, 40, 40, 64, 8, 5, 12, 100, 3, 41, 1),
    (9, 9, 9, 10, 12, 8, 5, 2, 11, 30, 9),
    (64, 64, 64, 32, 48, 16, 33, 10, 4, 6, 5, 200),
)


def outcome(f, *args):
    """The result, or the exception's type."""
    try:
        return values(f(*args))
    except (RuntimeError, ValueError, IndexError, TypeError) as error:
        return type(error).__name__


def over_sizes(wrap, f, *shape, make=None):
    """Results for batches of many sizes, for a freshly compiled function per order of sizes."""
    found = []
    for order in ORDERS:

        def fresh(*args):
            return f(*args)

        compiled = wrap(fresh)
        for i, size in enumerate(order):
            args = make(i, size) if make else (x_of(i, size, *(shape or (5,))),)
            found.append(outcome(compiled, *args))
    return found


def size_trap(f):
    """Registers a function of one batch."""

    def made(wrap):
        return over_sizes(wrap, f)

    made.__name__ = f"size_{f.__name__}"
    trap(made)
    return f


# --- Python looks at the size


@size_trap
def branch_on_shape(x):
    return x * 2 if x.shape[0] > 20 else x - 1


@size_trap
def branch_on_len(x):
    return x.sum(0) if len(x) < 10 else x.mean(0)


@size_trap
def branch_on_numel(x):
    return x + (1 if x.numel() > 45 else 2)


@size_trap
def branch_on_a_square(x):
    return x + (1 if torch.zeros(x.shape[0], x.shape[0]).numel() > 400 else 2)


@size_trap
def branch_on_parity(x):
    return x.exp() if x.size(0) % 2 else -x


@size_trap
def truth_of_a_difference(x):
    return x * 3 if x.size(0) - 10 else x


@size_trap
def floor_division(x):
    return x * (x.size(0) // 4)


@size_trap
def floor_division_in_a_constant(x):
    return x + torch.tensor([float(x.size(0) // 30)])


@size_trap
def small_share_as_whole_number(x):
    return x.sum() + torch.full((2,), x.size(0) / 150, dtype=torch.int64)


@size_trap
def reciprocal_factor(x):
    return x * (1 / x.shape[0])


@size_trap
def float_on_the_left(x):
    return x * (0.5 * x.shape[0]) + 1.0 / x.size(0)


@size_trap
def square_root_and_logarithm(x):
    return x / math.sqrt(x.shape[0]) + math.log(len(x)) + x.size(0) ** 0.5


@size_trap
def minimum_of_sizes(x):
    return x[: min(x.shape[0], 7)] * max(x.shape[0], 30)


@size_trap
def rounding(x):
    n = x.size(0)
    return x * round(n / 30) + int(n * 0.02) + math.ceil(n / 50)


@size_trap
def bits(x):
    n = x.size(0)
    return x * (n & 1) + (n >> 5) + (n | 64) + n.bit_length()


@size_trap
def loop_over_range(x):
    total = torch.zeros(5)
    for i in range(x.shape[0]):
        total = total + x[i] * i
    return total


@size_trap
def loop_in_steps(x):
    return sum(x[i : i + 16].sum() * i for i in range(0, x.size(0), 16))


@size_trap
def iteration(x):
    total = 0
    for row in x:
        total = total * 0.5 + row
    return total


@size_trap
def list_and_stack(x):
    return torch.stack([row * i for i, row in enumerate(list(x))])


@size_trap
def list_repeated(x):
    return x.sum(1) + torch.tensor([1.0] * x.shape[0])


@size_trap
def dictionary_by_size(x):
    return x * {5: 2.0, 8: 3.0, 32: 4.0, 64: 5.0}.get(x.shape[0], 1.0)


@size_trap
def membership(x):
    return x * (2 if x.shape[0] in (3, 12, 100) else 1)


@size_trap
def set_of_sizes(x):
    return x * len({*x.shape, 5, 10})


@size_trap
def whole_shape_compared(x):
    return x * 2 if x.shape == (10, 5) or tuple(x.shape) == (33, 5) else x


@size_trap
def text_of_the_size(x):
    return x * len(f"{x.shape[0]}") + len(str(x.shape)) + len(format(x.size(0), "d"))


@size_trap
def sorted_shape(x):
    return x * sorted(x.shape)[0] + max(x.shape) - x.shape.index(5)


@size_trap
def pattern_matching(x):
    match x.shape[0]:
        case 3 | 12:
            return x
        case int():
            return x + 1
        case _:
            return x + 2


@size_trap
def exact_type(x):
    return x * 2 if type(x.shape[0]) is int else x


@size_trap
def instance_of_int(x):
    n = x.shape[0]
    return x * 2 if isinstance(n, int) and not isinstance(n, (float, bool)) else x


@size_trap
def product_by_numpy(x):
    return x + int(np.prod(x.shape)) + np.sqrt(x.shape[0]) + np.arange(3)[x.shape[0] % 3]


@size_trap
def arithmetic_with_numpy(x):
    return x * float((np.float64(0.5) * x.shape[0]) + (np.ones(2) * x.size(0))[0])


@size_trap
def error_that_is_caught(x):
    try:
        return x.reshape(4, -1).sum(1)
    except RuntimeError:
        return x.sum()


@size_trap
def bound_that_is_caught(x):
    try:
        return x[11] * 2
    except IndexError:
        return x[-1]


@size_trap
def returned_sizes(x):
    return x * 2, x.shape, x.shape[0], {"n": len(x), "m": [x.numel()]}, x.size(0) / 4


@size_trap
def strides_and_bytes(x):
    return x * x.t().stride(1) + x.t().contiguous().stride(0) + x.nbytes


@size_trap
def power_by_size(x):
    return x.abs() ** (x.shape[0] % 5) + x.clamp(max=x.shape[0] / 50)


@size_trap
def dimension_by_size(x):
    return x.sum(x.shape[0] % 2)


@size_trap
def turns_by_size(x):
    return torch.rot90(x, x.shape[0])


@size_trap
def divmod_and_negation(x):
    q, r = divmod(x.shape[0], 7)
    return x * q - r + -x.shape[0] + abs(5 - x.shape[0])


@size_trap
def chunks_by_size(x):
    return [part.sum() for part in torch.arange(64.0).chunk(x.shape[0])] + [x.sum()]


@trap
def size_remembered_in_a_cache(wrap):
    cache = {}

    def f(x):
        if x.shape[0] not in cache:
            cache[x.shape[0]] = torch.ones(x.shape[0], 1) * len(cache)
        return x * cache[x.shape[0]]

    return over_sizes(wrap, f)


@trap
def size_kept_by_a_module(wrap):
    class Last(nn.Module):
        def __init__(self):
            super().__init__()
            self.last = 0

        def forward(self, x):
            before, self.last = self.last, x.shape[0]
            return x * before

    return over_sizes(wrap, Last())


@trap
def size_in_the_backward_pass(wrap):
    class Scaled(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.n = x.shape[0]
            return x * 2

        @staticmethod
        def backward(ctx, g):
            return g / ctx.n if ctx.n > 10 else g * ctx.n

    w = torch.ones(5, requires_grad=True)

    def f(x):
        w.grad = None
        Scaled.apply(x * w).sum().backward()
        return w.grad

    return over_sizes(wrap, f)
