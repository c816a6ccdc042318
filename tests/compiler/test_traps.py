"""Forty ways in which a replay could be silently wrong; each must equal the eager function."""

from __future__ import annotations

import os
import random
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import flambeau as torch
from flambeau import nn
from flambeau.compiler import CompileError, CompileWarning

CALLS = 6
Trap = Callable[[Callable[[Any], Any]], list[Any]]
TRAPS: dict[str, Trap] = {}


def trap(make: Trap) -> Trap:
    """Registers a trap: given torch.compile or the identity, it returns what it saw."""
    TRAPS[make.__name__] = make
    return make


def values(result: Any) -> Any:
    """Tensors as lists, for comparison."""
    if isinstance(result, torch.Tensor):
        return result.detach().clone().tolist()
    if isinstance(result, (list, tuple)):
        return [values(item) for item in result]
    if isinstance(result, dict):
        return {key: values(item) for key, item in result.items()}
    return result


def same(a: Any, b: Any) -> bool:
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, float):
        return a == pytest.approx(b, rel=1e-5, abs=1e-6, nan_ok=True)
    return bool(a == b)


def x_of(i: int, *shape: int) -> torch.Tensor:
    torch.manual_seed(100 + i)
    return torch.randn(*(shape or (4,)))


# --- values decide -------------------------------------------------------------------------------


@trap
def branch_on_a_value(wrap):
    f = wrap(lambda x: x * 2 if x.sum() > 0 else -x)
    return [values(f(x_of(i))) for i in range(CALLS)]


@trap
def item_in_arithmetic(wrap):
    f = wrap(lambda x: x * x.max().item())
    return [values(f(x_of(i))) for i in range(CALLS)]


@trap
def float_of_a_tensor(wrap):
    f = wrap(lambda x: x + float(x[0]))
    return [values(f(x_of(i))) for i in range(CALLS)]


@trap
def tolist_builds_a_constant(wrap):
    f = wrap(lambda x: x + torch.tensor(x.tolist()))
    return [values(f(x_of(i))) for i in range(CALLS)]


@trap
def numpy_round_trip(wrap):
    f = wrap(lambda x: torch.from_numpy(np.sort(x.numpy())) + x)
    return [values(f(x_of(i))) for i in range(CALLS)]


@trap
def mask_of_changing_length(wrap):
    f = wrap(lambda x: x[x > 0].sum())
    return [values(f(x_of(i))) for i in range(CALLS)]


@trap
def nonzero_of_changing_length(wrap):
    f = wrap(lambda x: (x > 0).nonzero() * 2)
    return [values(f(x_of(i))) for i in range(CALLS)]


@trap
def masked_select_and_unique(wrap):
    f = wrap(lambda x: (x.masked_select(x > 0).sum(), torch.unique(x.round())))
    return [values(f(x_of(i))) for i in range(CALLS)]


@trap
def loop_until_a_value(wrap):
    def f(x):
        while x.abs().max() > 0.1:
            x = x / 2
        return x

    f = wrap(f)
    return [values(f(x_of(i))) for i in range(CALLS)]


@trap
def index_by_a_value(wrap):
    f = wrap(lambda x: x[int(x.argmax())] * 3)
    return [values(f(x_of(i))) for i in range(CALLS)]


