"""Products with activations, and with the gradients of biases, in one call of cuBLASLt."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from compare import FLOATS, check_near, normal, setting

import flambeau as fl
from flambeau import Tensor, _core, nn
from flambeau.compiler._lower import Lowering, label

F = nn.functional
CALLS = 6  # two recordings, two replays, the capture of a CUDA graph, and a run of that
EMULATED = "emulated_cuda" in os.environ.get("FLAMBEAU_CUDA_LIBRARIES", "")
# How the library answers, and how much wider matrices are then: plans are kept by shape.
FUSED, REFUSED, LOSES_NAN, MISSING = "fused", "refused", "loses nan", "missing"
WIDER = {FUSED: 0, REFUSED: 8, LOSES_NAN: 16, MISSING: 24}
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "gelu": lambda x: F.gelu(x, approximate="tanh"),
    "gelu by erf": F.gelu,
}


ANSWERS = [*WIDER] if EMULATED else [FUSED, MISSING]
# All types where calls are joined; of others what is accumulated in another type, and what is not.
CASES = [
    (answer, dtype) for answer in ANSWERS for dtype in (FLOATS if answer == FUSED else FLOATS[::3])
]


@contextlib.contextmanager
def library(answer: str) -> Iterator[None]:
    """A scope in which the library answers so."""
    value = {REFUSED: "0", LOSES_NAN: "nan"}.get(answer, "")
    with pytest.MonkeyPatch.context() as patch, setting("cublas", answer != MISSING):
        patch.setenv("EMULATED_CUBLASLT_FUSION", value)
        yield


@pytest.fixture(params=ANSWERS)
def answer(request: pytest.FixtureRequest) -> Iterator[str]:
    with library(request.param):
        yield request.param


@pytest.fixture(params=CASES, ids=lambda case: f"{case[0]}-{case[1]}")
def case(request: pytest.FixtureRequest) -> Iterator[tuple[str, Any]]:
    with library(request.param[0]):
        yield request.param


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(11)


class Compiled:
    """A compiled function on the GPU, and how many of its products had more in the same call."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.run = fl.compile(function, fullgraph=True)

    def __call__(self, *arguments: Tensor) -> Any:
        before = _core.cuda_fused_products()
        results = [self.run(*arguments) for _ in range(CALLS)]
        self.fused = _core.cuda_fused_products() - before
        self.labels = labels(self.run)
        return results[-1]


def labels(compiled: Any) -> list[str]:
    """What a report calls the steps; a report itself measures the GPU with large matrices."""
    return [label(node) for node in Lowering(compiled.graph).graph.nodes]


def is_fused(name: str, answer: str, dtype: Any) -> bool:
    """Whether the emulated library has an activation; a real one may have more or less."""
    known = name == "gelu" or (name == "relu" and answer != LOSES_NAN)
    return known and answer in (FUSED, LOSES_NAN) and dtype != fl.float64


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(case: tuple[str, Any], name: str, random: np.random.Generator) -> None:
    answer, dtype = case
    activation, n = ACTIVATIONS[name], 24 + WIDER[answer]
    x, w, b = (normal(random, *s, dtype=dtype) for s in ((2, 5, 7), (n, 7), (n,)))
    functions: list[Callable[..., Tensor]] = [
        lambda x, w, b: activation(F.linear(x, w, b)),
        lambda x, w, b: activation(F.linear(x, w)),
        lambda x, w, b: activation(x[0] @ w.T.contiguous()),
        lambda x, w, b: activation(fl.addmm(b, x[1].T.contiguous().T, w.T)),
        lambda x, w, b: activation(x[:1, 0] @ w.T),  # a single row
    ]
    for function in functions:
        expected = function(x, w, b)
        run = Compiled(function)
        arguments = [t.to("cuda") for t in (x, w, b)]
        got = run(*arguments)
        check_near(got, expected, 4.0)
        check_near(function(*arguments), expected, 4.0)
        attached = any(" then " in label for label in run.labels)
        assert attached == (name in ("relu", "gelu")), run.labels
        if EMULATED:
            assert (run.fused > 0) == is_fused(name, answer, dtype)


