"""Traps in which arguments differ, overlap or are written to."""

from __future__ import annotations

from trapping import CALLS, trap, values, x_of

import flambeau as torch


@trap
def python_number_argument(wrap):
    f = wrap(lambda x, k: x * k)
    return [values(f(x_of(0), k)) for k in (1, 1, 1, 2, 1.0, True, 1)]


@trap
def zero_and_minus_zero(wrap):
    f = wrap(lambda x, k: x / k)
    return [values(f(torch.ones(2), k)) for k in (0.0, 0.0, 0.0, -0.0, 0.0)]


@trap
def keyword_and_nested_arguments(wrap):
    f = wrap(lambda pair, *, flip=False: pair["b"] - pair["a"][0] if flip else pair["a"][0])
    return [
        values(f({"a": [x_of(i)], "b": x_of(i + 1)}, flip=i % 2 == 0)) for i in range(2 * CALLS)
    ]


@trap
def shapes_and_dtypes_change(wrap):
    f = wrap(lambda x: (x * 2).sum(0))
    seen = []
    for i in range(3 * CALLS):
        x = x_of(i, 2 + i % 3, 3)
        seen.append(values(f(x.double() if i % 2 else x)))
    return seen


@trap
def strides_change(wrap):
    f = wrap(lambda x: x.reshape(-1) * torch.arange(6))
    return [values(f(x_of(i, 3, 2).t() if i % 2 else x_of(i, 2, 3))) for i in range(2 * CALLS)]


@trap
def argument_at_an_offset(wrap):
    big = x_of(0, 40)
    f = wrap(lambda x: x * 2)
    return [values(f(big[4 * i : 4 * i + 4])) for i in range(CALLS)]


@trap
def one_tensor_twice(wrap):
    def f(x, y):
        x.add_(1)
        return x * y

    f = wrap(f)
    seen = [values(f(x_of(i), x_of(i + 1))) for i in range(CALLS)]
    for i in range(3):
        x = x_of(i)
        seen.append(values(f(x, x)))
    return seen


@trap
def overlapping_arguments(wrap):
    def f(x, y):
        x.mul_(2)
        return y + 0

    f = wrap(f)
    seen = []
    for _ in range(CALLS):
        whole = torch.arange(6.0)
        seen.append(values(f(whole[:4], whole[2:])))
    return seen


@trap
def argument_written_in_place(wrap):
    def f(x):
        x[0] = 7
        x += 1
        return x.sum()

    f = wrap(f)
    seen = []
    for i in range(CALLS):
        x = x_of(i)
        seen.append([values(f(x)), values(x)])
    return seen


@trap
def argument_returned(wrap):
    f = wrap(lambda x: (x, x * 1, x[1:]))
    seen = []
    for i in range(CALLS):
        x = x_of(i)
        same_one, copied, view = f(x)
        x.add_(1)
        seen.append([same_one is x, values(copied), values(view)])
    return seen
