"""cond, while_loop, scan, map against hand-written loops; gradients; mistakes."""

from typing import NamedTuple

import numpy as np
import pytest

import flambeau as torch
from flambeau.autograd import gradcheck, gradgradcheck
from flambeau.utils.checkpoint import CheckpointError, checkpoint, checkpoint_sequential

BOTH = pytest.mark.parametrize("recompute", [False, True])


def randn(*shape, grad=True):
    return torch.randn(*shape, dtype=torch.float64, requires_grad=grad)


class State(NamedTuple):
    h: torch.Tensor
    c: torch.Tensor


# --- values ---------------------------------------------------------------------------------


def test_cond_runs_one_branch():
    ran = []

    def branch(name, result):
        def run(x):
            ran.append(name)
            return {"y": result(x), "none": None}

        return run

    x = torch.tensor([1.0, 4.0])
    result = torch.cond(x.max() > 2, branch("true", torch.sqrt), branch("false", torch.neg), (x,))
    assert ran == ["true"] and result["none"] is None
    assert result["y"].tolist() == [1.0, 2.0]
    assert torch.cond(False, torch.sqrt, torch.neg, [x]).tolist() == [-1.0, -4.0]
    assert torch.cond(torch.tensor([[True]]), lambda: x, lambda: -x) is x


def test_while_loop_newton():
    def improve(n, x):
        return n + 1, x - (x * x - 2) / (2 * x)

    n, x = torch.while_loop(
        lambda n, x: (x * x - 2).abs() > 1e-12,
        improve,
        (torch.tensor(0), torch.tensor(1.0, dtype=torch.float64)),
    )
    assert n.item() == 5
    assert x.item() == pytest.approx(2**0.5, abs=1e-12)


def test_while_loop_may_not_run():
    x = torch.ones(2)
    assert torch.while_loop(lambda x: x.sum() < 0, lambda x: (x + 1,), (x,))[0] is x


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("dim", [0, 1, -1])
def test_scan_against_numpy(dim, reverse):
    data = np.random.default_rng(0).normal(size=(3, 4, 5))
    rows = np.moveaxis(data, dim, 0)
    total, expected = np.zeros(rows.shape[1:]), [None] * len(rows)
    for i in reversed(range(len(rows))) if reverse else range(len(rows)):
        expected[i] = total * rows[i]
        total = total + rows[i]
    carry, ys = torch.scan(
        lambda c, x: (c + x, c * x),
        torch.zeros(rows.shape[1:], dtype=torch.float64),
        torch.tensor(data),
        dim=dim,
        reverse=reverse,
    )
    np.testing.assert_allclose(carry.numpy(), total)
    np.testing.assert_allclose(ys.numpy(), np.stack(expected, dim))


@BOTH
def test_scan_of_nested_trees(recompute):
    def step(state, x):
        h = (x["a"] + state.h).tanh()
        new = State(h, state.c + x["b"][0])
        return new, [h * 2, {"c": new.c, "nothing": None}]

    state = State(torch.zeros(2), torch.tensor(1))
    xs = {"a": torch.ones(3, 2), "b": (torch.arange(3),)}
    final, ys = torch.scan(step, state, xs, recompute=recompute)
    assert isinstance(final, State) and final.c.item() == 4
    assert ys[0].shape == (3, 2) and ys[1]["nothing"] is None
    assert ys[1]["c"].tolist() == [1, 2, 4]
    assert torch.equal(ys[0][-1], final.h * 2)


def test_order_of_dictionary_keys_does_not_matter():
    init = {"b": torch.zeros(()), "a": torch.ones(())}
    final, y = torch.scan(
        lambda c, x: ({"a": c["a"] * x, "b": c["b"] + x}, None), init, torch.arange(1.0, 5.0)
    )
    assert final["a"].item() == 24 and final["b"].item() == 10 and y is None


