"""Memory formats: which order results lie in, that values do not depend on it, and refusals."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import flambeau as fl
from flambeau import Tensor, nn
from flambeau.compiler import Input, StaticGraph, load
from flambeau.nn import functional as F

LAST = fl.channels_last
LAST_3D = fl.channels_last_3d


def normal(*shape: int, seed: int = 0) -> Tensor:
    return fl.tensor(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


def last(*shape: int, seed: int = 0) -> Tensor:
    form = LAST if len(shape) == 4 else LAST_3D
    return normal(*shape, seed=seed).contiguous(memory_format=form)


def is_last(x: Tensor) -> bool:
    return x.is_contiguous(memory_format=LAST if x.dim() == 4 else LAST_3D)


def test_objects() -> None:
    assert repr(fl.channels_last) == "torch.channels_last"
    assert [repr(x) for x in (fl.contiguous_format, fl.preserve_format, fl.channels_last_3d)] == [
        "torch.contiguous_format",
        "torch.preserve_format",
        "torch.channels_last_3d",
    ]
    assert isinstance(LAST, fl.memory_format) and fl.channels_last != fl.channels_last_3d
    assert pickle.loads(pickle.dumps(LAST)) is LAST
    assert copy.deepcopy(LAST) is LAST and copy.copy(LAST) is LAST


def test_is_contiguous() -> None:
    x = last(2, 3, 4, 5)
    assert x.stride() == (60, 1, 15, 3)
    assert x.is_contiguous(memory_format=LAST) and not x.is_contiguous()
    assert not x.is_contiguous(memory_format=LAST_3D)
    assert not normal(2, 3, 4, 5).is_contiguous(memory_format=LAST)
    assert not normal(3, 4, 5).is_contiguous(memory_format=LAST)
    # One channel, or one pixel: both at once.
    assert normal(2, 1, 4, 5).is_contiguous(memory_format=LAST)
    assert normal(2, 3, 1, 1).is_contiguous(memory_format=LAST)
    assert last(2, 3, 4, 5, 6).stride() == (360, 1, 90, 18, 3)


def test_itself_where_nothing_changes() -> None:
    x = last(2, 3, 4, 5)
    assert x.contiguous(memory_format=LAST) is x
    assert x.to(memory_format=LAST) is x
    assert x.to(fl.float32, memory_format=fl.preserve_format) is x
    assert x.cpu(memory_format=LAST) is x
    gapped = x[:, :, ::2]
    assert gapped.to(memory_format=LAST) is gapped  # ordered like that, though not without gaps
    assert gapped.contiguous(memory_format=LAST).stride() == (30, 1, 15, 3)
    moved = x.to(memory_format=fl.contiguous_format)
    assert moved.is_contiguous() and (moved == x).all()
    assert x.to(copy=True).stride() == x.stride() and x.to(copy=True) is not x


REFUSED: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: normal(3, 4, 5).contiguous(memory_format=LAST), RuntimeError, "required rank 4"),
    (lambda: normal(3, 4, 5).to(memory_format=LAST), RuntimeError, "required rank 4"),
    (lambda: normal(3, 4, 5).clone(memory_format=LAST_3D), RuntimeError, "required rank 5"),
    (lambda: fl.empty(3, 4, memory_format=LAST), RuntimeError, "required rank 4"),
    (lambda: fl.empty(3, memory_format=fl.preserve_format), RuntimeError, "preserve_format"),
    (lambda: fl.rand_like(normal(3), memory_format=LAST), RuntimeError, "required rank 4"),
    (
        lambda: last(2, 3, 4, 5).contiguous(memory_format=fl.preserve_format),
        RuntimeError,
        "preserve memory format",
    ),
    (lambda: normal(3).contiguous(memory_format="channels_last"), TypeError, "memory_format"),
    (lambda: normal(3).to(memory_format=3), TypeError, "memory_format"),
    (lambda: normal(3).float(memory_format="no"), TypeError, "memory_format"),
    (lambda: normal(3).is_contiguous(memory_format=3), TypeError, "memory_format"),
    (lambda: normal(3).is_contiguous(LAST), TypeError, "memory_format"),
    (lambda: normal(3).contiguous(LAST), TypeError, "positional"),
    (lambda: fl.zeros(2, 3, 4, 5, memory_format=LAST), TypeError, "memory_format"),
    (lambda: fl.add(normal(3), 1, memory_format=LAST), TypeError, "memory_format"),
    (lambda: nn.Conv3d(1, 1, 1).to(memory_format=LAST), RuntimeError, "required rank 4"),
]


@pytest.mark.parametrize("call, error, text", REFUSED)
def test_refusals(call: Callable[[], Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call()


def both_orders(function: Callable[..., Tensor], *inputs: Tensor) -> tuple[Any, Any]:
    """Value and gradients for inputs as they are, and for contiguous ones."""
    results = []
    for ordered in (inputs, [x.contiguous() for x in inputs]):
        leaves = [x.detach().clone().requires_grad_(x.is_floating_point()) for x in ordered]
        out = function(*leaves)
        (out * normal(*out.shape, seed=9).to(out.dtype)).sum().backward()
        results.append((out.detach(), [x.grad for x in leaves]))
    return results[0], results[1]


def beside(x: Tensor, *shape: int) -> Tensor:
    """Weights of the type of `x`."""
    return normal(*shape).to(x.dtype)


LAYERS: dict[str, Callable[[Tensor], Tensor]] = {
    "conv2d": lambda x: F.conv2d(x, beside(x, 7, 5, 3, 3), beside(x, 7), padding=1),
    "strided conv2d": lambda x: F.conv2d(x, beside(x, 7, 5, 3, 2), stride=2),
    "conv_transpose2d": lambda x: F.conv_transpose2d(x, beside(x, 5, 3, 2, 2), stride=2),
    "max_pool2d": lambda x: F.max_pool2d(x, 3, 2, 1),
    "dilated max_pool2d": lambda x: F.max_pool2d(x, 2, 1, dilation=2),
    "avg_pool2d": lambda x: F.avg_pool2d(x, 3, 2, 1),
    "avg_pool2d without padding": lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
    "adaptive_avg_pool2d": lambda x: F.adaptive_avg_pool2d(x, (3, 4)),
    "adaptive_max_pool2d": lambda x: F.adaptive_max_pool2d(x, (3, 4)),
    "batch_norm": lambda x: F.batch_norm(x, None, None, beside(x, 5), beside(x, 5), True),
    "nearest": lambda x: F.interpolate(x, scale_factor=2),
    "bilinear": lambda x: F.interpolate(x, (5, 9), mode="bilinear"),
    "pad": lambda x: F.pad(x, (1, 2, 0, 1), value=3.0),
    "cut": lambda x: F.pad(x, (-1, 2, -1, 0, 1, 0, 0, 1)),
    "reflected pad": lambda x: F.pad(x, (1, 2, 3, 0), mode="reflect"),
    "circular pad": lambda x: F.pad(x, (1, 2, 3, 0), mode="circular"),
    "group_norm": lambda x: F.group_norm(x, 5, beside(x, 5), beside(x, 5)),
    "cat": lambda x: fl.cat([x, x * 2], 1),
    "flip": lambda x: x.flip((1, 3)),
    "roll": lambda x: x.roll((1, 2), (1, 3)),
    "gelu": F.gelu,
    "chain": lambda x: F.relu(x * 2 + beside(x, 5, 1, 1)) - x,
}


@pytest.mark.parametrize("dtype", [fl.float32, fl.float64, fl.bfloat16], ids=str)
@pytest.mark.parametrize("name", LAYERS)
def test_layers(name: str, dtype: Any) -> None:
    x = last(3, 5, 8, 7).to(dtype)
    (value, [grad]), (expected, [expected_grad]) = both_orders(LAYERS[name], x)
    assert is_last(value) and expected.is_contiguous()
    assert is_last(grad) and expected_grad.is_contiguous()
    tolerance = {fl.float32: 1e-5, fl.float64: 1e-12, fl.bfloat16: 3e-2}[dtype]
    for got, wanted in ((value, expected), (grad, expected_grad)):
        scale = float(wanted.abs().max())
        assert float((got.double() - wanted.double()).abs().max()) <= tolerance * scale


VOLUME_LAYERS: dict[str, Callable[[Tensor], Tensor]] = {
    "conv3d": lambda x: F.conv3d(x, normal(4, 3, 2, 2, 2)),
    "max_pool3d": lambda x: F.max_pool3d(x, 2),
    "avg_pool3d": lambda x: F.avg_pool3d(x, 2, 1, 1),
    "adaptive_avg_pool3d": lambda x: F.adaptive_avg_pool3d(x, (2, 3, 2)),
    "trilinear": lambda x: F.interpolate(x, scale_factor=2, mode="trilinear"),
    "relu": F.relu,
}


@pytest.mark.parametrize("name", VOLUME_LAYERS)
def test_layers_of_volumes(name: str) -> None:
    x = last(2, 3, 4, 5, 6)
    (value, [grad]), (expected, [expected_grad]) = both_orders(VOLUME_LAYERS[name], x)
    assert is_last(value) and is_last(grad)
    np.testing.assert_allclose(value.numpy(), expected.numpy(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(grad.numpy(), expected_grad.numpy(), rtol=1e-4, atol=1e-5)


def test_pooled_positions() -> None:
    x = last(2, 70, 6, 7)
    x[0, 0, 0, 0] = float("nan")
    out, places = F.max_pool2d(x, 2, return_indices=True)
    expected, expected_places = F.max_pool2d(x.contiguous(), 2, return_indices=True)
    assert is_last(out) and is_last(places)
    assert fl.equal(places, expected_places)
    np.testing.assert_array_equal(out.numpy(), expected.numpy())
    integers = (x.nan_to_num() * 9).to(fl.int64)
    assert fl.equal(F.max_pool2d(integers, 3, 2, 1), F.max_pool2d(integers.contiguous(), 3, 2, 1))
    assert fl.equal(F.avg_pool2d(integers, 2), F.avg_pool2d(integers.contiguous(), 2))


def test_second_order() -> None:
    def squared_slopes(x: Tensor, w: Tensor) -> Tensor:
        y = F.avg_pool2d(F.max_pool2d(F.conv2d(x, w), 2, 1), 2)
        gx, gw = fl.autograd.grad((y * y * y).sum(), [x, w], create_graph=True)
        return (gx * gx).sum() + (gw * gw).sum()

    (value, grads), (expected, others) = both_orders(
        squared_slopes, last(2, 3, 6, 6), last(4, 3, 2, 2)
    )
    assert abs(float(value / expected) - 1) < 1e-4
    for grad, other in zip(grads, others, strict=True):
        assert is_last(grad)
        np.testing.assert_allclose(
            grad.numpy(), other.numpy(), rtol=1e-3, atol=1e-4 * float(other.abs().max())
        )


def test_out_takes_the_order_of_the_result() -> None:
    x, out = last(2, 3, 4, 5), fl.empty(0)
    fl.add(x, 1, out=out)
    assert out.stride() == x.stride() and fl.equal(out, x + 1)
    into = fl.empty(2, 3, 4, 5)
    fl.mul(x, 2, out=into)
    assert into.is_contiguous() and fl.equal(into, x * 2)


def test_in_place() -> None:
    x = last(2, 3, 4, 5)
    expected = x.contiguous() * 2 + 1
    x.mul_(2).add_(normal(1))
    x -= normal(1) - 1
    np.testing.assert_allclose(x.numpy(), expected.numpy(), rtol=1e-5, atol=1e-6)
    assert is_last(x)


def test_transposed_results() -> None:
    """Results of any dense order, not of channels alone."""
    x = normal(4, 5, 6).permute(2, 0, 1)
    for got in (x + 1, fl.exp(x), x.double(), x.clone(), fl.zeros_like(x), x * x, x > 0):
        assert got.stride() == x.stride()
    assert fl.equal(x + x.contiguous(), 2 * x.contiguous())
    assert fl.equal((x * x[:1] + x[0]).contiguous(), x.contiguous() * x[:1] + x[0])
    assert (x @ x.transpose(1, 2)).is_contiguous()


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        fl.manual_seed(3)
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.depthwise = nn.Conv2d(8, 8, 3, groups=8)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.norm(self.conv(x))), 2)
        x = F.relu(self.depthwise(x))
        return self.head(F.adaptive_avg_pool2d(x, 1).flatten(1))


OPTIMIZERS: dict[str, Callable[[Any], Any]] = {
    "sgd": lambda p: fl.optim.SGD(p, 0.1, momentum=0.9),
    "adam": lambda p: fl.optim.AdamW(p, 0.01),
}


def trained(net: Net, x: Tensor, optimizer: Any, steps: int, compiled: bool = False) -> list[float]:
    target = fl.arange(len(x)) % 4

    def step(x: Tensor, target: Tensor) -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(net(x), target)
        loss.backward()
        optimizer.step()
        return loss.detach()

    run = fl.compile(step) if compiled else step
    return [float(run(x, target)) for _ in range(steps)]


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_training(name: str, compiled: bool) -> None:
    plain, ordered = Net(), Net().to(memory_format=LAST)
    assert is_last(ordered.conv.weight) and ordered.conv.weight.grad is None
    assert ordered.head.weight.is_contiguous()
    x = normal(4, 3, 12, 12)
    expected = trained(plain, x, OPTIMIZERS[name](plain.parameters()), 6)
    optimizer = OPTIMIZERS[name](ordered.parameters())
    losses = trained(ordered, x.contiguous(memory_format=LAST), optimizer, 6, compiled)
    np.testing.assert_allclose(losses, expected, rtol=2e-4)
    assert ordered.conv.weight.stride() == (27, 1, 9, 3)
    state = optimizer.state[ordered.conv.weight]
    moments = [v for v in state.values() if isinstance(v, Tensor) and v.dim() == 4]
    assert moments and all(v.stride() == (27, 1, 9, 3) for v in moments)
    np.testing.assert_allclose(
        ordered.conv.weight.detach().numpy(), plain.conv.weight.detach().numpy(), atol=2e-4
    )


def test_gradients_lie_as_leaves() -> None:
    w = nn.Parameter(last(4, 3, 3, 3))
    x = normal(2, 3, 6, 6)
    F.conv2d(x, w).sum().backward()
    assert w.grad is not None and w.grad.stride() == w.stride()
    before = w.grad
    F.conv2d(x, w).sum().backward()
    assert w.grad is before and w.grad.stride() == w.stride()
    matrix = nn.Parameter(normal(4, 6).t())
    (fl.ones(3, 6) @ matrix).sum().backward()
    assert matrix.grad is not None and matrix.grad.stride() == (1, 6)
    rows = nn.Parameter(normal(4, 6)[:, ::2])
    (fl.ones(3, 4) @ rows).sum().backward()
    assert rows.grad is not None and rows.grad.is_contiguous()
    plain = nn.Parameter(normal(2, 3, 4, 5))
    (plain * last(2, 3, 4, 5)).sum().backward()
    assert plain.grad is not None and plain.grad.is_contiguous()


def test_gradients_with_a_history_lie_as_leaves() -> None:
    for collect in ("all", "inputs"):
        w = last(2, 3, 4, 5).requires_grad_()
        loss = (w.contiguous() ** 3).sum()
        chosen = [w] if collect == "inputs" else None
        loss.backward(create_graph=True, inputs=chosen)
        first = w.grad
        assert first is not None
        assert collect == "all" or first.stride() == w.stride()
        (second,) = fl.autograd.grad((first * last(2, 3, 4, 5, seed=5)).sum(), [w])
        expected = 6 * w.detach() * last(2, 3, 4, 5, seed=5)
        np.testing.assert_allclose(second.numpy(), expected.numpy(), rtol=1e-5)


def test_compiled_gives_the_same_order() -> None:
    def function(x: Tensor, w: Tensor) -> tuple[Tensor, ...]:
        y = F.relu(F.conv2d(x, w, padding=1)) * 2 + 1
        return y, F.max_pool2d(y, 2), fl.cat([y, y], 1), x.clone() + y.sum(1, keepdim=True)

    run = fl.compile(function)
    for batch in (2, 3, 4, 5, 6):
        x, w = last(batch, 3, 6, 6, seed=batch), last(3, 3, 3, 3)
        for _ in range(3):
            for got, wanted in zip(run(x, w), function(x, w), strict=True):
                assert got.stride() == wanted.stride()
                np.testing.assert_allclose(got.numpy(), wanted.numpy(), rtol=1e-4, atol=1e-5)
    plain = normal(2, 3, 6, 6)
    for _ in range(3):
        for got, wanted in zip(run(plain, w), function(plain, w), strict=True):
            assert got.stride() == wanted.stride()
            np.testing.assert_allclose(got.numpy(), wanted.numpy(), rtol=1e-4, atol=1e-5)


def test_compiled_and_differentiated_from_outside() -> None:
    run = fl.compile(lambda x: F.relu(x) * x)
    for form in (LAST, fl.contiguous_format) * 4:
        x = normal(2, 3, 4, 5).contiguous(memory_format=LAST).requires_grad_()
        weight = normal(2, 3, 4, 5, seed=2).contiguous(memory_format=form)
        (run(x) * weight).sum().backward()
        expected = fl.where(x.detach() > 0, 2 * x.detach(), 0.0) * weight
        assert x.grad is not None
        np.testing.assert_allclose(x.grad.numpy(), expected.numpy(), rtol=1e-5)


def test_files_keep_the_order(tmp_path: Any) -> None:
    net = Net().to(memory_format=LAST)
    fl.save(net.state_dict(), tmp_path / "net.pt")
    loaded = fl.load(tmp_path / "net.pt")
    assert loaded["conv.weight"].stride() == net.conv.weight.stride()
    plain = Net()
    with fl.no_grad():
        plain.conv.weight.zero_()
    plain.load_state_dict(loaded)
    assert plain.conv.weight.is_contiguous()  # a parameter keeps its own order
    assert fl.equal(plain.conv.weight, net.conv.weight)
    for copied in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert copied.conv.weight.stride() == net.conv.weight.stride()
        assert fl.equal(copied.conv.weight, net.conv.weight)
    buffer = io.BytesIO()
    fl.save(last(2, 3, 4, 5), buffer)
    buffer.seek(0)
    assert fl.load(buffer).stride() == (60, 1, 15, 3)


def test_batches_of_workers_keep_the_order() -> None:
    images = [last(1, 3, 4, 5, seed=i) for i in range(4)]
    loader = fl.utils.data.DataLoader(images, batch_size=2, num_workers=1, collate_fn=fl.cat)
    batches = list(loader)
    assert [is_last(batch) for batch in batches] == [True, True]
    assert fl.equal(fl.cat(batches), fl.cat(images))


def test_static_graph_keeps_the_order(tmp_path: Any) -> None:
    x = last(2, 3, 6, 6)
    w = last(4, 3, 3, 3)

    def function(x: Tensor) -> Tensor:
        return F.max_pool2d(F.relu(F.conv2d(x.contiguous(memory_format=LAST), w)), 2)

    graph = StaticGraph(function, [Input(x.shape, name="x")])
    graph.save(tmp_path / "saved.graph")
    for ready in (graph, load(tmp_path / "saved.graph")):
        assert fl.allclose(ready.run(x), function(x), atol=1e-5)
