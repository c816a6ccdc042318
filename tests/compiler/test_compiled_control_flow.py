"""Control flow in compiled functions: one step each, equal to eager, with gradients."""

import warnings

import pytest

import flambeau as torch
from flambeau.compiler import CompileWarning

D = {"dtype": torch.float64}


def replayed(function, *args, calls=5, fullgraph=True):
    """Compares every call of the compiled function with eager; returns the compiled one."""
    compiled = torch.compile(function, fullgraph=fullgraph)
    for i in range(calls):
        inputs = [a + i * 0.25 if a.dtype.is_floating_point else a for a in args]
        torch.manual_seed(i)
        expected = flat(function(*inputs))
        torch.manual_seed(i)
        got = flat(compiled(*inputs))
        for x, y in zip(expected, got, strict=True):
            assert x.dtype == y.dtype and x.shape == y.shape
            assert torch.allclose(x, y, rtol=1e-12, atol=1e-12, equal_nan=True), i
    return compiled


def flat(result):
    if isinstance(result, torch.Tensor):
        return [result.detach()]
    values = result.values() if isinstance(result, dict) else result
    return [leaf for value in values if value is not None for leaf in flat(value)]


def operators(compiled):
    return [node.operator for node in compiled.graph.nodes]


def trained(parameters, loss_of):
    """A step that returns the loss and all gradients."""

    def step(*args):
        for p in parameters:
            p.grad = None
        loss = loss_of(*args)
        loss.backward()
        return loss.detach(), [p.grad for p in parameters]

    return step


def weights(*shapes):
    torch.manual_seed(0)
    return [(torch.randn(*shape, **D) * 0.5).requires_grad_() for shape in shapes]


# --- values ---------------------------------------------------------------------------------


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("dim", [0, 1, 2])
def test_scan(dim, reverse):
    def scanned(xs, gain):
        def step(carry, x):
            h = (carry["h"] * gain + x).sin()
            return {"h": h, "n": carry["n"] + 1}, (h * 2, x, carry["h"])

        init = {"h": xs.select(dim, 0) * 0.5, "n": torch.tensor(0)}
        return torch.scan(step, init, xs * 2, dim=dim, reverse=reverse)

    with torch.no_grad():
        compiled = replayed(scanned, torch.randn(3, 4, 5, **D), torch.randn(1, **D))
    assert operators(compiled).count("scan") == 1


def test_scan_whose_carry_changes_places():
    with torch.no_grad():
        replayed(
            lambda x: torch.scan(lambda c, x: ((c[1], c[0] + x), c[0]), (x[0], x[1]), x),
            torch.randn(6, 2, **D),
        )


def test_map_and_constants_inside():
    def mapped(xs, k):
        return torch.map(lambda x, k: {"y": x[0] @ k + torch.ones(3, **D), "x": x[1]}, (xs, xs), k)

    with torch.no_grad():
        compiled = replayed(mapped, torch.randn(4, 2, 3, **D), torch.randn(3, 3, **D))
    assert operators(compiled) == ["scan"]


def test_while_loop():
    def loop(x, limit):
        return torch.while_loop(
            lambda n, x: x.abs().max() > limit,
            lambda n, x: (n + 1, (x * 0.7).sin()),
            (torch.tensor(0), x * 2),
        )

    with torch.no_grad():
        compiled = replayed(loop, torch.randn(5, **D), torch.tensor(0.1, **D))
    assert "while_loop" in operators(compiled)


@pytest.mark.parametrize("start", [-3.0, -0.6])
def test_cond(start):
    a, b = torch.randn(3, **D), torch.randn(3, 3, **D)

    def choose(x):
        return torch.cond(
            x.sum() > 0, lambda x, y: (x * a, y), lambda x, y: (b @ x, x * 2), (x, x + 1)
        )

    with torch.no_grad():
        compiled = replayed(choose, torch.full((3,), start / 3, **D), calls=8)
    assert operators(compiled).count("cond") == 1