@pytest.mark.parametrize("columns", [24, 20])
def test_products_that_others_read(
    case: tuple[str, Any], columns: int, random: np.random.Generator
) -> None:
    answer, dtype = case
    n = columns + WIDER[answer]
    x, w, b = (normal(random, *s, dtype=dtype) for s in ((6, 5), (n, 5), (n,)))
    for name, activation in ACTIVATIONS.items():

        def function(x: Tensor, w: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
            h = F.linear(x, w, b)
            return h, activation(h)  # noqa: B023  # called in this turn of the loop only

        run = Compiled(function)
        for got, expected in zip(
            run(*(t.to("cuda") for t in (x, w, b))), function(x, w, b), strict=True
        ):
            check_near(got, expected, 4.0)
        attached = name == "gelu" and columns == 24
        assert ("addmm then gelu" in run.labels) == attached
        if EMULATED:
            assert (run.fused > 0) == (attached and is_fused(name, answer, dtype))


def test_not_a_number_stays_one(answer: str, random: np.random.Generator) -> None:
    n = 32 + WIDER[answer]
    x, w, b = (normal(random, *s) for s in ((6, 5), (n, 5), (n,)))
    x[2, 3], b[4], w[7, 0] = float("nan"), float("nan"), float("inf")
    for name in ("relu", "gelu"):
        activation = ACTIVATIONS[name]
        got = Compiled(lambda x, w, b: activation(F.linear(x, w, b)))(  # noqa: B023
            *(t.to("cuda") for t in (x, w, b))
        )
        expected = activation(F.linear(x, w, b))
        assert expected.isnan()[2].all() and expected.isnan()[:, 4].all()
        check_near(got, expected, 4.0)


def test_kernels_that_are_first_met_in_a_capture(random: np.random.Generator) -> None:
    memory, w = normal(random, 25).to("cuda"), normal(random, 80, 6).to("cuda")
    run = Compiled(lambda x: fl.relu(F.linear(x, w)))
    known = memory[:24].view(4, 6)
    run(known)
    other = memory[1:].view(4, 6)  # less aligned: another choice of a kernel, which nobody tried
    for x, fused in ((known, 1), (other, 0)):
        before, graph = _core.cuda_fused_products(), fl.cuda.CUDAGraph()
        with fl.cuda.graph(graph):
            out = run.run(x)
        graph.replay()
        check_near(out, fl.relu(F.linear(x.cpu(), w.cpu())))
        if EMULATED:
            assert _core.cuda_fused_products() == before + fused


def step_of(model: nn.Module) -> Callable[..., Any]:
    def step(x: Tensor, y: Tensor) -> Any:
        model.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        return loss, [p.grad for p in model.parameters()]

    return step


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_gradients(case: tuple[str, Any], name: str, random: np.random.Generator) -> None:
    answer, dtype = case
    n = 24 + WIDER[answer]
    module = nn.ReLU() if name == "relu" else nn.GELU("tanh" if name == "gelu" else "none")
    fl.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, n), module, nn.Linear(n, 8)).to(dtype)
    x, y = normal(random, 3, 4, 6, dtype=dtype), normal(random, 3, 4, 8, dtype=dtype)
    expected, gradients = step_of(model)(x, y)
    gradients = [g.clone() for g in gradients]
    model.to("cuda")
    run = Compiled(step_of(model))
    loss, found = run(x.to("cuda"), y.to("cuda"))
    check_near(loss.detach(), expected.detach(), 4.0)
    for got, gradient in zip(found, gradients, strict=True):
        check_near(got, gradient, 2.0)
    assert run.labels.count("mm and sum_to") == 2
    assert ("addmm then " + name in run.labels) == (name != "gelu by erf")
    assert ("mm then gelu_backward" in run.labels) == (name == "gelu")
    if EMULATED:
        can = answer in (FUSED, LOSES_NAN) and dtype != fl.float64
        assert (run.fused > 0) == can


def test_gradients_of_a_single_output(random: np.random.Generator) -> None:
    fl.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 72), nn.GELU("tanh"), nn.Linear(72, 1))
    x, y = normal(random, 9, 6), normal(random, 9, 1)
    gradients = [g.clone() for g in step_of(model)(x, y)[1]]
    model.to("cuda")
    run = Compiled(step_of(model))
    for got, gradient in zip(run(x.to("cuda"), y.to("cuda"))[1], gradients, strict=True):
        check_near(got, gradient, 2.0)
    assert "mm then gelu_backward" in run.labels  # an inner length of 1: two calls


