"""Matrix products on the GPU give what the CPU gives, by cuBLASLt and by kernels of our own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compare import FLOATS, INTEGERS, check_gradients, check_near, normal, setting

import flambeau as fl
from flambeau import Tensor, _core


@pytest.fixture(params=[True, False], ids=["cublaslt", "own"], autouse=True)
def library(request: pytest.FixtureRequest) -> Any:
    with setting("cublas", request.param):
        yield request.param


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(3)


def layouts(x: Tensor) -> dict[str, Tensor]:
    """The same matrices in other places of memory."""
    wide = fl.zeros(*x.shape[:-1], x.shape[-1] + 3, dtype=x.dtype)
    wide[..., 1:-2] = x
    apart = fl.zeros(*x.shape[:-1], 2 * x.shape[-1], dtype=x.dtype)
    apart[..., ::2] = x
    return {
        "rows": x,
        "columns": x.transpose(-1, -2).contiguous().transpose(-1, -2),
        "part": wide[..., 1:-2],
        "apart": apart[..., ::2],
    }


@pytest.mark.parametrize("dtype", FLOATS + INTEGERS, ids=str)
def test_mm_of_every_layout(dtype: Any, random: np.random.Generator) -> None:
    a, b = normal(random, 70, 37, dtype=dtype), normal(random, 37, 66, dtype=dtype)
    expected = a @ b
    for name, x in layouts(a).items():
        for other, y in layouts(b).items():
            if name == other or "rows" in (name, other):
                check_near(x.to("cuda") @ y.to("cuda"), expected)
    # Views of the GPU's memory itself.
    check_near(a.T.contiguous().to("cuda").T @ b.T.contiguous().to("cuda").T, expected)
    check_near(a.to("cuda")[3:60, 5:] @ b.to("cuda")[5:, 2:9], a[3:60, 5:] @ b[5:, 2:9])


@pytest.mark.parametrize("dtype", [*FLOATS, fl.int32], ids=str)
def test_addmm(dtype: Any, random: np.random.Generator) -> None:
    a, b = normal(random, 9, 17, dtype=dtype), normal(random, 17, 5, dtype=dtype)
    for shape in ((5,), (9, 5), (1, 5), (9, 1), (), (1,)):
        x = normal(random, *shape, dtype=dtype)
        for scales in ({}, {"beta": 2, "alpha": 3}, {"beta": 0}):
            got = fl.addmm(x.to("cuda"), a.to("cuda"), b.to("cuda"), **scales)
            check_near(got, fl.addmm(x, a, b, **scales), 30.0)
    whole = normal(random, 9, 10, dtype=dtype)
    got = fl.addmm(whole.to("cuda")[:, :5], a.to("cuda"), b.to("cuda"))
    check_near(got, fl.addmm(whole[:, :5], a, b), 30.0)
    turned = normal(random, 5, 9, dtype=dtype)
    check_near(
        fl.addmm(turned.to("cuda").T, a.to("cuda"), b.to("cuda")), fl.addmm(turned.T, a, b), 30.0
    )


@pytest.mark.parametrize("dtype", [*FLOATS, fl.int64], ids=str)
def test_batches(dtype: Any, random: np.random.Generator) -> None:
    shapes = [
        ((4, 3, 5), (4, 5, 2)),
        ((4, 3, 5), (5, 2)),
        ((3, 5), (4, 5, 2)),
        ((2, 1, 3, 5), (1, 6, 5, 2)),
        ((2, 3, 4, 3, 5), (3, 1, 5, 2)),
    ]
    for left, right in shapes:
        a, b = normal(random, *left, dtype=dtype), normal(random, *right, dtype=dtype)
        check_near(a.to("cuda") @ b.to("cuda"), a @ b, 10.0)
    a, b = normal(random, 2, 3, 4, 5, dtype=dtype), normal(random, 2, 3, 4, 5, dtype=dtype)
    heads, others = a.transpose(1, 2), b.transpose(1, 2).transpose(-1, -2)
    got = a.to("cuda").transpose(1, 2) @ b.to("cuda").transpose(1, 2).transpose(-1, -2)
    check_near(got, heads @ others, 10.0)
    x, y, z = (normal(random, 3, 4, 4, dtype=dtype) for _ in range(3))
    got = fl.baddbmm(x.to("cuda"), y.to("cuda"), z.to("cuda"), beta=2, alpha=-1)
    check_near(got, fl.baddbmm(x, y, z, beta=2, alpha=-1), 10.0)
    row = normal(random, 4, dtype=dtype)
    got = fl.baddbmm(row.to("cuda"), y.to("cuda"), z.to("cuda"))
    check_near(got, fl.baddbmm(row, y, z), 10.0)


@pytest.mark.parametrize("dtype", [*FLOATS, fl.int16], ids=str)
def test_vectors(dtype: Any, random: np.random.Generator) -> None:
    a, x = normal(random, 33, 40, dtype=dtype), normal(random, 40, dtype=dtype)
    check_near(a.to("cuda") @ x.to("cuda"), a @ x, 20.0)
    check_near(a.T.contiguous().to("cuda").T @ x.to("cuda"), a @ x, 20.0)
    check_near(a.to("cuda").T @ a.to("cuda")[:, 3], a.T @ a[:, 3], 30.0)
    y = normal(random, 3000, dtype=dtype)
    check_near(fl.dot(y.to("cuda")[::3], y.to("cuda")[:1000]), fl.dot(y[::3], y[:1000]), 60.0)
    one = normal(random, 1, dtype=dtype).expand(40)
    check_near(a.to("cuda") @ one.to("cuda"), a @ one, 20.0)


@pytest.mark.parametrize("dtype", [fl.float32, fl.float16, fl.int32], ids=str)
def test_empty(dtype: Any) -> None:
    for m, n, k in ((0, 3, 4), (3, 0, 4), (3, 4, 0), (0, 0, 0)):
        a, b = fl.ones(m, k, dtype=dtype), fl.ones(k, n, dtype=dtype)
        x = fl.ones(n, dtype=dtype)
        for f in (lambda a, b, x: a @ b, lambda a, b, x: fl.addmm(x, a, b)):
            check_near(f(a.to("cuda"), b.to("cuda"), x.to("cuda")), f(a, b, x))
    a, b = fl.ones(2, 0, 3, 4, dtype=dtype), fl.ones(4, 5, dtype=dtype)
    check_near(a.to("cuda") @ b.to("cuda"), a @ b)
    empty = fl.ones(0, dtype=dtype)
    check_near(fl.dot(empty.to("cuda"), empty.to("cuda")), fl.dot(empty, empty))
    check_near(fl.ones(3, 0, dtype=dtype).to("cuda") @ empty.to("cuda"), fl.zeros(3, dtype=dtype))


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_gradients(dtype: Any, random: np.random.Generator) -> None:
    x, w, b = (normal(random, *s, dtype=dtype) for s in ((2, 5, 7), (4, 7), (4,)))
    check_gradients(lambda x, w, b: fl.nn.functional.linear(x, w, b), x, w, b)
    check_gradients(lambda x, w: fl.nn.functional.linear(x, w), x, w)
    check_gradients(lambda x, y: x @ y.transpose(-1, -2), x, normal(random, 2, 3, 7, dtype=dtype))
    check_gradients(lambda x, y: x @ y, x, normal(random, 7, dtype=dtype))


def test_results_in_given_memory(random: np.random.Generator) -> None:
    a, b, x = (normal(random, *s) for s in ((4, 6), (6, 3), (4, 3)))
    out = fl.empty(3, 4, device="cuda").T
    fl.mm(a.to("cuda"), b.to("cuda"), out=out)
    check_near(out, a @ b)
    added = x.to("cuda")
    added.addmm_(a.to("cuda"), b.to("cuda"), alpha=2)
    check_near(added, fl.addmm(x, a, b, alpha=2))
    row = normal(random, 1, 6).expand(4, 6)
    check_near(row.to("cuda") @ b.to("cuda"), row @ b)
    windows = a.flatten().as_strided((5, 6), (3, 1))
    check_near(a.to("cuda").flatten().as_strided((5, 6), (3, 1)) @ b.to("cuda"), windows @ b)


def test_tf32_is_asked_for(library: bool, random: np.random.Generator) -> None:
    a, b = normal(random, 8, 64), normal(random, 64, 8)
    if not library:
        return
    assert not fl.backends.cuda.matmul.allow_tf32
    exact = (a.to("cuda") @ b.to("cuda")).cpu()
    with setting("matmul_tf32", True):
        rounded = (a.to("cuda") @ b.to("cuda")).cpu()
    error = (rounded - exact).abs().max().item()
    if "emulated_cuda" in os.environ.get("FLAMBEAU_CUDA_LIBRARIES", ""):
        assert error > 1e-4
    assert error < 0.1 and fl.allclose(exact, a @ b, atol=1e-4)


def test_plans_are_bounded(library: bool) -> None:
    if not library:
        return
    x = fl.ones(1200, device="cuda")
    for k in range(1, 1101):
        x[:k].view(1, k) @ x[:k].view(k, 1)
    assert _core.cuda_plan_counts()[0] == 1024
    fl.cuda.synchronize()


def test_mistakes() -> None:
    a = fl.ones(2, 3, device="cuda")
    with pytest.raises(RuntimeError, match=r"mat1 and mat2 shapes cannot be multiplied"):
        a @ a
    with pytest.raises(RuntimeError, match=r"same dtype"):
        a @ a.T.double()
    with pytest.raises(RuntimeError, match=r"same device"):
        a @ fl.ones(3, 2)
    with pytest.raises(NotImplementedError, match="mm: not implemented for 'Bool'"):
        a.bool() @ a.T.bool()


def test_without_cublaslt(tmp_path: Path) -> None:
    libraries = Path(os.environ.get("FLAMBEAU_CUDA_LIBRARIES", ""))
    if "emulated_cuda" not in str(libraries):
        pytest.skip("a real GPU comes with its libraries")
    # nvrtc.cpp looks for its headers beside itself.
    for path in libraries.iterdir():
        if "cublas" not in path.name and "cudnn" not in path.name:
            (tmp_path / path.name).symlink_to(path)
    program = """
import flambeau as fl
a = fl.arange(12.0).view(3, 4)
assert ((a.to("cuda") @ a.T.to("cuda")).cpu() == a @ a.T).all()
x, w = fl.ones(1, 2, 4, 4), fl.ones(5, 2, 3, 3)
conv = fl.nn.functional.conv2d
assert (conv(x.to("cuda"), w.to("cuda")).cpu() == conv(x, w)).all()
print("computed")
"""
    environment = {**os.environ, "FLAMBEAU_CUDA_LIBRARIES": str(tmp_path)}
    run = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True
    )
    assert run.stdout == "computed\n", run.stderr
