"""Elementwise operators: everything that follows from their records."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import flambeau as fl
from flambeau.ops import _records
from flambeau.ops._records import IN_PLACE, METHOD, OUT, PRIVATE, Record

RECORDS = [
    pytest.param(record, id=f"{name}{'' if i == 0 else i}")
    for name, overloads in sorted(_records.registry.items())
    for i, record in enumerate(overloads)
    if not record.forms & PRIVATE
]
FLOATING = [p for p in RECORDS if p.values[0].promotion in {"common", "floating", "first"}]


def samples(record: Record, shape: tuple[int, ...], dtype: Any, seed: int = 3) -> list[Any]:
    """Operands from the record's domain; conditions are bool."""
    rng = random.Random(seed)
    count = 1
    for size in shape:
        count *= size
    low, high = record.domain
    if record.promotion == "integral":
        numbers = [[rng.randint(0, 5) for _ in range(count)] for _ in range(record.operands)]
        return [fl.tensor(n, dtype=fl.int64).reshape(shape) for n in numbers]
    operands = []
    for name in record.signature.split(", ")[: record.operands]:
        numbers = [rng.uniform(low, high) for _ in range(count)]
        tensor = fl.tensor(numbers, dtype=dtype).reshape(shape)
        operands.append(tensor > 0 if name in {"condition", "mask"} else tensor)
    if record.name == "polygamma":
        operands[0] = fl.ones(shape, dtype=fl.int64)
    return operands


def keywords(record: Record) -> dict[str, Any]:
    """Values for parameters that have no default."""
    names = record.signature.split(", ")[record.operands :]
    return {name: 0.1 for name in names if "=" not in name and name != "*"}


def call(record: Record, operands: list[Any]) -> Any:
    return getattr(fl, record.name)(*operands, **keywords(record))


@pytest.mark.parametrize("record", RECORDS)
def test_forms_agree(record: Record) -> None:
    operands = samples(record, (3, 4), fl.float32)
    wanted = call(record, operands)
    assert wanted.shape == (3, 4)
    if record.forms & METHOD:
        method = getattr(operands[0], record.name)
        assert fl.equal(method(*operands[1:], **keywords(record)), wanted)
    if record.forms & IN_PLACE and wanted.dtype == operands[0].dtype:
        target = operands[0].clone()
        function = getattr(fl, record.name + "_", None) or getattr(fl.ops, record.name + "_")
        result = function(target, *operands[1:], **keywords(record))
        assert result is target and fl.equal(target, wanted)
    if record.forms & OUT:
        out = fl.empty(0, dtype=wanted.dtype)
        assert getattr(fl, record.name)(*operands, out=out, **keywords(record)) is out
        assert fl.equal(out, wanted)


@pytest.mark.parametrize("record", RECORDS)
def test_strides_and_lengths_do_not_matter(record: Record) -> None:
    operands = samples(record, (7, 90), fl.float32)
    wanted = call(record, operands)
    strided = [x.t().contiguous().t() for x in operands]
    assert fl.allclose(call(record, strided).double(), wanted.double(), rtol=1e-6, equal_nan=True)
    part = call(record, [x[2:5, ::3] for x in operands])
    assert fl.allclose(part.double(), wanted[2:5, ::3].double(), rtol=1e-6, equal_nan=True)


@pytest.mark.parametrize("record", FLOATING)
@pytest.mark.parametrize("dtype", [fl.float16, fl.bfloat16])
def test_sixteen_bit_floats(record: Record, dtype: Any) -> None:
    operands = samples(record, (40,), dtype)
    got = call(record, operands)
    assert got.dtype == dtype
    wanted = call(record, [x if x.dtype == fl.bool else x.float() for x in operands])
    assert fl.equal(got, wanted.to(dtype))


@pytest.mark.parametrize("record", FLOATING)
def test_gradients(record: Record) -> None:
    if record.name == "nextafter":  # no derivative
        return
    operands = samples(record, (5,), fl.float64)
    leaves = [x.requires_grad_() if x.dtype == fl.float64 else x for x in operands]
    step = 1e-6
    direction = fl.linspace(0.5, 1.5, 5, dtype=fl.float64)
    out = call(record, leaves)
    if not out.requires_grad:
        return
    inputs = [x for x in leaves if x.requires_grad]
    gradients = fl.autograd.grad(out, inputs, direction, allow_unused=True)
    position = 0
    for i, leaf in enumerate(leaves):
        if not leaf.requires_grad:
            continue
        shifted = [
            [(x.detach() + s * step if j == i else x.detach()) for j, x in enumerate(leaves)]
            for s in (1, -1)
        ]
        slope = (call(record, shifted[0]) - call(record, shifted[1])) / (2 * step)
        got = gradients[position]
        got = fl.zeros(5, dtype=fl.float64) if got is None else got
        assert fl.allclose(got, slope * direction, rtol=1e-4, atol=1e-5), (got, slope * direction)
        position += 1


