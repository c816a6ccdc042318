"""Random bodies of loops and branches, compiled and eager, with gradients."""

import random

import pytest

import flambeau as torch

D = {"dtype": torch.float64}
ORDER = torch.tensor([2, 0, 1])


def rolled(x):
    return x.cumsum(0) * 0.3 + x[ORDER]


UNARY = [torch.sin, torch.tanh, torch.relu, torch.t, rolled, lambda x: x.softmax(-1) - x.mean()]
BINARY = [torch.add, torch.mul, torch.maximum, lambda a, b: a @ b * 0.3]


def expression(rng, depth, names):
    """A nested tuple: a name, or an operator with its operands."""
    if depth == 0 or rng.random() < 0.15:
        return rng.choice(names)
    count = rng.choice((1, 2))
    operator = rng.choice(UNARY if count == 1 else BINARY)
    return (operator, *(expression(rng, depth - 1, names) for _ in range(count)))


def evaluate(node, names):
    if isinstance(node, str):
        return names[node]
    return node[0](*(evaluate(operand, names) for operand in node[1:]))


def scanned(bodies, flags, weights, xs, h):
    def step(c, x):
        found = [evaluate(body, {**weights, "x": x, "h": c[0], "c": c[1]}) for body in bodies]
        return tuple(found[:2]), found[2:]

    carry, ys = torch.scan(step, (h, h * 2), xs, reverse=flags[0], recompute=flags[1])
    return [*carry, *ys]


def mapped(bodies, flags, weights, xs, h):
    names = {**weights, "h": h, "c": h}
    return [torch.map(lambda x: evaluate(bodies[0], {**names, "x": x}), xs)]


def chosen(bodies, flags, weights, xs, h):
    names = {**weights, "h": h, "c": h}
    return [
        torch.cond(
            xs.sum() > 0,
            lambda x: evaluate(bodies[0], {**names, "x": x}) + weights["w"],
            lambda x: evaluate(bodies[1], {**names, "x": x}) - weights["w"],
            (xs[0],),
        )
    ]


def repeated(bodies, flags, weights, xs, h):
    names = {**weights, "x": xs[0], "c": h}
    return torch.while_loop(
        lambda k, h: k < 3,
        lambda k, h: (k + 1, evaluate(bodies[0], {**names, "h": h})),
        (torch.tensor(0), h),
    )[1:]


@pytest.mark.parametrize("kind", [scanned, mapped, chosen, repeated])
@pytest.mark.parametrize("seed", range(8))
def test_random_bodies(kind, seed):
    torch.manual_seed(seed)
    w = torch.randn(3, 3, **D, requires_grad=True)
    k = torch.randn(3, 3, **D)
    rng = random.Random(seed)
    bodies = [expression(rng, 3, ["w", "k", "v", "x", "h", "c"]) for _ in range(4)]
    flags = rng.random() < 0.5, rng.random() < 0.5

    def step(xs, h):
        w.grad = None
        found = kind(bodies, flags, {"w": w, "k": k, "v": w * 0.5 + k}, xs, h)
        loss = sum((y * (i + 1)).sum() for i, y in enumerate(found)) + w.sum()
        loss.backward()
        return loss, w.grad

    compiled = torch.compile(step, fullgraph=True)
    for i in range(4):
        torch.manual_seed(100 * seed + i)
        xs, h = torch.randn(4, 3, 3, **D), torch.randn(3, 3, **D)
        for a, b in zip(step(xs, h), compiled(xs, h), strict=True):
            assert torch.allclose(a, b, rtol=1e-9, atol=1e-9, equal_nan=True), i
