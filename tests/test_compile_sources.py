"""What optimizers, schedulers and modules offer to replays: numbers, effects, versions."""

import pytest

import flambeau as fl
from flambeau import nn, optim
from flambeau.compiler import _sources
from flambeau.nn import _members

KINDS = [
    (optim.SGD, {}),
    (optim.SGD, {"momentum": 0.9, "nesterov": True}),
    (optim.ASGD, {"t0": 2.0}),
    (optim.Adam, {"amsgrad": True}),
    (optim.AdamW, {}),
    (optim.Adamax, {}),
    (optim.NAdam, {}),
    (optim.RMSprop, {"momentum": 0.5}),
    (optim.Adagrad, {"lr_decay": 0.1}),
    (optim.Adadelta, {}),
    (optim.Rprop, {}),
]


class FakeRecording:
    """Stands for the core's recording."""

    def __init__(self):
        self.failure = None

    def fail(self, reason):
        self.failure = self.failure or reason


@pytest.fixture
def record(monkeypatch):
    """record(call) -> its sources and the recording."""

    def run(call):
        recording = FakeRecording()
        with monkeypatch.context() as patch:
            patch.setattr(_sources, "_recording", lambda: recording)
            call()
        return _sources.take_sources(recording), recording

    return run


@pytest.fixture
def ran(monkeypatch):
    """The numbers with which formulas ran, in order."""
    numbers = []
    run_formula = optim.optimizer.run_formula

    def spy(formula, columns, settings):
        numbers.extend(float(v) for v in settings.values() if not isinstance(v, bool))
        run_formula(formula, columns, settings)

    monkeypatch.setattr(optim.optimizer, "run_formula", spy)
    return numbers


def model():
    fl.manual_seed(0)
    net = nn.Linear(2, 3)
    for p in net.parameters():
        p.grad = fl.ones_like(p)
    return net


@pytest.mark.parametrize("kind, settings", KINDS, ids=lambda v: getattr(v, "__name__", str(v)))
def test_replays_give_the_numbers_of_eager_steps(kind, settings, record, ran):
    recorded, eager = (kind(model().parameters(), lr=0.1, **settings) for _ in range(2))
    schedules = [optim.lr_scheduler.ExponentialLR(o, 0.5) for o in (recorded, eager)]
    recorded.step()
    eager.step()

    def step():
        schedules[0].step()
        recorded.step()

    sources, recording = record(step)
    assert sources.is_settled and recording.failure is None
    schedules[1].step()
    eager.step()
    for _ in range(4):
        ran.clear()
        schedules[1].step()
        eager.step()
        assert sources.replay() == ran
    assert recorded.state_dict()["param_groups"] == eager.state_dict()["param_groups"]
    for row, other in zip(recorded.state.values(), eager.state.values(), strict=True):
        assert [row[name] for name in kind.number_keys] == [
            other[name] for name in kind.number_keys
        ]


def test_state_that_is_created_is_not_settled(record):
    adam = optim.Adam(model().parameters())
    assert not record(adam.step)[0].is_settled
    assert record(adam.step)[0].is_settled


def test_another_formula_needs_another_recording(record, ran):
    radam = optim.RAdam(model().parameters())
    radam.step()

    def twice():
        radam.step()
        radam.step()

    sources, _ = record(twice)  # steps 2 and 3; the formula changes at step 6
    assert sources.replay() is not None
    assert sources.replay() is None
    assert float(next(iter(radam.state.values()))["step"]) == 5


CHANGES = {
    "group removed": lambda o: o.param_groups.pop(),
    "parameter replaced": lambda o: o.param_groups[0]["params"].__setitem__(
        0, nn.Parameter(fl.zeros(2))
    ),
    "state loaded": lambda o: o.load_state_dict(o.state_dict()),
    "state forgotten": lambda o: o.state.clear(),
    "state tensor replaced": lambda o: next(iter(o.state.values())).update(exp_avg=fl.zeros(3, 2)),
    "one count changed": lambda o: next(iter(o.state.values())).update(step=7.0),
    "decay switched on": lambda o: o.param_groups[0].update(weight_decay=0.1),
    "direction changed": lambda o: o.param_groups[0].update(maximize=True),
}


@pytest.mark.parametrize("change", CHANGES)
def test_changes_that_need_a_new_recording(change, record):
    adam = optim.Adam(model().parameters())
    adam.step()
    sources, _ = record(adam.step)
    assert sources.replay() is not None
    CHANGES[change](adam)
    assert sources.replay() is None


def test_momentum_switched_on(record):
    sgd = optim.SGD(model().parameters())
    sources, _ = record(sgd.step)
    assert sources.replay() == [1e-3, 0, 0, 1, 0]
    sgd.param_groups[0]["momentum"] = 0.9
    assert sources.replay() is None


def test_effects_are_not_counted_twice(record):
    sgd = optim.SGD(model().parameters(), lr=1.0)
    parts = [optim.lr_scheduler.ExponentialLR(sgd, 0.5), optim.lr_scheduler.StepLR(sgd, 1)]
    chain = optim.lr_scheduler.ChainedScheduler(parts)
    sgd.step()
    sources, _ = record(chain.step)
    assert len(sources.entries) == 1
    assert sources.replay() == []
    assert sgd.param_groups[0]["lr"] == pytest.approx(0.0025)


def test_what_cannot_be_replayed(record):
    net = model()
    assert "optimizer was made" in record(lambda: optim.SGD(net.parameters()))[1].failure
    sgd = optim.SGD(net.parameters())
    scheduler = optim.lr_scheduler.ReduceLROnPlateau(sgd)
    assert "given a tensor" in record(lambda: scheduler.step(fl.ones(())))[1].failure
    sgd.register_step_post_hook(lambda *_: None)
    assert "step hooks" in record(sgd.step)[1].failure


NET_CHANGES = {
    "mode": lambda net: net.eval(),
    "parameter": lambda net: setattr(net[0], "weight", nn.Parameter(fl.zeros(2, 2))),
    "plain attribute": lambda net: setattr(net[1], "eps", 0.1),
    "module": lambda net: net.append(nn.ReLU()),
    "removal": lambda net: net.__delitem__(1),
    "attribute removed": lambda net: delattr(net[0], "bias"),
    "hook": lambda net: net[0].register_forward_hook(lambda *_: None),
    "conversion": lambda net: net.double(),
    "through a view": lambda net: net[0]._parameters.__setitem__("bias", None),
}


@pytest.mark.parametrize("change", NET_CHANGES)
def test_versions_of_modules(change):
    net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    before = _members.version()
    net.train()
    net(fl.zeros(4, 2))
    net.load_state_dict(net.state_dict())
    assert _members.version() == before
    NET_CHANGES[change](net)
    assert _members.version() > before
