"""Cases on one GPU: launch overhead, memory bandwidth, matrix products, whole training steps.

A timed run queues its steps and waits for the GPU once at the end. `flambeau` and `torch` run
eagerly unless the case is a compiled step; there `flambeau` compiles the whole step, and `torch
compiled` the function from batch to loss.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.case import Library, Statement, call, case
from benchmarks.compiled import gpt, trained
from benchmarks.training import digits_net

MEGA = 1 << 20


def queued(torch: Library, step: Callable[[], object], steps: int) -> Statement:
    """Runs the step `steps` times, then waits for the GPU."""

    def run() -> None:
        for _ in range(steps):
            step()
        torch.cuda.synchronize()

    for _ in range(3):  # kernels are compiled, memory is cached
        step()
    return call(run)


def declare_overhead(name: str, make: Callable[[Library], Callable[[], object]]) -> None:
    @case("overhead", name, target=2, steps=1000, headline=True)
    def overhead(torch: Library) -> Statement:
        return queued(torch, make(torch), 1000)


def small(torch: Library, gradient: bool = False) -> Any:
    return torch.rand(16, device="cuda", requires_grad=gradient)


def addition(torch: Library) -> Callable[[], object]:
    x, y = small(torch), small(torch)
    return lambda: x + y


def recorded_addition(torch: Library) -> Callable[[], object]:
    x, y = small(torch, gradient=True), small(torch)
    return lambda: x + y


def small_product(torch: Library) -> Callable[[], object]:
    x, y = torch.rand(16, 16, device="cuda"), torch.rand(16, 16, device="cuda")
    return lambda: x.mm(y)


def small_sum(torch: Library) -> Callable[[], object]:
    x = small(torch)
    return lambda: x.sum()


declare_overhead("x + y, 16 elements", addition)
declare_overhead("x + y with gradient, 16 elements", recorded_addition)
declare_overhead("matrix product, 16 x 16", small_product)
declare_overhead("sum, 16 elements", small_sum)


def declare_bandwidth(
    name: str, passes: float, run: Callable[[Library, Any], object], shape: tuple[int, ...]
) -> None:
    """A case whose time is that of its memory traffic: `passes` times the tensor's bytes."""
    elements = 1
    for length in shape:
        elements *= length

    @case("bandwidth", name, target=1, steps=20, bytes=passes * elements * 4)
    def bandwidth(torch: Library) -> Statement:
        x = torch.rand(*shape, device="cuda")
        return queued(torch, lambda: run(torch, x), 20)


FLAT = (64 * MEGA,)
ROWS = (16384, 4096)
declare_bandwidth("copy, 64 M elements", 2, lambda torch, x: x.clone(), FLAT)
declare_bandwidth("x * 2 + 1 as two operators", 4, lambda torch, x: x * 2 + 1, FLAT)
declare_bandwidth("exp", 2, lambda torch, x: x.exp(), FLAT)
declare_bandwidth("gelu", 2, lambda torch, x: torch.nn.functional.gelu(x), FLAT)
declare_bandwidth("sum", 1, lambda torch, x: x.sum(), FLAT)
declare_bandwidth("sum of columns, 16384 x 4096", 1, lambda torch, x: x.sum(0), ROWS)
declare_bandwidth("softmax, 16384 x 4096", 2, lambda torch, x: x.softmax(-1), ROWS)
declare_bandwidth(
    "layer_norm, 16384 x 4096",
    2,
    lambda torch, x: torch.nn.functional.layer_norm(x, (4096,)),
    ROWS,
)
declare_bandwidth("transpose, 16384 x 4096", 2, lambda torch, x: x.t().contiguous(), ROWS)
declare_bandwidth("cumsum, 16384 x 4096", 2, lambda torch, x: x.cumsum(-1), ROWS)


def declare_product(n: int, dtype: str) -> None:
    @case("matrix product", f"{n} x {n} x {n}, {dtype}", target=0.95, steps=20, flops=2.0 * n**3)
    def product(torch: Library) -> Statement:
        x = torch.rand(n, n, device="cuda").to(getattr(torch, dtype))
        return queued(torch, lambda: x.mm(x), 20)


for size in (1024, 4096, 8192):
    for type_name in ("float32", "bfloat16", "float16"):
        declare_product(size, type_name)


@case("attention", "8 x 16 heads x 2048 x 64, causal, bfloat16", target=1, steps=10)
def attention(torch: Library) -> Statement:
    q, k, v = (torch.rand(8, 16, 2048, 64, device="cuda").bfloat16() for _ in range(3))
    run = torch.nn.functional.scaled_dot_product_attention
    return queued(torch, lambda: run(q, k, v, is_causal=True), 10)


Step = Callable[[], Any]
MakeStep = Callable[[Library, Callable[[Any], Any]], Step]


def declare_step(name: str, make: MakeStep) -> None:
    @case("steps", f"{name}, eager", target=1, steps=20, headline=True)
    def eager(torch: Library) -> Statement:
        return queued(torch, make(torch, lambda loss: loss), 20)

    @case("steps", f"{name}, compiled", target=1, steps=20, headline=True, rival="torch compiled")
    def whole(torch: Library) -> Statement:
        step = torch.compile(make(torch, lambda loss: loss), fullgraph=True)
        for _ in range(8):  # recordings, replays, the CUDA graph
            step()
        return queued(torch, step, 20)

    whole.bodies["torch compiled"] = lambda torch: queued(torch, make(torch, torch.compile), 20)
    del whole.bodies["torch"]


def digits_step(torch: Library, wrap: Callable[[Any], Any]) -> Step:
    model = digits_net(torch).to("cuda")
    x, y = torch.rand(32, 1, 8, 8).to("cuda"), torch.randint(0, 10, (32,)).to("cuda")
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    return trained(wrap(lambda: torch.nn.functional.cross_entropy(model(x), y)), optimizer)


def gpt_step(torch: Library, wrap: Callable[[Any], Any]) -> Step:
    model = gpt(torch, width=768, heads=12, layers=12, tokens=4096).to("cuda")
    index = torch.randint(0, 4096, (8, 256)).to("cuda")
    target = torch.randint(0, 4096, (8 * 256,)).to("cuda")
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)

    def compute_loss() -> Any:
        return torch.nn.functional.cross_entropy(model(index).view(-1, 4096), target)

    return trained(wrap(compute_loss), optimizer)


declare_step("digits CNN, batch of 32, AdamW", digits_step)
declare_step("GPT of 12 layers, width 768, batch 8 x 256, AdamW", gpt_step)