@pytest.mark.parametrize("record", FLOATING)
def test_second_gradients_in_one_direction(record: Record) -> None:
    operands = samples(record, (4,), fl.float64)
    leaves = [x.requires_grad_() if x.dtype == fl.float64 else x for x in operands]
    inputs = [x for x in leaves if x.requires_grad]
    step = 1e-5

    def first(values: list[Any], create_graph: bool) -> list[Any]:
        out = call(record, values)
        if not out.requires_grad:
            return []
        wanted = [x for x in values if x.requires_grad]
        return list(
            fl.autograd.grad(out.sum(), wanted, create_graph=create_graph, allow_unused=True)
        )

    slopes = [g for g in first(leaves, True) if g is not None and g.requires_grad]
    if not slopes:
        return
    total = slopes[0].sum()
    for g in slopes[1:]:
        total = total + g.sum()
    second = fl.autograd.grad(total, inputs, allow_unused=True)
    got = fl.zeros(4, dtype=fl.float64)
    for g in second:
        got = got if g is None else got + g

    def shifted(sign: int) -> Any:
        values = [
            (x.detach() + sign * step).requires_grad_() if x.requires_grad else x for x in leaves
        ]
        result = fl.zeros(4, dtype=fl.float64)
        for g in first(values, False):
            result = result if g is None else result + g
        return result

    wanted = (shifted(1) - shifted(-1)) / (2 * step)
    assert fl.allclose(got, wanted, rtol=1e-3, atol=1e-4), (got, wanted)


@pytest.mark.parametrize("record", RECORDS)
def test_bad_operands(record: Record) -> None:
    operands = samples(record, (2, 3), fl.float32)
    with pytest.raises(TypeError):
        call(record, ["text", *operands[1:]])
    with pytest.raises(TypeError):
        getattr(fl, record.name)(*operands, nonsense=1, **keywords(record))
    if record.operands > 1:
        wrong = [*operands[:-1], samples(record, (4,), fl.float32)[-1]]
        with pytest.raises(RuntimeError, match="must match the size"):
            call(record, wrong)


@pytest.mark.parametrize("record", RECORDS)
def test_empty_and_zero_dimensional(record: Record) -> None:
    assert call(record, samples(record, (0, 3), fl.float32)).shape == (0, 3)
    assert call(record, samples(record, (), fl.float32)).shape == ()


def test_promotion_of_numbers_and_dimensions() -> None:
    ints, floats = fl.ones(2, dtype=fl.int32), fl.ones(2, dtype=fl.float16)
    assert (ints + 1).dtype == fl.int32
    assert (ints + 1.5).dtype == fl.float32
    assert (ints + fl.tensor(1, dtype=fl.int64)).dtype == fl.int32
    assert (ints + floats).dtype == fl.float16
    assert (floats + fl.tensor(1.0, dtype=fl.float64)).dtype == fl.float16
    assert (fl.ones(2, dtype=fl.bool) + 1).dtype == fl.int64
    assert (ints / 2).dtype == fl.float32
    assert (ints > 1.5).dtype == fl.bool


def test_a_users_operator() -> None:
    @fl.pointwise
    def swish(x: Any, beta: Any = 1.0) -> Any:
        return x * fl.sigmoid(beta * x)

    x = fl.tensor([0.5, -1.0], requires_grad=True)
    assert fl.allclose(swish(x, beta=2.0), x * fl.sigmoid(2.0 * x))
    swish(x).sum().backward()
    y = x.detach().requires_grad_()
    (y * y.sigmoid()).sum().backward()
    assert fl.allclose(x.grad, y.grad)


def test_subgradients_are_pytorchs() -> None:
    def gradient(function: Any, at: float) -> float:
        x = fl.tensor([at], requires_grad=True)
        function(x).sum().backward()
        return float(x.grad[0])

    assert gradient(fl.relu, 0.0) == 0
    assert gradient(fl.abs, 0.0) == 0
    assert gradient(lambda x: x.clamp(0, 1), 0.0) == 1
    assert gradient(lambda x: x.clamp(0, 1), 1.0) == 1
    assert gradient(lambda x: fl.maximum(x, fl.zeros(1)), 0.0) == 0.5
    assert gradient(lambda x: fl.where(x > 0, x.log(), x), -1.0) == 1
    assert gradient(lambda x: x**2, 0.0) == 0
    assert gradient(lambda x: 0**x, 0.0) == 0


def test_extreme_inputs_have_finite_gradients() -> None:
    for name in ("elu", "selu", "celu", "softplus", "silu", "mish", "gelu", "logsigmoid"):
        x = fl.tensor([-1000.0, -90.0, 90.0, 1000.0], requires_grad=True)
        function = getattr(fl, name, None) or getattr(fl.nn.functional, name)
        function(x).sum().backward()
        assert fl.isfinite(x.grad).all(), name


