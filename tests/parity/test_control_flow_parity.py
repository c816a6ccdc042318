"""Control flow and checkpoints against PyTorch, where it is installed."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import torch._higher_order_ops as higher  # noqa: E402
from torch._higher_order_ops.map import map as torch_map  # noqa: E402

import flambeau as fl  # noqa: E402
import flambeau.utils.checkpoint  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")
DATA = np.random.default_rng(0).normal(size=(3, 4, 2))


def both(program):
    """`program(module, inputs)` gives results; compares them and the gradients of their sum."""
    found = []
    for module in (torch, fl):
        inputs = [module.tensor(DATA[i].copy(), requires_grad=True) for i in range(2)]
        results = program(module, *inputs)
        total = sum(r.sum() for r in results if r.requires_grad)
        total.backward()
        tensors = [r.detach() for r in results] + [x.grad for x in inputs if x.grad is not None]
        found.append([t.numpy() for t in tensors])
    assert len(found[0]) == len(found[1])
    for theirs, ours in zip(*found, strict=True):
        assert theirs.dtype == ours.dtype
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)


@pytest.mark.parametrize("pred", [True, False])
@pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
def test_cond(pred, shape):
    both(
        lambda m, x, y: [
            m.cond(
                m.full(shape, pred),
                lambda x, y: (x * y).sin(),
                lambda x, y: x.exp() - y,
                (x, y),
            )
        ]
    )


def test_while_loop():
    def program(m, x, y):
        loop = higher.while_loop if m is torch else fl.while_loop
        with m.no_grad():  # PyTorch cannot differentiate it
            n, z = loop(lambda n, z: n < 4, lambda n, z: (n + 1, (z * y).cos()), (m.tensor(0), x))
        return [n, z, (x * z).sum()]

    both(program)


@pytest.mark.parametrize("dim", [0, 1])
@pytest.mark.parametrize("reverse", [False, True])
def test_scan(dim, reverse):
    def program(m, x, y):
        scan = higher.scan if m is torch else fl.scan

        def step(carry, z):
            new = {"h": (carry["h"] * z).sin() + z}
            return new, (new["h"] * 2, z + 1)

        init = {"h": y.select(dim, 0) * 2}
        carry, (a, b) = scan(step, init, x, dim=dim, reverse=reverse)
        return [carry["h"], a, b]

    both(program)


def test_map():
    def program(m, x, y):
        mapped = torch_map if m is torch else fl.map
        return [mapped(lambda z, k: (z * k[0]).tanh(), x, y)]

    both(program)


@pytest.mark.parametrize("use_reentrant", [True, False])
def test_checkpoint(use_reentrant):
    def program(m, x, y):
        inner = y.sin()

        def part(x, scale=1.0):
            return (x * inner).tanh() * scale, x.sum()

        options = {} if use_reentrant else {"scale": 2.0}
        return m.utils.checkpoint.checkpoint(part, x, use_reentrant=use_reentrant, **options)

    both(program)


MISTAKES = {
    "two predicates": lambda m: m.cond(m.tensor([True, False]), m.sin, m.cos, (m.ones(2),)),
    "carry's shape": lambda m: scan(m)(lambda c, x: ((c + x)[:1], x), m.zeros(2), m.ones(3, 2)),
    "carry's dtype": lambda m: scan(m)(
        lambda c, x: ((c + x).double(), x), m.zeros(2), m.ones(3, 2)
    ),
    "empty": lambda m: scan(m)(lambda c, x: (c + x, x), m.zeros(2), m.ones(0, 2)),
}


def scan(module):
    return higher.scan if module is torch else fl.scan


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_runtime_errors(mistake):
    for module in (torch, fl):
        with pytest.raises(RuntimeError):
            MISTAKES[mistake](module)
