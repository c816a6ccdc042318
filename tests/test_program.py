"""Programs: building, differentiating and running them."""

from __future__ import annotations

import math
import os
import random
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

import flambeau as fl
from flambeau import _core

scalar: Any = type(
    "Scalar", (), {k: staticmethod(v) for k, v in _core.program.instructions.items()}
)

trace = _core.program.trace


def values(result: Any) -> list[float]:
    return [float(v) for v in result.reshape(-1).tolist()]


def run(program: Any, *operands: Any) -> list[Any]:
    return list(program.run(operands))


# --- building -------------------------------------------------------------------------------------


def test_text_of_a_program() -> None:
    program = trace(lambda x: x * scalar.sigmoid(x), "e")
    assert repr(program) == "%0 = input 0\n%1 = sigmoid %0\n%2 = mul %0 %1\nreturn %2\n"


def test_common_subexpressions_are_merged() -> None:
    program = trace(lambda x: scalar.exp(x) + scalar.exp(x), "e")
    assert repr(program).count("exp") == 1


def test_constants_are_folded_and_exact_algebra_applied() -> None:
    program = trace(lambda x: (x * 1 - 0) * (2 * 3.0) / 1, "e")
    assert repr(program) == "%0 = input 0\n%1 = uniform constant 6\n%2 = mul %0 %1\nreturn %2\n"


def test_what_would_change_nan_stays() -> None:
    program = trace(lambda x: x * 0, "e")
    assert "mul" in repr(program)
    assert math.isnan(values(run(program, fl.tensor([math.inf]))[0])[0])


def test_derivative_reads_what_pytorch_keeps() -> None:
    program, reads, zero = trace(scalar.tanh, "e").derivative(1)
    assert reads == [("gradient", 0), ("output", 0)] and zero == 0
    program, reads, zero = trace(lambda x, y: x * y, "ee").derivative(1)
    assert reads == [("gradient", 0), ("input", 1)]
    assert "mul" in repr(program)
    _, reads, zero = trace(lambda x: scalar.floor(x), "e").derivative(1)
    assert reads == [] and zero == 1


def test_row_values_collect_the_gradients_of_their_row() -> None:
    program, _, _ = trace(lambda x: x - scalar.row_sum(x), "e").derivative(1)
    assert repr(program) == (
        "%0 = input 0\n%1 = row row_sum %0\n%2 = row neg %1\n%3 = add %0 %2\nreturn %3\n"
    ) or "row_sum" in repr(program)


@pytest.mark.parametrize(
    ("formula", "text"),
    [
        (lambda x: x if x > 0 else -x, "where"),
        (lambda x: math.exp(x), "flambeau's functions"),
        (lambda x: [1, 2][x], "index"),
        (lambda x: x + "1", "numbers"),
        (lambda x: x + fl.tensor([1.0]), "parameter"),
        (lambda x: sum(x), "one number"),
    ],
)
def test_mistakes_in_formulas_say_what_to_do(formula: Callable[..., Any], text: str) -> None:
    with pytest.raises(TypeError, match=text):
        trace(formula, "e")


# --- derivatives against differences --------------------------------------------------------------

KINDS = {
    name: function
    for name, function in _core.program.instructions.items()
    if name not in {"row_count", "spread", "stop", "nextafter", "polygamma"}
    and not name.startswith(("row_", "bitwise", "logical", "is"))
}
NEAR_ONE = {"asin", "acos", "atanh", "erfinv"}
ABOVE_ONE = {"acosh"}
POSITIVE = {"log", "log2", "log10", "sqrt", "rsqrt", "lgamma", "digamma", "pow", "log1p"}


def arity(function: Any) -> int:
    for count in (1, 2, 3):
        try:
            trace(lambda *x: function(*x), "eee"[:count])
            return count
        except TypeError:
            continue
    raise AssertionError


def points(name: str, count: int) -> list[list[float]]:
    rng = random.Random(1)
    low, high = (-0.8, 0.8) if name in NEAR_ONE else (1.2, 3) if name in ABOVE_ONE else (-2.3, 2.3)
    if name in POSITIVE:
        low, high = 0.3, 2.5
    return [[rng.uniform(low, high) for _ in range(9)] for _ in range(count)]


@pytest.mark.parametrize("name", sorted(KINDS))
def test_derivatives_of_instructions(name: str) -> None:
    function = KINDS[name]
    count = arity(function)
    program = trace(lambda *x: function(*x), "eee"[:count])
    given = points(name, count)
    check_derivative(program, given)


def check_derivative(program: Any, given: list[list[float]]) -> None:
    count = len(given)
    step = 1e-6

    def at(rows: list[list[float]]) -> list[float]:
        return values(run(program, *[fl.tensor(r, dtype=fl.float64) for r in rows])[0])

    for i in range(count):
        derivative, reads, zero = program.derivative(1 << i)
        plus = [[v + step * (j == i) for v in row] for j, row in enumerate(given)]
        minus = [[v - step * (j == i) for v in row] for j, row in enumerate(given)]
        wanted = [(p - m) / (2 * step) for p, m in zip(at(plus), at(minus), strict=True)]
        if zero:
            assert all(abs(w) < 1e-4 for w in wanted)
            continue
        sources = {"gradient": [[1.0] * len(given[0])], "input": given, "output": [at(given)]}
        operands = [fl.tensor(sources[kind][index], dtype=fl.float64) for kind, index in reads]
        got = values(run(derivative, *operands)[0])
        got = got * len(wanted) if len(got) == 1 else got
        assert got == pytest.approx(wanted, rel=1e-5, abs=1e-6)