def test_nested():
    def outer(xs):
        def step(h, x):
            inner, _ = torch.scan(lambda c, r: (c + r * h.sum(), None), h, x)
            return torch.cond(inner.sum() > 0, torch.tanh, torch.cos, (inner,)), inner

        return torch.scan(step, xs[0, 0], xs)

    with torch.no_grad():
        compiled = replayed(outer, torch.randn(4, 3, 2, **D))
    assert operators(compiled).count("scan") == 1


def test_random_numbers_inside():
    def noisy(xs):
        return torch.scan(lambda c, x: (c + torch.rand(2, **D) * x, torch.randn(2, **D)), xs[0], xs)

    with torch.no_grad():
        replayed(noisy, torch.randn(4, 2, **D))


# --- gradients ------------------------------------------------------------------------------


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
def test_gradients_of_scan(reverse, recompute):
    w, u, h0 = parameters = weights((3, 3), (2, 3), (4, 3))

    def loss_of(xs, mask):
        w2 = w * 0.5 + w.t()  # captured, made inside

        def cell(state, x):
            h, n = state
            h = torch.tanh(x @ u + h @ w2) * mask
            return (h, n + 1), (h * 2, n)

        start = h0, torch.tensor(0)
        (last, n), (ys, _) = torch.scan(cell, start, xs, reverse=reverse, recompute=recompute)
        return (ys**2).mean() + last.sum() * n

    step = trained(parameters, loss_of)
    compiled = replayed(step, torch.randn(5, 4, 2, **D), torch.rand(4, 3, **D))
    forward, _ = [node for node in compiled.graph.nodes if node.operator == "scan"]
    # The carries of all steps, and the two products.
    assert len(forward.outputs) == 4 + 2 + (0 if recompute else 2)


def test_gradients_of_arguments():
    (w,) = weights((3,))

    def function(xs, h):
        return torch.scan(lambda h, x: ((h * w + x).sin(), h * x), h, xs)

    compiled = torch.compile(function, fullgraph=True)
    for i in range(5):
        found = []
        for f in (function, compiled):
            w.grad = None
            inputs = [
                (torch.ones(4, 3, **D) * i).requires_grad_(),
                torch.ones(3, **D).requires_grad_(),
            ]
            h, ys = f(*inputs)
            (h.sum() + (ys * 3).sum()).backward()
            found.append([h.detach(), ys.detach(), w.grad, *(x.grad for x in inputs)])
        for x, y in zip(*found, strict=True):
            assert torch.allclose(x, y, rtol=1e-12)
    assert "scan" in operators(compiled)


@pytest.mark.parametrize("limit", [-100.0, 0.1, 4.0, 30.0])
def test_gradients_of_while_loop(limit):
    w, h0 = parameters = weights((3, 3), (3,))

    def loss_of(x):
        w2 = w.exp()

        def body(n, h):
            return n + 1, (h @ w2).tanh() + x * n

        n, h = torch.while_loop(lambda n, h: h.abs().sum() < limit, body, (torch.tensor(1), h0))
        return (h**2).sum() + (w * n).sum()

    step = trained(parameters, loss_of)
    compiled = replayed(step, torch.rand(3, **D) + 0.5, calls=6)
    assert operators(compiled).count("while_loop_backward") == 1


def test_gradients_of_map_and_cond():
    w, v = parameters = weights((3,), (3,))

    def loss_of(xs):
        ys = torch.map(lambda x: (x * w + v).exp(), xs)
        return torch.cond(
            xs.sum() > 0, lambda y: (y * w).sum(), lambda y: (y.sin() * v).sum(), (ys,)
        )

    step = trained(parameters, loss_of)
    compiled = replayed(step, torch.full((2, 3), -0.6, **D), calls=6)
    assert operators(compiled).count("cond") == 2


def test_second_derivative_inside():
    (w,) = parameters = weights((3, 3))

    def loss_of(xs):
        _, ys = torch.scan(lambda h, x: ((h @ w + x).sin(), h * x), xs[0], xs)
        (g,) = torch.autograd.grad((ys**2).sum(), w, create_graph=True)
        return (g**2).sum()

    replayed(trained(parameters, loss_of), torch.randn(4, 3, **D))


