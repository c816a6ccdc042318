"""Cases: whole training steps compiled to one graph, beside JAX's jit and PyTorch's compile.

`flambeau` compiles the step with forward, backward and update; `flambeau eager` is the same step
as it stands; `torch` is eager, and `torch compiled` compiles the function from batch to loss, as
its tutorials do. The loss is read where the seeds' loops read it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from benchmarks.case import Case, Library, Statement, case
from benchmarks.training import cubic_module, digits_net, repeated, two_layers, wave

STEPS = 20
Step = Callable[[], Any]
# From a library and what to do with the function that computes the loss, to a step.
Make = Callable[[Library, Callable[[Any], Any]], Step]


def compiled(
    name: str, target: float | None = None, rival: str = "torch"
) -> Callable[[Make], Case]:
    """Decorator that makes a case with bodies for every way of running one step."""

    def register(make: Make) -> Case:
        @case("compiled steps", name, target=target, steps=STEPS, headline=True, rival=rival)
        def whole(torch: Library) -> Statement:
            step = torch.compile(make(torch, lambda loss: loss), fullgraph=True)
            for _ in range(6):  # recordings, and the first replay
                step()
            return repeated(step)

        def eager(torch: Library) -> Statement:
            return repeated(make(torch, lambda loss: loss))

        def of_loss(torch: Library) -> Statement:
            return repeated(make(torch, torch.compile))

        whole.bodies.update({"flambeau eager": eager, "torch": eager, "torch compiled": of_loss})
        return whole

    return register


def trained(compute_loss: Step, optimizer: Any) -> Step:
    """The usual step around a function that computes the loss."""

    def step() -> Any:
        optimizer.zero_grad()
        loss = compute_loss()
        loss.backward()
        optimizer.step()
        return loss

    return step


@compiled("cubic fit, update by hand", target=20, rival="jax")
def cubic(torch: Library, wrap: Callable[[Any], Any]) -> Step:
    x, y = wave(torch)
    a, b, c, d = (torch.randn((), requires_grad=True) for _ in range(4))

    def compute_loss() -> Any:
        return (a + b * x + c * x**2 + d * x**3 - y).pow(2).sum()

    compute_loss = wrap(compute_loss)

    def step() -> Any:
        loss = compute_loss()
        loss.backward()
        with torch.no_grad():
            for parameter in (a, b, c, d):
                parameter -= 1e-6 * parameter.grad
                parameter.grad = None
        return loss

    return step


@compiled("cubic fit, own Module, SGD")
def cubic_sgd(torch: Library, wrap: Callable[[Any], Any]) -> Step:
    model = cubic_module(torch, dynamic=False)
    x, y = wave(torch)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6)
    return trained(wrap(lambda: (model(x) - y).pow(2).sum()), optimizer)


@cubic.on("jax")
def _(jax: Library) -> Statement:
    x = jax.numpy.linspace(-math.pi, math.pi, 2000)
    y = jax.numpy.sin(x)

    def loss(p: Any) -> Any:
        return ((p[0] + p[1] * x + p[2] * x**2 + p[3] * x**3 - y) ** 2).sum()

    def update(p: Any) -> Any:
        value, gradient = jax.value_and_grad(loss)(p)
        return value, p - 1e-6 * gradient

    return jax_loop(jax, update, jax.random.normal(jax.random.key(0), (4,)))


def jax_loop(jax: Library, update: Callable[[Any], Any], state: Any) -> Statement:
    """Repeats `value, state = update(state)`, compiled, on donated memory."""
    update = jax.jit(update, donate_argnums=0)

    def step() -> None:
        nonlocal state
        value, state = update(state)
        value.block_until_ready()

    return repeated(step)


@compiled("sine MLP, 200 points, SGD with momentum", target=2.5, rival="jax")
def sine_mlp(torch: Library, wrap: Callable[[Any], Any]) -> Step:
    nn = torch.nn
    x = torch.rand(200, 1)
    y = 4 * torch.sin(math.pi * x) * torch.cos(6 * math.pi * x**2)
    model = nn.Sequential(
        nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 1)
    )
    loss_function = nn.MSELoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    return trained(wrap(lambda: loss_function(model(x), y)), optimizer)


def jax_layers(jax: Library, lengths: list[int]) -> list[Any]:
    """Weights and biases of a fully connected network."""
    keys = jax.random.split(jax.random.key(0), len(lengths))
    return [
        (jax.random.normal(key, (a, b)) / math.sqrt(a), jax.numpy.zeros(b))
        for key, a, b in zip(keys, lengths, lengths[1:], strict=False)
    ]


def jax_network(layers: list[Any], x: Any, activation: Callable[[Any], Any]) -> Any:
    for weight, bias in layers[:-1]:
        x = activation(x @ weight + bias)
    weight, bias = layers[-1]
    return x @ weight + bias


@sine_mlp.on("jax")
def _(jax: Library) -> Statement:
    x = jax.random.uniform(jax.random.key(1), (200, 1))
    y = 4 * jax.numpy.sin(math.pi * x) * jax.numpy.cos(6 * math.pi * x**2)
    layers = jax_layers(jax, [1, 32, 32, 1])

    def loss(layers: Any) -> Any:
        return ((jax_network(layers, x, jax.numpy.tanh) - y) ** 2).mean()

    def update(state: Any) -> Any:
        layers, velocity = state
        value, gradient = jax.value_and_grad(loss)(layers)
        velocity = jax.tree.map(lambda v, g: 0.9 * v + g, velocity, gradient)
        return value, (jax.tree.map(lambda p, v: p - 0.05 * v, layers, velocity), velocity)

    return jax_loop(jax, update, (layers, jax.tree.map(jax.numpy.zeros_like, layers)))


@compiled("two layers, nn, Adam", target=1.5, rival="jax")
def two_layers_adam(torch: Library, wrap: Callable[[Any], Any]) -> Step:
    x, y = torch.randn(64, 1000), torch.randn(64, 10)
    model = two_layers(torch)
    loss_function = torch.nn.MSELoss(reduction="sum")
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    return trained(wrap(lambda: loss_function(model(x), y)), optimizer)


@two_layers_adam.on("jax")
def _(jax: Library) -> Statement:
    x, y = (
        jax.random.normal(jax.random.key(1), (64, 1000)),
        jax.random.normal(jax.random.key(2), (64, 10)),
    )
    layers = jax_layers(jax, [1000, 100, 10])

    def loss(layers: Any) -> Any:
        return ((jax_network(layers, x, jax.nn.relu) - y) ** 2).sum()

    def update(state: Any) -> Any:
        layers, m, v, count = state
        value, gradient = jax.value_and_grad(loss)(layers)
        count = count + 1
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, gradient)
        v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, gradient)
        rate = 1e-4 * jax.numpy.sqrt(1 - 0.999**count) / (1 - 0.9**count)
        layers = jax.tree.map(
            lambda p, m, v: p - rate * m / (jax.numpy.sqrt(v) + 1e-8), layers, m, v
        )
        return value, (layers, m, v, count)

    zeros = jax.tree.map(jax.numpy.zeros_like, layers)
    copy = jax.tree.map(jax.numpy.zeros_like, layers)
    return jax_loop(jax, update, (layers, zeros, copy, jax.numpy.zeros(())))


@compiled("digits CNN, batch of 32, AdamW", target=1.3, rival="torch")
def digits_cnn(torch: Library, wrap: Callable[[Any], Any]) -> Step:
    model = digits_net(torch)
    x, y = torch.rand(32, 1, 8, 8), torch.randint(0, 10, (32,))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    return trained(wrap(lambda: torch.nn.functional.cross_entropy(model(x), y)), optimizer)


def gpt(torch: Library, width: int = 128, heads: int = 4, layers: int = 4, tokens: int = 65) -> Any:
    """A decoder with causal attention; a small model of characters."""
    nn = torch.nn

    class Block(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
            self.qkv = nn.Linear(width, 3 * width)
            self.out = nn.Linear(width, width)
            self.mlp = nn.Sequential(
                nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
            )

        def forward(self, x: Any) -> Any:
            batch, length, _ = x.shape
            parts = self.qkv(self.norm1(x)).view(batch, length, 3, heads, width // heads)
            q, k, v = parts.permute(2, 0, 3, 1, 4).unbind(0)
            y = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.out(y.transpose(1, 2).reshape(batch, length, width))
            return x + self.mlp(self.norm2(x))

    class Model(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.token, self.place = nn.Embedding(tokens, width), nn.Embedding(256, width)
            self.blocks = nn.Sequential(*(Block() for _ in range(layers)))
            self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, tokens)

        def forward(self, index: Any) -> Any:
            x = self.token(index) + self.place.weight[: index.shape[1]]
            return self.head(self.norm(self.blocks(x)))

    return Model()


@compiled("GPT of 4 layers, width 128, batch 16 x 128, AdamW", target=1.3, rival="torch")
def gpt_step(torch: Library, wrap: Callable[[Any], Any]) -> Step:
    model = gpt(torch)
    index = torch.randint(0, 65, (16, 128))
    target = torch.randint(0, 65, (16 * 128,))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)

    def compute_loss() -> Any:
        return torch.nn.functional.cross_entropy(model(index).view(-1, 65), target)

    return trained(wrap(compute_loss), optimizer)
