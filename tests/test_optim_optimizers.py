"""Optimizers against their formulas in NumPy; groups, state, hooks, bad settings."""

import copy
import pickle

import numpy as np
import pytest

import flambeau as torch
from flambeau import nn, optim

START = np.array([1.0, -2.0, 0.5])
GRADIENTS = [np.array([0.3, -0.1, 0.8]) * (1 + i % 3) * (-1) ** (i // 4) for i in range(8)]


def run(make):
    """The parameters after every step with fixed gradients."""
    p = nn.Parameter(torch.tensor(START, dtype=torch.float64))
    optimizer = make([p])
    history = []
    for g in GRADIENTS:
        p.grad = torch.tensor(g, dtype=torch.float64)
        optimizer.step()
        history.append(p.detach().numpy().copy())
    return np.stack(history)


def reference(update):
    """The same for `update(p, g, t, state)`."""
    p, state, history = START.copy(), {}, []
    for t, g in enumerate(GRADIENTS, 1):
        p = update(p, g, t, state)
        history.append(p)
    return np.stack(history)


def sgd(p, g, t, s):
    g = g + 0.1 * p
    s["b"] = g if t == 1 else 0.9 * s["b"] + 0.5 * g
    return p - 0.2 * s["b"]


def nesterov(p, g, t, s):
    s["b"] = g if t == 1 else 0.9 * s["b"] + g
    return p - 0.2 * (g + 0.9 * s["b"])


def adam_moments(g, s):
    s["m"] = 0.9 * s.get("m", 0) + 0.1 * g
    s["v"] = 0.999 * s.get("v", 0) + 0.001 * g * g
    return s["m"], s["v"]


def adam(p, g, t, s):
    m, v = adam_moments(g + 0.1 * p, s)
    return p - 0.2 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)


def adamw(p, g, t, s):
    p = p * (1 - 0.2 * 0.1)
    m, v = adam_moments(g, s)
    return p - 0.2 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)


def amsgrad(p, g, t, s):
    m, v = adam_moments(g, s)
    s["peak"] = np.maximum(s.get("peak", 0), v)
    return p - 0.2 * (m / (1 - 0.9**t)) / (np.sqrt(s["peak"] / (1 - 0.999**t)) + 1e-8)


def adamax(p, g, t, s):
    m, _ = adam_moments(g, s)
    s["u"] = np.maximum(0.999 * s.get("u", 0), np.abs(g) + 1e-8)
    return p - 0.2 / (1 - 0.9**t) * m / s["u"]


def rmsprop(p, g, t, s):
    s["v"] = 0.99 * s.get("v", 0) + 0.01 * g * g
    s["m"] = 0.99 * s.get("m", 0) + 0.01 * g
    s["b"] = 0.5 * s.get("b", 0) + g / (np.sqrt(s["v"] - s["m"] ** 2) + 1e-8)
    return p - 0.2 * s["b"]


def adagrad(p, g, t, s):
    s["v"] = s.get("v", 0.3) + g * g
    return p - 0.2 / (1 + (t - 1) * 0.1) * g / (np.sqrt(s["v"]) + 1e-10)


def adadelta(p, g, t, s):
    s["v"] = 0.9 * s.get("v", 0) + 0.1 * g * g
    delta = np.sqrt(s.get("d", 0) + 1e-6) / np.sqrt(s["v"] + 1e-6) * g
    s["d"] = 0.9 * s.get("d", 0) + 0.1 * delta**2
    return p - delta


def rprop(p, g, t, s):
    agreement = g * s.get("g", 0)
    factor = np.where(agreement > 0, 1.2, np.where(agreement < 0, 0.5, 1.0))
    s["size"] = np.clip(s.get("size", 0.2) * factor, 1e-6, 50)
    s["g"] = np.where(agreement < 0, 0, g)
    return p - np.sign(s["g"]) * s["size"]


CASES = {
    "sgd": (
        lambda p: optim.SGD(p, 0.2, momentum=0.9, dampening=0.5, weight_decay=0.1),
        sgd,
    ),
    "plain sgd": (lambda p: optim.SGD(p, 0.2), lambda p, g, t, s: p - 0.2 * g),
    "uphill": (lambda p: optim.SGD(p, 0.2, maximize=True), lambda p, g, t, s: p + 0.2 * g),
    "nesterov": (lambda p: optim.SGD(p, 0.2, momentum=0.9, nesterov=True), nesterov),
    "adam": (lambda p: optim.Adam(p, 0.2, weight_decay=0.1), adam),
    "adamw": (lambda p: optim.AdamW(p, 0.2, weight_decay=0.1), adamw),
    "amsgrad": (lambda p: optim.Adam(p, 0.2, amsgrad=True), amsgrad),
    "adamax": (lambda p: optim.Adamax(p, 0.2), adamax),
    "rmsprop": (lambda p: optim.RMSprop(p, 0.2, momentum=0.5, centered=True), rmsprop),
    "adagrad": (
        lambda p: optim.Adagrad(p, 0.2, lr_decay=0.1, initial_accumulator_value=0.3),
        adagrad,
    ),
    "adadelta": (lambda p: optim.Adadelta(p), adadelta),
    "rprop": (lambda p: optim.Rprop(p, 0.2), rprop),
}