def test_optimizer_step_with_a_recurrent_cell():
    cell = torch.nn.GRUCell(2, 4).double()
    head = torch.nn.Linear(4, 1).double()
    modules = torch.nn.ModuleList([cell, head])
    start = {k: v.clone() for k, v in modules.state_dict().items()}

    def run(compiled):
        modules.load_state_dict(start)
        optimizer = torch.optim.Adam(modules.parameters(), lr=1e-2)

        def step(xs, y):
            optimizer.zero_grad()
            h, _ = torch.scan(lambda h, x: (cell(x, h), None), torch.zeros(3, 4, **D), xs)
            loss = torch.nn.functional.mse_loss(head(h), y)
            loss.backward()
            optimizer.step()
            return loss

        if compiled:
            step = torch.compile(step, fullgraph=True)
        torch.manual_seed(1)
        data = [(torch.randn(6, 3, 2, **D), torch.randn(3, 1, **D)) for _ in range(8)]
        return [step(*batch).item() for batch in data]

    assert run(True) == pytest.approx(run(False), rel=1e-9)


def test_checkpoint_inside():
    from flambeau.utils.checkpoint import checkpoint

    (w,) = parameters = weights((3, 3))
    step = trained(
        parameters, lambda x: checkpoint(lambda x: torch.dropout((x @ w).sin(), 0.5, True), x).sum()
    )
    replayed(step, torch.randn(2, 3, **D))


# --- what stays eager, and mistakes ---------------------------------------------------------


def stays_eager(function, *args):
    compiled = torch.compile(function)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for i in range(5):
            for x, y in zip(flat(function(*args)), flat(compiled(*args)), strict=True):
                assert torch.allclose(x, y), i
    texts = [str(w.message) for w in caught if w.category is CompileWarning]
    assert len(texts) == 1
    return texts[0]


def test_second_derivative_of_while_loop_stays_eager():
    (w,) = parameters = weights((3,))

    def loss_of(x):
        y = torch.while_loop(lambda x: x.sum() < 10, lambda x: (x + w.exp(),), (x,))[0].sum()
        (g,) = torch.autograd.grad(y, w, create_graph=True)
        return (g**2).sum()

    message = stays_eager(trained(parameters, loss_of), torch.zeros(3, **D))
    assert "second derivative of a while_loop" in message


def test_reading_values_inside_stays_eager():
    def reads(xs):
        return torch.scan(lambda c, x: (c + x * float(x), None), torch.tensor(0.0, **D), xs)[0]

    assert "stays eager" in stays_eager(reads, torch.randn(3, **D))


def test_writing_to_surroundings_stays_eager():
    total = torch.zeros(2, **D)

    def writes(xs):
        def step(c, x):
            total.add_(x)
            return c + total, None

        return torch.scan(step, torch.zeros(2, **D), xs)[0]

    def whole(xs):
        total.zero_()
        return writes(xs), total

    message = stays_eager(whole, torch.randn(3, 2, **D))
    assert "changed inside control flow" in message


def test_an_optimizer_inside_stays_eager():
    (w,) = weights((2,))
    start = w.detach().clone()
    optimizer = torch.optim.SGD([w], lr=0.1)

    def steps(xs):
        with torch.no_grad():
            w.copy_(start)

        def step(c, x):
            w.grad = x * 1
            optimizer.step()
            return c + w.detach(), None

        return torch.scan(step, torch.zeros(2, **D), xs)[0]

    stays_eager(steps, torch.randn(100, 2, **D))


def test_keeping_tensors_inside_is_noticed():
    kept = []

    def keeps(xs):
        def step(c, x):
            kept.append(c * 2)
            return c + x, None

        return torch.scan(step, torch.zeros(2, **D), xs)[0]

    stays_eager(keeps, torch.randn(100, 2, **D))
    assert len(kept) >= 1000


