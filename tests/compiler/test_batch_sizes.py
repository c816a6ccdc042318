"""A batch size beyond the second runs without the function: two recordings give all others."""

from __future__ import annotations

import random
import warnings

import pytest
from trapping import same, values, x_of

import flambeau as torch
import flambeau.nn.functional as F
from flambeau import nn
from flambeau.compiler import CompileWarning

SIZES = (16, 16, 16, 12, 7, 16, 30, 2, 7, 64, 3, 12, 5)


class Digits(nn.Module):
    """A small convolutional network, flattened as most scripts do it."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.last = nn.Linear(4 * 16, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.norm(self.first(x))), 2)
        return self.last(x.view(x.size(0), -1))


class Reader(nn.Module):
    """Embedding, a transformer layer, and the mean over positions."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(20, 16)
        self.layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.last = nn.Linear(16, 10)

    def forward(self, x):
        return self.last(self.layer(self.embed(x)).mean(1))


def perceptron():
    return nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.LayerNorm(16), nn.Linear(16, 3))


def dropped():
    return nn.Sequential(nn.Linear(6, 16), nn.GELU(), nn.Dropout(0.3), nn.Linear(16, 3))


MODELS = {
    "perceptron": (perceptron, lambda n: (torch.randn(n, 6), torch.randn(n, 3)), F.mse_loss),
    "dropout": (dropped, lambda n: (torch.randn(n, 6), torch.randn(n, 3)), F.smooth_l1_loss),
    "classes": (
        perceptron,
        lambda n: (torch.randn(n, 6), torch.randint(0, 3, (n,))),
        F.cross_entropy,
    ),
    "digits": (
        Digits,
        lambda n: (torch.randn(n, 1, 8, 8), torch.randint(0, 10, (n,))),
        F.cross_entropy,
    ),
    "transformer": (
        Reader,
        lambda n: (torch.randint(0, 20, (n, 6)), torch.randint(0, 10, (n,))),
        F.cross_entropy,
    ),
}


def train(name, optimizer_type, wrap):
    """Losses, gradients, parameters and optimizer state after every step, and the step."""
    make, batch, loss_of = MODELS[name]
    torch.manual_seed(1)
    net = make()
    optimizer = optimizer_type(net.parameters(), lr=0.01)

    @wrap
    def step(x, y):
        optimizer.zero_grad()
        loss = loss_of(net(x), y)
        loss.backward()
        optimizer.step()
        return loss

    seen = []
    for i, size in enumerate(SIZES):
        torch.manual_seed(i)
        loss = step(*batch(size))
        gradients = [p.grad for p in net.parameters()]
        state = [list(x.values()) for x in optimizer.state_dict()["state"].values()]
        seen.append(values([loss, gradients, list(net.state_dict().values()), state]))
    return seen, step


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.AdamW])
@pytest.mark.parametrize("name", MODELS)
def test_training_steps(name, optimizer) -> None:
    eager, _ = train(name, optimizer, lambda f: f)
    compiled, step = train(name, optimizer, torch.compile)
    assert same(eager, compiled)
    # Two or three recordings of 16 (the first makes the optimizer's state), and one of 12.
    assert step.recordings == (4 if optimizer is torch.optim.AdamW else 3)
    assert step.instantiations == len({7, 30, 2, 64, 3, 5})


def test_report_counts() -> None:
    _, step = train("perceptron", torch.optim.SGD, torch.compile)
    assert "recorded 3 times, instantiated 6 times for other batch sizes" in str(step.report())


def over(f, sizes=SIZES, make=lambda i, n: (x_of(i, n, 6),)):
    """A compiled function, compared with the function itself over many sizes."""
    compiled = torch.compile(f)
    for i, size in enumerate(sizes):
        args = make(i, size)
        torch.manual_seed(i)
        expected = values(f(*args))
        torch.manual_seed(i)
        assert same(expected, values(compiled(*args))), size
    return compiled


