"""Traps in which Python's state changes between calls."""

from __future__ import annotations

import os
import random

import numpy as np
from trapping import CALLS, trap, values, x_of

import flambeau as torch

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
