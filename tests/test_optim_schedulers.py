"""Schedules against their closed forms; resuming; bad settings."""

import math

import pytest

import flambeau as torch
from flambeau import nn, optim
from flambeau.optim import lr_scheduler as schedules


def optimizer_of(lr=1.0, **settings):
    return optim.SGD([nn.Parameter(torch.zeros(1))], lr=lr, **settings)


def rates(make, steps=9, **settings):
    optimizer = optimizer_of(**settings)
    scheduler = make(optimizer)
    history = []
    for _ in range(steps):
        history.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return history


CLOSED_FORMS = {
    "StepLR": (lambda o: schedules.StepLR(o, 3, 0.5), lambda t: 0.5 ** (t // 3)),
    "MultiStepLR": (
        lambda o: schedules.MultiStepLR(o, [2, 5], 0.1),
        lambda t: 0.1 ** ((t >= 2) + (t >= 5)),
    ),
    "ConstantLR": (lambda o: schedules.ConstantLR(o, 0.25, 4), lambda t: 0.25 if t < 4 else 1),
    "LinearLR": (
        lambda o: schedules.LinearLR(o, 0.5, 1.0, 4),
        lambda t: 0.5 + 0.5 * min(t, 4) / 4,
    ),
    "ExponentialLR": (lambda o: schedules.ExponentialLR(o, 0.9), lambda t: 0.9**t),
    "PolynomialLR": (
        lambda o: schedules.PolynomialLR(o, 6, 2.0),
        lambda t: (1 - min(t, 6) / 6) ** 2,
    ),
    "CosineAnnealingLR": (
        lambda o: schedules.CosineAnnealingLR(o, 5, 0.1),
        lambda t: 0.1 + 0.9 * (1 + math.cos(math.pi * t / 5)) / 2,
    ),
    "WarmRestarts": (
        lambda o: schedules.CosineAnnealingWarmRestarts(o, 3),
        lambda t: (1 + math.cos(math.pi * (t % 3) / 3)) / 2,
    ),
    "LambdaLR": (lambda o: schedules.LambdaLR(o, lambda t: 1 / (1 + t)), lambda t: 1 / (1 + t)),
    "MultiplicativeLR": (
        lambda o: schedules.MultiplicativeLR(o, lambda t: 0.9),
        lambda t: 0.9**t,
    ),
    "CyclicLR": (
        lambda o: schedules.CyclicLR(o, 0.1, 0.5, 2, cycle_momentum=False),
        lambda t: 0.1 + 0.4 * (1 - abs(t % 4 / 2 - 1)),
    ),
    "ChainedScheduler": (
        lambda o: schedules.ChainedScheduler(
            [schedules.ExponentialLR(o, 0.9), schedules.ConstantLR(o, 0.5, 3)]
        ),
        lambda t: 0.9**t * (0.5 if t < 3 else 1),
    ),
    "SequentialLR": (
        lambda o: schedules.SequentialLR(
            o, [schedules.ConstantLR(o, 0.1, 9), schedules.ExponentialLR(o, 0.9)], [3]
        ),
        lambda t: 0.1 if t < 3 else 0.9 ** (t - 3),
    ),
}


@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_closed_form(name):
    make, expected = CLOSED_FORMS[name]
    assert rates(make) == pytest.approx([expected(t) for t in range(9)])


@pytest.mark.parametrize("name", ["StepLR", "CosineAnnealingLR", "LinearLR", "WarmRestarts"])
def test_resuming(name):
    make, expected = CLOSED_FORMS[name]
    optimizer = optimizer_of()
    scheduler = make(optimizer)
    for _ in range(4):
        optimizer.step()
        scheduler.step()
    fresh = optimizer_of()
    resumed = make(fresh)
    resumed.load_state_dict(scheduler.state_dict())
    fresh.load_state_dict(optimizer.state_dict())
    fresh.step()
    resumed.step()
    assert resumed.get_last_lr() == pytest.approx([expected(5)])


def test_one_cycle():
    optimizer = optimizer_of(momentum=0.9)
    scheduler = schedules.OneCycleLR(optimizer, 1.0, total_steps=11, pct_start=0.5)
    seen = []
    for step in range(11):
        group = optimizer.param_groups[0]
        seen.append((group["lr"], group["momentum"]))
        optimizer.step()
        if step < 10:
            scheduler.step()
    values, momenta = zip(*seen, strict=True)
    assert values[0] == pytest.approx(1 / 25) and values[-1] == pytest.approx(1 / 25 / 1e4)
    assert max(values) <= 1.0 and max(values) > 0.95
    assert momenta[0] == pytest.approx(0.95) and min(momenta) >= 0.85
    with pytest.raises(ValueError):
        scheduler.step()
        scheduler.step()
    with pytest.raises(ValueError):
        schedules.OneCycleLR(optimizer, 1.0)
    with pytest.raises(ValueError):
        schedules.OneCycleLR(optim.Rprop(optimizer.param_groups[0]["params"]), 1.0, 10)


def test_cyclic_momentum_of_adam():
    optimizer = optim.Adam([nn.Parameter(torch.zeros(1))])
    scheduler = schedules.CyclicLR(optimizer, 0.1, 0.5, 2)
    optimizer.step()
    scheduler.step()
    assert optimizer.param_groups[0]["betas"] == pytest.approx((0.85, 0.999))


def test_reduce_on_plateau():
    optimizer = optimizer_of()
    scheduler = schedules.ReduceLROnPlateau(optimizer, factor=0.5, patience=1, min_lr=0.3)
    history = []
    for metric in (5.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0):
        scheduler.step(torch.tensor(metric))
        history.append(optimizer.param_groups[0]["lr"])
    assert history == [1.0, 1.0, 1.0, 0.5, 0.5, 0.3, 0.3]
    with pytest.raises(ValueError):
        schedules.ReduceLROnPlateau(optimizer, factor=1.5)
    with pytest.raises(ValueError):
        schedules.ReduceLROnPlateau(optimizer, mode="up")


def test_warns_when_called_before_the_optimizer():
    optimizer = optimizer_of()
    scheduler = schedules.StepLR(optimizer, 1)
    with pytest.warns(UserWarning, match=r"before optimizer\.step"):
        scheduler.step()


def test_bad_settings():
    optimizer = optimizer_of()
    with pytest.raises(TypeError):
        schedules.StepLR(nn.Linear(1, 1), 1)
    with pytest.raises(KeyError, match="initial_lr"):
        schedules.StepLR(optimizer, 1, last_epoch=3)
    with pytest.raises(ValueError):
        schedules.LambdaLR(optimizer, [lambda t: 1, lambda t: 1])
    with pytest.raises(ValueError):
        schedules.LinearLR(optimizer, start_factor=2.0)
    with pytest.raises(ValueError):
        schedules.CosineAnnealingWarmRestarts(optimizer, 0)
    with pytest.raises(ValueError):
        schedules.SequentialLR(optimizer, [schedules.StepLR(optimizer, 1)], [1])
    with pytest.raises(ValueError):
        schedules.CyclicLR(optim.Rprop([nn.Parameter(torch.zeros(1))]), 0.1, 0.5)
