"""Products of the emulated cuBLASLt beside NumPy's."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from ctypes import byref, c_double, c_float, c_int, c_int64, c_size_t, c_uint64, c_void_p
from pathlib import Path

import numpy as np
import pytest
from emulated_cuda.build import build
from emulated_cuda.client import Gpu, check

FLOAT, DOUBLE, HALF = (0, "f4", 68, c_float), (1, "f8", 70, c_double), (2, "f2", 68, c_float)
RELU, BIAS, GELU, GELU_GRADIENT, AUXILIARY, SUMS_OF_A, SUMS_OF_B = 2, 4, 32, 64, 128, 256, 512


class Matmul:
    """D = epilogue(alpha op(A) op(B) + beta C), one after another as a program would call it."""

    def __init__(self, gpu: Gpu, libraries: Path, kind: tuple) -> None:
        self.gpu, self.kind = gpu, kind
        self.blas = ctypes.CDLL(str(libraries / "libcublasLt.so.13"))
        self.handle, self.desc, self.preference = c_void_p(), c_void_p(), c_void_p()
        check(self.blas.cublasLtCreate(byref(self.handle)))
        scale = 1 if kind is DOUBLE else 0
        check(self.blas.cublasLtMatmulDescCreate(byref(self.desc), kind[2], scale))
        check(self.blas.cublasLtMatmulPreferenceCreate(byref(self.preference)))
        self.set("MatmulPreference", self.preference, 1, c_uint64(1 << 20))

    def set(self, kind: str, thing: c_void_p, attribute: int, value) -> None:
        function = getattr(self.blas, f"cublasLt{kind}SetAttribute")
        check(function(thing, attribute, byref(value), c_size_t(ctypes.sizeof(value))))

    def layout(self, rows: int, columns: int, leading: int, batch: int = 1) -> c_void_p:
        layout = c_void_p()
        check(
            self.blas.cublasLtMatrixLayoutCreate(
                byref(layout), self.kind[0], c_uint64(rows), c_uint64(columns), c_int64(leading)
            )
        )
        self.set("MatrixLayout", layout, 5, c_int(batch))
        self.set("MatrixLayout", layout, 6, c_int64(leading * columns))
        return layout

    def heuristic(self, layouts) -> tuple[int, ctypes.Array]:
        result, count = (c_uint64 * 12)(), c_int()
        function = self.blas.cublasLtMatmulAlgoGetHeuristic
        status = function(
            self.handle, self.desc, *layouts, self.preference, 1, result, byref(count)
        )
        return status, result

    def run(self, pointers, layouts, alpha, beta, algorithm=None, workspace=None, size=0, **more):
        scalar = self.kind[3]
        return self.blas.cublasLtMatmul(
            *(self.handle, self.desc, byref(scalar(alpha)), pointers[0], layouts[0]),
            *(pointers[1], layouts[1], byref(scalar(beta)), pointers[2], layouts[2]),
            *(pointers[3], layouts[3], algorithm, workspace, c_size_t(size), more.get("stream")),
        )


@pytest.fixture(scope="module")
def libraries() -> Path:
    return build()


@pytest.fixture
def gpu(libraries: Path) -> Iterator[Gpu]:
    gpu = Gpu(libraries)
    yield gpu
    gpu.close()


@pytest.fixture
def matmul(gpu, libraries):
    return lambda kind: Matmul(gpu, libraries, kind)


def by_columns(array: np.ndarray, leading: int) -> np.ndarray:
    """The memory of a batch of column-major matrices, with rubbish between the columns."""
    batch, rows, columns = array.shape
    memory = np.full((batch, columns, leading), 77, array.dtype)
    memory[:, :, :rows] = array.transpose(0, 2, 1)
    return memory


@pytest.mark.parametrize("kind", [FLOAT, DOUBLE, HALF], ids=["float", "double", "half"])
@pytest.mark.parametrize("transposed", [(0, 0), (1, 0), (0, 1), (1, 1)])
def test_products(gpu, matmul, kind, transposed):
    rng, (m, n, k, batch) = np.random.default_rng(2), (5, 4, 3, 2)
    a, b, c = (
        rng.integers(-4, 5, (batch, *shape)).astype(kind[1])
        for shape in [
            (k, m) if transposed[0] else (m, k),
            (n, k) if transposed[1] else (k, n),
            (m, n),
        ]
    )
    memory = [by_columns(x, x.shape[1] + 2) for x in (a, b, c, c)]
    pointers = [gpu.upload(x) for x in memory]
    call = matmul(kind)
    layouts = [call.layout(x.shape[1], x.shape[2], x.shape[1] + 2, batch) for x in (a, b, c, c)]
    for attribute, value in zip((3, 4), transposed):
        call.set("MatmulDesc", call.desc, attribute, c_int(value))
    status, algorithm = call.heuristic(layouts)
    check(status)
    workspace, size = gpu.alloc(1 << 20), algorithm[8]
    assert 0 < size <= 1 << 20
    run = lambda size: call.run(pointers, layouts, 2, 3, algorithm, workspace, size)  # noqa: E731
    assert run(size - 1) == 7
    check(run(size))
    out = gpu.download(pointers[3], memory[3].size, kind[1]).reshape(memory[3].shape)
    left, right = (x.transpose(0, 2, 1) if t else x for x, t in zip((a, b), transposed))
    np.testing.assert_array_equal(out, by_columns(2 * left @ right + 3 * c, m + 2))


def small_product(gpu, call, epilogue: int, bias=None, inner=5):
    """A (6, 5) times a (5, 4) matrix with an epilogue: the factors, and how to run it."""
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(1, 6, inner)), rng.normal(size=(1, inner, 4))
    call.set("MatmulDesc", call.desc, 7, ctypes.c_uint(epilogue))
    if bias is not None:
        call.set("MatmulDesc", call.desc, 8, bias)
    memory = [by_columns(x.astype(call.kind[1]), x.shape[1]) for x in (a, b)]
    pointers = [*map(gpu.upload, memory), None, gpu.alloc(8 * 24)]
    shapes = (6, inner, 6), (inner, 4, inner), (6, 4, 6), (6, 4, 6)
    layouts = [call.layout(*shape) for shape in shapes]
    return a[0], b[0], pointers, layouts


def activated(epilogue: int, value: np.ndarray) -> np.ndarray:
    if epilogue & RELU:
        return np.maximum(value, 0)
    if epilogue & GELU:
        return value / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (value + 0.044715 * value**3)))
    return value


@pytest.mark.parametrize("epilogue", [1, BIAS, RELU, RELU | BIAS, GELU, GELU | BIAS])
def test_epilogues(gpu, matmul, epilogue):
    call, bias = matmul(FLOAT), np.random.default_rng(4).normal(size=6)
    vector = gpu.upload(bias.astype("f4")) if epilogue & BIAS else None
    a, b, pointers, layouts = small_product(gpu, call, epilogue, vector)
    check(call.run(pointers, layouts, 1, 0))
    value = activated(epilogue, a @ b + (bias[:, None] if epilogue & BIAS else 0))
    assert np.allclose(gpu.download(pointers[3], 24, "f4").reshape(4, 6).T, value, atol=1e-5)


@pytest.mark.parametrize("bias", [0, BIAS])
def test_what_a_gelu_is_taken_of_is_stored(gpu, matmul, bias):
    call = matmul(FLOAT)
    vector = gpu.upload(np.arange(6, dtype="f4")) if bias else None
    a, b, pointers, layouts = small_product(gpu, call, GELU | AUXILIARY | bias, vector)
    assert call.heuristic(layouts)[0] == 7  # nowhere to store it
    stored = gpu.upload(np.full(32, 77, "f4"))
    call.set("MatmulDesc", call.desc, 11, stored)
    for leading in (0, 6, 12):  # not a multiple of 8
        call.set("MatmulDesc", call.desc, 12, c_int64(leading))
        assert call.run(pointers, layouts, 1, 0) == 7
    call.set("MatmulDesc", call.desc, 12, c_int64(8))
    check(call.run(pointers, layouts, 1, 0))
    value = a @ b + (np.arange(6)[:, None] if bias else 0)
    found = gpu.download(stored, 32, "f4").reshape(4, 8)
    assert np.allclose(found[:, :6].T, value, atol=1e-5) and (found[:, 6:] == 77).all()
    found = gpu.download(pointers[3], 24, "f4").reshape(4, 6).T
    assert np.allclose(found, activated(GELU, value), atol=1e-5)
    call.set("MatmulDesc", call.desc, 22, c_int(2))  # as half
    assert call.heuristic(layouts)[0] == 15


def test_gradients_of_gelus(gpu, matmul):
    call, at = matmul(FLOAT), np.random.default_rng(5).normal(size=(4, 8)).astype("f4")
    call.set("MatmulDesc", call.desc, 11, gpu.upload(at))
    call.set("MatmulDesc", call.desc, 12, c_int64(8))
    a, b, pointers, layouts = small_product(gpu, call, GELU_GRADIENT | AUXILIARY)
    check(call.run(pointers, layouts, 1, 0))
    points, step = at[:, :6].T.astype("f8"), 1e-6
    slope = (activated(GELU, points + step) - activated(GELU, points - step)) / (2 * step)
    found = gpu.download(pointers[3], 24, "f4").reshape(4, 6).T
    assert np.allclose(found, a @ b * slope, atol=1e-5)
    layouts = small_product(gpu, call, GELU_GRADIENT | AUXILIARY, inner=1)[3]
    assert call.heuristic(layouts)[0] == 7


@pytest.mark.parametrize("of_b", [False, True])
def test_sums_of_factors(gpu, matmul, of_b):
    call, sums = matmul(FLOAT), gpu.upload(np.full(8, 77, "f4"))
    a, b, pointers, layouts = small_product(gpu, call, SUMS_OF_B if of_b else SUMS_OF_A)
    assert call.run(pointers, layouts, 1, 0) == 7  # nowhere to put them
    call.set("MatmulDesc", call.desc, 8, sums)
    check(call.run(pointers, layouts, 2, 0))
    expected = b.sum(0) if of_b else a.sum(1)
    found = gpu.download(sums, 8, "f4")
    assert np.allclose(found[: len(expected)], expected, atol=1e-5)
    assert (found[len(expected) :] == 77).all()
    found = gpu.download(pointers[3], 24, "f4").reshape(4, 6).T
    assert np.allclose(found, 2 * a @ b, atol=1e-5)


def test_epilogues_that_are_refused(gpu, matmul, monkeypatch):
    call, wide = matmul(FLOAT), matmul(DOUBLE)
    layouts = small_product(gpu, call, RELU)[3]
    check(call.heuristic(layouts)[0])
    monkeypatch.setenv("EMULATED_CUBLASLT_FUSION", "0")
    assert call.heuristic(layouts)[0] == 15
    monkeypatch.delenv("EMULATED_CUBLASLT_FUSION")
    for epilogue in (RELU | GELU, RELU | AUXILIARY, SUMS_OF_A | BIAS, 8 | AUXILIARY, 0):
        assert call.heuristic(small_product(gpu, call, epilogue)[3])[0] == 15
    for epilogue in (RELU, GELU, SUMS_OF_B):
        assert wide.heuristic(small_product(gpu, wide, epilogue)[3])[0] == 15


def test_not_a_number_in_activations(gpu, matmul, monkeypatch):
    call = matmul(FLOAT)
    pointers, layouts = small_product(gpu, call, RELU)[2:]
    for value, all_nan in (("", True), ("nan", False)):
        monkeypatch.setenv("EMULATED_CUBLASLT_FUSION", value)
        check(call.run(pointers, layouts, float("nan"), 0))
        found = gpu.download(pointers[3], 24, "f4")
        assert np.isnan(found).all() if all_nan else (found == 0).all()


def test_a_bias_that_is_not_aligned(gpu, matmul):
    call, vector = matmul(FLOAT), gpu.upload(np.zeros(16, "f4"))
    pointers, layouts = small_product(gpu, call, BIAS, c_uint64(vector.value + 4))[2:]
    check(call.run(pointers, layouts, 1, 0))
    assert gpu.cuda.cuCtxSynchronize() == 716  # CUDA_ERROR_MISALIGNED_ADDRESS


def test_what_products_refuse(gpu, matmul, capfd):
    call, pointer = matmul(FLOAT), gpu.alloc(4 * 64)
    square, narrow = call.layout(8, 8, 8), call.layout(8, 8, 7)
    assert call.heuristic([square, narrow, square, square])[0] == 7
    assert call.heuristic([square, call.layout(7, 8, 7), square, square])[0] == 7
    call.set("MatrixLayout", narrow, 0, ctypes.c_uint(1))  # double
    call.set("MatrixLayout", narrow, 4, c_int64(8))
    assert call.heuristic([square, narrow, square, square])[0] == 15
    wide = call.layout(8, 8, 9)
    assert call.run([pointer] * 4, [wide, square, square, square], 1, 0) == 7
    assert "cublasLtMatmul: A" in capfd.readouterr().err
    _, algorithm = call.heuristic([square] * 4)
    shifted = c_uint64(gpu.alloc(4 * 65).value + 4)
    arguments = [square] * 4, 1, 0
    assert call.run([pointer, shifted, None, pointer], *arguments, algorithm, pointer, 1 << 20) == 7


def test_product_is_deferred_and_captured(gpu, matmul):
    call, stream = matmul(FLOAT), gpu.stream()
    one, total = gpu.upload(np.ones(1, "f4")), gpu.upload(np.zeros(1, "f4"))
    layouts = [call.layout(1, 1, 1)] * 4
    check(gpu.cuda.cuCtxSynchronize())
    gpu.begin_capture(stream)
    check(call.run([one, one, total, total], layouts, 2, 1, stream=stream))
    executable = gpu.end_capture(stream)
    for _ in range(3):
        check(gpu.cuda.cuGraphLaunch(executable, stream))
    assert gpu.download(total, 1, "f4")[0] == 0
    check(gpu.cuda.cuStreamSynchronize(stream))
    assert gpu.download(total, 1, "f4")[0] == 6
