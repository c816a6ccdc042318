"""Kernels of products, convolutions, pooling and attention compile with NVRTC, without warnings."""

from __future__ import annotations

import pytest
from nvrtc import compile_source

from flambeau import _core

HEAD = ("cuda/prelude.cuh", "cuda/mathematics.cuh")
TILES = "ops/tiles.cuh"
# files, kernels, definitions
UNITS = {
    "products of float": ((TILES, "ops/matmul.cu"), ("multiply", "dot_parts"), "float int64"),
    "products of half": ((TILES, "ops/matmul.cu"), ("multiply", "dot_total"), "half_t int64"),
    "products of bytes": ((TILES, "ops/matmul.cu"), ("multiply",), "unsigned char int64"),
    "convolutions": (
        (TILES, "ops/convolution/convolution.cu"),
        ("forward", "input_gradient", "weight_gradient", "direct_weight_gradient", "add_bias"),
        "bfloat_t int",
    ),
    "convolutions of much": (
        (TILES, "ops/convolution/convolution.cu"),
        ("forward", "weight_total", "direct_forward", "direct_input_gradient"),
        "float int64",
    ),
    "pools": (("ops/pooling/pooling.cu",), ("max_pool", "average_pool", "spread"), "half_t int"),
    "pools of bytes": (
        ("ops/pooling/pooling.cu",),
        ("max_pool", "pool_scatter", "pool_gather"),
        "signed char int64",
    ),
}
# element, mask, features of queries and values, rows and keys of a tile
ATTENTION = {
    "small heads": ("float", "bool", 64, 64, 64, 32),
    "odd heads": ("half_t", "half_t", 33, 5, 32, 32),
    "large heads": ("bfloat_t", "bool", 256, 256, 16, 16),
}


def check(files: tuple[str, ...], defines: dict[str, object], kernels: tuple[str, ...]) -> None:
    definitions = "".join(f"#define {name} {value}\n" for name, value in defines.items())
    text = [_core.program.cuda_file(path) for path in (*HEAD, *files)]
    source = "".join([*text[:2], definitions, *text[2:]])
    for architecture in ("sm_80", "sm_90"):
        code, log = compile_source(source, architecture)
        assert code[:4] == b"\x7fELF" and "warning" not in log, log
        assert all(kernel.encode() in code for kernel in kernels)


@pytest.mark.parametrize("unit", UNITS)
def test_products_and_windows(unit: str) -> None:
    files, kernels, types = UNITS[unit]
    element, index = types.rsplit(" ", 1)
    check(files, {"T": element, "INDEX": index}, kernels)


@pytest.mark.parametrize("case", ATTENTION)
def test_attention(case: str) -> None:
    names = ("T", "MASK", "HEAD", "VALUE", "ROWS", "KEYS")
    kernels = ("attention", "attention_deltas", "attention_dq", "attention_dkv")
    check(("ops/attention.cu",), dict(zip(names, ATTENTION[case], strict=True)), kernels)
