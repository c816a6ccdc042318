"""Every kind of kernel that programs and reductions become compiles with NVRTC, without warnings.

Many kernels are compiled at once, each in a namespace of its own.
"""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from nvrtc import compile_source
from programs import DTYPES, ELEMENTWISE, arity, exists_for, fields, norm, softmax, trace

import flambeau as fl
from flambeau import _core

HEAD = "\n".join(
    _core.program.cuda_file(name)
    for name in (
        *("cuda/prelude.cuh", "cuda/mathematics.cuh"),
        *("program/special.cuh", "program/program.cuh"),
    )
)
FLOAT, DOUBLE, INT = fl.float32, fl.float64, fl.int64


def unit(access: str, *dtypes: Any) -> list[Any]:
    return [(access, dtype) for dtype in dtypes]


class Unit:
    """Kernels that are compiled together."""

    def __init__(self) -> None:
        self.text = HEAD + "\nnamespace mathematics {\n"
        self.count = 0

    def add(self, program: Any, **form: Any) -> None:
        text = _core.program.cuda_text(program, form)
        name = f"program_{self.count}"
        text = text.replace(" program(", f" {name}(")
        self.text += f"namespace {name} {{\n{text}}}\n"
        self.count += 1

    def check(self, architecture: str, frame_bytes: int = 32) -> None:
        assert self.count
        code, log = compile_source(self.text + "}\n", architecture, frame_bytes)
        assert code[:4] == b"\x7fELF" and "warning" not in log, log
        assert code.count(b"program_0") > 0


def several(names: list[str], count: int) -> Any:
    return trace(lambda *x: tuple(_core.program.instructions[n](*x) for n in names), "e" * count)


@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
@pytest.mark.parametrize("dtype", [FLOAT, DOUBLE, INT], ids=str)
def test_instructions(dtype: Any, architecture: str) -> None:
    kernels = Unit()
    for count in (1, 2, 3):
        names = [n for n in ELEMENTWISE if arity(n) == count and exists_for(n, dtype)]
        program = several(names, count)
        outputs = program.output_extents
        kernels.add(
            program,
            kind="elements",
            precision=dtype,
            inputs=unit("unit", *[dtype] * count),
            outputs=unit("unit", *[dtype] * len(outputs)),
        )
    # Sines of large numbers go through a table in local memory.
    kernels.check(architecture, frame_bytes=96)


@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
def test_types_and_layouts(architecture: str) -> None:
    add = trace(lambda x, y, n: x * y + n, "eeu")
    kernels = Unit()
    for dtype in DTYPES:
        width = 16 // fl.empty(0, dtype=dtype).element_size()
        kernels.add(
            add,
            kind="elements",
            precision=dtype,
            width=width,
            inputs=[*unit("unit", dtype), *unit("single", dtype), *unit("number", dtype)],
            outputs=unit("unit", dtype),
        )
    for source, target in itertools.product(DTYPES, [fl.bool, fl.int8, fl.bfloat16, FLOAT]):
        kernels.add(
            trace(lambda x: x, "e"),
            kind="elements",
            precision=source,
            inputs=unit("unit", source),
            outputs=unit("unit", target),
        )
    for wide, (dims, width) in itertools.product((0, 1), ((1, 1), (2, 4), (7, 1))):
        access = "stepped" if width == 1 else "unit"
        kernels.add(
            add,
            kind="elements",
            precision=FLOAT,
            wide=wide,
            dims=dims,
            width=width,
            inputs=[
                *unit("repeat" if width > 1 else "stepped", fl.float16),
                *unit(access, FLOAT),
                *unit("number", FLOAT),
            ],
            outputs=unit(access, FLOAT),
        )
    kernels.check(architecture)