LINE = torch.arange(6.0)
FUNCTIONS = {
    "divided by the size": lambda x: (x * LINE).sum(0) / x.shape[0],
    "a dividend of the size": lambda x: x.sum(0) * (x.numel() / (x.size(0) + 3)),
    "slices from both ends": lambda x: x[1:] - x[:-1],
    "halves of the features": lambda x: [p.exp() for p in x.chunk(2, 1)],
    "a shape of sizes": lambda x: (
        x.view(x.size(0), 2, -1).transpose(1, 2).reshape(len(x.shape), -1)
    ),
    "new tensors": lambda x: torch.cat([x, torch.zeros(x.shape), x.new_ones(x.size(0), 2)], 1),
    "twice the size": lambda x: torch.cat([x, -x]).tanh().view(2 * x.shape[0], 3, 2),
    "rows against rows": lambda x: (x[:, None] - LINE.view(2, 3).repeat(1, 2)).square().sum(-1),
    "assertions": lambda x: x.softmax(0) if x.shape[1] == 6 and x.shape[0] > 1 else x,
    "a window of a parameter": lambda x: (x.t() @ x).diagonal() + x[:, 0].var(),
    "draws": lambda x: F.dropout(x, 0.5) + torch.randn(x.shape[0], 1),
    "views": lambda x: x.flatten()[None].expand(3, -1).unflatten(1, (x.size(0), 6))[1].t(),
    "in place": lambda x: x.clone().add_(1).mul_(x)[:, 1:].clamp_(min=0.2),
    "written rows": lambda x: torch.zeros(x.size(0), 6).index_put_((torch.tensor([0, 1]),), x[:2]),
    "sizes given back": lambda x: (x + 1, {"features": x.shape[1]}),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name: str) -> None:
    compiled = over(FUNCTIONS[name], (16, 16, 16, 12, 7, 16, 30, 4, 7, 64, 3, 12, 5))
    assert compiled.recordings == 3, compiled.recordings
    assert compiled.instantiations == 6


def test_bound_functions_are_recorded() -> None:
    compiled = over(lambda x: sum(row.exp() for row in x))
    assert compiled.instantiations == 0


def test_a_family_ends_where_a_comparison_changes() -> None:
    compiled = over(lambda x: x * 2 if x.shape[0] < 20 else x * 3, (8, 8, 5, 6, 19, 40, 30, 50, 7))
    # 8 twice, 5, and beyond the bound 40 and 30.
    assert (compiled.recordings, compiled.instantiations) == (5, 4)


def test_sizes_of_one_are_recorded() -> None:
    compiled = over(lambda x: (x - x.mean(0)).squeeze(), (8, 8, 1, 5, 6, 0, 1, 0, 9))
    assert (compiled.recordings, compiled.instantiations) == (5, 2)


def test_a_size_that_equals_another_length() -> None:
    compiled = over(lambda x: (x @ LINE, x + LINE), (6, 6, 6, 4, 5, 6, 7, 12))
    assert (compiled.recordings, compiled.instantiations) == (3, 3)


def test_two_batches_of_one_size() -> None:
    def make(i, n):
        return x_of(i, n, 6), x_of(i + 1, n, 3)

    compiled = over(lambda x, y: torch.cat([x, y], 1).sum(0), make=make)
    assert (compiled.recordings, compiled.instantiations) == (3, 6)


def test_differentiated_from_outside() -> None:
    w = torch.randn(6, 2, requires_grad=True)

    def f(x):
        return (x @ w).relu().mean(0)

    compiled = torch.compile(f)
    for i, size in enumerate(SIZES):
        found = []
        for g in (f, compiled):
            x = x_of(i, size, 6).requires_grad_()
            w.grad = None
            g(x).sum().backward()
            found.append(values([x.grad, w.grad]))
        assert same(*found)
    assert (compiled.recordings, compiled.instantiations) == (3, 6)


def test_compiled_module_and_last_batch_of_an_epoch() -> None:
    torch.manual_seed(0)
    net = perceptron()
    compiled = torch.compile(net)
    for size in (32, 32, 32, 20, 32, 48, 20, 11):
        x = torch.randn(size, 6)
        assert same(values(net(x)), values(compiled(x)))
    assert compiled.report().instantiations == 2


def test_evaluation_after_training() -> None:
    torch.manual_seed(0)
    net = Digits()
    compiled = torch.compile(lambda x: net(x).argmax(1))
    for mode in (False, True, False, True):
        net.train(mode)
        for size in (8, 8, 8, 5, 12, 9):
            x = torch.randn(size, 1, 8, 8)
            state = {k: v.clone() for k, v in net.state_dict().items()}
            expected = net(x).argmax(1).tolist()
            net.load_state_dict(state)
            assert compiled(x).tolist() == expected


