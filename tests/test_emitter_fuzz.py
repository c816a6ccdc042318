"""Random programs: machine code and the block machine agree to the bit where both round alike.

Elementwise programs use instructions that both executors compute exactly, with functions such as
exp only as the last step. Row programs compute with small whole numbers, whose sums are exact in
any order.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from test_emitter import (
    ROUNDED,
    TYPES,
    api,
    assert_close,
    block_machine,
    emitted,
    per_set,
    pytestmark,
    sample,
    scalar,
    trace,
)

import flambeau as fl

__all__ = ["pytestmark"]

EXACT = """add sub mul div neg abs sign square reciprocal trunc_divide maximum minimum fmax fmin
    relu clamp_min clamp_max sqrt rsqrt floor ceil round trunc copysign select eq ne lt le gt ge
    isnan isinf isfinite signbit logical_and logical_or logical_xor logical_not remainder fmod
    floor_divide atan2 pow hypot stop""".split()
WHOLE = "add sub mul neg abs sign maximum minimum relu select eq ne lt le gt ge logical_and".split()
ARITY = {
    name: 3 if name == "select" else 2
    for name in """add sub mul div trunc_divide maximum minimum fmax fmin clamp_min clamp_max
    copysign select eq ne lt le gt ge logical_and logical_or logical_xor remainder fmod
    floor_divide atan2 pow hypot""".split()
}


def grow(rng: random.Random, names: list[str], pool: list[Any], steps: int) -> list[Any]:
    """Applies random instructions to random values, the latest ones preferred."""
    for _ in range(steps):
        name = rng.choice(names)
        count = ARITY.get(name, 1)
        weights = [1 + i for i in range(len(pool))]
        operands = rng.choices(pool, weights=weights, k=count)
        if count > 1 and rng.random() < 0.3:
            operands[-1] = rng.choice([0, 1, -1.5, 2, 3, 0.5])
        if not any(isinstance(o, type(pool[0])) for o in operands):
            continue
        pool.append(getattr(scalar, name)(*operands))
    return pool


def elementwise_formula(seed: int, output_count: int) -> Callable[..., Any]:
    def formula(*x: Any) -> Any:
        rng = random.Random(seed)
        pool = grow(rng, EXACT, list(x), rng.choice([1, 3, 8, 20, 60, 150]))
        outputs = [rng.choice(pool[len(x) :] or pool) for _ in range(output_count)]
        return tuple(
            getattr(scalar, rng.choice(ROUNDED))(o) if rng.random() < 0.3 else o for o in outputs
        )

    return formula


def random_operand(rng: random.Random, dtype: Any, shape: tuple[int, ...]) -> Any:
    """A tensor that broadcasts to the shape, sometimes bool, sometimes a slice of a wider one."""
    wanted = [1 if rng.random() < 0.15 else length for length in shape]
    count = 1
    for length in wanted:
        count *= length
    extra = rng.choice([0, 0, 0, 5])
    rows = count // wanted[-1] if wanted[-1] else 0
    wide = sample(dtype, rows * (wanted[-1] + extra), rng.randrange(20))
    tensor = wide.reshape(*wanted[:-1], wanted[-1] + extra)[..., : wanted[-1]]
    if rng.random() < 0.15:  # the last axis is not the densest
        tensor = tensor.transpose(0, -1).contiguous().transpose(0, -1)
    # There is no machine code for bools that are apart.
    return (tensor > 0.1).contiguous() if rng.random() < 0.2 else tensor


@per_set
@pytest.mark.parametrize("seed", range(12))
def test_random_elementwise_programs(seed: int, isa: str) -> None:
    for case in range(10):
        rng = random.Random(1000 * seed + case)
        dtype = rng.choice(list(TYPES.values()))
        output_count = rng.randint(1, 4)
        input_count = rng.randint(1, 7)
        extents = "".join(rng.choice("eeeeu") for _ in range(input_count - 1)) + "e"
        program = trace(elementwise_formula(rng.randrange(10**9), output_count), extents)
        rank = rng.choice([1, 1, 2, 3])
        shape = (*(rng.randint(1, 4) for _ in range(rank - 1)), rng.randint(8, 100))
        inputs = [
            random_operand(rng, dtype, shape) if e == "e" else rng.uniform(-3, 3) for e in extents
        ]
        inputs[-1] = sample(dtype, 1, 0) if rank == 1 and shape == (1,) else inputs[-1]
        kinds = [rng.choice([dtype, dtype, dtype, fl.bool]) for _ in range(output_count)]
        got, wanted = ([fl.empty(shape, dtype=k) for k in kinds] for _ in "ab")
        prepared = [fl.zeros(1, dtype=dtype)] if all(k == fl.bool for k in kinds) else []
        if prepared and not any(getattr(i, "dtype", None) == dtype for i in inputs):
            continue  # nothing has the type to compute in
        emitted(program, inputs, got, isa)
        block_machine(program, inputs, wanted)
        for a, b in zip(got, wanted, strict=True):
            assert_close(a, b, 0)


def row_formula(seed: int, row_count: int) -> Callable[..., Any]:
    def bounded(v: Any) -> Any:
        return scalar.minimum(scalar.maximum(v, -9), 9)

    def formula(*x: Any) -> Any:
        rng = random.Random(seed)
        pool = list(x)
        rows = []
        for _ in range(row_count):
            grow(rng, WHOLE, pool, rng.choice([1, 4, 12]))
            pool = [*x, *(bounded(v) for v in pool[len(x) :])]
            reduce = getattr(scalar, rng.choice(["row_sum", "row_sum", "row_max", "row_min"]))
            rows.append(reduce(rng.choice(pool)))
            pool.append(bounded(rows[-1]))
            if rng.random() < 0.3:
                pool.append(bounded(scalar.round(scalar.exp(bounded(rng.choice(pool)) * 0.25))))
        element = bounded(pool[-1] + x[0])
        return (element, rng.choice(rows), rows[-1])

    return formula


@per_set
@pytest.mark.parametrize("seed", range(12))
def test_random_row_programs(seed: int, isa: str) -> None:
    for case in range(8):
        rng = random.Random(1000 * seed + case)
        dtype = rng.choice(list(TYPES.values()))
        extents = "e" + "".join(rng.choice("eeru") for _ in range(rng.randint(0, 4)))
        program = trace(row_formula(rng.randrange(10**9), rng.randint(1, 5)), extents)
        if not program.has_rows:
            continue  # only numbers were reduced, which needs no row
        rows = rng.choice([1, 1, 3, 7])
        columns = rng.choice([1, 5, 8, 16, 33, 64, 100, 700, 3000])
        inputs: list[Any] = []
        for extent in extents:
            shape = {"e": (rows, columns), "r": (rows, 1), "u": (1, 1)}[extent]
            numbers = [rng.randint(-4, 4) for _ in range(shape[0] * shape[1])]
            tensor = fl.tensor(numbers, dtype=dtype).reshape(shape)
            inputs.append(tensor if extent != "u" else float(numbers[0]))
        shapes = [(rows, columns), (rows, 1), (rows, 1)]
        got, wanted = ([fl.empty(s, dtype=dtype) for s in shapes] for _ in "ab")
        emitted(program, inputs, got, isa)
        block_machine(program, inputs, wanted)
        for a, b in zip(got, wanted, strict=True):
            assert a.tolist() == b.tolist()
        emitted(program, inputs, [inputs[0], *got[1:]], isa)  # in place
        assert inputs[0].tolist() == wanted[0].tolist()


def test_code_bytes_return_to_the_pool() -> None:
    before = api.machine_code_bytes()
    for seed in range(50):
        program = trace(elementwise_formula(seed, 2), "eee")
        x = [fl.rand(20) for _ in range(3)]
        api.prepare(program, x, [fl.empty(20), fl.empty(20)])
    del program
    assert api.machine_code_bytes() <= before + 65536