def test_map_of_trees_with_arguments():
    xs = (torch.arange(3.0), torch.ones(3, 2))
    result = torch.map(lambda x, k: {"s": x[0] * x[1].sum() + k}, xs, torch.tensor(1.0))
    assert result["s"].tolist() == [1.0, 3.0, 5.0]


# --- gradients ------------------------------------------------------------------------------


def scan_loss(recompute, reverse=False):
    def loss(w, h, xs):
        w2 = w * 0.5  # captured by the closure: neither an argument nor a leaf

        def step(carry, x):
            new = (x @ w2 + carry @ w).tanh()
            return new, new * x

        return torch.scan(step, h, xs, reverse=reverse, recompute=recompute)

    return loss


@BOTH
@pytest.mark.parametrize("reverse", [False, True])
def test_gradients_of_scan(recompute, reverse):
    torch.manual_seed(0)
    inputs = randn(2, 2), randn(3, 2), randn(4, 3, 2)
    loss = scan_loss(recompute, reverse)
    assert gradcheck(loss, inputs)
    assert gradgradcheck(loss, inputs)


@BOTH
def test_gradients_of_while_loop(recompute):
    w = randn(2, 2)

    def loop(x):
        return torch.while_loop(
            lambda n, x: n < 3,
            lambda n, x: (n + 1, (x @ w).sin()),
            (torch.tensor(0), x),
            recompute=recompute,
        )[1]

    x = randn(2, 2)
    assert gradcheck(loop, (x,)) and gradgradcheck(loop, (x,))
    loop(x).sum().backward()
    expected = torch.autograd.grad((((x @ w).sin() @ w).sin() @ w).sin().sum(), w)[0]
    assert torch.allclose(w.grad, expected)


@BOTH
@pytest.mark.parametrize("pred", [True, False])
def test_gradients_of_cond(recompute, pred):
    w = randn(3)

    def choose(x):
        return torch.cond(
            torch.tensor(pred),
            lambda x: (x * w).exp(),
            lambda x: (x + w).sin(),
            (x,),
            recompute=recompute,
        )

    x = randn(3)
    assert gradcheck(choose, (x,)) and gradgradcheck(choose, (x,))
    choose(x).sum().backward()
    assert torch.allclose(w.grad, x * (x * w).exp() if pred else (x + w).cos())


@BOTH
def test_gradients_of_map(recompute):
    xs, ys = randn(3, 2), randn(3)

    def mapped(xs, ys):
        return torch.map(lambda x: x[0].sin() * x[1], (xs, ys), recompute=recompute)

    assert gradcheck(mapped, (xs, ys)) and gradgradcheck(mapped, (xs, ys))


def test_unused_outputs_and_carry():
    xs = randn(4, 2)
    _, (a, b) = torch.scan(lambda c, x: (c, (x * 2, x * 3)), torch.zeros(2), xs, recompute=True)
    a[1].sum().backward()
    assert xs.grad.tolist() == [[0, 0], [2, 2], [0, 0], [0, 0]]
    assert b.requires_grad


# --- mistakes -------------------------------------------------------------------------------

ONE, TWO = torch.zeros(1), torch.zeros(2)
IDENTITY = torch.clone


def scanned(result, init=ONE):
    return lambda: torch.scan(lambda c, x: result, init, torch.zeros(3, 2))


def looped(result):
    return lambda: torch.while_loop(lambda x: x.sum() == 0, lambda x: result, (TWO,))