@pytest.mark.parametrize("name", CASES)
def test_formula(name):
    make, update = CASES[name]
    np.testing.assert_allclose(run(make), reference(update), rtol=1e-10)


ALL = [
    optim.SGD,
    optim.ASGD,
    optim.Adam,
    optim.AdamW,
    optim.Adamax,
    optim.NAdam,
    optim.RAdam,
    optim.RMSprop,
    optim.Adagrad,
    optim.Adadelta,
    optim.Rprop,
    optim.LBFGS,
]


@pytest.mark.parametrize("kind", ALL, ids=lambda k: k.__name__)
def test_minimises_a_bowl(kind):
    p = nn.Parameter(torch.tensor([1.0, -2.0]))
    optimizer = kind([p], lr=20.0 if kind is optim.Adadelta else 0.1)

    def closure():
        optimizer.zero_grad()
        loss = (p * p * torch.tensor([1.0, 3.0])).sum()
        loss.backward()
        return loss

    first = float(closure())
    for _ in range(30):
        optimizer.step(closure)
    assert float(closure()) < 0.5 * first


def test_lbfgs_finds_the_minimum_of_rosenbrock():
    p = nn.Parameter(torch.tensor([-1.0, 1.5], dtype=torch.float64))
    optimizer = optim.LBFGS([p], max_iter=100, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = (1 - p[0]) ** 2 + 100 * (p[1] - p[0] ** 2) ** 2
        loss.backward()
        return loss

    for _ in range(3):
        optimizer.step(closure)
    assert p.tolist() == pytest.approx([1.0, 1.0], abs=1e-5)
    with pytest.raises(ValueError):
        optim.LBFGS([{"params": [p]}, {"params": [nn.Parameter(torch.zeros(1))]}])
    with pytest.raises(RuntimeError):
        p.data.fill_(3.0)
        optim.LBFGS([p], line_search_fn="armijo").step(closure)


def test_closure_and_missing_gradients():
    p, q = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))
    optimizer = optim.Adam([p, q], lr=0.1)
    result = optimizer.step(lambda: (p * 2).sum())
    assert float(result) == 2.0 and result.requires_grad
    p.grad = torch.ones(1)
    optimizer.step()
    assert q.item() == 1.0 and q not in optimizer.state
    assert not p.grad_fn and p.is_leaf and p.requires_grad


def test_parameters_that_join_later_have_their_own_step_count():
    p, q = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))
    optimizer = optim.Adam([p, q], lr=0.1)
    for t in range(3):
        p.grad = torch.ones(1)
        q.grad = torch.ones(1) if t == 2 else None
        optimizer.step()
    state = optimizer.state_dict()["state"]
    assert float(state[0]["step"]) == 3 and float(state[1]["step"]) == 1
    assert q.item() == pytest.approx(0.9, abs=1e-6)


def test_groups():
    p, q, r = (nn.Parameter(torch.ones(1)) for _ in range(3))
    optimizer = optim.SGD([{"params": [p]}, {"params": q, "lr": 0.5}], lr=0.1)
    optimizer.add_param_group({"params": [r], "momentum": 0.9})
    assert [g["lr"] for g in optimizer.param_groups] == [0.1, 0.5, 0.1]
    for x in (p, q, r):
        x.grad = torch.ones(1)
    optimizer.step()
    assert [round(x.item(), 6) for x in (p, q, r)] == [0.9, 0.5, 0.9]
    optimizer.zero_grad(set_to_none=False)
    assert p.grad.item() == 0
    optimizer.zero_grad()
    assert p.grad is None
    with pytest.raises(ValueError, match="more than one"):
        optimizer.add_param_group({"params": [p]})
    with pytest.raises(TypeError):
        optimizer.add_param_group([p])
    with pytest.raises(TypeError):
        optimizer.add_param_group({"params": {nn.Parameter(torch.ones(1))}})


def test_bad_parameters():
    p = nn.Parameter(torch.ones(1))
    with pytest.raises(ValueError, match="empty"):
        optim.SGD([], lr=0.1)
    with pytest.raises(TypeError):
        optim.SGD(p, lr=0.1)
    with pytest.raises(TypeError):
        optim.SGD([1], lr=0.1)
    with pytest.raises(ValueError, match="non-leaf"):
        optim.SGD([p * 2], lr=0.1)
    with pytest.warns(UserWarning, match="duplicate"):
        optim.SGD([p, p], lr=0.1)


