"""Traps in which modules, parameters and modes change."""

from __future__ import annotations

from trapping import CALLS, small_net, trap, values, x_of

import flambeau as torch
from flambeau import nn


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