MISTAKES = {
    "pred is a number": (lambda: torch.cond(1, IDENTITY, IDENTITY, (ONE,)), "cond: pred: a bool"),
    "pred is float": (lambda: torch.cond(ONE, IDENTITY, IDENTITY, (ONE,)), r"\(x > 0\)"),
    "pred has two": (lambda: torch.cond(TWO > 0, IDENTITY, IDENTITY, (ONE,)), r"shape \[2\]"),
    "one operand": (lambda: torch.cond(True, IDENTITY, IDENTITY, ONE), r"write \(x,\)"),
    "loop of a tensor": (lambda: torch.while_loop(IDENTITY, IDENTITY, ONE), r"write \(x,\)"),
    "condition": (
        lambda: torch.while_loop(IDENTITY, IDENTITY, (ONE,)),
        "result of cond_fn: a bool",
    ),
    "carry is no tuple": (looped(TWO + 1), r"structure .* required, \(\*,\), got \*"),
    "carry grows": (looped((TWO, TWO)), r"got \(\*, \*\)"),
    "carry's shape": (looped((ONE + 1,)), r"result of body_fn\[0\]: .*\[2\] .*got .*\[1\]"),
    "carry's dtype": (looped((TWO.double() + 1,)), "float32 of shape .* got torch.float64"),
    "no output": (scanned(ONE), "two things"),
    "three outputs": (scanned((ONE, ONE, ONE)), r"two things.*got \(\*, \*, \*\)"),
    "scan's carry": (scanned((TWO, ONE)), r"carry returned by combine_fn: .*\[1\].*\[2\]"),
    "scan's structure": (scanned(([ONE], ONE)), r"required, \*, got \[\*\]"),
    "no slices": (lambda: torch.scan(None, ONE, torch.zeros(0, 2)), "at least 1"),
    "no xs": (lambda: torch.map(IDENTITY, ()), "at least one tensor"),
    "lengths": (lambda: torch.map(IDENTITY, (ONE, TWO)), r"\[1\] and \[2\]"),
    "0-d": (lambda: torch.map(IDENTITY, torch.tensor(1.0)), "dimension 0"),
    "dim": (lambda: torch.scan(None, ONE, ONE, dim=1), "dimension 1"),
    "output's rank": (
        lambda: torch.scan(lambda c, x: (c, ONE[0]), ONE, torch.zeros(2, 2, 2), dim=2),
        "at least 2 dimensions",
    ),
    "outputs differ": (lambda: torch.map(lambda x: x.nonzero(), torch.eye(2)[:, :1]), "first step"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes(mistake):
    call, message = MISTAKES[mistake]
    with pytest.raises(RuntimeError, match=message):
        call()


NO_TENSORS = {
    r"while_loop: carried_inputs\[0\]: .*int 0": lambda: torch.while_loop(None, None, (0,)),
    r"scan: init\['n'\]": lambda: torch.scan(None, {"n": 1.5}, ONE),
    r"map: xs": lambda: torch.map(None, [1, 2]),
    r"cond: operands\[1\]": lambda: torch.cond(True, IDENTITY, IDENTITY, (ONE, "a")),
    r"result of <lambda>\[1\]": lambda: torch.cond(True, lambda: (ONE, 2), lambda: ONE),
    r"combine_fn\[0\]: a Tensor": scanned(((3,), ONE), (ONE,)),
    r"y, returned by combine_fn at the first step": scanned((ONE, 4)),
}


@pytest.mark.parametrize("message", NO_TENSORS)
def test_what_is_no_tensor(message):
    with pytest.raises(TypeError, match=message):
        NO_TENSORS[message]()


# --- recomputation --------------------------------------------------------------------------


def three_layers(recompute):
    torch.manual_seed(0)
    net = torch.nn.Sequential(*[torch.nn.Linear(3, 3) for _ in range(3)]).double()
    scale = net[0].bias * 2

    def layer(i, x, gain):
        return (net[i](x) * scale).tanh() * gain["g"] + x[0]

    x, gain = randn(4, 3), randn(1)
    out = x
    for i in range(3):
        if recompute:
            out = checkpoint(layer, i, out, use_reentrant=False, gain={"g": gain})
        else:
            out = layer(i, out, {"g": gain})
    return out, [*net.parameters(), x, gain]


def test_checkpoint_gives_gradients_of_every_order():
    results = []
    for recompute in (False, True):
        out, inputs = three_layers(recompute)
        orders = [(out**2).sum()]
        for _ in range(3):
            grads = torch.autograd.grad(orders[-1], inputs, create_graph=True)
            orders.append(sum((g**2).sum() for g in grads))
        results.append([float(x) for x in orders])
    assert results[0] == pytest.approx(results[1], rel=1e-12)


def test_checkpoint_keeps_nothing_in_between():
    calls = []

    def f(x):
        y = x.exp()
        calls.append(y.grad_fn)
        return y.sin()

    x = randn(3)
    out = checkpoint(f, x)
    assert out.grad_fn.name() == "_RecomputeBackward"
    assert out.grad_fn.next_functions[2][0].variable is x
    out.sum().backward()
    assert len(calls) == 2
    assert torch.allclose(x.grad, x.exp() * x.exp().cos())
    with pytest.raises(RuntimeError, match="second time"):
        out.sum().backward()


def test_checkpoint_draws_the_same_numbers():
    x = randn(100)
    torch.manual_seed(3)
    out = checkpoint(torch.nn.functional.dropout, x)
    after = torch.rand(3)
    out.sum().backward()
    assert torch.equal(x.grad * x, out)
    torch.manual_seed(3)
    torch.nn.functional.dropout(x)
    assert torch.equal(torch.rand(3), after)


def test_hooks_of_captured_tensors_run_once():
    w = randn(2)
    inner = w * 2
    inner.retain_grad()
    seen = []
    w.register_hook(lambda g: seen.append(g) or g * 10)
    inner.register_hook(lambda g: g * 3)
    x = randn(2)
    checkpoint(lambda x: x * inner * w, x).sum().backward()
    assert len(seen) == 1
    assert torch.allclose(w.grad, 10 * (x * inner + 2 * 3 * x * w))
    assert torch.allclose(inner.grad, 3 * x * w)


def test_same_tensor_twice_and_ancestors():
    x = randn(3)

    def f(a, b, c):
        return a * b.exp() * c

    def grads(call):
        first = torch.autograd.grad(call().sum(), x, create_graph=True)[0]
        return first, torch.autograd.grad(first.sum(), x)[0]

    for plain, again in zip(
        grads(lambda: f(x, x, x.sin())), grads(lambda: checkpoint(f, x, x, x.sin())), strict=True
    ):
        assert torch.allclose(plain, again)


def test_checkpoint_without_gradients():
    x = torch.ones(2)
    assert not checkpoint(torch.exp, x).requires_grad
    with torch.no_grad():
        assert not checkpoint(torch.exp, randn(2)).requires_grad
    numbers = checkpoint(lambda x: (x, x.argmax(), "text", 3), randn(2))
    assert numbers[0].requires_grad and numbers[2:] == ("text", 3)


def test_checkpoint_notices_changes():
    count = []

    def grows(x):
        count.append(0)
        return (x * 2).repeat(len(count))

    with pytest.raises(CheckpointError, match="recomputation: a result of shape"):
        checkpoint(grows, randn(2)).sum().backward()
    w = randn(2)
    out = checkpoint(lambda x: x * w, randn(2))
    with torch.no_grad():
        w.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.sum().backward()


def test_checkpoint_sequential():
    layers = torch.nn.Sequential(*[torch.nn.Linear(2, 2) for _ in range(5)])
    x = torch.randn(3, 2, requires_grad=True)
    layers(x).sum().backward()
    expected = [p.grad for p in layers.parameters()]
    for segments in (1, 2, 5):
        layers.zero_grad()
        checkpoint_sequential(layers, segments, x, use_reentrant=False).sum().backward()
        for p, g in zip(layers.parameters(), expected, strict=True):
            assert torch.allclose(p.grad, g)


def test_memory_of_a_recomputed_scan_does_not_hold_the_steps():
    """The graph keeps the carry of a step and nothing else."""

    def step(h, x):
        for _ in range(20):
            h = (h + x).sin()
        return h, None

    carry, _ = torch.scan(step, randn(2), randn(5, 2), recompute=True)
    nodes, node = 0, carry.grad_fn
    while node is not None and node.name() == "_RecomputeBackward":
        nodes += 1
        node = node.next_functions[2][0]
    assert nodes == 5