@pytest.mark.parametrize(
    "kind, settings",
    [
        (optim.SGD, {"lr": -1}),
        (optim.SGD, {"momentum": -1}),
        (optim.SGD, {"nesterov": True}),
        (optim.Adam, {"betas": (1.0, 0.9)}),
        (optim.Adam, {"eps": -1}),
        (optim.AdamW, {"weight_decay": -1}),
        (optim.RMSprop, {"alpha": -1}),
        (optim.Adadelta, {"rho": 2}),
        (optim.Adagrad, {"lr_decay": -1}),
        (optim.Rprop, {"etas": (2, 1)}),
        (optim.NAdam, {"momentum_decay": -1}),
    ],
)
def test_bad_settings(kind, settings):
    with pytest.raises(ValueError, match=r"Invalid|Nesterov"):
        kind([nn.Parameter(torch.ones(1))], **settings)


def test_repr_and_state_dict_format():
    p = nn.Parameter(torch.ones(2))
    optimizer = optim.SGD([p], lr=0.1, momentum=0.9)
    assert repr(optimizer) == (
        "SGD (\nParameter Group 0\n    dampening: 0\n    differentiable: False\n"
        "    foreach: None\n    fused: None\n    lr: 0.1\n    maximize: False\n"
        "    momentum: 0.9\n    nesterov: False\n    weight_decay: 0\n)"
    )
    p.grad = torch.ones(2)
    optimizer.step()
    state = optimizer.state_dict()
    assert list(state) == ["state", "param_groups"]
    assert list(state["state"][0]) == ["momentum_buffer"]
    assert state["param_groups"][0]["params"] == [0]
    adam = optim.Adam([p])
    adam.step()
    row = adam.state_dict()["state"][0]
    assert list(row) == ["step", "exp_avg", "exp_avg_sq"]
    assert row["step"].shape == () and row["step"].dtype == torch.float32


@pytest.mark.parametrize("kind", ALL[:-1], ids=lambda k: k.__name__)
def test_resuming_continues_exactly(kind):
    def steps(p, optimizer, gradients):
        for g in gradients:
            p.grad = torch.tensor(g)
            optimizer.step()

    p = nn.Parameter(torch.tensor(START))
    optimizer = kind([p])
    steps(p, optimizer, GRADIENTS[:3])
    saved = copy.deepcopy(optimizer.state_dict())
    q = nn.Parameter(p.detach().clone())
    resumed = kind([q], lr=123.0)
    resumed.load_state_dict(saved)
    steps(p, optimizer, GRADIENTS[3:])
    steps(q, resumed, GRADIENTS[3:])
    assert torch.equal(p, q)
    again = copy.deepcopy(saved)
    for name, value in saved["state"].get(0, {}).items():
        np.testing.assert_array_equal(value.numpy(), again["state"][0][name].numpy())


def test_load_state_dict_errors():
    p, q = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))
    state = optim.SGD([p], lr=0.1).state_dict()
    with pytest.raises(ValueError, match="match the size"):
        optim.SGD([p, q], lr=0.1).load_state_dict(state)
    with pytest.raises(ValueError, match="number of parameter groups"):
        optim.SGD([{"params": [p]}, {"params": [q]}], lr=0.1).load_state_dict(state)


def test_named_parameters():
    linear = nn.Linear(1, 1)
    optimizer = optim.SGD(linear.named_parameters(), lr=0.1)
    assert optimizer.state_dict()["param_groups"][0]["param_names"] == ["weight", "bias"]


def test_step_hooks_and_own_optimizers():
    class Halving(optim.Optimizer):
        def __init__(self, params):
            super().__init__(params, {})

        def step(self, closure=None):
            for group in self.param_groups:
                for p in group["params"]:
                    p.data.mul_(0.5)

    p, calls = nn.Parameter(torch.ones(1)), []
    for optimizer in (Halving([p]), optim.SGD([p], lr=0.1)):
        optimizer.register_step_pre_hook(lambda o, a, k: calls.append("pre"))
        handle = optimizer.register_step_post_hook(lambda o, a, k: calls.append("post"))
        optimizer.step()
        handle.remove()
        optimizer.step()
    assert calls == ["pre", "post", "pre"] * 2
    assert p.item() == 0.25


def test_pickle_keeps_state():
    p = nn.Parameter(torch.ones(2))
    optimizer = optim.Adam([p], lr=0.1)
    p.grad = torch.ones(2)
    optimizer.step()
    again = pickle.loads(pickle.dumps(optimizer))
    assert again.param_groups[0]["lr"] == 0.1
    assert float(again.state_dict()["state"][0]["step"]) == 1
