"""Products whose arguments come in several notations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flambeau import Tensor, _core
from flambeau.ops._composite import composite

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def _subscripts(numbers: Sequence[Any]) -> str:
    """Returns a list of dimension numbers (and `...`) as letters."""
    for number in numbers:
        if number is not ... and not 0 <= number < len(_LETTERS):
            raise ValueError(
                f"einsum(): subscripts in a list must be in 0 to {len(_LETTERS) - 1}, got {number}"
            )
    return "".join("..." if number is ... else _LETTERS[number] for number in numbers)


@composite()
def einsum(*args: Any) -> Tensor:
    """Returns a sum of products over named dimensions.

    Args:
        args: an equation and tensors: `einsum("bij,bjk->bik", x, y)`. Each letter is a dimension;
            letters that the part behind `->` lacks are summed over; `...` stands for any
            dimensions, which broadcast. Or tensors and lists of numbers instead of letters in
            turn: `einsum(x, [0, 1], y, [1, 2], [0, 2])`.

    Returns:
        A tensor with the dimensions behind `->`; without it, with the letters that occur once, in
        alphabetical order.

    Raises:
        RuntimeError: the equation does not fit the tensors.

    Example:
        >>> flambeau.einsum("ij,ij->i", flambeau.ones(2, 3), flambeau.ones(2, 3))
        tensor([3., 3.])
    """
    if not args:
        raise ValueError("einsum(): must specify the equation string and at least one operand")
    if isinstance(args[0], str):
        equation, operands = args[0], args[1:]
        if len(operands) == 1 and isinstance(operands[0], (list, tuple)):
            operands = tuple(operands[0])
    else:
        operands = args[: len(args) // 2 * 2 : 2]
        equation = ",".join(_subscripts(numbers) for numbers in args[1::2])
        if len(args) % 2:
            equation += "->" + _subscripts(args[-1])
    result: Tensor = _core.private["einsum"](equation, list(operands))
    return result


@composite()
def tensordot(a: Tensor, b: Tensor, dims: Any = 2) -> Tensor:
    """Returns products of two tensors, summed over pairs of dimensions.

    Args:
        a: the first tensor.
        b: the second tensor, of the same dtype.
        dims: how many of the last dimensions of `a` meet the first of `b`; or two lists of
            dimensions, one for each.

    Returns:
        A tensor with the other dimensions of `a`, then those of `b`.

    Raises:
        RuntimeError: the dimensions' lengths differ.
    """
    if isinstance(dims, Tensor):
        dims = dims.tolist()
    if isinstance(dims, int):
        if dims < 0 or dims > min(a.dim(), b.dim()):
            raise RuntimeError(
                f"tensordot: expects 0 <= dims <= {min(a.dim(), b.dim())}, but got dims={dims}"
            )
        dims = (range(a.dim() - dims, a.dim()), range(dims))
    first, second = ([part] if isinstance(part, int) else list(part) for part in dims)
    result: Tensor = _core.private["tensordot"](a, b, first, second)
    return result


@composite()
def chain_matmul(*matrices: Tensor) -> Tensor:
    """Returns the product of two or more matrices, multiplied in the cheapest order.

    Args:
        matrices: (n0, n1), (n1, n2), ... of one dtype.

    Returns:
        A tensor (n0, n_last).

    Raises:
        RuntimeError: neighbours' shapes do not fit.
    """
    if not matrices:
        raise RuntimeError("chain_matmul: expected one or more matrices, got none")
    sizes = [x.shape[0] for x in matrices] + [matrices[-1].shape[1]]
    count = len(matrices)
    # cost[i, j]: multiplications for the product of matrices i to j; split[i, j]: the last one.
    cost = {(i, i): 0 for i in range(count)}
    split: dict[tuple[int, int], int] = {}
    for width in range(1, count):
        for i in range(count - width):
            j = i + width
            options = [
                (cost[i, k] + cost[k + 1, j] + sizes[i] * sizes[k + 1] * sizes[j + 1], k)
                for k in range(i, j)
            ]
            cost[i, j], split[i, j] = min(options)

    def product(i: int, j: int) -> Tensor:
        if i == j:
            return matrices[i]
        k = split[i, j]
        return product(i, k) @ product(k + 1, j)

    return product(0, count - 1)
