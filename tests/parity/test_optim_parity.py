"""Optimizers and schedulers against PyTorch, where it is installed."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import flambeau as fl  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

OPTIMIZERS = [
    ("SGD", {}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "maximize": True}),
    ("Adam", {}),
    ("Adam", {"lr": 0.1, "betas": (0.8, 0.9), "weight_decay": 0.1, "amsgrad": True}),
    ("Adam", {"lr": 0.1, "weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("AdamW", {"lr": 0.1}),
    ("AdamW", {"lr": 0.1, "amsgrad": True, "maximize": True}),
    ("Adamax", {"lr": 0.1, "weight_decay": 0.1}),
    ("NAdam", {"lr": 0.1, "weight_decay": 0.1}),
    ("NAdam", {"lr": 0.1, "weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("RAdam", {"lr": 0.1, "weight_decay": 0.1}),
    ("RMSprop", {}),
    ("RMSprop", {"lr": 0.1, "momentum": 0.9, "centered": True, "weight_decay": 0.1}),
    ("Adagrad", {"lr": 0.1, "lr_decay": 0.1, "initial_accumulator_value": 0.2}),
    ("Adadelta", {"weight_decay": 0.1}),
    ("Rprop", {"lr": 0.1}),
    ("ASGD", {"lr": 0.1, "t0": 3, "lambd": 0.1}),
    ("LBFGS", {}),
    ("LBFGS", {"line_search_fn": "strong_wolfe", "history_size": 3, "max_iter": 6}),
]


def problem(module, dtype="float32"):
    module.manual_seed(1)
    data = np.random.default_rng(0).normal(size=(20, 3)).astype(dtype)
    x = module.from_numpy(data)
    y = (x.sum(1, keepdim=True) * 0.7).sin()
    net = module.nn.Sequential(module.nn.Linear(3, 4), module.nn.Tanh(), module.nn.Linear(4, 1))
    net.to(getattr(module, dtype))
    return net, lambda: ((net(x) - y) ** 2).mean()


def train(module, name, settings, steps=12, dtype="float32"):
    net, loss_of = problem(module, dtype)
    settings = dict(settings)
    groups = [
        {"params": list(net[0].parameters())},
        {"params": list(net[2].parameters()), "lr": settings.get("lr", 0.001) / 2},
    ]
    if name == "LBFGS":
        groups = list(net.parameters())
    optimizer = getattr(module.optim, name)(groups, **settings)
    losses = []

    def closure():
        optimizer.zero_grad()
        loss = loss_of()
        loss.backward()
        return loss

    for _ in range(steps):
        losses.append(float(optimizer.step(closure)))
    return net, optimizer, losses


@pytest.mark.parametrize("name, settings", OPTIMIZERS, ids=lambda v: str(v)[:60])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_optimizer(name, settings, dtype):
    # L-BFGS runs 20 iterations in a step and amplifies rounding.
    steps = 2 if name == "LBFGS" else 12
    ours, our_optimizer, our_losses = train(fl, name, settings, steps, dtype)
    theirs, their_optimizer, their_losses = train(torch, name, settings, steps, dtype)
    tolerance = {"float32": 2e-5, "float64": 1e-6}[dtype]
    if name == "LBFGS" and dtype == "float32":
        tolerance = 2e-3
    np.testing.assert_allclose(our_losses, their_losses, rtol=tolerance)
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        np.testing.assert_allclose(
            p.detach().numpy(), q.detach().numpy(), rtol=10 * tolerance, atol=tolerance
        )
    assert repr(our_optimizer) == repr(their_optimizer)
    assert (
        our_optimizer.state_dict()["param_groups"] == their_optimizer.state_dict()["param_groups"]
    )
    our_state, their_state = our_optimizer.state_dict(), their_optimizer.state_dict()
    assert our_state.keys() == their_state.keys()
    assert our_state["state"].keys() == their_state["state"].keys()
    if name == "LBFGS":
        return
    for key, row in their_state["state"].items():
        assert list(our_state["state"][key]) == list(row)
        for entry, value in row.items():
            mine = our_state["state"][key][entry]
            assert tuple(mine.shape) == tuple(value.shape), entry
            assert str(mine.dtype) == str(value.dtype), entry
            np.testing.assert_allclose(
                mine.numpy(), value.numpy(), rtol=20 * tolerance, atol=tolerance
            )


@pytest.mark.parametrize("name", ["SGD", "Adam", "RMSprop"])
def test_resuming(name):
    settings = {"lr": 0.05} if name == "Adam" else {"lr": 0.05, "momentum": 0.9}
    net, optimizer, _ = train(fl, name, settings, steps=3)
    again, fresh, _ = train(fl, name, settings, steps=0)
    again.load_state_dict(net.state_dict())
    fresh.load_state_dict(optimizer.state_dict())
    assert repr(fresh) == repr(optimizer)
    gradients = [fl.ones_like(p) for p in net.parameters()]
    for model, opt in ((net, optimizer), (again, fresh)):
        for p, g in zip(model.parameters(), gradients, strict=True):
            p.grad = g
        opt.step()
    for p, q in zip(net.parameters(), again.parameters(), strict=True):
        np.testing.assert_array_equal(p.detach().numpy(), q.detach().numpy())


SCHEDULERS = {
    "StepLR": lambda s, o: s.StepLR(o, 3, 0.5),
    "MultiStepLR": lambda s, o: s.MultiStepLR(o, [2, 5, 5], 0.5),
    "ConstantLR": lambda s, o: s.ConstantLR(o, 0.5, 4),
    "LinearLR": lambda s, o: s.LinearLR(o, 0.25, 0.75, 6),
    "ExponentialLR": lambda s, o: s.ExponentialLR(o, 0.9),
    "PolynomialLR": lambda s, o: s.PolynomialLR(o, 8, 2.0),
    "CosineAnnealingLR": lambda s, o: s.CosineAnnealingLR(o, 5, 0.01),
    "WarmRestarts": lambda s, o: s.CosineAnnealingWarmRestarts(o, 3, 2, 0.01),
    "LambdaLR": lambda s, o: s.LambdaLR(o, lambda e: 0.9**e),
    "MultiplicativeLR": lambda s, o: s.MultiplicativeLR(o, lambda e: 0.9),
    "OneCycleLR": lambda s, o: s.OneCycleLR(o, 0.5, 15),
    "OneCycleLR three": lambda s, o: s.OneCycleLR(
        o, [0.5, 0.2], 15, three_phase=True, anneal_strategy="linear"
    ),
    "CyclicLR": lambda s, o: s.CyclicLR(o, 0.01, 0.2, 3, 4),
    "CyclicLR 2": lambda s, o: s.CyclicLR(o, 0.01, 0.2, 3, mode="triangular2"),
    "CyclicLR exp": lambda s, o: s.CyclicLR(o, 0.01, 0.2, 3, mode="exp_range", gamma=0.9),
    "SequentialLR": lambda s, o: s.SequentialLR(
        o, [s.LinearLR(o, 0.1, 1.0, 4), s.ExponentialLR(o, 0.9), s.StepLR(o, 2)], [4, 8]
    ),
    "ChainedScheduler": lambda s, o: s.ChainedScheduler(
        [s.ConstantLR(o, 0.5, 4), s.ExponentialLR(o, 0.9)]
    ),
}


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.filterwarnings("ignore")
def test_scheduler(name):
    rates = []
    for module in (fl, torch):
        net, _ = problem(module)
        optimizer = module.optim.SGD(
            [
                {"params": list(net[0].parameters())},
                {"params": list(net[2].parameters()), "lr": 0.05},
            ],
            lr=0.1,
            momentum=0.9,
        )
        scheduler = SCHEDULERS[name](module.optim.lr_scheduler, optimizer)
        history = []
        for _ in range(15):
            optimizer.step()
            history.append(
                [g["lr"] for g in optimizer.param_groups]
                + [g["momentum"] for g in optimizer.param_groups]
                + list(scheduler.get_last_lr())
            )
            if len(history) < 15:
                scheduler.step()
        rates.append(history)
        state = scheduler.state_dict()
        scheduler.load_state_dict(state)
    np.testing.assert_allclose(rates[0], rates[1], rtol=1e-12)


@pytest.mark.parametrize("mode, kind", [("min", "rel"), ("max", "abs"), ("max", "rel")])
def test_reduce_on_plateau(mode, kind):
    rates = []
    metrics = np.random.default_rng(3).normal(size=40).tolist()
    for module in (fl, torch):
        net, _ = problem(module)
        optimizer = module.optim.Adam(net.parameters(), lr=0.1)
        scheduler = module.optim.lr_scheduler.ReduceLROnPlateau(
            optimizer, mode, 0.5, 2, threshold_mode=kind, cooldown=1, min_lr=0.01
        )
        history = []
        for metric in metrics:
            scheduler.step(metric)
            history.append([optimizer.param_groups[0]["lr"], scheduler.num_bad_epochs])
        rates.append(history)
    np.testing.assert_allclose(rates[0], rates[1], rtol=1e-12)