@trap
def comparison_of_tensors(wrap):
    f = wrap(lambda x, y: x if torch.equal(x, y) else x - y)
    return [values(f(x_of(i), x_of(i // 3))) for i in range(CALLS)]


@trap
def length_from_a_tensor(wrap):
    f = wrap(lambda n: torch.arange(int(n)).sum())
    return [values(f(torch.tensor(3 + i))) for i in range(CALLS)]


# --- Python state --------------------------------------------------------------------------------

counter = 0
scale = 1.0
table = [1.0, 2.0]
switch = {"on": True}


@trap
def global_counter(wrap):
    global counter
    counter = 0

    def f(x):
        global counter
        counter += 1
        return x * counter

    f = wrap(f)
    return [values(f(x_of(0))) for _ in range(CALLS)] + [counter]


@trap
def global_number_changes(wrap):
    global scale
    seen = []
    f = wrap(lambda x: x * scale)
    for i in range(CALLS):
        scale = 1.0 + i // 3
        seen.append(values(f(x_of(0))))
    return seen


@trap
def global_list_changes(wrap):
    f = wrap(lambda x: x * table[0])
    seen = []
    for i in range(CALLS):
        table[0] = 1.0 + i // 3
        seen.append(values(f(x_of(0))))
    return seen


@trap
def global_dictionary_changes(wrap):
    f = wrap(lambda x: x + 1 if switch["on"] else x - 1)
    seen = []
    for i in range(CALLS):
        switch["on"] = i < 4
        seen.append(values(f(x_of(0))))
    return seen


@trap
def closure_changes(wrap):
    factor = 1.0

    def f(x):
        return x * factor

    f = wrap(f)
    seen = []
    for i in range(CALLS):
        factor = 1.0 + i // 3
        seen.append(values(f(x_of(0))))
    return seen


@trap
def nonlocal_counter(wrap):
    count = 0

    def f(x):
        nonlocal count
        count += 1
        return x + 1

    f = wrap(f)
    return [values(f(x_of(0))) for _ in range(CALLS)] + [count]


@trap
def list_collects_results(wrap):
    log = []

    def f(x):
        y = x * 2
        log.append(y)
        return y.sum()

    f = wrap(f)
    return [values(f(x_of(i))) for i in range(CALLS)] + [values(log)]


@trap
def object_attribute_changes(wrap):
    class Settings:
        rate = 1.0

    settings = Settings()
    settings.rate = 0.5
    f = wrap(lambda x: x * settings.rate)
    seen = []
    for i in range(CALLS):
        settings.rate = 0.5 + i // 3
        seen.append(values(f(x_of(0))))
    return seen


@trap
def object_counts_in_a_method(wrap):
    class Meter:
        def __init__(self):
            self.total = 0

        def add(self, x):
            self.total += 1
            return x + self.total

    meter = Meter()
    f = wrap(lambda x: meter.add(x))
    return [values(f(x_of(0))) for _ in range(CALLS)] + [meter.total]


class Config:
    rate = 1.0


@trap
def class_attribute_changes(wrap):
    config = Config()
    f = wrap(lambda x: x * Config.rate + config.rate)
    seen = []
    try:
        for i in range(CALLS):
            Config.rate = 1.0 + i // 3
            seen.append(values(f(x_of(0))))
    finally:
        Config.rate = 1.0
    return seen


@trap
def attribute_by_its_name(wrap):
    config = Config()
    config.other = 3.0
    f = wrap(lambda x: x * getattr(config, "oth" + "er"))
    seen = []
    for i in range(CALLS):
        config.other = 3.0 + i // 3
        seen.append(values(f(x_of(0))))
    return seen


@trap
def function_attribute_counts(wrap):
    def f(x):
        f.calls += 1
        return x + 1

    f.calls = 0
    g = wrap(f)
    return [values(g(x_of(0))) for _ in range(CALLS)] + [f.calls]


@trap
def default_argument_collects(wrap):
    def f(x, memory=[]):  # noqa: B006
        memory.append(len(memory))
        return x + len(memory)

    f = wrap(f)
    return [values(f(x_of(0))) for _ in range(CALLS)]


@trap
def numpy_array_changes(wrap):
    array = np.ones(4, dtype=np.float32)
    f = wrap(lambda x: (x * torch.tensor(array), x + torch.from_numpy(array)))
    seen = []
    for i in range(2 * CALLS):
        array[1] = i // 3
        seen.append(values(f(x_of(0))))
    return seen


@trap
def mode_left_behind(wrap):
    w = torch.ones(4, requires_grad=True)

    def f(x):
        torch.set_grad_enabled(False)
        return x * w

    f = wrap(f)
    seen = []
    for i in range(CALLS):
        with torch.enable_grad():
            y = f(x_of(i))
            seen.append([values(y), y.requires_grad, (w * 2).requires_grad])
    torch.set_grad_enabled(True)
    return seen


@trap
def environment_changes(wrap):
    f = wrap(lambda x: x * float(os.environ.get("FLAMBEAU_TRAP", "1")))
    seen = []
    for i in range(CALLS):
        os.environ["FLAMBEAU_TRAP"] = str(1 + i // 3)
        seen.append(values(f(x_of(0))))
    del os.environ["FLAMBEAU_TRAP"]
    return seen


@trap
def hook_of_a_parameter(wrap):
    w = torch.ones(4, requires_grad=True)
    seen = []
    w.register_hook(lambda g: seen.append(g) or g * 2)

    def f(x):
        w.grad = None
        (x * w).sum().backward()

    f = wrap(f)
    for i in range(CALLS):
        f(x_of(i))
        seen.append(w.grad)
    return values(seen)


@trap
def gradient_of_an_intermediate(wrap):
    w = torch.ones(4, requires_grad=True)

    def f(x):
        h = x * w
        h.retain_grad()
        h.square().sum().backward()
        return h, h.grad

    f = wrap(f)
    seen = []
    for i in range(CALLS):
        h, g = f(x_of(i))
        seen.append([values(h), values(g), values(h.grad)])
    return seen


@trap
def iterator_moves_on(wrap):
    numbers = iter(range(100))
    f = wrap(lambda x: x + next(numbers))
    return [values(f(x_of(0))) for _ in range(CALLS)]


@trap
def python_randomness(wrap):
    random.seed(3)
    f = wrap(lambda x: x * random.random())
    return [values(f(x_of(0))) for _ in range(CALLS)]


@trap
def rare_python_randomness(wrap):
    random.seed(3)
    f = wrap(lambda x: x * 100 if random.random() < 0.3 else x)
    return [values(f(x_of(0))) for _ in range(12)]


@trap
def numpy_randomness(wrap):
    np.random.seed(3)
    f = wrap(lambda x: x + float(np.random.rand()))
    return [values(f(x_of(0))) for _ in range(CALLS)]


@trap
def own_generator_of_random_numbers(wrap):
    source, numpy_source = random.Random(3), np.random.default_rng(3)
    f = wrap(lambda x: x * source.random())
    g = wrap(lambda x: x * numpy_source.random())
    return [[values(f(x_of(0))), values(g(x_of(0)))] for _ in range(CALLS)]


@trap
def loop_over_a_loader(wrap):
    data = torch.utils.data.TensorDataset(torch.arange(8.0))
    loader = torch.utils.data.DataLoader(data, batch_size=4)

    def f(w):
        total = torch.zeros(())
        for (batch,) in loader:
            total = total + (batch * w).sum()
        return total

    f = wrap(f)
    seen = []
    for i in range(CALLS):
        if i == 4:
            data.tensors[0].mul_(2)
        seen.append(values(f(torch.ones(()))))
    return seen


@trap
def helper_function_reads_a_global(wrap):
    global scale

    def helper(x):
        return x * scale

    f = wrap(lambda x: helper(x) + 1)
    seen = []
    for i in range(CALLS):
        scale = 2.0 + i // 3
        seen.append(values(f(x_of(0))))
    return seen


# --- arguments -----------------------------------------------------------------------------------


@trap
def python_number_argument(wrap):
    f = wrap(lambda x, k: x * k)
    return [values(f(x_of(0), k)) for k in (1, 1, 1, 2, 1.0, True, 1)]


@trap
def zero_and_minus_zero(wrap):
    f = wrap(lambda x, k: x / k)
    return [values(f(torch.ones(2), k)) for k in (0.0, 0.0, 0.0, -0.0, 0.0)]


@trap
def keyword_and_nested_arguments(wrap):
    f = wrap(lambda pair, *, flip=False: pair["b"] - pair["a"][0] if flip else pair["a"][0])
    return [
        values(f({"a": [x_of(i)], "b": x_of(i + 1)}, flip=i % 2 == 0)) for i in range(2 * CALLS)
    ]


@trap
def shapes_and_dtypes_change(wrap):
    f = wrap(lambda x: (x * 2).sum(0))
    seen = []
    for i in range(3 * CALLS):
        x = x_of(i, 2 + i % 3, 3)
        seen.append(values(f(x.double() if i % 2 else x)))
    return seen


@trap
def strides_change(wrap):
    f = wrap(lambda x: x.reshape(-1) * torch.arange(6))
    return [values(f(x_of(i, 3, 2).t() if i % 2 else x_of(i, 2, 3))) for i in range(2 * CALLS)]


@trap
def argument_at_an_offset(wrap):
    big = x_of(0, 40)
    f = wrap(lambda x: x * 2)
    return [values(f(big[4 * i : 4 * i + 4])) for i in range(CALLS)]


@trap
def one_tensor_twice(wrap):
    def f(x, y):
        x.add_(1)
        return x * y

    f = wrap(f)
    seen = [values(f(x_of(i), x_of(i + 1))) for i in range(CALLS)]
    for i in range(3):
        x = x_of(i)
        seen.append(values(f(x, x)))
    return seen


@trap
def overlapping_arguments(wrap):
    def f(x, y):
        x.mul_(2)
        return y + 0

    f = wrap(f)
    seen = []
    for _ in range(CALLS):
        whole = torch.arange(6.0)
        seen.append(values(f(whole[:4], whole[2:])))
    return seen


@trap
def argument_written_in_place(wrap):
    def f(x):
        x[0] = 7
        x += 1
        return x.sum()

    f = wrap(f)
    seen = []
    for i in range(CALLS):
        x = x_of(i)
        seen.append([values(f(x)), values(x)])
    return seen


@trap
def argument_returned(wrap):
    f = wrap(lambda x: (x, x * 1, x[1:]))
    seen = []
    for i in range(CALLS):
        x = x_of(i)
        same_one, copied, view = f(x)
        x.add_(1)
        seen.append([same_one is x, values(copied), values(view)])
    return seen


# --- modules, parameters, modes ------------------------------------------------------------------


def small_net(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Dropout(0.5), nn.Linear(5, 2))


def mean_square_step(net, optimizer, schedule=None):
    def step(x):
        optimizer.zero_grad()
        loss = net(x).square().mean()
        loss.backward()
        optimizer.step()
        if schedule is not None:
            schedule.step()
        return loss

    return step


@trap
def train_and_eval(wrap):
    net = small_net()
    f = wrap(net)
    seen = []
    for i in range(4 * CALLS):
        net.train(i // 4 % 2 == 0)
        x = x_of(i, 6, 4)
        seen.append(values(f(x)))
    return seen


@trap
def parameter_replaced(wrap):
    net = nn.Linear(4, 2)
    f = wrap(lambda x: net(x))
    seen = []
    for i in range(CALLS):
        if i == 4:
            torch.manual_seed(9)
            net.weight = nn.Parameter(torch.randn(2, 4))
        elif i == 0:
            torch.manual_seed(8)
            net.reset_parameters()
        seen.append(values(f(x_of(i))))
    return seen


@trap
def parameter_data_replaced(wrap):
    torch.manual_seed(8)
    net = nn.Linear(4, 2)
    f = wrap(lambda x: net(x))
    seen = []
    for i in range(CALLS):
        if i == 4:
            net.weight.data = torch.ones(2, 4)
        seen.append(values(f(x_of(i))))
    return seen


@trap
def state_loaded(wrap):
    torch.manual_seed(8)
    net, other = nn.Linear(4, 2), nn.Linear(4, 2)
    f = wrap(lambda x: net(x))
    seen = []
    for i in range(CALLS):
        if i == 4:
            net.load_state_dict(other.state_dict())
        seen.append(values(f(x_of(i))))
    return seen


@trap
def layer_appended(wrap):
    torch.manual_seed(8)
    net = nn.Sequential(nn.Linear(4, 4))
    f = wrap(net)
    seen = []
    for i in range(CALLS):
        if i == 4:
            net.append(nn.ReLU())
        seen.append(values(f(x_of(i))))
    return seen


@trap
def module_counts_its_calls(wrap):
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.calls = 0

        def forward(self, x):
            self.calls += 1
            return x * self.calls

    net = Counting()
    f = wrap(net)
    return [values(f(x_of(0))) for _ in range(CALLS)] + [net.calls]


@trap
def module_number_changes(wrap):
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.factor = 1.0

        def forward(self, x):
            return x * self.factor

    net = Scaled()
    f = wrap(net)
    seen = []
    for i in range(CALLS):
        net.factor = 1.0 + i // 3
        seen.append(values(f(x_of(0))))
    return seen


@trap
def hook_added(wrap):
    torch.manual_seed(8)
    net = nn.Linear(4, 2)
    f = wrap(net)
    seen = []
    for i in range(CALLS):
        if i == 4:
            net.register_forward_hook(lambda module, inputs, output: output * 10)
        seen.append(values(f(x_of(i))))
    return seen


@trap
def gradient_mode_changes(wrap):
    w = torch.ones(4, requires_grad=True)
    f = wrap(lambda x: (x * w).sum())
    seen = []
    for i in range(2 * CALLS):
        with torch.set_grad_enabled(i % 2 == 0):
            y = f(x_of(i))
        seen.append([values(y), y.requires_grad])
    return seen


@trap
def requires_grad_changes(wrap):
    w = torch.ones(4)
    f = wrap(lambda x: (x * w).sum())
    seen = []
    for i in range(2 * CALLS):
        w.requires_grad_(i // 3 % 2 == 1)
        w.grad = None
        y = f(x_of(i))
        if y.requires_grad:
            y.backward()
        seen.append([values(y), values(w.grad)])
    return seen


@trap
def default_dtype_changes(wrap):
    f = wrap(lambda x: x.long() * torch.ones(4))
    seen = []
    try:
        for i in range(2 * CALLS):
            torch.set_default_dtype(torch.float64 if i // 3 % 2 else torch.float32)
            y = f(torch.arange(4))
            seen.append([values(y), str(y.dtype)])
    finally:
        torch.set_default_dtype(torch.float32)
    return seen


# --- gradients and optimizers --------------------------------------------------------------------


@trap
def gradients_accumulate(wrap):
    w = torch.ones(4, requires_grad=True)

    def f(x):
        ((x * w) ** 2).sum().backward()

    f = wrap(f)
    seen = []
    for i in range(2 * CALLS):
        f(x_of(i))
        seen.append(values(w.grad))
        if i % 4 == 3:
            w.grad = None
    return seen


@trap
def gradient_kept_by_the_user(wrap):
    w = torch.ones(4, requires_grad=True)

    def f(x):
        w.grad = None
        ((x * w) ** 2).sum().backward()

    f = wrap(f)
    kept = []
    for i in range(2 * CALLS):
        f(x_of(i))
        kept.append(w.grad)
    return values(kept)


@trap
def result_kept_by_the_user(wrap):
    f = wrap(lambda x: x * 2)
    return values([f(x_of(i)) for i in range(2 * CALLS)])


@trap
def result_written_by_the_user(wrap):
    constant = torch.ones(4)
    f = wrap(lambda x: (constant * 1, x * 2))
    seen = []
    for i in range(CALLS):
        a, b = f(x_of(i))
        seen.append(values([a, b]))
        a.zero_()
        b.zero_()
    return seen


@trap
def learning_rate_changes(wrap):
    net = small_net()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.1)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 3, 0.5)
    step = wrap(mean_square_step(net, optimizer))
    seen = []
    for i in range(2 * CALLS):
        seen.append(values(step(x_of(i, 6, 4))))
        schedule.step()
        if i == 8:
            optimizer.param_groups[0]["lr"] = 0.3
    return seen


@trap
def schedule_inside(wrap):
    net = small_net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.8)
    step = wrap(mean_square_step(net, optimizer, schedule))
    seen = [values(step(x_of(i, 6, 4))) for i in range(2 * CALLS)]
    return [*seen, optimizer.param_groups[0]["lr"]]


@trap
def optimizer_state_replaced(wrap):
    net = small_net()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.1)
    step = wrap(mean_square_step(net, optimizer))
    seen = []
    for i in range(2 * CALLS):
        if i == 6:
            saved = {"state": optimizer.state_dict(), "net": net.state_dict()}
            optimizer.load_state_dict(saved["state"])
        seen.append(values(step(x_of(i, 6, 4))))
    return seen


@trap
def optimizer_of_the_user(wrap):
    class Shrinking(torch.optim.Optimizer):
        def __init__(self, params, lr):
            super().__init__(params, {"lr": lr})

        @torch.no_grad()
        def step(self):
            for group in self.param_groups:
                for p in group["params"]:
                    state = self.state[p]
                    state["count"] = state.get("count", 0) + 1
                    p -= group["lr"] / state["count"] * p.grad

    w = torch.ones(4, requires_grad=True)
    optimizer = Shrinking([w], lr=0.1)
    step = wrap(mean_square_step(lambda x: x * w, optimizer))
    seen = []
    for i in range(2 * CALLS):
        step(x_of(i))
        seen.append(values(w))
        optimizer.param_groups[0]["lr"] = 0.1 + 0.1 * (i // 4)
    return seen


@trap
def rectified_adam_changes_its_formula(wrap):
    w = torch.ones(4, requires_grad=True)
    optimizer = torch.optim.RAdam([w], lr=0.1)
    step = wrap(mean_square_step(lambda x: x * w, optimizer))
    seen = []
    for i in range(3 * CALLS):
        step(x_of(i))
        seen.append(values(w))
    return seen


@trap
def random_numbers_go_on(wrap):
    torch.manual_seed(5)
    f = wrap(lambda x: x + torch.rand(4) + torch.randn(4) + nn.functional.dropout(x, 0.5))
    x = torch.ones(4)
    return [values(f(x)) for _ in range(CALLS)] + [values(torch.rand(2))]


@trap
def seed_set_inside(wrap):
    def f(x):
        torch.manual_seed(3)
        return x + torch.rand(4)

    f = wrap(f)
    return [values(f(torch.ones(4))) for _ in range(CALLS)]


@trap
def constant_written_in_place(wrap):
    def f(x):
        total = torch.zeros(4)
        for k in range(3):
            total[k] += x[k]
        total += x
        return total

    f = wrap(f)
    return [values(f(x_of(i))) for i in range(CALLS)]


@trap
def global_tensor_written_in_place(wrap):
    memory = torch.zeros(4)

    def f(x):
        memory.mul_(0.5).add_(x)
        return memory.sum()

    f = wrap(f)
    seen = []
    for i in range(CALLS):
        seen.append([values(f(x_of(i))), values(memory)])
        if i == 4:
            memory.zero_()
    return seen


@trap
def write_through_data(wrap):
    w = torch.ones(4, requires_grad=True)

    def f(x):
        w.data.add_(x)
        return (w * x).sum()

    f = wrap(f)
    return [[values(f(x_of(i))), values(w)] for i in range(CALLS)]


@trap
def two_forwards_before_backward(wrap):
    torch.manual_seed(1)
    net = nn.Linear(4, 3)
    f = wrap(net)
    seen = []
    for i in range(CALLS):
        net.zero_grad()
        first, second = f(x_of(i, 2, 4)), f(x_of(i + 1, 2, 4))
        (first.tanh() * second).sum().backward()
        seen.append([values(p.grad) for p in net.parameters()])
    return seen


@trap
def exception_inside(wrap):
    def f(x, good):
        y = x * 2
        if not good:
            raise ValueError("no")
        return y

    f = wrap(f)
    seen = []
    for i in range(CALLS):
        try:
            seen.append(values(f(x_of(i), i != 2)))
        except ValueError as error:
            seen.append(str(error))
    return seen


@pytest.mark.parametrize("name", TRAPS)
def test_compiled_equals_eager(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CompileWarning)
        eager = TRAPS[name](lambda function: function)
        compiled = TRAPS[name](torch.compile)
    assert same(eager, compiled)


def test_there_are_forty() -> None:
    assert len(TRAPS) >= 40


def test_warning_names_the_line_and_the_mend() -> None:
    def decide(x):
        return x if x.sum() > 0 else -x

    with pytest.warns(CompileWarning, match=r"decide stays eager: .*where.*test_traps.py:\d+"):
        torch.compile(decide)(torch.ones(2))


def test_fullgraph_raises() -> None:
    with pytest.raises(CompileError, match=r"cannot be one graph.*value of a tensor"):
        torch.compile(lambda x: x * x.sum().item(), fullgraph=True)(torch.ones(2))


def test_second_backward_raises_as_in_eager() -> None:
    w = torch.ones(3, requires_grad=True)

    def step(x):
        w.grad = None
        loss = (x * w).exp().sum()
        loss.backward()
        return loss

    step = torch.compile(step)
    for _ in range(4):
        loss = step(torch.ones(3))
        assert loss.requires_grad
        with pytest.raises(RuntimeError, match="second time"):
            loss.backward()


def test_backward_after_a_write_raises() -> None:
    w = torch.ones(3, requires_grad=True)
    f = torch.compile(lambda x: (w.exp() * w * x).sum())
    for _ in range(3):
        f(torch.ones(3))
    loss = f(torch.ones(3))
    with torch.no_grad():
        w.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_printing_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    def f(x):
        print("called")
        return x + 1

    f = torch.compile(f)
    with pytest.warns(CompileWarning, match=r"it calls print\(\) \(.*test_traps.py:\d+\)"):
        for _ in range(CALLS):
            f(torch.ones(2))
    assert capsys.readouterr().out.count("called") == CALLS


def test_time_is_asked_every_time() -> None:
    f = torch.compile(lambda x: x * 0 + time.perf_counter())
    with pytest.warns(CompileWarning, match="perf_counter"):
        seen = [f(torch.ones(1, dtype=torch.float64)).item() for _ in range(CALLS)]
    assert len(set(seen)) == CALLS


def test_what_is_not_called_does_no_harm() -> None:
    def f(x, verbose=False):
        if verbose:
            print(random.random())
        return x * 2

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        f = torch.compile(f, fullgraph=True)
        for _ in range(CALLS):
            f(torch.ones(2))
