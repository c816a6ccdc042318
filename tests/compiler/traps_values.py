"""Traps in which values decide what happens."""

from __future__ import annotations

import numpy as np
from trapping import CALLS, trap, values, x_of

import flambeau as torch


@trap
def branch_on_a_value(wrap):
    f = wrap(lambda x: x * 2 if x.sum() > 0 else -x)
    return [values(f(x_of(i))) for i in range(CALLS)]


@trap
def item_in_arithmetic(wrap):
    f = wrap(lambda x: x * x.max().item())
    return [values(f(x_of(i))) for i in range(CALLS)]


@trap
def float_of_a_tensor(wrap):
    f = wrap(lambda x: x + float(x[0]))
    return [values(f(x_of(i))) for i in range(CALLS)]


@trap
def tolist_builds_a_constant(wrap):
    f = wrap(lambda x: x + torch.tensor(x.tolist()))
    return [values(f(x_of(i))) for i in range(CALLS)]


@trap
def numpy_round_trip(wrap):
    f = wrap(lambda x: torch.from_numpy(np.sort(x.numpy())) + x)
    return [values(f(x_of(i))) for i in range(CALLS)]


@trap
def mask_of_changing_length(wrap):
    f = wrap(lambda x: x[x > 0].sum())
    return [values(f(x_of(i))) for i in range(CALLS)]


@trap
def nonzero_of_changing_length(wrap):
    f = wrap(lambda x: (x > 0).nonzero() * 2)
    return [values(f(x_of(i))) for i in range(CALLS)]


@trap
def masked_select_and_unique(wrap):
    f = wrap(lambda x: (x.masked_select(x > 0).sum(), torch.unique(x.round())))
    return [values(f(x_of(i))) for i in range(CALLS)]


@trap
def loop_until_a_value(wrap):
    def f(x):
        while x.abs().max() > 0.1:
            x = x / 2
        return x

    f = wrap(f)
    return [values(f(x_of(i))) for i in range(CALLS)]


@trap
def index_by_a_value(wrap):
    f = wrap(lambda x: x[int(x.argmax())] * 3)
    return [values(f(x_of(i))) for i in range(CALLS)]


@trap
def comparison_of_tensors(wrap):
    f = wrap(lambda x, y: x if torch.equal(x, y) else x - y)
    return [values(f(x_of(i), x_of(i // 3))) for i in range(CALLS)]


@trap
def length_from_a_tensor(wrap):
    f = wrap(lambda n: torch.arange(int(n)).sum())
    return [values(f(torch.tensor(3 + i))) for i in range(CALLS)]
