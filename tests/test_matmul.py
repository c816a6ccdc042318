"""Matrix products of every shape, layout and dtype, against NumPy in float64."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import flambeau
from flambeau import Tensor
from flambeau.autograd import gradcheck, gradgradcheck

RANDOM = np.random.default_rng(7)


def normal(*shape: int) -> np.ndarray:
    return RANDOM.standard_normal(shape)


def layouts(array: np.ndarray) -> list[Tensor]:
    """The same matrix with different strides."""
    dense = flambeau.from_numpy(array.copy())
    wide = flambeau.zeros(array.shape[0], array.shape[1] + 3, dtype=dense.dtype)
    wide[:, 1:-2] = dense
    spaced = flambeau.zeros(2 * array.shape[0], 2 * array.shape[1], dtype=dense.dtype)
    spaced[::2, ::2] = dense
    turned = flambeau.from_numpy(np.ascontiguousarray(array.T)).t()
    return [dense, turned, wide[:, 1:-2], wide.t().contiguous().t()[:, 1:-2], spaced[::2, ::2]]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "sizes", [(1, 1, 1), (3, 4, 5), (1, 7, 9), (9, 7, 1), (8, 1, 8), (64, 100, 33), (130, 70, 257)]
)
def test_layouts(sizes: tuple[int, int, int], dtype: type) -> None:
    m, k, n = sizes
    a, b = normal(m, k).astype(dtype), normal(k, n).astype(dtype)
    expected = a.astype(np.float64) @ b.astype(np.float64)
    bound = (1e-13 if dtype is np.float64 else 2e-6) * k
    for x in layouts(a):
        for y in layouts(b):
            np.testing.assert_allclose((x @ y).numpy(), expected, atol=bound, rtol=1e-5)
    one = flambeau.from_numpy(a[:1, :1].copy())
    broadcast = one.expand(m, k) @ flambeau.from_numpy(b)
    np.testing.assert_allclose(broadcast.numpy(), np.full((m, k), a[0, 0]) @ b, 1e-4, bound)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "int32", "int64"])
def test_integers_wrap(dtype: str) -> None:
    a = RANDOM.integers(-100, 100, (5, 40)).astype(dtype)
    b = RANDOM.integers(-100, 100, (40, 6)).astype(dtype)
    found = flambeau.from_numpy(a) @ flambeau.from_numpy(b)
    np.testing.assert_array_equal(found.numpy(), (a.astype(np.int64) @ b).astype(dtype))


@pytest.mark.parametrize("dtype", [flambeau.float16, flambeau.bfloat16])
@pytest.mark.parametrize(
    "sizes",
    [
        (1, 300, 70),
        (70, 300, 1),
        (5, 6, 7),
        (3, 900, 90),
        (130, 1000, 70),
        (300, 40, 520),
        (9, 0, 4),
    ],
)
def test_narrow_results_are_wide_ones_rounded(sizes: tuple[int, int, int], dtype: Any) -> None:
    """The conversion is the epilogue of a float32 product: every block must be written once."""
    m, k, n = sizes
    a, b = flambeau.randn(m, k).to(dtype), flambeau.randn(k, n).to(dtype)
    expected = (a.float() @ b.float()).to(dtype)
    for x in (a, a.t().contiguous().t()):
        for y in (b, b.t().contiguous().t()):
            found = x @ y
            close = (found.float() - expected.float()).abs() <= 0.02 * (1 + expected.float().abs())
            assert close.all()


def test_batches_are_read_in_place() -> None:
    """Heads of attention: batches that are views, broadcast batches, and their gradients."""
    x = flambeau.from_numpy(normal(2, 5, 3, 4, 6))
    q, k, v = (x[:, :, i].transpose(1, 2) for i in range(3))
    scores = q @ k.transpose(2, 3)
    np.testing.assert_allclose(scores.numpy(), q.numpy() @ k.numpy().swapaxes(2, 3), 1e-12)
    np.testing.assert_allclose((scores @ v).numpy(), scores.numpy() @ v.numpy(), 1e-12)
    left = flambeau.from_numpy(normal(3, 1, 4, 2)).requires_grad_()
    right = flambeau.from_numpy(normal(5, 2, 3)).requires_grad_()
    assert gradcheck(lambda a, b: a @ b, (left, right))
    assert gradgradcheck(lambda a, b: a @ b, (left, right))


def test_half_precision() -> None:
    a, b = flambeau.from_numpy(normal(6, 300)), flambeau.from_numpy(normal(300, 5))
    for dtype, bound in ((flambeau.float16, 0.05), (flambeau.bfloat16, 0.3)):
        found = a.to(dtype) @ b.to(dtype)
        exact = a.to(dtype).double() @ b.to(dtype).double()
        assert found.dtype is dtype
        assert (found.double() - exact).abs().max().item() < bound


SHAPES = [
    ((4,), (4,)),
    ((3, 4), (4,)),
    ((4,), (4, 5)),
    ((2, 3, 4), (4,)),
    ((4,), (2, 4, 5)),
    ((2, 3, 4), (4, 5)),
    ((3, 4), (2, 4, 5)),
    ((2, 3, 4), (2, 4, 5)),
    ((6, 1, 3, 4), (2, 4, 5)),
    ((6, 2, 3, 4), (1, 4, 5)),
    ((0, 3, 4), (4, 5)),
    ((3, 0), (0, 5)),
    ((2, 3, 0), (2, 0, 5)),
    ((2, 3, 4), (4, 0)),
]


@pytest.mark.parametrize("shapes", SHAPES, ids=str)
def test_matmul_broadcasts(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    a, b = (normal(*shape) for shape in shapes)
    x, y = flambeau.from_numpy(a), flambeau.from_numpy(b)
    assert tuple((x @ y).shape) == (a @ b).shape
    np.testing.assert_allclose(np.asarray((x @ y).tolist()).reshape((a @ b).shape), a @ b, 1e-9)
    if a.size and b.size:
        x.requires_grad_()
        y.requires_grad_()
        assert gradcheck(flambeau.matmul, (x, y))
        assert gradgradcheck(flambeau.matmul, (x, y))


def test_scaled_products() -> None:
    x, a, b = (normal(*shape) for shape in ((5,), (3, 4), (4, 5)))
    t, p, q = (flambeau.from_numpy(array) for array in (x, a, b))
    np.testing.assert_allclose(flambeau.addmm(t, p, q).numpy(), x + a @ b)
    np.testing.assert_allclose(
        flambeau.addmm(t, p, q, beta=0.5, alpha=3).numpy(), 0.5 * x + 3 * (a @ b)
    )
    unread = flambeau.full((3, 5), float("nan"), dtype=flambeau.float64)
    np.testing.assert_allclose(flambeau.addmm(unread, p, q, beta=0).numpy(), a @ b)
    batch = p.expand(2, 3, 4), q.expand(2, 4, 5)
    np.testing.assert_allclose(flambeau.baddbmm(t, *batch).numpy()[1], x + a @ b)
    np.testing.assert_allclose(flambeau.addbmm(t, *batch).numpy(), x + 2 * (a @ b))
    np.testing.assert_allclose(flambeau.addmv(p[:, 0], p, q[:, 0]).numpy(), a[:, 0] + a @ b[:, 0])
    np.testing.assert_allclose(flambeau.outer(p[0], t).numpy(), np.outer(a[0], x))
    np.testing.assert_allclose(flambeau.inner(p, q.t()).numpy(), a @ b)
    total = flambeau.zeros(3, 5, dtype=flambeau.float64)
    assert total.addmm_(p, q) is total
    np.testing.assert_allclose(total.numpy(), a @ b)


def test_linear() -> None:
    x, weight, bias = (flambeau.from_numpy(normal(*shape)) for shape in ((6, 4), (3, 4), (3,)))
    leaves = [tensor.requires_grad_() for tensor in (x, weight, bias)]
    linear = flambeau.nn.functional.linear
    out = linear(x, weight, bias)
    np.testing.assert_allclose(
        out.detach().numpy(), x.detach().numpy() @ weight.detach().numpy().T + bias.detach().numpy()
    )
    assert "AddmmBackward0" in repr(out)
    assert gradcheck(linear, tuple(leaves))
    assert linear(x.view(2, 3, 4), weight, bias).shape == (2, 3, 3)
    assert linear(x[0], weight).shape == (3,)


EQUATIONS = [
    ("ij,jk->ik", (3, 4), (4, 5)),
    ("ij,jk", (3, 4), (4, 5)),
    ("bij,bjk->bik", (2, 3, 4), (2, 4, 5)),
    ("...ij,...jk->...ik", (6, 2, 3, 4), (2, 4, 5)),
    ("bhqd,bhkd->bhqk", (2, 3, 4, 5), (2, 3, 6, 5)),
    ("ij->ji", (3, 4)),
    ("ij->", (3, 4)),
    ("ii->i", (4, 4)),
    ("ii", (4, 4)),
    ("iij->j", (4, 4, 3)),
    ("i,j,k->kji", (2,), (3,), (4,)),
    ("ij,ij->i", (3, 4), (3, 4)),
    ("ij,jk,kl->il", (2, 3), (3, 4), (4, 5)),
    ("abc,cd,bd->a", (2, 3, 4), (4, 5), (3, 5)),
    ("i...,i...->...", (3, 4, 5), (3, 4, 5)),
    ("Ab,bC", (2, 3), (3, 4)),
]


@pytest.mark.parametrize("case", EQUATIONS, ids=lambda case: case[0])
def test_einsum(case: tuple[Any, ...]) -> None:
    equation, *shapes = case
    arrays = [normal(*shape) for shape in shapes]
    tensors = [flambeau.from_numpy(array).requires_grad_() for array in arrays]
    found = flambeau.einsum(equation, *tensors)
    np.testing.assert_allclose(np.asarray(found.tolist()), np.einsum(equation, *arrays), atol=1e-12)
    assert gradcheck(lambda *x: flambeau.einsum(equation, *x), tuple(tensors))


def test_einsum_notations() -> None:
    x, y = flambeau.ones(2, 3), flambeau.ones(3, 4)
    assert flambeau.einsum(x, [0, 1], y, [1, 2]).shape == (2, 4)
    assert flambeau.einsum(x, [..., 1], y, [1, 2], [2, ...]).shape == (4, 2)
    assert flambeau.einsum("ij, jk", [x, y]).shape == (2, 4)


def test_tensordot() -> None:
    a, b = normal(2, 3, 4), normal(4, 3, 5)
    x, y = flambeau.from_numpy(a), flambeau.from_numpy(b)
    for dims in (0, 1, ([2, 1], [0, 1]), ([1], [1])):
        np.testing.assert_allclose(
            flambeau.tensordot(x, y, dims).numpy(), np.tensordot(a, b, dims), atol=1e-13
        )
    matrices = [flambeau.from_numpy(normal(*shape)) for shape in ((3, 9), (9, 2), (2, 7))]
    chained = flambeau.chain_matmul(*matrices)
    np.testing.assert_allclose(chained.numpy(), (matrices[0] @ matrices[1] @ matrices[2]).numpy())


X = flambeau.ones(2, 3)
ERRORS: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: X @ X, RuntimeError, r"shapes cannot be multiplied \(2x3 and 2x3\).*transpose"),
    (lambda: X.mm(X[0]), RuntimeError, "must be a matrix"),
    (lambda: X @ X.double().t(), RuntimeError, "same dtype"),
    (lambda: X.mv(X[:, 0]), RuntimeError, "size mismatch"),
    (lambda: X[0].dot(X[:, 0]), RuntimeError, "same number of elements"),
    (lambda: X.bmm(X), RuntimeError, "3D tensor"),
    (lambda: X[None].bmm(X[None]), RuntimeError, "first two dimensions"),
    (lambda: flambeau.tensor(1.0) @ X, RuntimeError, "at least 1D"),
    (lambda: flambeau.ones(2, 2, 3) @ flambeau.ones(3, 3, 4), RuntimeError, "2.*3"),
    (lambda: (X > 0) @ (X > 0).t(), NotImplementedError, "Bool"),
    (lambda: flambeau.addmm(X, X, X.t()), RuntimeError, "broadcast"),
    (lambda: flambeau.nn.functional.linear(X, flambeau.ones(4, 2)), RuntimeError, "2x3 and 2x4"),
    (lambda: flambeau.outer(X, X), RuntimeError, "1-D"),
    (lambda: flambeau.einsum("ij,jk", X, X), RuntimeError, "subscript j has size 2"),
    (lambda: flambeau.einsum("ij->k", X), RuntimeError, "output subscript k"),
    (lambda: flambeau.einsum("ijk", X), RuntimeError, "number of subscripts"),
    (lambda: flambeau.einsum("i1", X), RuntimeError, "invalid subscript"),
    (lambda: flambeau.einsum("ij,jk", X), RuntimeError, "fewer operands"),
    (lambda: flambeau.tensordot(X, X, 1), RuntimeError, "contracted dimensions"),
]


@pytest.mark.parametrize("case", range(len(ERRORS)))
def test_errors(case: int) -> None:
    function, error, text = ERRORS[case]
    with pytest.raises(error, match=text):
        function()


def test_random_products() -> None:
    """Any shape, layout, scale and number of threads: each takes another path through packing."""
    draw = np.random.default_rng(11)
    edges = [1, 2, 5, 13, 14, 15, 16, 17, 31, 32, 33, 64, 65, 100, 129, 300, 700]
    threads = flambeau.get_num_threads()
    for _ in range(80):
        m, n, k = (int(edge) for edge in draw.choice(edges, 3))
        k = k if m * n * k < 10**7 else 40
        dtype = flambeau.float32 if draw.random() < 0.6 else flambeau.float64
        a, b = (
            layouts(draw.standard_normal(shape))[draw.integers(5)].to(dtype)
            for shape in ((m, k), (k, n))
        )
        x = flambeau.from_numpy(draw.standard_normal((m, n) if draw.random() < 0.5 else n)).to(
            dtype
        )
        beta, alpha = (1, 1) if draw.random() < 0.5 else (0.5, -2)
        flambeau.set_num_threads(int(draw.integers(1, 4)))
        found = flambeau.addmm(x, a, b, beta=beta, alpha=alpha).double().numpy()
        left, right, start = a.double().numpy(), b.double().numpy(), x.double().numpy()
        expected = beta * start + alpha * (left @ right)
        size = np.abs(beta * start) + abs(alpha) * (np.abs(left) @ np.abs(right))
        bound = 1e-6 if dtype is flambeau.float32 else 1e-15
        assert (np.abs(found - expected) <= bound * (k**0.5 + 8) * size + 1e-30).all(), (m, n, k)
    flambeau.set_num_threads(threads)