def test_executables_of_old_sizes_are_made_again() -> None:
    compiled = over(lambda x: x.exp().sum(1), (16, 16, 12, *range(2, 12), *range(2, 12), 16, 12))
    assert compiled.recordings == 3 and compiled.instantiations == 22


def test_noncontiguous_batches() -> None:
    whole = torch.randn(64, 9)

    def make(i, n):
        return (whole[i : i + n, 2:8],)

    compiled = over(lambda x: (x * 2).sum(0) + x.reshape(-1)[0], make=make)
    assert (compiled.recordings, compiled.instantiations) == (3, 6)


# --- random functions -----------------------------------------------------------------------------


def random_function(seed: int):
    """A function of a batch that is put together at random, out of steps that depend on sizes."""
    choose = random.Random(seed)
    steps = []
    for _ in range(choose.randint(2, 7)):
        k = choose.randint(1, 9)
        steps.append(
            choose.choice(
                (
                    lambda x, k=k: x[:k],
                    lambda x, k=k: x[k:],
                    lambda x, k=k: x[-k:] * 2,
                    lambda x, k=k: x[:-k].exp().clamp(max=3),
                    lambda x, k=k: x[::k] + 1,
                    lambda x, k=k: x.narrow(0, 0, k),
                    lambda x, k=k: x[k],
                    lambda x, k=k: torch.cat([x, x[:k]]),
                    lambda x, k=k: x.roll(k, 0) - x,
                    lambda x, k=k: x.repeat(2, *[1] * (x.dim() - 1)),
                    lambda x, k=k: x.chunk(k)[0],
                    lambda x, k=k: x.split(k)[-1].tanh(),
                    lambda x, k=k: x.t() if x.dim() == 2 else x,
                    lambda x, k=k: x.reshape(-1),
                    lambda x, k=k: x.reshape(x.shape[0], -1),
                    lambda x, k=k: x.reshape(k, -1),
                    lambda x, k=k: x - x.mean(0),
                    lambda x, k=k: x / (1 + x.var(-1, keepdim=True)),
                    lambda x, k=k: x.softmax(0),
                    lambda x, k=k: x.sum(-1),
                    lambda x, k=k: x * x.shape[0] / (x.numel() + k),
                    lambda x, k=k: x * 2 if x.shape[0] > 2 * k else x - 1,
                    lambda x, k=k: x * (x.shape[-1] // k) + x.size(0) % k,
                    lambda x, k=k: x.unfold(0, k, 1).sum(-1),
                    lambda x, k=k: x.clone().add_(k)[: x.shape[0] // 2 + 1],
                    lambda x, k=k: x.view(-1).as_strided((x.shape[0] - 1, 2), (1, 1)),
                    lambda x, k=k: x.sort(0)[0].flip(0),
                    lambda x, k=k: x + torch.zeros(x.shape).fill_(min(x.shape[0], k)),
                    lambda x, k=k: x.unsqueeze(1).squeeze(),
                    lambda x, k=k: x + x[:1],
                    lambda x, k=k: x.diagonal() if x.dim() == 2 else x.cumsum(0),
                )
            )
        )

    def f(x, w):
        y = x * w
        for step in steps:
            y = step(y)
        w.grad = None
        y.sum().backward()
        return y.detach(), w.grad, tuple(y.shape)

    return f


def outcome(f, *args):
    try:
        return values(f(*args))
    except (RuntimeError, IndexError, ValueError) as error:
        return type(error).__name__


@pytest.mark.parametrize("start", range(0, 300, 50))
def test_random_functions(start: int) -> None:
    instantiated = 0
    for seed in range(start, start + 50):
        f = random_function(seed)
        choose = random.Random(seed)
        compiled = torch.compile(f)
        w = torch.linspace(-1, 1, 4, dtype=torch.float64).requires_grad_()
        sizes = [choose.randint(1, 24) for _ in range(8)]
        for i, size in enumerate((*sizes[:1] * 2, *sizes)):
            x = x_of(seed + i, size, 4).double()
            expected = outcome(f, x, w)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", CompileWarning)
                assert same(expected, outcome(compiled, x, w)), (seed, size, sizes)
        instantiated += compiled.instantiations
    assert instantiated >= 20
