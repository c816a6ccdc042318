"""Elementwise operators against PyTorch, where it is installed; derived from the records."""

import math
import random

import pytest

torch = pytest.importorskip("torch")

import flambeau as fl  # noqa: E402
from flambeau.ops import registry  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

SPECIAL = [0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 3.0, 100.0, -100.0, math.inf, -math.inf, math.nan]
WHOLE = [0, 1, -1, 2, 3, 7, -5, 100, 2**31 - 1, -(2**31)]
# Where the reference is not defined or is known to choose otherwise.
OTHER_VALUES = {
    "addcdiv",
    "gelu",
    "hardswish",
    "hypot",
    "lerp",
    "logaddexp",
    "logaddexp2",
    "nextafter",
    "sinc",
    "softsign",
    "xlogy",
}


def reference(name):
    for space in (torch, torch.nn.functional, torch.special):
        if hasattr(space, name):
            return getattr(space, name)
    return None


def numbers(record, whole):
    values = WHOLE if whole else SPECIAL
    count = len(values)
    columns = [values, [values[(i * 5 + i // count) % count] for i in range(count)], values[::-1]]
    return columns[: record.operands]


def operands(record, columns, dtype, module):
    names = record.signature.split(", ")
    result = []
    for name, column in zip(names, columns, strict=False):
        tensor = module.tensor(column, dtype=getattr(module, dtype))
        result.append(tensor > 0 if name in {"condition", "mask"} else tensor)
    return result


def keywords(record):
    names = record.signature.split(", ")[record.operands :]
    return {name: 0.1 for name in names if "=" not in name and name != "*"}


CASES = [
    pytest.param(record, id=f"{name}-{i}")
    for name, records in sorted(registry.items())
    for i, record in enumerate(records)
    if reference(name) is not None
]


def outcome(function, arguments, kwargs):
    try:
        return function(*arguments, **kwargs)
    except (RuntimeError, TypeError, NotImplementedError, ValueError) as error:
        return error


@pytest.mark.parametrize("record", CASES)
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "int64", "int32", "uint8"])
def test_values_and_types(record, dtype):
    whole = "int" in dtype
    if record.name in OTHER_VALUES or (whole and record.name in {"pow", "nextafter"}):
        pytest.skip("compared elsewhere")
    columns = numbers(record, whole)
    if dtype == "uint8":
        columns = [[v % 256 for v in column] for column in columns]
    if whole and ("divide" in record.name or record.name in {"remainder", "fmod"}):
        columns[1] = [v or 1 for v in columns[1]]
    if whole and "shift" in record.name:
        columns[1] = [abs(v) % 7 for v in columns[1]]
    kwargs = keywords(record)
    theirs = outcome(reference(record.name), operands(record, columns, dtype, torch), kwargs)
    if isinstance(theirs, Exception):
        return  # what PyTorch refuses may work here
    ours = getattr(fl, record.name)(*operands(record, columns, dtype, fl), **kwargs)
    assert str(ours.dtype).split(".")[-1] == str(theirs.dtype).split(".")[-1]
    relative = {"bfloat16": 2e-2, "float64": 1e-12}.get(dtype, 2e-6)
    for got, wanted in zip(ours.tolist(), theirs.tolist(), strict=True):
        if isinstance(wanted, float) and math.isnan(wanted):
            assert math.isnan(got)
        else:
            assert got == pytest.approx(wanted, rel=relative, abs=1e-37), columns


@pytest.mark.parametrize("record", CASES)
def test_gradients(record):
    if record.promotion in {"integral", "compare", "compare_floating"}:
        return
    if record.name in {"nextafter", "sgn"}:  # not differentiable there, or not readable
        return
    rng = random.Random(7)
    low, high = record.domain
    columns = [[rng.uniform(low, high) for _ in range(6)] for _ in range(record.operands)]
    columns[0][0] = columns[-1][0] = 0.0 if low < 0 < high else columns[0][0]
    results = []
    for module in (torch, fl):
        leaves = operands(record, columns, "float64", module)
        for leaf in leaves:
            if str(leaf.dtype).endswith("float64"):
                leaf.requires_grad_()
        function = reference(record.name) if module is torch else getattr(fl, record.name)
        out = outcome(function, leaves, keywords(record))
        if isinstance(out, Exception) or not out.requires_grad:
            results.append(None)
            continue
        outcome(out.sum().backward, (), {})
        results.append([None if x.grad is None else x.grad.tolist() for x in leaves])
    if results[0] is None or results[1] is None:
        return
    for theirs, ours in zip(*results, strict=True):
        if theirs is not None:
            assert ours == pytest.approx(theirs, rel=1e-7, abs=1e-9, nan_ok=True)


@pytest.mark.parametrize("record", CASES)
def test_grad_names(record):
    columns = [[0.6, 0.7]] * record.operands
    shown = []
    for module in (torch, fl):
        leaves = operands(record, columns, "float32", module)
        for leaf in leaves:
            if str(leaf.dtype).endswith("float32"):
                leaf.requires_grad_()
        function = reference(record.name) if module is torch else getattr(fl, record.name)
        out = outcome(function, leaves, keywords(record))
        shown.append(
            None if isinstance(out, Exception) or out.grad_fn is None else out.grad_fn.name()
        )
    # PyTorch numbers the overloads (of numbers and of tensors).
    if None not in shown and "NotImplemented" not in shown[0]:
        assert shown[1].rstrip("0123456789") == shown[0].rstrip("0123456789")
