"""Compiled control flow and memory: views, offsets, writes around it, nesting, dtypes, threads."""

import threading

import pytest

import flambeau as torch

D = {"dtype": torch.float64}
LARGE = torch.randn(40, 4, 3, **D)
GAIN = torch.randn(3, **D)
ORDER = torch.tensor([2, 0, 1])


def rows(*shape):
    return lambda i: (torch.randn(*shape, **D),)


def written_around(xs):
    a = xs * 1
    c, ys = torch.scan(lambda c, x: (c + x, c * x + a[0]), a[0], a)
    ys.mul_(2)
    a.add_(5)
    ys[0] = 0
    return c, ys, a, torch.scan(lambda c, x: (c + x + a[1], None), c, ys)[0]


def views(xs):
    wide, turned = GAIN.expand(4, 3), xs.transpose(0, 1)
    return torch.scan(lambda c, x: (c + wide * x, (c @ turned[0].t()).sum(1)), xs[0], xs)


def three_deep(x):
    def body(n, v):
        def step(c, r):
            closer = torch.cond(
                c.sum() > r.sum(), lambda c: c - r, lambda c: (c + r * 0.5).sin(), (c,)
            )
            return closer, None

        return n + 1, torch.scan(step, v, torch.stack([v, v * 2, v.cos()]))[0]

    return torch.while_loop(lambda n, v: n < 4, body, (torch.tensor(0), x))


FUNCTIONS = {
    "arguments begin elsewhere": (
        lambda xs, h: torch.scan(lambda c, x: (c * x.sum() + h[0], xs[0] + c), h[1], xs),
        lambda i: (LARGE[i * 3 : i * 3 + 5], torch.randn(3, 4, 3, **D)[1:]),
    ),
    "views are captured": (views, rows(5, 4, 3)),
    "nothing is contiguous": (
        lambda xs: torch.scan(
            lambda c, x: (c.sin() + x, c.t()), xs[..., 0].t(), xs.transpose(0, 2)
        ),
        rows(3, 3, 5),
    ),
    "indexing": (lambda xs: torch.scan(lambda c, x: (c[ORDER] + x, c > 0), xs[0], xs), rows(5, 3)),
    "dtypes": (
        lambda xs, n: torch.scan(
            lambda c, x: ((c[0] + x.float(), c[1] + n, ~c[2]), (c[1] * 2, c[2])),
            (torch.zeros(3), torch.tensor(0), torch.tensor(True)),
            xs,
        ),
        lambda i: (torch.randn(5, 3, **D), torch.tensor(i)),
    ),
    "one step": (lambda xs: torch.scan(lambda c, x: (c + x, x), xs[0], xs), rows(1, 3)),
    "no elements": (lambda xs: torch.scan(lambda c, x: (c + x, x * 2), xs[0], xs), rows(4, 0)),
    "results that do not change": (
        lambda xs: torch.scan(lambda c, x: (c, (torch.ones(2), GAIN)), xs[0], xs),
        rows(4, 2),
    ),
    "writes around": (written_around, rows(4, 2)),
    "three deep": (three_deep, rows(3)),
}


def flat(result):
    if isinstance(result, torch.Tensor):
        return [result.detach()]
    return [leaf for value in result if value is not None for leaf in flat(value)]


def compare(function, make, calls=6):
    compiled = torch.compile(function, fullgraph=True)
    for i in range(calls):
        torch.manual_seed(i)
        args = make(i)
        for x, y in zip(flat(function(*args)), flat(compiled(*args)), strict=True):
            assert x.dtype == y.dtype and torch.allclose(x, y), i
    assert compiled.graph.nodes


@pytest.mark.parametrize("name", FUNCTIONS)
def test_memory(name):
    with torch.no_grad():
        compare(*FUNCTIONS[name])


def test_gradients_through_three_levels():
    w = torch.randn(3, 3, **D, requires_grad=True)
    v = torch.randn(3, **D, requires_grad=True)

    def step(xs):
        w.grad = v.grad = None

        def body(c, x):
            c = torch.cond(
                c.sum() > 0, lambda c: (c @ w).tanh() * v, lambda c: c * v + x + w[0], (c,)
            )
            inner, _ = torch.scan(lambda a, b: ((a * b).sin() + v, None), c, torch.stack([x, c, v]))
            return inner, inner * x

        c, ys = torch.scan(body, xs[0], xs)
        loss = (ys**2).sum() + c.sum()
        loss.backward()
        return loss, w.grad, v.grad

    compare(step, rows(4, 3))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_precisions(dtype):
    compiled = torch.compile(
        lambda xs: torch.scan(lambda c, x: ((c * 0.5 + x).tanh(), c), xs[0], xs)
    )
    xs = torch.randn(6, 3).to(dtype)
    c, y = xs[0], []
    for x in xs:
        y.append(c)
        c = (c * 0.5 + x).tanh()
    for _ in range(4):
        found = compiled(xs)
        tolerance = 1e-6 if dtype == torch.float32 else 0.02
        assert torch.allclose(found[0], c, atol=tolerance, rtol=tolerance)
        assert torch.allclose(found[1], torch.stack(y), atol=tolerance, rtol=tolerance)


def test_threads():
    @torch.compile
    def smoothed(xs):
        with torch.no_grad():
            return torch.scan(lambda c, x: ((c * 0.5 + x).tanh(), c), xs[0], xs)[1]

    data = [torch.randn(50, 8) for _ in range(4)]
    expected = [smoothed(x).clone() for x in data]
    wrong = []

    def work(i):
        for _ in range(30):
            if not torch.allclose(smoothed(data[i]), expected[i], atol=1e-6):
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
