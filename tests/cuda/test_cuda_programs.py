"""Programs on the GPU give what the block machine gives."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from programs import (
    DTYPES,
    ELEMENTWISE,
    arity,
    exists_for,
    norm,
    scalar,
    softmax,
    trace,
    wide_indices,
)

import flambeau as fl
from flambeau import Tensor, _core

random = np.random.default_rng(0)


def normal(*shape: int) -> Tensor:
    return fl.tensor(random.standard_normal(shape).astype(np.float32))


def on_gpu(operand: Any) -> Any:
    return operand.to("cuda") if isinstance(operand, Tensor) else operand


def array(tensor: Tensor) -> np.ndarray:
    tensor = tensor.cpu()
    return np.asarray((tensor.double() if tensor.is_floating_point() else tensor).numpy())


def check_near(got: Tensor, expected: Tensor, ulp: float = 0) -> None:
    """Equal but for `ulp` units in the last place of the dtype; NaN is like NaN, 0 not like -0."""
    assert got.device.type == "cuda" and got.dtype == expected.dtype
    assert got.shape == expected.shape
    a, b = array(got), array(expected)
    if not got.is_floating_point():
        assert (a == b).all()
        return
    unit = fl.finfo(got.dtype).eps * np.maximum(np.abs(b), fl.finfo(got.dtype).tiny)
    with np.errstate(invalid="ignore"):
        near = (a == b) | (np.isnan(a) & np.isnan(b)) | (np.abs(a - b) <= ulp * unit)
    assert near.all(), (a[~near][:5], b[~near][:5])
    if ulp == 0:
        assert (np.signbit(a) == np.signbit(b))[~np.isnan(b)].all()


def check(program: Any, operands: list[Any], ulp: float = 0) -> None:
    expected = program.run(operands)
    for a, b in zip(program.run([on_gpu(o) for o in operands]), expected):
        check_near(a, b, ulp)


# --- instructions ---------------------------------------------------------------------------------

SPECIAL = [
    *(0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 1.5, -2.5, 2.0, 3.0, -3.0, 0.1, 7.25, -11.0, 20.0),
    *(88.0, -88.0, 1e-3, -1e-20, 1e-40, 1e30, -1e30, 123456.7, math.inf, -math.inf, math.nan),
]
WHOLE = [0, 1, -1, 2, -2, 3, 7, -7, 63, 64, 100, -128, 2**31, -(2**31), 2**62, -(2**63), 2**63 - 1]


def operands_of(count: int, dtype: Any, name: str) -> list[Tensor]:
    values = SPECIAL if dtype.is_floating_point else WHOLE
    if count == 3:
        values = values[::2]
    if name == "fma":  # whether the product is rounded first decides between these
        values = [v for v in values if not 1e20 < abs(v) < math.inf]
    columns = list(zip(*itertools.product(values, repeat=count)))
    if "divide" in name or name in ("remainder", "fmod"):
        if not dtype.is_floating_point:
            columns = list(zip(*[row for row in zip(*columns) if row[1] != 0]))
    return [fl.tensor(np.array(c)).to(dtype) for c in columns]


@pytest.mark.parametrize("dtype", [fl.float32, fl.float64, fl.int64], ids=str)
@pytest.mark.parametrize("count", [1, 2, 3])
def test_instructions(count: int, dtype: Any) -> None:
    names = [n for n in ELEMENTWISE if arity(n) == count and exists_for(n, dtype)]
    assert names
    for name in names:
        if name == "polygamma":
            operands = [fl.tensor([1.0, 2.0, 3.0] * 3).to(dtype), fl.arange(1, 10).to(dtype) / 2]
        else:
            operands = operands_of(count, dtype, name)
        program = trace(_core.program.instructions[name], "e" * count)
        try:
            check(program, operands, ulp=8 if dtype.is_floating_point else 0)
        except AssertionError as error:
            raise AssertionError(f"{name}: {error}") from error


def test_exact_instructions_are_exact() -> None:
    names = ["add", "mul", "sub", "neg", "abs", "maximum", "minimum", "select", "round", "floor"]
    for name in names:
        count = arity(name)
        program = trace(_core.program.instructions[name], "e" * count)
        check(program, operands_of(count, fl.float32, name))


@pytest.mark.parametrize("exponent", [2, 3, 1, 0.5, -1, 0, 2.5, -2])
def test_powers_by_one_exponent(exponent: float) -> None:
    program = trace(lambda x, n: scalar.pow(x, n), "eu")
    check(program, [fl.tensor(SPECIAL), exponent], ulp=4)
    expected = program.run([fl.tensor(SPECIAL), exponent])[0]
    got = trace(scalar.pow, "ee").run([fl.tensor(SPECIAL).cuda(), fl.tensor(exponent).cuda()])[0]
    check_near(got, expected, ulp=4)


# --- types and layouts ----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_loads_and_stores_of_every_dtype(dtype: Any) -> None:
    x = (normal(1037) * 3).to(dtype)
    for program in (trace(lambda x: x * x, "e"), trace(lambda x, y: x + y, "ee")):
        operands = [x] if "input 1" not in repr(program) else [x, fl.ones(1037, dtype=dtype)]
        check(program, operands)


SUM = trace(lambda x, y: x * 2 + y, "ee")
LAYOUTS = {
    "contiguous": lambda: (normal(37, 21), normal(37, 21)),
    "transposed": lambda: (normal(37, 21), normal(21, 37).t()),
    "both transposed": lambda: (normal(21, 37).t(), normal(21, 37).t()),
    "strided": lambda: (normal(37, 42)[:, ::2], normal(37, 21)),
    "offset": lambda: (normal(778)[1:778].view(37, 21), normal(37, 21)),
    "row": lambda: (normal(37, 24), normal(24)),
    "column": lambda: (normal(37, 24), normal(37, 1)),
    "outer": lambda: (normal(37, 1), normal(1, 23)),
    "one element": lambda: (normal(37, 21), normal(1, 1)),
    "number on the CPU": lambda: (normal(37, 21), fl.tensor(2.5)),
    "0-d": lambda: (normal(1).view(()), normal(1).view(())),
    "empty": lambda: (normal(0, 5), normal(5)),
    "seven dimensions": lambda: (
        normal(2, 3, 2, 3, 2, 3, 2).permute(6, 1, 3, 5, 0, 2, 4),
        normal(3, 1, 3, 1, 2, 1),
    ),
    "long": lambda: (normal(70_001), normal(70_001)),
    "middle": lambda: (normal(5, 1, 8), normal(6, 1)),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(layout: str) -> None:
    a, b = LAYOUTS[layout]()
    expected = SUM.run([a, b])[0]
    got = SUM.run([on_gpu(a), b if layout == "number on the CPU" else on_gpu(b)])[0]
    check_near(got, expected, ulp=1)
    # Views made on the GPU, so that the layout is not lost by the transfer.
    if layout == "strided":
        wide = normal(37, 42)
        check_near(
            SUM.run([on_gpu(wide)[:, ::2], on_gpu(b)])[0], SUM.run([wide[:, ::2], b])[0], ulp=1
        )


def test_wide_indices() -> None:
    with wide_indices():
        for layout in ("contiguous", "transposed", "row", "seven dimensions", "offset"):
            test_layouts(layout)
        for length in (5, 100, 1000):
            test_rows(length)


def test_views_of_one_storage() -> None:
    x = normal(6, 10, 14)
    views = [
        *(lambda v: v.permute(2, 0, 1), lambda v: v[:, 1:9, ::3], lambda v: v[1:, :, 3]),
        *(lambda v: v[..., :1].expand(6, 10, 14), lambda v: v.transpose(0, 2)[:, 2:7]),
    ]
    gpu = x.cuda()
    for view in views:
        check_near(view(gpu).exp(), view(x).exp(), ulp=4)
        check_near((view(gpu) * view(gpu)).half(), (view(x) * view(x)).half())


@pytest.mark.parametrize("length", [1, 3, 4, 255, 256, 1023, 1025, 4099])
def test_tails(length: int) -> None:
    x = normal(length + 3)
    for offset in (0, 1, 3):
        a = x.cuda()[offset : offset + length]
        check_near(SUM.run([a, a])[0], SUM.run([x[offset : offset + length]] * 2)[0], ulp=1)
        check_near(a.half() * 2, x[offset : offset + length].half() * 2)
        check_near(a > 0, x[offset : offset + length] > 0)


def test_in_place() -> None:
    x, y = normal(100, 7), normal(7)
    a, b = x.cuda(), y.cuda()
    a.mul_(b).add_(1)
    a.t().sub_(3)
    check_near(a, x * y + 1 - 3, ulp=4)


def test_several_outputs() -> None:
    program = trace(lambda x, y: (x + y, x * y, scalar.lt(x, y)), "ee")
    check(program, [normal(50, 3), normal(3)])


def test_other_devices_are_refused() -> None:
    with pytest.raises(RuntimeError, match="same device"):
        SUM.run([normal(5).cuda(), normal(5)])


def test_integer_division_by_zero() -> None:
    x = fl.arange(5).cuda()
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        x // 0


# --- rows -----------------------------------------------------------------------------------------


LENGTHS = [1, 2, 3, 5, 8, 31, 33, 64, 100, 260, 1000, 1024, 4096, 5003, 20_000]


def row_tolerance(length: int) -> float:
    return 32 + length / 16


@pytest.mark.parametrize("length", LENGTHS)
def test_rows(length: int) -> None:
    x = normal(3 if length > 4000 else 37, length)
    program = trace(softmax, "e")
    check(program, [x], row_tolerance(length))
    check(trace(lambda x: scalar.row_max(x), "e"), [x])
    check(trace(lambda x: (scalar.row_min(x), x * 2), "e"), [x])


@pytest.mark.parametrize("length", [7, 64, 1000, 3000])
@pytest.mark.parametrize("dtype", [fl.float32, fl.float64, fl.float16])
def test_norms(length: int, dtype: Any) -> None:
    x, weight = normal(5, length).to(dtype), normal(length).to(dtype)
    program = trace(norm, "eeu")
    for a, b in zip(program.run([x.cuda(), weight.cuda(), 1e-5]), program.run([x, weight, 1e-5])):
        scale = float(b.abs().max())
        assert float((a.cpu() - b).abs().max()) <= 64 * fl.finfo(dtype).eps * scale


def test_row_layouts() -> None:
    x = normal(12, 9, 40)
    gpu = x.cuda()
    program = trace(softmax, "e")
    views = [
        *(lambda v: v, lambda v: v.permute(2, 0, 1), lambda v: v[:, ::2, 1:33]),
        *(lambda v: v[..., ::3], lambda v: v[:, :, :1].expand(12, 9, 5), lambda v: v[1, 2]),
        *(lambda v: v[:0], lambda v: v[..., :0]),
    ]
    for view in views:
        check_near(program.run([view(gpu)])[0], program.run([view(x)])[0], 64)
    mixed = trace(lambda x, y, z: x * y - scalar.row_sum(x * z), "eer")
    row = normal(12, 9, 1)
    operands = [x, normal(9, 1), row]
    expected, got = mixed.run(operands)[0], mixed.run([o.cuda() for o in operands])[0]
    assert float((got.cpu() - expected).abs().max()) < 1e-4


def test_many_rows_side_by_side() -> None:
    for length in (3, 70, 400):
        x = normal(length, 4200)
        expected, got = fl.softmax(x, 0), fl.softmax(x.cuda(), 0)
        check_near(got, expected, row_tolerance(length))


def test_rows_of_integers_and_nan() -> None:
    x = fl.tensor(random.integers(-100, 100, (7, 50)))
    check(trace(lambda x: (scalar.row_sum(x), scalar.row_max(x), scalar.row_min(x)), "e"), [x])
    y = normal(4, 50)
    y[1, 3] = math.nan
    y[2, 49] = math.inf
    check(trace(lambda x: (scalar.row_max(x), scalar.row_min(x)), "e"), [y])
    empty = fl.zeros(3, 0)
    check(trace(lambda x: (scalar.row_sum(x), scalar.row_max(x)), "e"), [empty])


def test_softmax_and_gradients() -> None:
    for shape, dim in [((5, 10), -1), ((5, 10), 0), ((2, 3, 400), 1)]:
        x = normal(*shape)
        y = x.cuda()
        results = []
        for t in (x, y):
            t.requires_grad_()
            out = fl.log_softmax(t, dim)
            (out * out).sum().backward()
            results.append((out.detach().cpu(), t.grad.cpu()))
        for a, b in zip(*results):
            assert float((a - b).abs().max()) <= 1e-4 * max(1.0, float(a.abs().max()))


# --- lists ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [fl.float32, fl.float16, fl.float64])
def test_lists(dtype: Any) -> None:
    sizes = [(1,), (3, 5), (0,), (4097,), (10_000,), (64, 64), *[(7,)] * 150, (2,)]
    params = [normal(*s).to(dtype) for s in sizes]
    grads = [normal(*s).to(dtype) for s in sizes]
    params[1] = normal(5, 3).to(dtype).t()
    gpu = [p.cuda() for p in params]
    gpu[5] = gpu[4][1:4097].view(64, 64)  # not aligned
    params[5] = params[4][1:4097].view(64, 64)
    grads[5] = fl.zeros(64, 64, dtype=dtype)

    def step(p: Any, g: Any, *, rate: float) -> Any:
        return (p - rate * g,)

    for lists in (params, gpu):
        update = [g.to(lists[0].device) for g in grads]
        for rate in (0.5, 0.25):
            _core.foreach_program(step, [lists, update], {"rate": rate})
    for a, b in zip(gpu, params):
        check_near(a, b, ulp=2)


@pytest.mark.parametrize("optimizer", ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad"])
def test_optimizers(optimizer: str) -> None:
    weights = []
    for device in ("cpu", "cuda"):
        fl.manual_seed(0)
        model = fl.nn.Sequential(fl.nn.Linear(6, 5), fl.nn.Tanh(), fl.nn.Linear(5, 3)).to(device)
        steps = getattr(fl.optim, optimizer)(model.parameters(), lr=0.01)
        x = fl.arange(24.0).view(4, 6).to(device) / 24
        for _ in range(3):
            steps.zero_grad()
            fl.log_softmax(model(x), -1).square().mean().backward()
            steps.step()
        weights.append([p.detach().cpu() for p in model.parameters()])
    for a, b in zip(*weights):
        assert float((a - b).abs().max()) < 1e-5


def test_integer_division_by_zero_in_a_tensor() -> None:
    x, zeros = fl.arange(1, 6).cuda(), fl.tensor([1, 0, 2, 1, 1]).cuda()
    for divide in (lambda: x // zeros, lambda: x % zeros, lambda: fl.fmod(x, zeros)):
        with pytest.raises(RuntimeError, match="ZeroDivisionError"):
            divide().cpu()
    assert (x // 2).cpu().tolist() == [0, 1, 1, 2, 2]  # nothing is left of it
