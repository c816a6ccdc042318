"""Cases: the training loops that beginners meet first, one step of each.

A cubic polynomial fitted to a sine, a network of two layers, and a small network fitted to a
wave, each written in the ways that PyTorch offers, from gradients by hand to nn and optim.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

from benchmarks.case import Library, Statement, call, case

STEPS = 20  # in one timed run, so that a loop's own cost is counted once in twenty


def repeated(step: Callable[[], object]) -> Statement:
    def run() -> None:
        for _ in range(STEPS):
            step()

    return call(run)


def wave(torch: Library) -> tuple[Any, Any]:
    """2000 points of a sine."""
    x = torch.linspace(-math.pi, math.pi, 2000)
    return x, torch.sin(x)


def powers(torch: Library) -> tuple[Any, Any]:
    """The same points as features (x, x^2, x^3), and the sine."""
    x, y = wave(torch)
    return x.unsqueeze(-1).pow(torch.tensor([1, 2, 3])), y


def optimised(
    model: Any, loss_function: Any, optimizer: Any, x: Any, y: Any, read_loss: bool = False
) -> Statement:
    """The usual step: forward, loss, backward, update."""

    def step() -> None:
        loss = loss_function(model(x), y)
        if read_loss:
            loss.item()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return repeated(step)


def hand_updated(
    torch: Library, model: Any, loss_function: Any, x: Any, y: Any, read_loss: bool = False
) -> Statement:
    """The step with nn but without optim."""

    def step() -> None:
        loss = loss_function(model(x), y)
        if read_loss:
            loss.item()
        model.zero_grad()
        loss.backward()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter -= 1e-6 * parameter.grad

    return repeated(step)


@case("cubic fit", "gradients by hand", target=6, steps=STEPS)
def cubic_by_hand(torch: Library) -> Statement:
    x, y = wave(torch)
    a, b, c, d = (torch.randn(()) for _ in range(4))

    def step() -> None:
        nonlocal a, b, c, d
        y_pred = a + b * x + c * x**2 + d * x**3
        (y_pred - y).pow(2).sum().item()
        grad = 2.0 * (y_pred - y)
        grad_a = grad.sum()
        grad_b = (grad * x).sum()
        grad_c = (grad * x**2).sum()
        grad_d = (grad * x**3).sum()
        a -= 1e-6 * grad_a
        b -= 1e-6 * grad_b
        c -= 1e-6 * grad_c
        d -= 1e-6 * grad_d

    return repeated(step)


@cubic_by_hand.on("numpy")
def _(numpy: Library) -> Statement:
    x = numpy.linspace(-math.pi, math.pi, 2000)
    y = numpy.sin(x)
    a, b, c, d = numpy.random.randn(4)

    def step() -> None:
        nonlocal a, b, c, d
        y_pred = a + b * x + c * x**2 + d * x**3
        numpy.square(y_pred - y).sum()
        grad = 2.0 * (y_pred - y)
        a -= 1e-6 * grad.sum()
        b -= 1e-6 * (grad * x).sum()
        c -= 1e-6 * (grad * x**2).sum()
        d -= 1e-6 * (grad * x**3).sum()

    return repeated(step)


@case("cubic fit", "autograd", target=6, steps=STEPS, headline=True)
def cubic_autograd(torch: Library) -> Statement:
    x, y = wave(torch)
    a, b, c, d = (torch.randn((), requires_grad=True) for _ in range(4))

    def step() -> None:
        nonlocal a, b, c, d
        y_pred = a + b * x + c * x**2 + d * x**3
        (y_pred - y).pow(2).sum().backward()
        with torch.no_grad():
            a -= 1e-6 * a.grad
            b -= 1e-6 * b.grad
            c -= 1e-6 * c.grad
            d -= 1e-6 * d.grad
            a.grad = b.grad = c.grad = d.grad = None

    return repeated(step)


@cubic_autograd.on("jax")
def _(jax: Library) -> Statement:
    x = jax.numpy.linspace(-math.pi, math.pi, 2000)
    y = jax.numpy.sin(x)

    def loss(p: Any) -> Any:
        return ((p[0] + p[1] * x + p[2] * x**2 + p[3] * x**3 - y) ** 2).sum()

    update = jax.jit(lambda p: p - 1e-6 * jax.grad(loss)(p))
    parameters = jax.random.normal(jax.random.key(0), 4)

    def step() -> None:
        nonlocal parameters
        parameters = update(parameters).block_until_ready()

    return repeated(step)


@case("cubic fit", "autograd.Function", target=6, steps=STEPS)
def cubic_function(torch: Library) -> Statement:
    class Legendre(torch.autograd.Function):  # type: ignore[misc]
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return 0.5 * (5 * x**3 - 3 * x)

        @staticmethod
        def backward(ctx: Any, grad: Any) -> Any:
            (x,) = ctx.saved_tensors
            return grad * 1.5 * (5 * x**2 - 1)

    x, y = wave(torch)
    a, b, c, d = (torch.full((), v, requires_grad=True) for v in (0.0, -1.0, 0.0, 0.3))

    def step() -> None:
        nonlocal a, b, c, d
        y_pred = a + b * Legendre.apply(c + d * x)
        (y_pred - y).pow(2).sum().backward()
        with torch.no_grad():
            a -= 5e-6 * a.grad
            b -= 5e-6 * b.grad
            c -= 5e-6 * c.grad
            d -= 5e-6 * d.grad
            a.grad = b.grad = c.grad = d.grad = None

    return repeated(step)


def linear_cubic(torch: Library) -> Any:
    return torch.nn.Sequential(torch.nn.Linear(3, 1), torch.nn.Flatten(0, 1))


@case("cubic fit", "nn, MSELoss, update by hand", target=6, steps=STEPS)
def cubic_nn(torch: Library) -> Statement:
    return hand_updated(
        torch, linear_cubic(torch), torch.nn.MSELoss(reduction="sum"), *powers(torch)
    )


@case("cubic fit", "nn, RMSprop", target=6, steps=STEPS, headline=True)
def cubic_rmsprop(torch: Library) -> Statement:
    model = linear_cubic(torch)
    optimizer = torch.optim.RMSprop(model.parameters(), lr=1e-3)
    return optimised(model, torch.nn.MSELoss(reduction="sum"), optimizer, *powers(torch))


def cubic_module(torch: Library, dynamic: bool) -> Any:
    """a + b x + c x^2 + d x^3 as a Module; dynamic adds e x^4 and e x^5 at random."""

    class Cubic(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            for name in "abcde"[: 5 if dynamic else 4]:
                setattr(self, name, torch.nn.Parameter(torch.randn(())))

        def forward(self, x: Any) -> Any:
            y = self.a + self.b * x + self.c * x**2 + self.d * x**3
            if dynamic:
                for exponent in range(4, random.randint(4, 6)):
                    y = y + self.e * x**exponent
            return y

    return Cubic()


@case("cubic fit", "own Module, SGD", target=6, steps=STEPS)
def cubic_own_module(torch: Library) -> Statement:
    model = cubic_module(torch, dynamic=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6)
    return optimised(model, torch.nn.MSELoss(reduction="sum"), optimizer, *wave(torch))


@case("cubic fit", "graph that changes, SGD with momentum", target=6, steps=STEPS)
def cubic_dynamic(torch: Library) -> Statement:
    random.seed(0)
    model = cubic_module(torch, dynamic=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-8, momentum=0.9)
    return optimised(model, torch.nn.MSELoss(reduction="sum"), optimizer, *wave(torch))


def normal_pair(torch: Library) -> tuple[Any, Any]:
    return torch.randn(64, 1000), torch.randn(64, 10)


@case("two layers", "gradients by hand", target=2.5, steps=STEPS, headline=True)
def layers_by_hand(torch: Library) -> Statement:
    x, y = normal_pair(torch)
    w1, w2 = torch.randn(1000, 100), torch.randn(100, 10)

    def step() -> None:
        nonlocal w1, w2
        h = x.mm(w1)
        h_relu = h.clamp(min=0)
        y_pred = h_relu.mm(w2)
        (y_pred - y).pow(2).sum().item()
        grad_y = 2.0 * (y_pred - y)
        grad_w2 = h_relu.t().mm(grad_y)
        grad_h = grad_y.mm(w2.t()).clone()
        grad_h[h < 0] = 0
        grad_w1 = x.t().mm(grad_h)
        w1 -= 1e-6 * grad_w1
        w2 -= 1e-6 * grad_w2

    return repeated(step)


@layers_by_hand.on("numpy")
def _(numpy: Library) -> Statement:
    x, y, w1, w2 = (
        numpy.random.randn(*shape).astype(numpy.float32)
        for shape in ((64, 1000), (64, 10), (1000, 100), (100, 10))
    )

    def step() -> None:
        nonlocal w1, w2
        h = x.dot(w1)
        h_relu = numpy.maximum(h, 0)
        y_pred = h_relu.dot(w2)
        numpy.square(y_pred - y).sum()
        grad_y = 2.0 * (y_pred - y)
        grad_w2 = h_relu.T.dot(grad_y)
        grad_h = grad_y.dot(w2.T).copy()
        grad_h[h < 0] = 0
        w1 -= 1e-6 * x.T.dot(grad_h)
        w2 -= 1e-6 * grad_w2

    return repeated(step)


def declare_layers_autograd(name: str, own_function: bool) -> None:
    @case("two layers", name, target=2.5, steps=STEPS)
    def layers_autograd(torch: Library) -> Statement:
        class OwnRelu(torch.autograd.Function):  # type: ignore[misc]
            @staticmethod
            def forward(ctx: Any, x: Any) -> Any:
                ctx.save_for_backward(x)
                return x.clamp(min=0)

            @staticmethod
            def backward(ctx: Any, grad: Any) -> Any:
                (x,) = ctx.saved_tensors
                grad_x = grad.clone()
                grad_x[x < 0] = 0
                return grad_x

        x, y = normal_pair(torch)
        w1 = torch.randn(1000, 100, requires_grad=True)
        w2 = torch.randn(100, 10, requires_grad=True)

        def step() -> None:
            nonlocal w1, w2
            h = x.mm(w1)
            h_relu = OwnRelu.apply(h) if own_function else h.clamp(min=0)
            loss = (h_relu.mm(w2) - y).pow(2).sum()
            loss.item()
            loss.backward()
            with torch.no_grad():
                w1 -= 1e-6 * w1.grad
                w2 -= 1e-6 * w2.grad
                w1.grad.zero_()
                w2.grad.zero_()

        return repeated(step)


declare_layers_autograd("autograd", own_function=False)
declare_layers_autograd("autograd.Function", own_function=True)


def two_layers(torch: Library) -> Any:
    nn = torch.nn
    return nn.Sequential(nn.Linear(1000, 100), nn.ReLU(), nn.Linear(100, 10))


def two_layer_module(torch: Library, bias: bool) -> Any:
    class TwoLayers(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.linear1 = torch.nn.Linear(1000, 100, bias=bias)
            self.linear2 = torch.nn.Linear(100, 10, bias=bias)

        def forward(self, x: Any) -> Any:
            return self.linear2(self.linear1(x).clamp(min=0))

    return TwoLayers()


@case("two layers", "nn, update by hand", target=2.5, steps=STEPS)
def layers_nn(torch: Library) -> Statement:
    return hand_updated(
        torch,
        two_layers(torch),
        torch.nn.MSELoss(reduction="sum"),
        *normal_pair(torch),
        read_loss=True,
    )


def declare_layers_optim(
    name: str, target: float, make_model: Callable[[Library], Any], rule: str, **options: float
) -> None:
    @case("two layers", name, target=target, steps=STEPS, headline=name == "nn, Adam")
    def layers_optim(torch: Library) -> Statement:
        random.seed(0)
        model = make_model(torch)
        optimizer = getattr(torch.optim, rule)(model.parameters(), lr=1e-4, **options)
        loss = torch.nn.MSELoss(reduction="sum")
        return optimised(model, loss, optimizer, *normal_pair(torch), read_loss=True)


def changing_layers(torch: Library) -> Any:
    class Changing(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.input_linear = torch.nn.Linear(1000, 100)
            self.middle_linear = torch.nn.Linear(100, 100)
            self.output_linear = torch.nn.Linear(100, 10)

        def forward(self, x: Any) -> Any:
            h = self.input_linear(x).clamp(min=0)
            for _ in range(random.randint(0, 3)):
                h = self.middle_linear(h).clamp(min=0)
            return self.output_linear(h)

    return Changing()


declare_layers_optim("nn, Adam", 4, two_layers, "Adam")
declare_layers_optim(
    "own Module, Adam", 4, lambda torch: two_layer_module(torch, bias=False), "Adam"
)
declare_layers_optim(
    "own Module, SGD", 2.5, lambda torch: two_layer_module(torch, bias=True), "SGD"
)
declare_layers_optim(
    "graph that changes, SGD with momentum", 2.5, changing_layers, "SGD", momentum=0.9
)


@case("networks", "sine MLP, 200 points, SGD with momentum", target=6, steps=STEPS, headline=True)
def sine_mlp(torch: Library) -> Statement:
    nn = torch.nn
    x = torch.rand(200, 1)
    y = 4 * torch.sin(math.pi * x) * torch.cos(6 * math.pi * x**2)
    model = nn.Sequential(
        nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 1)
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    return optimised(model, nn.MSELoss(), optimizer, x, y)


@case("networks", "linear regression, 50 points, autograd", target=6, steps=STEPS)
def linear_regression(torch: Library) -> Statement:
    x = torch.randn(50, 2)
    y = x @ torch.tensor([[-1.0], [2.0]]) + torch.randn(50, 1) * 0.1
    w = torch.tensor([[1.0], [0.0]], requires_grad=True)

    def step() -> None:
        loss = torch.norm(x @ w - y) ** 2 / 50
        loss.backward()
        w.data = w.data - 0.1 * w.grad
        loss.item()
        w.grad.detach()
        w.grad.zero_()

    return repeated(step)


def digits_net(torch: Library) -> Any:
    nn = torch.nn
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Linear(512, 64),
        nn.ReLU(),
        nn.Linear(64, 10),
    )


@case("networks", "digits CNN, batch of 32, AdamW", headline=True)
def digits_cnn(torch: Library) -> Statement:
    model = digits_net(torch)
    x, y = torch.rand(32, 1, 8, 8), torch.randint(0, 10, (32,))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)

    def step() -> None:
        loss = torch.nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()

    return call(step)
