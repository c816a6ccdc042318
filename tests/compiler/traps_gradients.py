"""Traps in which gradients, optimizers and random numbers."""

from __future__ import annotations

from trapping import CALLS, mean_square_step, small_net, trap, values, x_of

import flambeau as torch
from flambeau import nn


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
def learning_rate_set_inside(wrap):
    w = torch.ones(4, requires_grad=True)
    optimizer = torch.optim.SGD([w], lr=0.1)
    rates = {"now": 0.1}

    def f(x):
        optimizer.param_groups[0]["lr"] = rates["now"]
        optimizer.zero_grad()
        ((x * w) ** 2).sum().backward()
        optimizer.step()
        return w * 1

    f = wrap(f)
    seen = []
    for i in range(3 * CALLS):
        rates["now"] = 0.1 if i < CALLS else 0.01
        optimizer.param_groups[0]["lr"] = 0.5  # what a replay would find
        seen.append(values(f(x_of(i))))
    return seen


@trap
def learning_rate_decays_after_the_step(wrap):
    net = small_net()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.1)
    plain = mean_square_step(net, optimizer)

    def f(x):
        loss = plain(x)
        for group in optimizer.param_groups:
            group["lr"] *= 0.9
        return loss

    f = wrap(f)
    return [values(f(x_of(i, 6, 4))) for i in range(2 * CALLS)]


@trap
def learning_rate_set_beside_a_schedule(wrap):
    net = small_net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
    plain = mean_square_step(net, optimizer, schedule)

    def f(x):
        loss = plain(x)
        optimizer.param_groups[0]["lr"] += 0.01
        return loss

    f = wrap(f)
    return [values(f(x_of(i, 6, 4))) for i in range(2 * CALLS)]


@trap
def learning_rate_read_inside(wrap):
    w = torch.ones(4, requires_grad=True)
    optimizer = torch.optim.SGD([w], lr=0.1)

    def f(x):
        return x * optimizer.param_groups[0]["lr"]

    f = wrap(f)
    seen = []
    for i in range(3 * CALLS):
        optimizer.param_groups[0]["lr"] = 0.1 if i < CALLS else 0.01
        seen.append(values(f(x_of(i))))
    return seen


@trap
def learning_rate_reset_inside(wrap):
    w = torch.ones(4, requires_grad=True)
    optimizer = torch.optim.SGD([w], lr=0.1)

    def f(x):
        optimizer.param_groups[0]["lr"] = 0.1
        optimizer.zero_grad()
        ((x * w) ** 2).sum().backward()
        optimizer.step()
        return w * 1

    f = wrap(f)
    seen = []
    for i in range(3 * CALLS):
        if i == 2 * CALLS:
            optimizer.param_groups[0]["lr"] = 0.5
        seen.append(values(f(x_of(i))))
    return seen


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


@trap
def backward_of_an_earlier_compiled_call(wrap):
    w = torch.ones(4, requires_grad=True)
    forward = wrap(lambda x: (w.exp() * w * x).sum())
    for i in range(3):
        forward(x_of(i))
    loss = forward(x_of(3))

    def backward():
        w.grad = None
        loss.backward(retain_graph=True)

    backward = wrap(backward)
    seen = []
    for i in range(CALLS):
        if i == 4:
            with torch.no_grad():
                w.add_(1)
        try:
            backward()
            seen.append(values(w.grad))
        except RuntimeError as error:
            seen.append("modified by an inplace operation" in str(error))
    return seen


@trap
def global_deleted(wrap):
    global switch_off
    switch_off = None

    def f(x):
        return x * 2 if switch_off is None else x

    f = wrap(f)
    seen = []
    for i in range(CALLS):
        if i == 4:
            del switch_off
        try:
            seen.append(values(f(x_of(0))))
        except NameError:
            seen.append("NameError")
    return seen