def test_second_derivatives() -> None:
    program = trace(lambda x: scalar.tanh(x) * x, "e")
    first, reads, _ = program.derivative(1)
    second, again, _ = first.derivative(1 << [k for k, _ in reads].index("input"))
    x = 0.7
    sources = {"gradient": 1.0, "input": x}
    inner = {i: sources[kind] for i, (kind, _) in enumerate(reads)}
    operands = [1.0 if kind == "gradient" else inner[index] for kind, index in again]
    got = values(run(second, *[fl.tensor([v], dtype=fl.float64) for v in operands])[0])[0]
    slope = 1 - math.tanh(x) ** 2
    assert got == pytest.approx(2 * slope - 2 * x * math.tanh(x) * slope)


# --- running --------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [0, 1, 15, 511, 512, 513, 1024, 5000, 100_001])
def test_block_boundaries(length: int) -> None:
    program = trace(lambda x, y: scalar.relu(x) * y + x, "ee")
    x = fl.arange(length, dtype=fl.float32) - 700
    y = fl.arange(length, dtype=fl.float32) % 7
    got = values(run(program, x, y)[0])
    assert got == [max(i - 700, 0) * (i % 7) + (i - 700) for i in range(length)]


@pytest.mark.parametrize("rows", [1, 3, 7])
@pytest.mark.parametrize("length", [1, 5, 100, 512, 700, 9000])
def test_rows_of_all_lengths(rows: int, length: int) -> None:
    program = trace(lambda x: x / scalar.row_sum(x) + scalar.row_max(x), "e")
    x = fl.arange(rows * length, dtype=fl.float64).reshape(rows, length) % 13 + 1
    got = run(program, x)[0].tolist()
    for given, result in zip(x.tolist(), got, strict=True):
        total, largest = sum(given), max(given)
        assert result == pytest.approx([v / total + largest for v in given])


def test_strides_and_broadcasts() -> None:
    program = trace(lambda x, y, z: x * y - z, "eee")
    x = fl.arange(60.0).reshape(4, 5, 3).transpose(0, 2)
    y = fl.arange(5.0).reshape(5, 1)
    z = fl.arange(40.0)[::10]
    got = run(program, x, y, z)[0].tolist()
    for i, j, k in [(0, 0, 0), (2, 4, 3), (1, 3, 2)]:
        assert got[i][j][k] == (k * 15 + j * 3 + i) * j - 10 * k


@pytest.mark.parametrize(
    "dtype",
    [
        fl.bool,
        fl.uint8,
        fl.int8,
        fl.int16,
        fl.int32,
        fl.int64,
        fl.float16,
        fl.bfloat16,
        fl.float32,
        fl.float64,
    ],
)
def test_loads_and_stores_of_every_dtype(dtype: Any) -> None:
    program = trace(lambda x: x * 1.0 + 0 * x, "e")
    x = (fl.arange(1000) % 2).to(dtype)
    assert values(run(program, x)[0]) == [i % 2 for i in range(1000)]
    assert values(run(program, x[::3])[0]) == [i % 2 for i in range(0, 1000, 3)]


def test_several_outputs_in_place_over_lists() -> None:
    def step(p: Any, g: Any, m: Any, *, lr: float) -> tuple[Any, Any]:
        m = m * 0.5 + g
        return p - lr * m, m

    p = [fl.ones(3), fl.ones(2000, 2), fl.ones(4, 4).t()]
    g = [fl.full(t.shape, 2.0) for t in p]
    m = [fl.full(t.shape, 4.0) for t in p]
    _core.foreach_program(step, [p, g, m], {"lr": 0.25})
    for parameter, moment in zip(p, m, strict=True):
        assert set(values(parameter)) == {0.0} and set(values(moment)) == {4.0}


def test_integer_division_by_zero_raises() -> None:
    program = trace(lambda x, y: x // y, "ee")
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        run(program, fl.tensor([1, 2]), fl.tensor([1, 0]))
    smallest = -(2**63)
    assert values(run(program, fl.tensor([smallest]), fl.tensor([-1]))[0]) == [smallest]


SPECIAL = """
import math, flambeau as fl
inf, nan = math.inf, math.nan
x = fl.tensor([0.0, -0.0, 1.0, -1.0, inf, -inf, nan, 88.0, -88.0, 1e-40] * 7)
def near(a, b, tolerance=3e-7):
    return (math.isnan(a) and math.isnan(b)) or a == b or abs(a - b) <= tolerance * abs(b) + 2e-45
def check(function, reference):
    for given, got in zip(x.tolist(), function(x).tolist()):
        assert near(got, reference(given)), (given, got, reference(given))
def log(v):
    return nan if v < 0 or v != v else -inf if v == 0 else math.log(v)
check(fl.exp, math.exp)
check(fl.tanh, math.tanh)
check(fl.log, log)
check(fl.erf, math.erf)
check(fl.expm1, math.expm1)
check(fl.sigmoid, lambda v: 0.0 if v < -700 else 1 / (1 + math.exp(-v)))
big = fl.tensor([1e5, 3e6, 355.0, 1e30, 0.5])
for given, got in zip(big.tolist(), fl.sin(big).tolist()):
    assert abs(got - math.sin(given)) < 1e-6
print("ok")
"""


@pytest.mark.parametrize("isa", ["v2", "v3", "v4"])
def test_special_values_on_every_instruction_set(isa: str) -> None:
    environment = {**os.environ, "FLAMBEAU_ISA": isa}
    done = subprocess.run(
        [sys.executable, "-c", SPECIAL],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "ok\n", done.stderr
