"""Semantics of the backward pass: accumulation, views, versions, hooks, custom functions."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import Any

import pytest

import flambeau as torch


def leaf(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


def test_gradients_accumulate() -> None:
    x = leaf(1.0, 2.0)
    (x * x).sum().backward()
    (x * 3).sum().backward()
    assert x.grad.tolist() == [5.0, 7.0]


def test_backward_needs_a_scalar_or_a_gradient() -> None:
    x = leaf(1.0, 2.0)
    with pytest.raises(RuntimeError, match="scalar outputs"):
        (x * 2).backward()
    (x * 2).backward(torch.tensor([1.0, 10.0], dtype=torch.float64))
    assert x.grad.tolist() == [2.0, 20.0]


def test_backward_twice() -> None:
    x = leaf(3.0)
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.tolist() == [12.0]
    with pytest.raises(RuntimeError, match="second time"):
        y.backward()


def test_broadcast_gradients_are_summed() -> None:
    x, row = leaf(1.0), torch.ones(3, 4, dtype=torch.float64)
    (x * row).sum().backward()
    assert x.grad.tolist() == [12.0]


def test_second_derivative() -> None:
    x = leaf(2.0)
    (first,) = torch.autograd.grad((x**3).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), x)
    assert first.item() == 12.0
    assert second.item() == 12.0


def test_grad_of_unused_input() -> None:
    x, y = leaf(1.0), leaf(2.0)
    with pytest.raises(RuntimeError, match="allow_unused"):
        torch.autograd.grad((x * 2).sum(), [x, y])
    gx, gy = torch.autograd.grad((x * 2).sum(), [x, y], allow_unused=True)
    assert gx.item() == 2.0
    assert gy is None


def test_modes() -> None:
    x = leaf(1.0)
    with torch.no_grad():
        assert not (x * 2).requires_grad
        with torch.enable_grad():
            assert (x * 2).requires_grad
    with torch.inference_mode():
        y = x * 2
    with pytest.raises(RuntimeError, match="Inference tensors"):
        _ = y * x

    @torch.no_grad()
    def inside() -> bool:
        return torch.is_grad_enabled()

    assert not inside()
    assert torch.is_grad_enabled()


def test_leaf_in_place() -> None:
    x = leaf(1.0, 2.0)
    with pytest.raises(RuntimeError, match="leaf Variable that requires grad"):
        x.add_(1)
    with pytest.raises(RuntimeError, match="view of a leaf"):
        x[0] = 1
    with torch.no_grad():
        x.add_(1)
    assert x.tolist() == [2.0, 3.0]


def test_version_error_names_both_lines() -> None:
    x = leaf(1.0, 2.0)
    y = x * 2
    z = y * y
    y.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation") as error:
        z.sum().backward()
    assert str(error.value).count("test_autograd.py") == 2


def test_write_through_a_view() -> None:
    w = leaf(5.0)
    x = torch.zeros(3, dtype=torch.float64)
    row = x[1:]
    row.mul_(2)
    x[0] = (w * 2).sum()
    assert x.requires_grad
    assert row.requires_grad
    x.sum().backward()
    assert w.grad.tolist() == [2.0]


def test_write_into_a_view_of_a_result() -> None:
    x = leaf(1.0, 2.0, 3.0)
    y = x * 1
    piece = y[:2]
    piece.mul_(10)
    (y * torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)).sum().backward()
    assert x.grad.tolist() == [10.0, 20.0, 3.0]
    assert type(y.grad_fn.name()) is str
    assert y.grad_fn.name() == "CopySlices"


def test_detach_and_data() -> None:
    x = leaf(1.0, 2.0)
    y = x * 2
    assert not y.detach().requires_grad
    assert y.detach().grad_fn is None
    z = y * y
    y.data.add_(1)  # not noticed, as in PyTorch
    z.sum().backward()
    x.data = torch.tensor([7.0, 8.0], dtype=torch.float64)
    assert x.tolist() == [7.0, 8.0]


def test_hooks() -> None:
    x = leaf(1.0)
    y = x * 2
    seen: list[float] = []
    handle = y.register_hook(lambda g: seen.append(g.item()))
    x.register_hook(lambda g: g * 10)
    y.sum().backward(retain_graph=True)
    handle.remove()
    y.sum().backward()
    assert seen == [1.0]
    assert x.grad.tolist() == [40.0]


def test_retain_grad() -> None:
    x = leaf(1.0)
    y = x * 2
    y.retain_grad()
    (y * 3).sum().backward()
    assert y.grad.tolist() == [3.0]


def test_graph_is_visible() -> None:
    x = leaf(1.0)
    y = (x * 2 + 1).sum()
    assert y.grad_fn.name() == "SumBackward0"
    add = y.grad_fn.next_functions[0][0]
    assert add.name() == "AddBackward0"
    multiply = add.next_functions[0][0]
    assert multiply.next_functions[0][0].name() == "AccumulateGrad"
    assert multiply.next_functions[0][0].variable is x


def test_custom_function() -> None:
    class Cube(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
            ctx.save_for_backward(x)
            return x**3

        @staticmethod
        def backward(ctx: Any, g: torch.Tensor) -> torch.Tensor:
            (x,) = ctx.saved_tensors
            return g * 3 * x * x

    x = leaf(2.0)
    (first,) = torch.autograd.grad(Cube.apply(x).sum(), x, create_graph=True)
    assert first.item() == 12.0
    (second,) = torch.autograd.grad(first.sum(), x)
    assert second.item() == 12.0
    assert Cube.apply(x).grad_fn.name() == "CubeBackward"
    assert torch.autograd.gradcheck(Cube.apply, x)
    assert torch.autograd.gradgradcheck(Cube.apply, x)


def test_custom_function_checks_its_results() -> None:
    class Wrong(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return x + y

        @staticmethod
        def backward(ctx: Any, g: torch.Tensor) -> torch.Tensor:
            return g

    with pytest.raises(RuntimeError, match="incorrect number of gradients"):
        Wrong.apply(leaf(1.0), leaf(2.0)).sum().backward()


def test_a_deep_graph_does_not_overflow() -> None:
    x = leaf(1.0)
    y = x
    for _ in range(1_000_000):
        y = y + 1
    y.sum().backward()
    assert x.grad.tolist() == [1.0]
    del y


def test_graphs_are_freed() -> None:
    class Marked(torch.Tensor):
        pass

    x = torch.ones(3).as_subclass(Marked)
    reference = weakref.ref(x)
    x.requires_grad_()
    y = (x * x).sum()
    y.backward()
    del x, y
    gc.collect()
    assert reference() is None


def test_a_hook_that_refers_to_its_tensor_is_collected() -> None:
    x = torch.ones(2, requires_grad=True)
    reference = weakref.ref(x)
    x.register_hook(lambda g, x=x: None)
    del x
    gc.collect()
    assert reference() is None


def test_an_error_in_a_hook_leaves_the_graph_usable() -> None:
    x = leaf(1.0)
    y = x * 2

    def fail(_: torch.Tensor) -> None:
        raise ValueError("no")

    handle = y.register_hook(fail)
    with pytest.raises(ValueError, match="no"):
        (y * 3).sum().backward(retain_graph=True)
    handle.remove()
    (y * 3).sum().backward()
    assert x.grad.tolist() == [6.0]


def test_backward_inside_backward() -> None:
    x = leaf(3.0)
    inner: list[float] = []

    def hook(_: torch.Tensor) -> None:
        with torch.enable_grad():
            z = leaf(4.0)
            (z * z).sum().backward()
            inner.append(z.grad.item())

    y = x * 2
    y.register_hook(hook)
    y.sum().backward()
    assert inner == [8.0]
    assert x.grad.tolist() == [2.0]


def test_threads_share_a_leaf() -> None:
    x = torch.ones(1000, requires_grad=True)
    results: list[float] = []

    def work() -> None:
        for _ in range(20):
            (g,) = torch.autograd.grad((x * x).sum(), x)
        results.append(g.sum().item())

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [2000.0] * 4


def test_other_threads_run_during_long_operators() -> None:
    # Without the lock let go, the counting thread could not step while one product computes.
    a = torch.ones(1500, 1500)
    counted: list[int] = [0]
    stop = threading.Event()

    def count() -> None:
        while not stop.is_set():
            counted[0] += 1

    thread = threading.Thread(target=count)
    thread.start()
    before = counted[0]
    for _ in range(3):
        a.mm(a)
    assert counted[0] > before
    stop.set()
    thread.join()


# --- parts of a tensor ------------------------------------------------------------------------


def test_parts_have_one_node() -> None:
    x = torch.arange(12.0).reshape(4, 3).requires_grad_()
    rows = x.unbind()
    assert {row.grad_fn for row in rows} == {rows[0].grad_fn}
    assert rows[2].output_nr == 2 and rows[0].grad_fn.name() == "UnbindBackward0"
    (rows[0] * rows[3]).sum().backward()
    assert x.grad is not None
    expected = [[9.0, 10, 11], [0, 0, 0], [0, 0, 0], [0, 1, 2]]
    assert x.grad.tolist() == expected


def test_parts_of_several_sizes() -> None:
    x = torch.arange(5.0).requires_grad_()
    a, b, c = x.split([2, 0, 3])
    (grad,) = torch.autograd.grad((a.sum() * c * c).sum() + b.sum(), x)
    assert grad.tolist() == [29.0, 29.0, 4.0, 6.0, 8.0]
    first, _ = x.chunk(2)
    (grad,) = torch.autograd.grad(first.sum(), x)
    assert grad.tolist() == [1.0, 1.0, 1.0, 0.0, 0.0]


def test_parts_are_differentiable_twice() -> None:
    x = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda x: sum(r**3 for r in x.unbind(1)), (x,))
    assert torch.autograd.gradcheck(lambda x: torch.cat(x.split(2)[::-1]).tanh(), (x,))


def test_parts_that_are_written_to() -> None:
    x = torch.ones(3, 2, requires_grad=True)
    y = x * 2
    first, second, _ = y.unbind()
    first.mul_(3)
    (y.sum() + second.sum()).backward()
    assert x.grad is not None and x.grad.tolist() == [[6.0, 6.0], [4.0, 4.0], [2.0, 2.0]]


# --- memory of gradients that is used again -----------------------------------------------------


def test_gradients_that_somebody_keeps_are_not_overwritten() -> None:
    kept = []
    x = leaf(1.0, 2.0)
    y = x * 3
    y.register_hook(kept.append)
    (y * 5).sum().backward()
    assert kept[0].tolist() == [5.0, 5.0] and x.grad is not None and x.grad.tolist() == [15.0] * 2
    given = torch.tensor([1.0, 10.0], dtype=torch.float64)
    (x * 3).backward(given)
    assert given.tolist() == [1.0, 10.0]


def test_memory_of_others_is_not_overwritten() -> None:
    shared = torch.ones(2, dtype=torch.float64)

    class Hand(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
            return x.clone()

        @staticmethod
        def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:
            return shared.data

    x = leaf(1.0, 2.0)
    Hand.apply(x * 3 * 7).sum().backward()
    assert x.grad is not None and x.grad.tolist() == [21.0, 21.0]
    assert shared.tolist() == [1.0, 1.0]