def test_memory_overlap_is_refused() -> None:
    x = fl.arange(5.0)
    with pytest.raises(RuntimeError, match="single memory location"):
        x[1:].add_(x[:-1])
    x.add_(x)
    assert x.tolist() == [0, 2, 4, 6, 8]


@pytest.mark.parametrize("dim", [0, 1, 2, -1])
def test_softmax_along_every_axis(dim: int) -> None:
    x = fl.linspace(-2, 3, 24).reshape(2, 3, 4).requires_grad_()
    out = fl.softmax(x, dim)
    plain = x.exp() / x.exp().sum(dim, keepdim=True)
    assert out.is_contiguous() and fl.allclose(out, plain)
    assert fl.allclose(fl.log_softmax(x, dim), plain.log(), atol=1e-6)
    weight = fl.arange(24.0).reshape(2, 3, 4)
    got = fl.autograd.grad((out * weight).sum(), x)[0]
    wanted = fl.autograd.grad((plain * weight).sum(), x)[0]
    assert fl.allclose(got, wanted, atol=1e-5)


def test_layer_norm_against_its_formula() -> None:
    x = fl.linspace(-2, 3, 24).sin().reshape(2, 3, 4).requires_grad_()
    weight, bias = fl.linspace(1, 2, 4).requires_grad_(), fl.ones(4).requires_grad_()
    out = fl.layer_norm(x, (4,), weight, bias)
    mean = x.mean(-1, keepdim=True)
    variance = ((x - mean) ** 2).mean(-1, keepdim=True)
    plain = (x - mean) / (variance + 1e-5).sqrt() * weight + bias
    assert fl.allclose(out, plain, atol=1e-6)
    scale = fl.arange(24.0).reshape(2, 3, 4)
    got = fl.autograd.grad((out * scale).sum(), (x, weight, bias))
    wanted = fl.autograd.grad((plain * scale).sum(), (x, weight, bias))
    for g, w in zip(got, wanted, strict=True):
        assert fl.allclose(g, w, rtol=1e-4, atol=1e-4)


WHOLE_OPERATOR = '''
import flambeau as fl
from flambeau import _core
from flambeau.ops import registry
from flambeau.ops._records import elementwise
import test_elementwise as derived


@elementwise()
def triple(input):
    """Three times input."""
    return input * 3


fl.triple = _core.functions["triple"]
fl.triple_ = _core.functions["triple_"]
x = fl.tensor([1.0, 2.0], requires_grad=True)
assert fl.triple(x).tolist() == x.triple().tolist() == [3, 6]
assert fl.triple(x).grad_fn.name() == "TripleBackward0"
fl.triple(x).sum().backward()
assert x.grad.tolist() == [3, 3]
y = fl.ones(2)
assert y.triple_() is y and y.tolist() == [3, 3]
assert fl.triple(y, out=fl.empty(0)).tolist() == [9, 9]
assert "Three times input." in fl.triple.__doc__
record = registry["triple"][0]
for name in dir(derived):  # the tests that run for every record run for this one
    test = getattr(derived, name)
    marks = getattr(test, "pytestmark", [])
    if name.startswith("test_") and [m.args[0] for m in marks] == ["record"]:
        test(record)
        print(name)
'''


def test_one_formula_makes_a_whole_operator() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WHOLE_OPERATOR],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, str(Path(__file__).parent)])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) >= 5, done.stdout


@pytest.mark.parametrize("name", ["exp", "log", "sigmoid"])
def test_unusual_neighbours_change_nothing(name: str) -> None:
    """Chunks of usual numbers take a shorter way to the same bits."""
    function = getattr(fl, name)
    for low, high in ((-87, 87), (-3, 3), (1e-30, 1e30)):
        x = fl.empty(4096).uniform_(low, high)
        for unusual in (float("nan"), float("inf"), -float("inf"), 1e-42, 88.5, -103.0):
            mixed = x.clone()
            mixed[::100] = unusual
            usual, found = function(x), function(mixed)
            found[::100] = usual[::100]
            same = (usual == found) | (usual.isnan() & found.isnan())
            assert same.all()


def test_whole_numbers_have_no_negative_powers() -> None:
    x = fl.tensor([2, 3])
    for power in (lambda: x**-1, lambda: fl.pow(x, -2), lambda: x.pow_(-1)):
        with pytest.raises(RuntimeError, match=r"negative integer powers are not allowed.*float"):
            power()
    assert (x.float() ** -1).tolist() == pytest.approx([1 / 2, 1 / 3])
    assert (x**-1.0).tolist() == pytest.approx([1 / 2, 1 / 3])