def test_gradients_from_outside(random: np.random.Generator) -> None:
    fl.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 40), nn.GELU("tanh"), nn.Linear(40, 3))
    x = normal(random, 7, 5)
    results = []
    for device in ("cpu", "cuda"):
        model.to(device)
        run = fl.compile(model, fullgraph=True) if device == "cuda" else model
        for _ in range(CALLS):
            model.zero_grad()
            leaf = x.detach().to(device).requires_grad_()
            out = run(leaf)
            (out * out).sum().backward()
        gradients = [p.grad.cpu().clone() for p in model.parameters()]
        results.append([out.detach().cpu(), leaf.grad.cpu(), *gradients])
    fl.testing.assert_close(results[1], results[0])
    steps = labels(run)
    assert "addmm then gelu" in steps and "mm then gelu_backward" in steps
    assert steps.count("mm and sum_to") == 2


def test_autocast(random: np.random.Generator) -> None:
    x, w, b = (normal(random, *s).to("cuda") for s in ((9, 12), (48, 12), (48,)))

    def function(x: Tensor) -> Tensor:
        with fl.autocast("cuda", dtype=fl.bfloat16):
            return fl.relu(F.linear(x, w, b))

    run = Compiled(function)
    check_near(run(x), function(x).cpu())
    assert any("addmm then relu" in label for label in run.labels)


def test_in_place_activations(random: np.random.Generator) -> None:
    x, w = normal(random, 4, 6), normal(random, 56, 6)
    run = Compiled(lambda x, w: F.linear(x, w).relu_())
    check_near(run(x.to("cuda"), w.to("cuda")), F.linear(x, w).relu_())
    assert [step.label for step in run.run.report().steps] == ["mm then relu"] == run.labels


def test_biases_at_odd_addresses(random: np.random.Generator) -> None:
    x, w, b = normal(random, 4, 6), normal(random, 56, 6), normal(random, 57)

    def function(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
        return fl.relu(F.linear(x, w, b[1:]))

    run = Compiled(function)
    arguments = [t.to("cuda") for t in (x, w, b)]
    check_near(run(*arguments), function(x, w, b))
    check_near(F.linear(arguments[0], arguments[1], arguments[2][1:]), F.linear(x, w, b[1:]))
    assert run.fused == 0


def test_other_additions_have_a_step_of_their_own(random: np.random.Generator) -> None:
    x, w, c = normal(random, 4, 6), normal(random, 6, 64), normal(random, 4, 64)

    def function(x: Tensor, w: Tensor, c: Tensor) -> Tensor:
        return fl.relu(fl.addmm(c, x, w, beta=0.5, alpha=2))

    run = Compiled(function)
    check_near(run(*(t.to("cuda") for t in (x, w, c))), function(x, w, c), 4.0)
    assert run.fused == 0


def test_sums_are_not_rounded_to_tf32(random: np.random.Generator) -> None:
    g, x = normal(random, 64, 24).to("cuda"), normal(random, 64, 16).to("cuda")

    def function(g: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        return g.T @ x, g.sum(0)

    with setting("matmul_tf32", True):
        run = Compiled(function)
        sums = run(g, x)[1]
    check_near(sums, g.cpu().sum(0), 20.0)
    assert run.labels == ["mm and sum"] and run.fused == 0


def test_sums_of_either_factor(answer: str, random: np.random.Generator) -> None:
    n = 24 + WIDER[answer]
    g, x = normal(random, 13, n), normal(random, 13, 16)
    functions: list[Callable[..., tuple[Tensor, Tensor]]] = [
        lambda g, x: (g.T @ x, g.sum(0)),
        lambda g, x: (x.T @ g, g.sum(0, keepdim=True)),
        lambda g, x: (g.sum(0) * 2, g.T @ x),
    ]
    for function in functions:
        run = Compiled(function)
        for got, expected in zip(run(g.to("cuda"), x.to("cuda")), function(g, x), strict=True):
            check_near(got, expected, 10.0)
        assert "mm and sum" in run.labels
        if EMULATED:
            assert (run.fused > 0) == (answer in (FUSED, LOSES_NAN))
    apart = Compiled(lambda g, x: (g.T @ x, g.sum(1), g.sum()))
    apart(g.to("cuda"), x.to("cuda"))
    assert not any(label.startswith("mm and") for label in apart.labels)