@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
def test_rows_and_lists(architecture: str) -> None:
    kernels = Unit()
    shapes = [(1, 4, 1), (8, 1, 4), (32, 2, 4), (32, 0, 1), (256, 4, 4), (1024, 0, 4)]
    for threads, items, width in shapes:
        for dtype, wide in ((FLOAT, 0), (DOUBLE, 1), (fl.bfloat16, 0)):
            form = fields(
                kind="rows", precision=dtype, dims=2, width=width, threads=threads, items=items
            )
            access = "unit" if width > 1 else "stepped"
            kernels.add(
                trace(softmax, "e"),
                **form,
                wide=wide,
                inputs=unit(access, dtype),
                outputs=unit(access, dtype),
            )
            kernels.add(
                trace(norm, "eeu"),
                **form,
                inputs=[*unit(access, dtype), *unit("repeat", FLOAT), *unit("number", FLOAT)],
                outputs=[*unit(access, dtype), *unit("row", dtype)],
            )

    def step(p: Any, g: Any, m: Any, rate: Any) -> Any:
        m = m * 0.9 + g
        return p - rate * m, m

    for dtype, width in ((FLOAT, 4), (fl.float16, 8), (DOUBLE, 1)):
        kernels.add(
            trace(step, "eeeu"),
            kind="lists",
            precision=dtype,
            width=width,
            inputs=[*unit("unit", dtype, dtype, dtype), *unit("number", dtype)],
            outputs=unit("unit", dtype, dtype),
        )
    kernels.check(architecture)


REDUCTION = fields(
    **fields(T="float", A="float", TRUTH="false", LIMITS="float", OUT="float", FINISH=0),
    **fields(LANES=256, OUTPUTS=1, COLUMNS=0, VECTOR=4, INDEX="int", KEPT=1, REDUCED=1),
)
COLUMNS = fields(LANES=8, OUTPUTS=32, COLUMNS=1, VECTOR=1)
WHOLE = fields(T="signed char", A="int", LIMITS="signed char", OUT="signed char", VECTOR=16)
REDUCTIONS = {
    "sum": fields(FOLD="Accumulate<Plus, Identity>"),
    "mean of columns": fields(FOLD="Accumulate<Plus, Identity>", FINISH=1, **COLUMNS),
    "sum of half": fields(
        FOLD="Accumulate<Plus, NotNan>", T="half_t", LIMITS="half_t", OUT="half_t", VECTOR=8
    ),
    "integers": fields(
        FOLD="Accumulate<Times, Identity>",
        **fields(T="int", A="uint64", LIMITS="int", OUT="long long", VECTOR=1),
        **fields(INDEX="int64", KEPT=3, REDUCED=2, LANES=32, OUTPUTS=8),
    ),
    "count": fields(
        FOLD="Accumulate<Plus, Identity>",
        **fields(T="double", A="uint64", TRUTH="true", LIMITS="bool", OUT="long long", VECTOR=2),
    ),
    "power": fields(FOLD="Power", FINISH=2),
    "known": fields(FOLD="Accumulate<Plus, Known>", FINISH=0),
    "norm": fields(FOLD="Accumulate<Plus, Square>", FINISH=2),
    "largest": fields(FOLD="Extreme<Greater, Absolute>", **COLUMNS),
    "smallest": fields(FOLD="Extreme<Less, Identity>", **WHOLE),
    "all": fields(
        FOLD="Extreme<Less, Identity>",
        **fields(T="bool", A="int", TRUTH="true", LIMITS="bool", OUT="bool", VECTOR=16),
    ),
    "position": fields(FOLD="Locate<Greater>", **COLUMNS),
    "position of integers": fields(FOLD="Locate<Less>", **WHOLE),
    "variance": fields(FOLD="Variation", FINISH=3),
    "deviation": fields(FOLD="Variation", FINISH=4, LANES=1, OUTPUTS=256),
}


@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
def test_reductions(architecture: str) -> None:
    head = _core.program.cuda_file("cuda/prelude.cuh")
    text = _core.program.cuda_file("ops/reduction.cu")
    source = head
    for i, changes in enumerate(REDUCTIONS.values()):
        defines = {**REDUCTION, **changes}
        source += "".join(f"#define {k} {v}\n" for k, v in defines.items())
        own = text.replace(" fold(const", f" fold_{i}(const").replace(
            " join_chunks(", f" join_{i}("
        )
        source += f"namespace reduction_{i} {{\n{own}\n}}\n"
        source += "".join(f"#undef {k}\n" for k in defines)
    code, log = compile_source(source, architecture)
    assert code[:4] == b"\x7fELF" and "warning" not in log, log


@pytest.mark.parametrize("to, source", [("float", "float"), ("half_t", "double"), ("bool", "int")])
def test_transposition(to: str, source: str) -> None:
    text = _core.program.cuda_file("cuda/prelude.cuh")
    text += f"#define TO {to}\n#define FROM {source}\n#define DIMS 2\n#define INDEX int\n"
    compile_source(text + _core.program.cuda_file("program/transpose.cu"), "sm_90")
