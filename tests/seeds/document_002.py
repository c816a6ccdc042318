"""Document 002: a cubic fitted to the sine, from hand-made gradients to own modules."""

import math
import random

from registry import printing, training


def sine(torch, dtype):
    x = torch.linspace(-math.pi, math.pi, 2000).to(dtype)
    return x, torch.sin(x)


def coefficients(torch, dtype):
    return [torch.randn((), dtype=torch.float).to(dtype) for _ in range(4)]


@printing
def result_line(torch):
    a, b, c, d = coefficients(torch, torch.float)
    print(f"y = {a.item()} + {b.item()} x + {c.item()} x^2 + {d.item()} x^3")
    model = torch.nn.Linear(3, 1)
    print(f"{model.bias.item()} {model.weight[:, 0].item()} {model.weight[:, 2].item()}")


@training(every=100)
def gradients_by_hand(torch, dtype):
    x, y = sine(torch, dtype)
    a, b, c, d = coefficients(torch, dtype)
    found = []
    for _ in range(2000):
        y_pred = a + b * x + c * x**2 + d * x**3
        found.append((y_pred - y).pow(2).sum().item())
        g = 2.0 * (y_pred - y)
        a -= 1e-6 * g.sum()
        b -= 1e-6 * (g * x).sum()
        c -= 1e-6 * (g * x**2).sum()
        d -= 1e-6 * (g * x**3).sum()
    return found


@training(every=100)
def gradients_by_autograd(torch, dtype):
    x, y = sine(torch, dtype)
    a, b, c, d = (value.requires_grad_() for value in coefficients(torch, dtype))
    found = []
    for _ in range(2000):
        loss = (a + b * x + c * x**2 + d * x**3 - y).pow(2).sum()
        found.append(loss.item())
        loss.backward()
        with torch.no_grad():
            for value in (a, b, c, d):
                value -= 1e-6 * value.grad
                value.grad = None
    return found


@training(every=100)
def own_function(torch, dtype):
    class Legendre3(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return 0.5 * (5 * x**3 - 3 * x)

        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            return g * 1.5 * (5 * x**2 - 1)

    x, y = sine(torch, dtype)
    starts = (0.0, -1.0, 0.0, 0.3)
    a, b, c, d = (torch.full((), start).to(dtype).requires_grad_() for start in starts)
    found = []
    for _ in range(2000):
        loss = (a + b * Legendre3.apply(c + d * x) - y).pow(2).sum()
        found.append(loss.item())
        loss.backward()
        with torch.no_grad():
            for value in (a, b, c, d):
                value -= 5e-6 * value.grad
                value.grad = None
    return found


def powers_and_model(torch, dtype):
    x, y = sine(torch, dtype)
    powers = x.unsqueeze(-1).pow(torch.tensor([1, 2, 3]))
    model = torch.nn.Sequential(torch.nn.Linear(3, 1), torch.nn.Flatten(0, 1)).to(dtype)
    return powers, y, model, torch.nn.MSELoss(reduction="sum")


@training(every=100)
def nn_by_hand(torch, dtype):
    powers, y, model, loss_fn = powers_and_model(torch, dtype)
    found = []
    for _ in range(2000):
        loss = loss_fn(model(powers), y)
        found.append(loss.item())
        model.zero_grad()
        loss.backward()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter -= 1e-6 * parameter.grad
    return found


def train_with(optimizer, model, loss_fn, x, y, steps):
    found = []
    for _ in range(steps):
        loss = loss_fn(model(x), y)
        found.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return found


@training(every=100)
def rmsprop(torch, dtype):
    powers, y, model, loss_fn = powers_and_model(torch, dtype)
    optimizer = torch.optim.RMSprop(model.parameters(), lr=1e-3)
    return train_with(optimizer, model, loss_fn, powers, y, 2000)


def cubic(torch, random_terms):
    nn = torch.nn

    class Polynomial(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Parameter(torch.randn(()))
            self.b = nn.Parameter(torch.randn(()))
            self.c = nn.Parameter(torch.randn(()))
            self.d = nn.Parameter(torch.randn(()))
            if random_terms:
                self.e = nn.Parameter(torch.randn(()))

        def forward(self, x):
            y = self.a + self.b * x + self.c * x**2 + self.d * x**3
            if random_terms:
                for exponent in range(4, random.randint(4, 6)):
                    y = y + self.e * x**exponent
            return y

    return Polynomial()


@training(every=100)
def own_module(torch, dtype):
    x, y = sine(torch, dtype)
    model = cubic(torch, False).to(dtype)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6)
    return train_with(optimizer, model, torch.nn.MSELoss(reduction="sum"), x, y, 2000)


@training(every=100)
def control_flow(torch, dtype):
    # The document takes 30000 steps; a tenth shows as much.
    x, y = sine(torch, dtype)
    model = cubic(torch, True).to(dtype)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-8, momentum=0.9)
    return train_with(optimizer, model, torch.nn.MSELoss(reduction="sum"), x, y, 3000)
