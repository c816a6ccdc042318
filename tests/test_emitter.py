"""Programs as machine code, on each instruction set, against the block machine."""

from __future__ import annotations

import itertools
import math
import os
import struct
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

import pytest

import flambeau as fl
from flambeau import _core

api = _core.program
scalar: Any = type("Scalar", (), {k: staticmethod(v) for k, v in api.instructions.items()})
trace = api.trace
SETS = api.instruction_sets()
TYPES = {"float32": fl.float32, "float64": fl.float64}

pytestmark = pytest.mark.skipif(not SETS, reason="machine code needs a processor with AVX2")
per_set = pytest.mark.parametrize("isa", SETS)
per_type = pytest.mark.parametrize("dtype", list(TYPES.values()), ids=list(TYPES))


def block_machine(program: Any, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
    """The reference: what run_program does without machine code."""
    api.emitter_use("never")
    try:
        run = api.prepare(program, inputs, outputs)
        assert not run.emitted
        run.run(inputs, outputs)
    finally:
        api.emitter_use(os.environ.get("FLAMBEAU_EMITTER", "").replace("0", "never"))


def emitted(program: Any, inputs: Sequence[Any], outputs: Sequence[Any], isa: str) -> None:
    run = api.prepare(program, inputs, outputs, isa)
    assert run.emitted
    run.run(inputs, outputs)


def numbers(tensor: Any) -> list[float]:
    return [float(v) for v in tensor.reshape(-1).tolist()]


def ordinal(value: float, dtype: Any) -> int:
    """Floating numbers of a type in order, as integers: differences count ULPs."""
    form = ("<f", "<i", 31) if dtype == fl.float32 else ("<d", "<q", 63)
    bits: int = struct.unpack(form[1], struct.pack(form[0], value))[0]
    return bits if bits >= 0 else -(bits + 2 ** form[2])


def distance(a: float, b: float, dtype: Any) -> int:
    if math.isnan(a) or math.isnan(b):
        return 0 if math.isnan(a) and math.isnan(b) else 10**9
    if a == b:
        return 0 if a != 0 or math.copysign(1, a) == math.copysign(1, b) else 10**9
    return abs(ordinal(a, dtype) - ordinal(b, dtype))


def assert_close(got: Any, wanted: Any, ulps: int) -> None:
    for i, (a, b) in enumerate(zip(numbers(got), numbers(wanted), strict=True)):
        apart = distance(a, b, got.dtype)
        assert apart <= ulps, f"element {i}: {a!r} instead of {b!r}, {apart} ULPs apart"


SPECIAL = [0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 1.5, 3.0, 1e-3, 87.9, 89.5, -104.5, 1e5, -1e30, 1e38]
SPECIAL += [math.inf, -math.inf, math.nan, 1e-40, -1e-45, 1.17549435e-38, 700.0, -750.0, 2.0, 6.1]


def sample(dtype: Any, count: int, seed: int) -> Any:
    """Special values and common ones, `count` of them, in an order that depends on the seed."""
    fl.manual_seed(seed)
    common = (fl.randn(count) * 3).tolist()
    values = [SPECIAL[(i * (seed + 1) + seed) % len(SPECIAL)] for i in range(count)]
    mixed = [v if i % 2 else c for i, (v, c) in enumerate(zip(values, common, strict=True))]
    return fl.tensor(mixed, dtype=dtype)


def operand_count(function: Callable[..., Any]) -> int:
    for count in (1, 2, 3):
        try:
            trace(lambda *x: function(*x), "eee"[:count])
            return count
        except TypeError:
            continue
    raise AssertionError


ELEMENTWISE = {
    name: function
    for name, function in api.instructions.items()
    if not name.startswith(("bitwise", "row_")) and name != "spread"
}
# With expansions of their own.
ROUNDED = "exp exp2 expm1 log log2 log10 log1p sigmoid tanh erf sin cos".split()


@per_set
@per_type
@pytest.mark.parametrize("name", sorted(ELEMENTWISE))
def test_every_instruction(name: str, dtype: Any, isa: str) -> None:
    function = ELEMENTWISE[name]
    count = operand_count(function)
    program = trace(lambda *x: function(*x), "eee"[:count])
    length = 2 * len(SPECIAL) ** 2 if count > 1 else 4 * len(SPECIAL)
    inputs = [sample(dtype, length, seed) for seed in (0, 3, 7)[:count]]
    if name == "polygamma":
        inputs[0] = fl.ones(length, dtype=dtype)
    got, wanted = fl.empty(length, dtype=dtype), fl.empty(length, dtype=dtype)
    emitted(program, inputs, [got], isa)
    block_machine(program, inputs, [wanted])
    assert_close(got, wanted, 0)


@per_set
@per_type
@pytest.mark.parametrize("name", [n for n in ROUNDED if n != "log10"])
def test_errors_of_functions(name: str, dtype: Any, isa: str) -> None:
    """In units of the last place, against the same function in double precision or better."""
    if dtype == fl.float64 and name in ("sin", "cos", "erf"):
        pytest.skip("the C library's")
    exact: dict[str, Callable[[float], float]] = {
        "exp2": lambda x: 2.0**x,
        "sigmoid": lambda x: 1 / (1 + math.exp(-x)),
        "log": math.log,
        "log2": math.log2,
        "log1p": math.log1p,
    }
    low, high = {"log": (1e-3, 50), "log2": (1e-3, 50), "log1p": (-0.9, 50)}.get(name, (-10, 10))
    count = 20001
    x = fl.linspace(low, high, count, dtype=dtype)
    got = fl.empty(count, dtype=dtype)
    emitted(trace(ELEMENTWISE[name], "e"), [x], [got], isa)
    function = exact.get(name) or getattr(math, name)
    eps = 2.0**-23 if dtype == fl.float32 else 2.0**-52
    worst = 0.0
    for given, value in zip(numbers(x), numbers(got), strict=True):
        wanted = function(given)
        unit = eps * 2.0 ** math.floor(math.log2(abs(wanted))) if wanted else eps
        worst = max(worst, abs(value - wanted) / unit)
    assert worst <= 3.5


# --- memory ---------------------------------------------------------------------------------------


@per_set
@per_type
def test_all_lengths_and_alignments(dtype: Any, isa: str) -> None:
    program = trace(lambda a, b, n: (a * n + b, scalar.maximum(a, b)), "eeu")
    for length, shift in itertools.product(range(71), (0, 1, 3)):
        a = sample(dtype, length + shift, 1)[shift:]
        b = sample(dtype, length + shift, 2)[shift:]
        guarded = [fl.full((length + 20,), 7.0, dtype=dtype) for _ in range(4)]
        got, wanted = [g[shift + 1 : shift + 1 + length] for g in guarded[:2]], guarded[2:]
        wanted = [w[:length] for w in wanted]
        emitted(program, [a, b, 1.5], got, isa)
        block_machine(program, [a, b, 1.5], wanted)
        for result, reference, memory in zip(got, wanted, guarded, strict=False):
            assert_close(result, reference, 0)
            outside = numbers(memory[: shift + 1]) + numbers(memory[shift + 1 + length :])
            assert set(outside) == {7.0}


@per_set
@per_type
def test_bools_of_all_lengths(dtype: Any, isa: str) -> None:
    program = trace(
        lambda m, a, b: (scalar.select(m, a, b), (a < b) | m, scalar.isnan(a), m + a), "eee"
    )
    for length in range(40):
        a, b = sample(dtype, length, 1), sample(dtype, length, 5)
        mask = fl.tensor([i % 3 == 0 for i in range(length + 1)], dtype=fl.bool)[1:]
        kinds = [dtype, fl.bool, fl.bool, dtype]
        memory = [fl.full((length + 9,), 1, dtype=kind) for kind in kinds]
        got = [m[3 : 3 + length] for m in memory]
        wanted = [fl.empty(length, dtype=kind) for kind in kinds]
        emitted(program, [mask, a, b], got, isa)
        block_machine(program, [mask, a, b], wanted)
        for result, reference, whole in zip(got, wanted, memory, strict=True):
            assert_close(result, reference, 0)
            assert set(numbers(whole[:3]) + numbers(whole[3 + length :])) == {1.0}


@per_set
@per_type
def test_broadcast_and_strided_rows(dtype: Any, isa: str) -> None:
    program = trace(lambda a, b, c, m: scalar.select(m, a * b - c, scalar.exp(b)), "eeee")
    a = sample(dtype, 5 * 19, 1).reshape(5, 19)
    column, row = sample(dtype, 19, 2), sample(dtype, 5, 3).reshape(5, 1)
    mask = fl.tensor([[True], [False], [True], [True], [False]], dtype=fl.bool)
    wide = sample(dtype, 5 * 40, 4).reshape(5, 40)
    deep = sample(dtype, 3 * 5 * 19, 5).reshape(3, 5, 19)
    for inputs in (
        [a, column, row, mask],
        [wide[:, 3:22], a, column, mask],
        [row, column, a, a > 0],
        [deep, a, row, mask],
        [deep, deep[:, :1], column, deep[:, :, :1] > 0],
        [a, column, fl.tensor(2.0, dtype=dtype), fl.tensor(1, dtype=fl.int64)],
    ):
        shape = (3, 5, 19) if any(i.dim() == 3 for i in inputs) else (5, 19)
        got, wanted = fl.empty(shape, dtype=dtype), fl.empty(shape, dtype=dtype)
        emitted(program, inputs, [got], isa)
        block_machine(program, inputs, [wanted])
        assert_close(got, wanted, 0)


@per_set
@per_type
def test_strided_inputs(dtype: Any, isa: str) -> None:
    program = trace(lambda a, b, c: a * b - scalar.select(c, a, 2), "eee")
    for rows, columns in [(1, 9), (3, 16), (5, 37), (40, 70), (2, 600)]:
        a = sample(dtype, rows * columns, 1).reshape(columns, rows).t()
        wide = sample(dtype, 2 * rows * 3 * columns, 2).reshape(rows, 2, 3 * columns)
        c = sample(dtype, rows * columns, 3).reshape(rows, columns)
        for inputs in ([a, wide[:, 1, ::3], c], [c, a, wide[:, 0, 1::3]], [wide[:, 0, ::3], a, a]):
            got, wanted = fl.empty(rows, columns, dtype=dtype), fl.empty(rows, columns, dtype=dtype)
            emitted(program, inputs, [got], isa)
            block_machine(program, inputs, [wanted])
            assert_close(got, wanted, 0)
    rows = trace(lambda x: (x - scalar.row_max(x), scalar.row_max(x)), "e")
    x = sample(dtype, 7 * 50, 1).reshape(50, 7).t()
    pair = [[fl.empty(7, 50, dtype=dtype), fl.empty(7, 1, dtype=dtype)] for _ in "ab"]
    emitted(rows, [x], pair[0], isa)
    block_machine(rows, [x], pair[1])
    for got, wanted in zip(*pair, strict=True):
        assert_close(got, wanted, 0)


def test_what_is_left_to_the_block_machine() -> None:
    program = trace(lambda a, b: a * b + 1, "ee")
    a, b, wanted = fl.randn(6, 20), fl.randn(6, 20), fl.empty(6, 20)
    out = fl.empty(20, 6).t()
    run = api.prepare(program, [a, b], [out])
    assert not run.emitted
    run.run([a, b], [out])
    block_machine(program, [a, b], [wanted])
    assert_close(out, wanted, 0)
    whole = fl.arange(5)
    out = fl.empty(5, dtype=fl.int64)
    run = api.prepare(program, [whole, whole], [out])
    assert not run.emitted
    run.run([whole, whole], [out])
    assert out.tolist() == [1, 2, 5, 10, 17]


@per_set
@per_type
def test_in_place(dtype: Any, isa: str) -> None:
    program = trace(lambda p, g, m, rate: (p - rate * (m * 0.9 + g), m * 0.9 + g), "eeeu")
    for length in (1, 7, 16, 33, 5000):
        start = [sample(dtype, length, seed) for seed in (1, 2, 3)]
        p, g, m = [s.clone() for s in start]
        emitted(program, [p, g, m, 0.1], [p, m], isa)
        q, h, n = start
        block_machine(program, [q, h, n, 0.1], [q, n])
        assert_close(p, q, 0)
        assert_close(m, n, 0)


@per_set
def test_programs_with_more_values_than_registers(isa: str) -> None:
    def formula(*x: Any) -> Any:
        sums = [a * b + 0.1 * i for i, (a, b) in enumerate(itertools.combinations(x, 2))]
        masks = [a > b for a, b in itertools.combinations(x, 2)]
        total = sums[0]
        for s, m in zip(reversed(sums), masks, strict=True):
            total = scalar.select(m, total + s, total * 0.5)
        for s, m in zip(sums, reversed(masks), strict=True):
            total = scalar.select(m, total - s, total)
        return total, scalar.tanh(total)

    program = trace(formula, "e" * 12)
    inputs = [sample(fl.float32, 777, seed) for seed in range(12)]
    got, wanted = [fl.empty(777) for _ in "ab"], [fl.empty(777) for _ in "ab"]
    emitted(program, inputs, got, isa)
    block_machine(program, inputs, wanted)
    for a, b in zip(got, wanted, strict=True):
        assert_close(a, b, 0)


@per_set
def test_calls_of_kernels_keep_all_registers(isa: str) -> None:
    def formula(a: Any, b: Any, m: Any, n: Any) -> Any:
        early = [a + 0.5 * i for i in range(20)]
        test = a < b
        called = scalar.pow(scalar.abs(a), n)
        called = called + scalar.atan2(a, b) + scalar.lgamma(b)
        for e in early:
            called = called + e
        return scalar.select(test, called, m), scalar.sin(a * 1e6) + scalar.cos(b) + early[3]

    program = trace(formula, "eeeu")
    for length in (3, 16, 45, 300):
        fl.manual_seed(length)
        inputs = [fl.randn(length), fl.randn(length), fl.randn(length) > 0, 1.7]
        got, wanted = [fl.empty(length) for _ in "ab"], [fl.empty(length) for _ in "ab"]
        emitted(program, inputs, got, isa)
        block_machine(program, inputs, wanted)
        for a, b in zip(got, wanted, strict=True):
            assert_close(a, b, 0)


# --- rows -----------------------------------------------------------------------------------------


def softmax(x: Any) -> Any:
    e = scalar.exp(x - scalar.row_max(x))
    return e / scalar.row_sum(e)


def layer_norm(x: Any, weight: Any, bias: Any, eps: Any) -> Any:
    mean = scalar.row_sum(x) / scalar.row_count(x)
    centered = x - mean
    variance = scalar.row_sum(scalar.square(centered)) / scalar.row_count(x)
    inverse = scalar.rsqrt(variance + eps)
    return centered * inverse * weight + bias, mean, inverse


def close(got: Any, wanted: Any, tolerance: float) -> None:
    for a, b in zip(numbers(got), numbers(wanted), strict=True):
        if math.isnan(a) or math.isnan(b):
            assert math.isnan(a) == math.isnan(b)
        else:
            assert a == b or abs(a - b) <= tolerance * max(1.0, abs(b)), (a, b)


@per_set
@per_type
@pytest.mark.parametrize("columns", [0, 1, 2, 7, 8, 16, 17, 63, 64, 65, 511, 1500])
def test_rows(columns: int, dtype: Any, isa: str) -> None:
    fl.manual_seed(columns)
    x, w, b = (fl.randn(5, columns).to(dtype), fl.randn(columns).to(dtype), fl.randn(columns))
    b = b.to(dtype)
    tolerance = 1e-5 if dtype == fl.float32 else 1e-13
    program = trace(softmax, "e")
    got, wanted = fl.empty(5, columns, dtype=dtype), fl.empty(5, columns, dtype=dtype)
    emitted(program, [x], [got], isa)
    block_machine(program, [x], [wanted])
    close(got, wanted, tolerance)
    emitted(program, [x], [x], isa)  # in place
    close(x, wanted, tolerance)
    program = trace(layer_norm, "eeeu")
    shapes = [(5, columns), (5, 1), (5, 1)]
    results = [[fl.empty(s, dtype=dtype) for s in shapes] for _ in "ab"]
    emitted(program, [x, w, b, 1e-5], results[0], isa)
    block_machine(program, [x, w, b, 1e-5], results[1])
    for got, wanted in zip(*results, strict=True):
        close(got, wanted, tolerance * 300)


@per_set
@per_type
def test_extremes_of_rows_keep_nan(dtype: Any, isa: str) -> None:
    program = trace(lambda x: (scalar.row_max(x), scalar.row_min(-x), scalar.row_max(x * 0)), "e")
    for columns in (1, 3, 16, 31, 200):
        x = sample(dtype, 6 * columns, 2).reshape(6, columns)
        x[0] = fl.randn(columns).to(dtype)
        x[1] = -math.inf
        if columns > 2:
            x[2] = 1.0
            x[2, columns // 2] = math.nan
        got, wanted = ([fl.empty(6, 1, dtype=dtype) for _ in "abc"] for _ in "ab")
        emitted(program, [x], got, isa)
        block_machine(program, [x], wanted)
        for a, b in zip(got, wanted, strict=True):
            close(a, b, 0)


@per_set
def test_long_sums_are_accurate(isa: str) -> None:
    fl.manual_seed(0)
    x = fl.rand(1, 300001)
    exact = math.fsum(numbers(x))
    squares = math.fsum(v * v for v in numbers(x))
    got = [fl.empty(1, 1) for _ in "ab"]
    emitted(trace(lambda x: (scalar.row_sum(x), scalar.row_sum(x * x)), "e"), [x], got, isa)
    assert abs(got[0].item() - exact) <= 1e-6 * exact
    assert abs(got[1].item() - squares) <= 1e-6 * squares


@per_set
@per_type
def test_cubic_fit_step(dtype: Any, isa: str) -> None:
    def step(x: Any, y: Any, a: Any, b: Any, c: Any, d: Any, rate: Any) -> Any:
        error = a + b * x + c * x * x + d * x * x * x - y
        g = 2 * error
        return (
            scalar.row_sum(scalar.square(error)),
            a - rate * scalar.row_sum(g),
            b - rate * scalar.row_sum(g * x),
            c - rate * scalar.row_sum(g * x * x),
            d - rate * scalar.row_sum(g * x * x * x),
        )

    program = trace(step, "eerrrru")
    x = fl.linspace(-math.pi, math.pi, 2000, dtype=dtype)
    y = fl.sin(x)
    parameters = [[fl.tensor([v], dtype=dtype) for v in (0.1, 0.2, 0.3, 0.4)] for _ in "ab"]
    loss = [fl.empty(1, dtype=dtype) for _ in "ab"]
    for _ in range(20):
        emitted(program, [x, y, *parameters[0], 1e-6], [loss[0], *parameters[0]], isa)
        block_machine(program, [x, y, *parameters[1], 1e-6], [loss[1], *parameters[1]])
    close(loss[0], loss[1], 1e-5 if dtype == fl.float32 else 1e-12)
    for a, b in zip(*parameters, strict=True):
        close(a, b, 1e-5 if dtype == fl.float32 else 1e-12)


@per_set
def test_many_reductions_in_one_pass(isa: str) -> None:
    count = 24
    program = trace(
        lambda x: tuple(
            (scalar.row_sum, scalar.row_max, scalar.row_min)[i % 3](x * (0.5 * i - 3) + i)
            for i in range(count)
        ),
        "e",
    )
    fl.manual_seed(3)
    x = fl.randn(3, 777)
    got, wanted = ([fl.empty(3, 1) for _ in range(count)] for _ in "ab")
    emitted(program, [x], got, isa)
    block_machine(program, [x], wanted)
    for a, b in zip(got, wanted, strict=True):
        close(a, b, 1e-4)


GUARDED = """
import ctypes, mmap
import numpy
import flambeau as fl
api = fl._core.program
S = api.instructions
libc = ctypes.CDLL(None, use_errno=True)
page = mmap.PAGESIZE
pages = []

def at_the_end(count, dtype):
    # Memory whose next byte may not be read.
    whole = mmap.mmap(-1, 2 * page)
    start = ctypes.addressof(ctypes.c_char.from_buffer(whole))
    assert libc.mprotect(ctypes.c_void_p(start + page), page, 0) == 0
    size = numpy.dtype(dtype).itemsize
    array = numpy.frombuffer(whole, dtype, count, page - count * size)
    array[:] = 1
    pages.append(whole)
    return fl.from_numpy(array)

program = api.trace(lambda m, a, b, r: (S["select"](m, a, b) * r, a < b, S["row_sum"](a)), "eeer")
for isa in api.instruction_sets():
    for dtype in ("float32", "float64"):
        for count in range(1, 40):
            x = [at_the_end(count, t) for t in ("bool", dtype, dtype)] + [at_the_end(1, dtype)]
            out = [at_the_end(count, dtype), at_the_end(count, "bool"), at_the_end(1, dtype)]
            run = api.prepare(program, x, out, isa)
            assert run.emitted
            run.run(x, out)
            assert out[0].tolist() == [1] * count and not any(out[1].tolist())
            assert out[2].tolist() == [count]
print("done")
"""


def test_nothing_beyond_the_operands_is_touched() -> None:
    command = [sys.executable, "-c", GUARDED]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout.strip() == "done", done.stderr


# --- the policy -----------------------------------------------------------------------------------


def test_refused_pages_fall_back() -> None:
    program = trace(lambda a: scalar.exp(a) * 2, "e")
    x, out = fl.randn(100), fl.empty(100)
    api.refuse_executable_pages(True)
    try:
        run = api.prepare(program, [x], [out])
    finally:
        api.refuse_executable_pages(False)
    assert not run.emitted
    run.run([x], [out])
    close(out, fl.exp(x) * 2, 1e-6)


def test_no_page_is_writable_and_executable() -> None:
    # In a process of its own: ctypes makes such a page for callbacks.
    script = (
        "import flambeau as fl\n"
        "fl.softmax(fl.randn(4, 1000), -1)\n"
        "assert fl._core.program.machine_code_bytes()\n"
        "pages = [line.split()[1] for line in open('/proc/self/maps')]\n"
        "print(sum('x' in page for page in pages) > 0, sum('wx' in page for page in pages))\n"
    )
    environment = {**os.environ, "FLAMBEAU_EMITTER": "always"}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.split() == ["True", "0"]


def test_machine_code_is_freed_with_its_program() -> None:
    x, out = fl.randn(100), fl.empty(100)
    before = api.machine_code_bytes()
    for i in range(200):
        run = api.prepare(trace(lambda a, i=i: a * i + 0.5, "e"), [x], [out])
        assert run.emitted
    del run
    assert api.machine_code_bytes() <= before + 4096


def test_operands_that_lie_differently_are_refused() -> None:
    run = api.prepare(trace(lambda a: a * 2 + 1, "e"), [fl.randn(8)], [fl.empty(8)])
    for bad in ([fl.randn(9)], [fl.randn(8, dtype=fl.float64)], [fl.randn(16)[::2]], [1.0], []):
        with pytest.raises(RuntimeError, match="prepared"):
            run.run(bad, [fl.empty(8)])


@pytest.mark.parametrize("setting", ["0", "always"])
def test_environment_variable(setting: str) -> None:
    script = (
        "import flambeau as fl\n"
        "x = fl.randn(4, 1000)\n"
        "before = fl._core.program.machine_code_bytes()\n"
        "y = fl.softmax(x, -1)\n"
        "print(fl._core.program.machine_code_bytes() > before)\n"
        "assert abs(float(y.sum()) - 4) < 1e-5\n"
    )
    environment = {**os.environ, "FLAMBEAU_EMITTER": setting}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=True
    )
    assert done.stdout.strip() == str(setting == "always")


def test_equal_calls_give_equal_bits() -> None:
    x = fl.randn(37, 41)
    results = [fl.log_softmax(fl.tanh(x * 3), -1) + fl.nn.functional.gelu(x) for _ in range(300)]
    assert all(fl.equal(results[0], r) for r in results)


def test_threads_may_run_and_make_the_same_program() -> None:
    import threading

    program = trace(lambda a, b: scalar.tanh(a * b + 1) * scalar.sigmoid(a), "ee")
    a, b = fl.randn(3000), fl.randn(3000)
    wanted = fl.empty(3000)
    block_machine(program, [a, b], [wanted])
    results = [fl.empty(3000) for _ in range(8)]

    def work(out: Any) -> None:
        for _ in range(20):
            api.prepare(program, [a, b], [out]).run([a, b], [out])

    threads = [threading.Thread(target=work, args=(out,)) for out in results]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for out in results:
        assert_close(out, wanted, 0)
