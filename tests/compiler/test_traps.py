"""Ways in which a replay could be silently wrong; each must equal the eager function."""

from __future__ import annotations

import random
import time
import warnings

import pytest
import traps_arguments  # noqa: F401  (they fill TRAPS)
import traps_gradients  # noqa: F401
import traps_modules  # noqa: F401
import traps_python_state  # noqa: F401
import traps_sizes  # noqa: F401
import traps_sizes_operators  # noqa: F401
import traps_values  # noqa: F401
from trapping import CALLS, TRAPS, same

import flambeau as torch
from flambeau.compiler import CompileError, CompileWarning


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
