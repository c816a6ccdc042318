"""Every kernel file of core/ops compiles with NVRTC, without warnings, for narrow and wide indices.

Files that are specialised for types are compiled for one type of each kind.
"""

from __future__ import annotations

from typing import Any

import pytest
from conftest import ROOT
from nvrtc import compile_source

OPS = ROOT / "core" / "ops"
HEAD = "".join(
    (ROOT / "core" / "cuda" / name).read_text() for name in ("prelude.cuh", "mathematics.cuh")
)
WALK = {"INDEX": "int", "DIMS": "3"}
WIDE = {"INDEX": "long long", "DIMS": "2"}
UNITS = ("unsigned char", "unsigned short", "unsigned", "uint64", "Pack<uint64, 2>")
TYPES = ("bool", "signed char", "long long", "half_t", "bfloat_t", "float", "double")
KEYS = {"long long": "uint64", "double": "uint64"}


def each(name: str, values: tuple[str, ...], *more: dict[str, str]) -> list[dict[str, str]]:
    """One specialisation for each value; they take turns with the rest."""
    return [{name: value, **more[i % len(more)]} for i, value in enumerate(values)]


def scans() -> list[dict[str, str]]:
    sums = ("long long", "double", "float")
    found = [{"T": t, "OUT": t, "A": t, "OP": str(op)} for t in sums for op in range(5)]
    return [*found, {"T": "bool", "OUT": "long long", "A": "long long", "OP": "0"}]


FILES: dict[str, list[dict[str, str]]] = {
    "indexing.cu": each("T", UNITS, WALK, WIDE),
    "index_add.cu": each("T", TYPES, WALK, WIDE),
    "index_offsets.cu": [{}],
    "gather.cu": [
        *each("T", UNITS[:4], {**WALK, "HOW": "-1"}, {**WIDE, "HOW": "0"}),
        *({"T": t, **WALK, "HOW": str(how)} for t in TYPES for how in (1, 2, 4, 5)),
    ],
    "joining.cu": each("T", UNITS, {"INDEX": "int"}, {"INDEX": "int64"}),
    "masked.cu": each("T", UNITS[:4], WALK, WIDE),
    "rearrange.cu": each("T", UNITS[:4], WALK, WIDE),
    "strided_sum.cu": each("T", TYPES, WALK, WIDE),
    "scan.cu": scans(),
    "sort_lines.cu": [{"T": t, "KEY": KEYS.get(t, "unsigned")} for t in TYPES],
    "mode.cu": each("T", TYPES, {}),
    "radix_sort.cu": each("KEY", ("unsigned", "uint64"), {}),
    "search.cu": each("A", ("double", "long long"), {"OUT": "long long"}, {"OUT": "int"}),
    "creation.cu": [{"T": t, "C": "float" if t == "float" else "double"} for t in TYPES],
}


def unit(name: str, specialisation: dict[str, str], number: int) -> str:
    """The file in a namespace of its own, so that many are compiled at once."""
    defines = "".join(f"#define {key} {value}\n" for key, value in specialisation.items())
    undo = "".join(f"#undef {key}\n" for key in specialisation)
    text = (OPS / name).read_text().replace('extern "C" ', "")
    return f"{defines}namespace unit_{number} {{\n{text}\n}}\n{undo}"


@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
@pytest.mark.parametrize("name", FILES)
def test_compiles(name: str, architecture: str) -> None:
    units = [unit(name, each, i) for i, each in enumerate(FILES[name])]
    code, log = compile_source(HEAD + "".join(units), architecture)
    assert code[:4] == b"\x7fELF" and "warning" not in log, log


def test_all_files_are_here() -> None:
    families: Any = {path.name for path in OPS.glob("*.cu")}
    # In test_sources_compile.py, test_cuda_product_sources.py and test_cuda_random.py.
    others = {"reduction.cu", "matmul.cu", "attention.cu", "random.cu"}
    assert families - others == set(FILES)
