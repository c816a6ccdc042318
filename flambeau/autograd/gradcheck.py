"""Checks of gradients against finite differences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import flambeau
from flambeau import Tensor
from flambeau.autograd._backward import grad


class GradcheckError(RuntimeError):
    """A gradient differs from the finite difference."""


def _outputs(function: Callable[..., Any], inputs: Sequence[Any]) -> list[Tensor]:
    result = function(*inputs)
    results = result if isinstance(result, (tuple, list)) else (result,)
    return [x for x in results if isinstance(x, Tensor) and x.is_floating_point()]


def _differentiable(inputs: Sequence[Any]) -> list[int]:
    return [i for i, x in enumerate(inputs) if isinstance(x, Tensor) and x.requires_grad]


def _numerical(
    function: Callable[..., Any], inputs: Sequence[Any], which: int, eps: float
) -> list[Tensor]:
    """The Jacobian of every output to one input: (elements of input, elements of output)."""
    x = inputs[which]
    rows: list[list[Tensor]] = []
    with flambeau.no_grad():
        copies = [t.detach().clone() if isinstance(t, Tensor) else t for t in inputs]
        flat = copies[which] = x.detach().clone().contiguous()
        values = flat.view(-1)
        for i in range(values.numel()):
            at = values[i].item()
            values[i] = at + eps
            above = [y.clone() for y in _outputs(function, copies)]
            values[i] = at - eps
            below = [y.clone() for y in _outputs(function, copies)]
            values[i] = at
            rows.append(
                [((a - b) / (2 * eps)).reshape(-1) for a, b in zip(above, below, strict=True)]
            )
    if not rows:
        return []
    return [flambeau.stack(list(column)) for column in zip(*rows, strict=True)]


def _analytical(outputs: list[Tensor], x: Tensor, which: int) -> Tensor:
    """The Jacobian of one output to one input by one backward pass per output element."""
    y = outputs[which]
    columns = []
    for i in range(y.numel()):
        weight = flambeau.zeros(y.numel(), dtype=y.dtype, device=y.device)
        weight[i] = 1
        (g,) = grad(y, x, weight.view(y.shape), retain_graph=True, allow_unused=True)
        columns.append((g if g is not None else flambeau.zeros_like(x)).reshape(-1))
    if not columns:
        return flambeau.zeros(x.numel(), 0, dtype=x.dtype, device=x.device)
    return flambeau.stack(columns, 1)


def gradcheck(
    func: Callable[..., Any],
    inputs: Tensor | Sequence[Any],
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
    **_unused: Any,
) -> bool:
    """Compares gradients with central finite differences, element by element.

    Args:
        func: a function of tensors; its floating outputs are checked.
        inputs: its arguments; float64 tensors that require gradients are checked.
        eps: step of the differences.
        atol, rtol: tolerances of the comparison.
        raise_exception: False returns False instead.

    Returns:
        True if all gradients agree.

    Raises:
        RuntimeError: a gradient differs; the text shows both Jacobians.
    """
    arguments = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    checked = _differentiable(arguments)
    if not checked:
        raise ValueError(
            "gradcheck expects at least one input tensor to require gradient, but none of the "
            "them have requires_grad=True."
        )
    outputs = _outputs(func, arguments)
    for i in checked:
        numerical = _numerical(func, arguments, i, eps)
        for k, expected in enumerate(numerical):
            if not outputs[k].requires_grad:
                got = flambeau.zeros_like(expected)
            else:
                got = _analytical(outputs, arguments[i], k)
            if not flambeau.allclose(got, expected.to(got.dtype), rtol=rtol, atol=atol):
                if not raise_exception:
                    return False
                raise GradcheckError(
                    f"Jacobian mismatch for output {k} with respect to input {i},\n"
                    f"numerical:{expected}\nanalytical:{got}\n"
                )
    return True


def gradgradcheck(
    func: Callable[..., Any],
    inputs: Tensor | Sequence[Any],
    grad_outputs: Sequence[Tensor] | None = None,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
    **_unused: Any,
) -> bool:
    """Compares second derivatives with finite differences of the first.

    Args:
        func: a function of tensors.
        inputs: its arguments, float64.
        grad_outputs: weights of the outputs; fixed pseudo-random ones if None.
        eps, atol, rtol, raise_exception: as for gradcheck.

    Returns:
        True if all second derivatives agree.

    Raises:
        RuntimeError: a second derivative differs.
    """
    arguments = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    checked = _differentiable(arguments)
    outputs = [y for y in _outputs(func, arguments) if y.requires_grad]
    if grad_outputs is None:
        grad_outputs = [
            (flambeau.arange(y.numel(), dtype=y.dtype, device=y.device) * 0.7)
            .sin()
            .reshape(y.shape)
            + 1.5
            for y in outputs
        ]
    weights = [g.detach().clone().requires_grad_() for g in grad_outputs]

    def first(*args: Any) -> tuple[Tensor, ...]:
        given, scale = list(args[: len(arguments)]), args[len(arguments) :]
        with flambeau.enable_grad():
            wanted = []
            for i in checked:
                if not given[i].requires_grad:
                    given[i] = given[i].detach().requires_grad_()
                wanted.append(given[i])
            results = [y for y in _outputs(func, given) if y.requires_grad]
            return grad(
                results, wanted, scale, create_graph=True, allow_unused=True, materialize_grads=True
            )

    return gradcheck(
        first,
        [*arguments, *weights],
        eps=eps,
        atol=atol,
        rtol=rtol,
        raise_exception=raise_exception,
    )
