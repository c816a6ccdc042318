"""Cases: single operations, from 16 elements to 16 million."""

from __future__ import annotations

import subprocess
import sys

from benchmarks.case import Library, Statement, call, case


@case("overhead", "x + y, 16 elements", target=10, headline=True)
def add(torch: Library) -> Statement:
    return Statement("x + y", x=torch.rand(16), y=torch.rand(16))


@add.on("numpy")
def _(numpy: Library) -> Statement:
    x = numpy.random.rand(2, 16).astype(numpy.float32)
    return Statement("x + y", x=x[0], y=x[1])


@add.on("jax")
def _(jax: Library) -> Statement:
    x = jax.numpy.ones(16)
    return Statement("(x + y).block_until_ready()", x=x, y=x)


@case("overhead", "x + y with gradient, 16 elements", target=10, headline=True)
def add_with_gradient(torch: Library) -> Statement:
    return Statement("x + y", x=torch.rand(16, requires_grad=True), y=torch.rand(16))


@case("overhead", "view, 16 elements to 4 x 4")
def view(torch: Library) -> Statement:
    return Statement("x.view(4, 4)", x=torch.rand(16))


@view.on("numpy")
def _(numpy: Library) -> Statement:
    return Statement("x.reshape(4, 4)", x=numpy.ones(16, numpy.float32))


@case("overhead", "slice, 4 of 16 elements")
def slice_(torch: Library) -> Statement:
    return Statement("x[4:8]", x=torch.rand(16))


@slice_.on("numpy")
def _(numpy: Library) -> Statement:
    return Statement("x[4:8]", x=numpy.ones(16, numpy.float32))


@case("overhead", "matrix product, 8 x 8")
def small_product(torch: Library) -> Statement:
    return Statement("x.mm(y)", x=torch.rand(8, 8), y=torch.rand(8, 8))


@small_product.on("numpy")
def _(numpy: Library) -> Statement:
    x = numpy.ones((8, 8), numpy.float32)
    return Statement("x @ y", x=x, y=x.copy())


@case("overhead", "100 multiplications, sum, backward; 16 elements", target=40, headline=True)
def chain(torch: Library) -> Statement:
    x = torch.rand(16, requires_grad=True)

    def run() -> None:
        y = x
        for _ in range(100):
            y = y * 1.01
        y.sum().backward()

    return call(run)


@case("overhead", "import, whole process", headline=True)
def import_(library: Library) -> Statement:
    command = [sys.executable, "-c", f"import {library.__name__}"]
    return call(lambda: subprocess.run(command, check=True))


import_.on("numpy")(import_.bodies["torch"])
import_.on("jax")(import_.bodies["torch"])


def declare_product(rows: int, inner: int, columns: int) -> None:
    shape, other_shape = (rows, inner), (inner, columns)

    headline = rows == inner == columns and rows in (64, 1024)

    @case("matrix product", f"{rows} x {inner} x {columns}", target=1, headline=headline)
    def product(torch: Library) -> Statement:
        return Statement("x.mm(y)", x=torch.rand(*shape), y=torch.rand(*other_shape))

    @product.on("numpy")
    def _(numpy: Library) -> Statement:
        random = numpy.random.default_rng(0).random
        x, y = random(shape, numpy.float32), random(other_shape, numpy.float32)
        return Statement("x @ y", x=x, y=y)

    @product.on("jax")
    def _(jax: Library) -> Statement:
        key = jax.random.key(0)
        x, y = jax.random.uniform(key, shape), jax.random.uniform(key, other_shape)
        return Statement("f(x, y).block_until_ready()", f=jax.jit(jax.numpy.matmul), x=x, y=y)


for edge in (64, 128, 256, 512, 1024):
    declare_product(edge, edge, edge)
for rectangle in ((200, 32, 32), (64, 1000, 100), (1000, 64, 100), (512, 64, 512)):
    declare_product(*rectangle)


@case("matrix product", "batch of 64, 256 x 64 x 256", target=1)
def batched_product(torch: Library) -> Statement:
    return Statement("x.bmm(y)", x=torch.rand(64, 256, 64), y=torch.rand(64, 64, 256))


# name, PyTorch's expression, NumPy's, jax.numpy's (None: no single function does it)
LARGE = (
    ("x + y", "x + y", "x + y", "jnp.add(x, y)"),
    ("exp", "x.exp()", "np.exp(x)", "jnp.exp(x)"),
    ("tanh", "x.tanh()", "np.tanh(x)", "jnp.tanh(x)"),
    ("relu", "x.relu()", "np.maximum(x, 0)", "jnp.maximum(x, 0)"),
    ("sum", "x.sum()", "x.sum()", "jnp.sum(x)"),
    ("max", "x.max()", "x.max()", "jnp.max(x)"),
    ("mean of rows of 1024", "x.view(-1, 1024).mean(1)", "x.reshape(-1, 1024).mean(1)", None),
    ("sum of columns of 1024", "x.view(1024, -1).sum(0)", "x.reshape(1024, -1).sum(0)", None),
)


def declare_large(
    millions: int, name: str, torch_code: str, numpy_code: str, jax_code: str | None
) -> None:
    count = millions * 2**20
    group = "reduction" if any(word in name for word in ("sum", "max", "mean")) else "elementwise"

    headline = millions == 4 and name in ("x + y", "exp", "sum")

    @case(group, f"{name}, {millions} M elements", target=1, headline=headline)
    def large(torch: Library) -> Statement:
        return Statement(torch_code, x=torch.randn(count), y=torch.randn(count))

    @large.on("numpy")
    def _(numpy: Library) -> Statement:
        x, y = numpy.random.default_rng(0).standard_normal((2, count), numpy.float32)
        return Statement(numpy_code, np=numpy, x=x, y=y)

    if jax_code is not None:

        @large.on("jax")
        def _(jax: Library) -> Statement:
            function = eval(f"lambda x, y: {jax_code}", {"jnp": jax.numpy})
            x = jax.random.normal(jax.random.key(0), count)
            return Statement("f(x, y).block_until_ready()", f=jax.jit(function), x=x, y=x)


for size in (4, 16):
    for row in LARGE:
        declare_large(size, *row)


@case("row programs", "softmax, 4096 x 1024", target=1, headline=True)
def softmax(torch: Library) -> Statement:
    return Statement("x.softmax(1)", x=torch.randn(4096, 1024))


@softmax.on("jax")
def _(jax: Library) -> Statement:
    x = jax.random.normal(jax.random.key(0), (4096, 1024))
    return Statement("f(x).block_until_ready()", f=jax.jit(jax.nn.softmax), x=x)


@case("row programs", "log_softmax, 4096 x 1024", target=1)
def log_softmax(torch: Library) -> Statement:
    return Statement("x.log_softmax(1)", x=torch.randn(4096, 1024))


@case("row programs", "layer_norm, 512 x 768", target=1, headline=True)
def layer_norm(torch: Library) -> Statement:
    return Statement("f(x)", f=torch.nn.LayerNorm(768), x=torch.randn(512, 768))


@case("row programs", "softmax forward and backward, 64 x 10", target=1)
def softmax_backward(torch: Library) -> Statement:
    x = torch.randn(64, 10, requires_grad=True)
    return Statement("x.softmax(1).sum().backward()", x=x)