def test_a_branch_that_cannot_be_tried_out():
    table = torch.zeros(3, **D)

    def looked_up(i):
        return torch.cond(i.max() < 3, lambda i: table[i], lambda i: table[i - 3], (i,))

    def rested(i):
        return torch.while_loop(lambda i: i.max() > 2, lambda i: (table[i + 9].long(),), (i,))

    assert "trying out a part raised IndexError" in stays_eager(rested, torch.tensor([0, 1]))
    compiled = torch.compile(looked_up, fullgraph=True)
    for _ in range(4):
        assert compiled(torch.tensor([0, 2])).tolist() == [0, 0]  # -3 and -1 are places, too


def test_branches_that_differ():
    def shapes(x):
        return torch.cond(x.sum() > 0, lambda x: x, lambda x: x[:1], (x,))

    def structures(x):
        return torch.cond(x.sum() > 0, lambda x: (x,), lambda x: [x], (x,))

    x = torch.ones(2)
    with pytest.raises(RuntimeError, match=r"cond: both branches .* shape \[2\] .* shape \[1\]"):
        torch.compile(shapes)(x)
    with pytest.raises(RuntimeError, match=r"same structure, got \(\*,\) from true_fn and \[\*\]"):
        torch.compile(structures)(x)
    assert torch.compile(lambda x: x + 1)(x).tolist() == [2, 2]  # no recording is left behind


def test_mistakes_inside_are_the_eager_ones():
    @torch.compile
    def carry(x):
        return torch.scan(lambda c, x: (c + x.double(), None), x[0], x)

    with pytest.raises(RuntimeError, match=r"carry returned by combine_fn: torch\.float32"):
        carry(torch.ones(3, 2))

    @torch.compile
    def condition(x):
        return torch.while_loop(lambda x: x, lambda x: (x,), (x,))

    with pytest.raises(RuntimeError, match="cond_fn: a bool tensor"):
        condition(torch.ones(3))


def test_a_branch_that_is_not_taken_gives_zero():
    w, v = weights((3,), (3,))

    @torch.compile
    def step(x):
        w.grad = v.grad = None
        torch.cond(x.sum() > 0, lambda x: (x * w).sum(), lambda x: (x * v).sum(), (x,)).backward()

    for _ in range(4):
        step(torch.ones(3, **D))
        assert w.grad.tolist() == [1, 1, 1] and v.grad.tolist() == [0, 0, 0]


def test_a_gradient_after_the_recording_has_no_second():
    (w,) = weights((2,))
    compiled = torch.compile(lambda xs: torch.scan(lambda c, x: (c * w + x, None), xs[0], xs)[0])
    out = compiled(torch.ones(3, 2, **D)).sum()
    with pytest.raises(RuntimeError, match="no second derivative"):
        torch.autograd.grad(out, w, create_graph=True)


@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
@pytest.mark.parametrize("options", [{}, {"bidirectional": True, "num_layers": 2}])
def test_recurrent_layers(kind, options):
    """A layer and direction is one step, not one for every element of the sequence."""
    torch.manual_seed(0)
    layer = getattr(torch.nn, kind)(3, 4, batch_first=True, dtype=torch.float64, **options)

    def loss_of(x):
        out, last = layer(x)
        return (out**2).mean() + (last if kind != "LSTM" else last[1]).sum()

    compiled = replayed(trained(list(layer.parameters()), loss_of), torch.randn(2, 40, 3, **D))
    assert operators(compiled).count("scan") == 2 * (4 if options else 1)


def test_a_loop_without_end_can_be_interrupted():
    import _thread
    import threading

    compiled = torch.compile(
        lambda x: torch.while_loop(lambda x: x > 0, lambda x: (x * 1.0,), (x,))[0], fullgraph=True
    )
    for _ in range(3):
        compiled(torch.tensor(-1.0))
    threading.Timer(0.3, _thread.interrupt_main).start()
    with pytest.raises(KeyboardInterrupt):
        compiled(torch.tensor(1.0))
    assert compiled(torch.tensor(-1.0)).item() == -1
