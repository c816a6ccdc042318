"""Traps in which operators cut off, split or broadcast by the batch size (see traps_sizes.py)."""

from __future__ import annotations

from trapping import trap, values, x_of
from traps_sizes import ORDERS, over_sizes, size_trap

import flambeau as torch
import flambeau.nn.functional as F
from flambeau import nn


@size_trap
def slices_cut_off(x):
    return x[:7] * 2, x[-7:] + 1, x[6:], x[2:-2] - x[4:], x[-40:-3]


@size_trap
def slices_by_size(x):
    n = x.shape[0]
    return x[n // 2 :], x[: n - 3], x[n - 12 :], x[-n + 1 :]


@size_trap
def steps_through(x):
    return x[::2], x[1::3] * 2, x[:9:4]


@size_trap
def pieces(x):
    return [p.sum() for p in (*x.chunk(3), *x.split(4), *x.tensor_split(3), *x.split(10))]


@size_trap
def split_by_size(x):
    n = x.shape[0]
    a, b = x.split([n // 2, n - n // 2])
    return a.sum(0), b.mean(0)


@size_trap
def split_at_fixed_places(x):
    return [p.sum() for p in x.tensor_split([3, 9])]


@size_trap
def window_that_must_fit(x):
    return x.narrow(0, 1, 6) * 2


@size_trap
def window_inside_other_memory(x):
    joined = torch.cat([x, x + 1])
    return joined[: x.shape[0]].narrow(0, 0, 6).sum(1)


@size_trap
def window_of_rows(x):
    return x.t().contiguous().narrow(1, 0, 6).sum(1)


@size_trap
def one_row(x):
    return x[6], x[-7] * 2


@size_trap
def largest(x):
    return x.topk(4, dim=0)[0], x.sort(0)[0][:3], x.kthvalue(3, 0)[0]


@size_trap
def squares_of_the_batch(x):
    gram = x @ x.t()
    return gram.diagonal(), gram.trace(), gram.triu(3).sum(), (gram - torch.eye(len(x))).mean()


@size_trap
def gradient_of_a_trace(x):
    w = torch.ones(5, 20, requires_grad=True)
    torch.trace(x @ w).backward()
    return w.grad


@size_trap
def windows(x):
    return x.unfold(0, 3, 1).sum(-1), x.unfold(0, 2, 2).mean(0)


@size_trap
def diagonal_of_the_batch(x):
    return x.diagonal(), x.diagonal(-4).sum()


@size_trap
def squeezed(x):
    return x[:, None, :1].squeeze(), x[: x.shape[0] - 1, 0].unsqueeze(1).squeeze() * 2


@size_trap
def broadcast_against_the_features(x):
    return x[:, :1] + x[0], x.mean(1) * 2, x[1:] * x[:1]


@size_trap
def ranges(x):
    n = x.shape[0]
    return x[torch.arange(0, n, 2)], x[torch.arange(n - 1, -1, -1)], torch.arange(n) // 4


@size_trap
def fractional_ranges(x):
    return torch.arange(x.shape[0] / 70).sum() + x.sum()


@size_trap
def spaced(x):
    return x * torch.linspace(0, 1, x.shape[0])[:, None]


@size_trap
def triangles(x):
    mask = torch.ones(x.shape[0], x.shape[0], dtype=torch.bool).tril(-2)
    return (x @ x.t()).masked_fill(mask, 0).sum(1)


@size_trap
def shifted(x):
    return x.roll(7, 0), x.roll(x.shape[0] - 3, 0), x.flip(0)


@size_trap
def repeated(x):
    return x.repeat(2, 1), x.repeat_interleave(2, 0), x[:1].expand(x.shape[0], 5)


@size_trap
def reshaped(x):
    return x.reshape(5, -1), x.flatten(), x.t().reshape(-1), x.view(-1, 1, 5).transpose(0, 2)


@size_trap
def batch_as_an_image(x):
    signal = x.t()[None]
    pooled = F.max_pool1d(signal, 2), F.avg_pool1d(signal, 3, 1), F.adaptive_avg_pool1d(signal, 3)
    return (
        pooled,
        F.conv1d(signal, torch.ones(2, 5, 3), stride=2),
        F.interpolate(signal, scale_factor=1.5),
    )


@size_trap
def strided_windows(x):
    flat = x.flatten()
    return flat.as_strided((x.shape[0], 3), (4, 1)).sum(1)


@size_trap
def overlapping_update(x):
    x = x.clone()
    x[:4] += x[x.shape[0] - 4 :]
    return x


@size_trap
def view_or_copy(x):
    rows = torch.zeros(12, 16) + x[0, 0]
    piece = rows[:, : x.shape[0]]
    joined = piece.reshape(-1)
    joined += 1
    return rows


@size_trap
def transposed_view_or_copy(x):
    base = torch.cat([x] * 2, 1)[:, :6] + 0
    other = base.t().reshape(x.shape[0], 6)
    other += 1
    return base


@trap
def size_cuts_a_parameter(wrap):
    w = torch.arange(60.0).reshape(12, 5).requires_grad_()

    def f(x):
        w.grad = None
        n = min(x.shape[0], 12)
        (w[: x.shape[0]] * x[:n]).sum().backward()
        return w.grad, w.detach()[: x.shape[0]].sum(0)

    return over_sizes(wrap, f)


@trap
def size_normalises(wrap):
    torch.manual_seed(0)
    norm = nn.BatchNorm1d(5)

    def f(x):
        return norm(x).abs().mean(0), norm.running_var + 0

    return over_sizes(wrap, f)


@trap
def size_in_reductions(wrap):
    w = torch.ones(5, requires_grad=True)

    def f(x):
        w.grad = None
        y = x * w
        loss = y.mean() + y.var(0).sum() + y.std() + y.norm() + y.softmax(0).max()
        loss = (
            loss
            + y.logsumexp(0).mean()
            + y.cumsum(0)[-1].sum()
            + y.median()
            + y.var(0, correction=6)[0]
        )
        loss.backward()
        return loss, w.grad

    return over_sizes(wrap, f)


@trap
def size_of_random_draws(wrap):
    def f(x):
        noise = torch.randn(x.shape) + torch.rand_like(x) + torch.randn(x.shape[0] // 2 + 1, 1)[0]
        return F.dropout(x + noise, 0.5), torch.randperm(x.shape[0])

    return over_sizes(wrap, f)


@trap
def size_meets_the_features(wrap):
    w = torch.arange(25.0).reshape(5, 5)
    return over_sizes(wrap, lambda x: (x @ w + w[0], x.t() @ x, x.sum(0) + w, F.mse_loss(x, x * 2)))


@trap
def size_of_two_batches(wrap):
    def f(x, y):
        return torch.cat([x, y]).mean(0), x + 1 if x.shape == y.shape else y - 1

    def make(i, n):
        return x_of(i, n, 5), x_of(i + 50, n if i % 4 else n + 1, 5)

    return over_sizes(wrap, f, make=make)


@trap
def size_of_classes_and_probabilities(wrap):
    def make(i, n):
        torch.manual_seed(i)
        return torch.randn(n, 10), torch.randint(0, 10, (n,))

    return over_sizes(
        wrap, lambda x, y: (F.cross_entropy(x, y), (x.argmax(1) == y).sum()), make=make
    )


@trap
def size_differentiated_from_outside(wrap):
    w = torch.ones(5, 3, requires_grad=True)
    f = wrap(lambda x: (x @ w).tanh().mean(0) / x.shape[0])
    found = []
    for i, n in enumerate(ORDERS[0]):
        x = x_of(i, n, 5).requires_grad_()
        w.grad = None
        f(x).sum().backward()
        found.append([values(x.grad), values(w.grad)])
    return found


@trap
def size_after_a_parameter_is_frozen(wrap):
    w = torch.ones(5, requires_grad=True)
    v = torch.ones(5, requires_grad=True)

    def f(x):
        v.grad = w.grad = None
        (x * w * v).sum().backward()
        return v.grad, None if w.grad is None else w.grad + 0

    f = wrap(f)
    found = [values(f(x_of(i, n, 5))) for i, n in enumerate((8, 8, 8, 5, 7))]
    w.requires_grad_(False)
    found += [values(f(x_of(i, n, 5))) for i, n in enumerate((9, 9, 7, 8))]
    w.data = torch.zeros(5)
    return found + [values(f(x_of(i, n, 5))) for i, n in enumerate((10, 9, 6))]


@trap
def size_and_a_mode(wrap):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 4), nn.Dropout(0.5), nn.BatchNorm1d(4))
    f = wrap(lambda x: net(x).abs().sum(0))
    found = []
    for i, n in enumerate((8, 8, 8, 5, 6, 7, 9, 12, 6, 30)):
        net.train(i % 3 != 0)
        with torch.set_grad_enabled(i % 2 == 0):
            result = f(x_of(i, n, 5))
        found.append([values(result), result.requires_grad])
    return found


@trap
def size_and_a_variable_that_follows_it(wrap):
    rows = 8

    def f(x):
        return x[:rows] * rows

    f = wrap(f)
    found = []
    for i, n in enumerate((8, 8, 8, 5, 5, 7, 7, 9, 12)):
        if i in (3, 7):
            rows = n
        found.append(values(f(x_of(i, n, 5))))
    return found
