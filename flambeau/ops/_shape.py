"""Shapes: composites over views."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flambeau
from flambeau import Tensor
from flambeau.ops._composite import composite


def _wrap(dim: int, count: int) -> int:
    range_ = max(count, 1)
    if not -range_ <= dim < range_:
        raise IndexError(
            f"Dimension out of range (expected to be in range of [{-range_}, {range_ - 1}], "
            f"but got {dim})"
        )
    return dim % range_


def _ints(values: tuple[Any, ...]) -> tuple[int, ...]:
    """Sizes given one by one or as one sequence."""
    if len(values) == 1 and not isinstance(values[0], (int, Tensor)):
        return tuple(values[0])
    return values


@composite(method=True)
def unflatten(input: Tensor, dim: int, sizes: Sequence[int]) -> Tensor:
    """Splits one dimension into several; one of the sizes may be -1."""
    at = _wrap(dim, input.dim())
    shape = list(input.shape)
    sizes = list(sizes)
    if -1 in sizes:
        known = 1
        for size in sizes:
            known *= size if size != -1 else 1
        if known and shape[at] % known == 0:
            sizes[sizes.index(-1)] = shape[at] // known
    product = 1
    for size in sizes:
        product *= size
    if product != shape[at]:
        raise RuntimeError(
            f"unflatten: Provided sizes {sizes} don't multiply up to the size of dim {dim} "
            f"({shape[at]}) in the input tensor"
        )
    return input.reshape((*shape[:at], *sizes, *shape[at + 1 :]))


@composite(method=True)
def ravel(input: Tensor) -> Tensor:
    """Returns all elements as a vector; a view where possible."""
    return input.reshape(-1)


@composite(method=True)
def movedim(input: Tensor, source: int | Sequence[int], destination: int | Sequence[int]) -> Tensor:
    """Moves dimensions to other positions; the others keep their order. A view."""
    count = input.dim()
    pairs = [[v] if isinstance(v, int) else list(v) for v in (source, destination)]
    if len(pairs[0]) != len(pairs[1]):
        raise RuntimeError(
            f"movedim: Invalid source or destination dims: source ({pairs[0]} dims) should "
            f"contain the same number of dims as destination ({pairs[1]} dims)"
        )
    sources = [_wrap(d, count) for d in pairs[0]]
    targets = [_wrap(d, count) for d in pairs[1]]
    if len(set(sources)) < len(sources) or len(set(targets)) < len(targets):
        raise RuntimeError("movedim: repeated dim in `source` or `destination`")
    rest = iter([d for d in range(count) if d not in sources])
    order = [sources[targets.index(d)] if d in targets else next(rest) for d in range(count)]
    return input.permute(order)


@composite(method=True)
def moveaxis(
    input: Tensor, source: int | Sequence[int], destination: int | Sequence[int]
) -> Tensor:
    """Moves dimensions to other positions, as movedim."""
    return movedim(input, source, destination)


@composite(method=True)
def adjoint(input: Tensor) -> Tensor:
    """Returns a view with the last two dimensions exchanged (real tensors have no conjugate)."""
    return input.mT


@composite()
def broadcast_tensors(*tensors: Any) -> tuple[Tensor, ...]:
    """Expands tensors to their common shape."""
    given = tensors[0] if len(tensors) == 1 and not isinstance(tensors[0], Tensor) else tensors
    shape = broadcast_shapes(*(x.shape for x in given))
    return tuple(x.expand(shape) for x in given)


def broadcast_shapes(*shapes: Sequence[int] | int) -> flambeau.Size:
    """Returns the shape to which all shapes broadcast.

    Raises:
        RuntimeError: they do not.
    """
    rows = [(s,) if isinstance(s, int) else tuple(s) for s in shapes]
    count = max((len(s) for s in rows), default=0)
    result = [1] * count
    for row in rows:
        for i, size in enumerate(row, count - len(row)):
            if size not in (1, result[i]) and result[i] != 1:
                raise RuntimeError(
                    "Shape mismatch: objects cannot be broadcast to a single shape, got "
                    + " and ".join(str(list(r)) for r in rows)
                )
            if size != 1:
                result[i] = size
    return flambeau.Size(result)


@composite()
def meshgrid(*tensors: Any, indexing: str = "ij") -> tuple[Tensor, ...]:
    """Returns one grid per vector: grids[k][i0, i1, ...] = vectors[k][ik].

    Args:
        *tensors: vectors or scalars of one dtype (or one sequence of them).
        indexing: 'ij' for matrix order, 'xy' exchanges the first two dimensions.
    """
    given = tensors[0] if len(tensors) == 1 and not isinstance(tensors[0], Tensor) else tensors
    vectors = [x.reshape(-1) for x in given]
    if any(x.dim() > 1 for x in given):
        raise RuntimeError("meshgrid: expected scalar or 1D tensors in the tensor list")
    if indexing not in ("ij", "xy"):
        raise RuntimeError(
            f'meshgrid: indexing must be one of "xy" or "ij", but received: {indexing}'
        )
    swap = indexing == "xy" and len(vectors) > 1
    if swap:
        vectors[:2] = vectors[1::-1]
    shape = [len(x) for x in vectors]
    grids = []
    for i, x in enumerate(vectors):
        lined = x.reshape([-1 if d == i else 1 for d in range(len(vectors))])
        grids.append(lined.expand(shape))
    if swap:
        grids[:2] = grids[1::-1]
        grids = [g.transpose(0, 1) for g in grids]
    return tuple(grids)


@composite()
def cartesian_prod(*tensors: Tensor) -> Tensor:
    """Returns all combinations of elements, one from each vector, as rows."""
    if len(tensors) == 1:
        return tensors[0]
    return flambeau.stack([g.reshape(-1) for g in meshgrid(*tensors)], -1)


@composite(method=True)
def repeat(input: Tensor, *sizes: Any) -> Tensor:
    """Tiles the tensor: sizes[d] copies along dimension d, new dimensions in front."""
    counts = list(_ints(sizes))
    if len(counts) < input.dim():
        raise RuntimeError(
            "repeat: Number of dimensions of repeat dims can not be smaller than number of "
            f"dimensions of tensor, got {counts} for shape {list(input.shape)}"
        )
    if any(n < 0 for n in counts):
        raise RuntimeError(f"repeat: counts must not be negative, got {counts}")
    shape = [1] * (len(counts) - input.dim()) + list(input.shape)
    spread = [length for pair in zip([1] * len(shape), shape, strict=True) for length in pair]
    tiled = [length for pair in zip(counts, shape, strict=True) for length in pair]
    whole = [n * length for n, length in zip(counts, shape, strict=True)]
    return (
        input.reshape(spread)
        .expand(tiled)
        .clone(memory_format=flambeau.contiguous_format)
        .view(whole)
    )


@composite(method=True)
def tile(input: Tensor, *dims: Any) -> Tensor:
    """Repeats the tensor as numpy.tile does: missing leading counts are 1."""
    counts = _ints(dims)
    return repeat(input, (1,) * (input.dim() - len(counts)) + tuple(counts))


@composite(method=True)
def view_as(input: Tensor, other: Tensor) -> Tensor:
    """Views the tensor under other's shape."""
    return input.view(other.shape)


@composite(method=True)
def reshape_as(input: Tensor, other: Tensor) -> Tensor:
    """Reshapes the tensor to other's shape."""
    return input.reshape(other.shape)


@composite(method=True)
def expand_as(input: Tensor, other: Tensor) -> Tensor:
    """Expands the tensor to other's shape."""
    return input.expand(other.shape)


def _at_least(count: int, tensors: tuple[Any, ...]) -> Any:
    if len(tensors) == 1 and not isinstance(tensors[0], Tensor):
        return tuple(_at_least(count, (x,)) for x in tensors[0])
    if len(tensors) > 1:
        return tuple(_at_least(count, (x,)) for x in tensors)
    x = tensors[0]
    if x.dim() >= count:
        return x
    if count == 3 and x.dim() == 2:
        return x.unsqueeze(-1)
    if count == 3:
        return x.reshape(1, -1, 1)
    return x.reshape((1,) * (count - x.dim()) + tuple(x.shape))


@composite()
def atleast_1d(*tensors: Any) -> Any:
    """Gives tensors at least one dimension."""
    return _at_least(1, tensors)


@composite()
def atleast_2d(*tensors: Any) -> Any:
    """Gives tensors at least two dimensions, new ones in front."""
    return _at_least(2, tensors)


@composite()
def atleast_3d(*tensors: Any) -> Any:
    """Gives tensors at least three dimensions, as numpy.atleast_3d."""
    return _at_least(3, tensors)


@composite()
def hstack(tensors: Sequence[Tensor]) -> Tensor:
    """Joins tensors horizontally: vectors along dimension 0, others along dimension 1."""
    raised = [atleast_1d(x) for x in tensors]
    return flambeau.cat(raised, 0 if raised[0].dim() == 1 else 1)


@composite()
def vstack(tensors: Sequence[Tensor]) -> Tensor:
    """Joins tensors as rows."""
    return flambeau.cat([atleast_2d(x) for x in tensors], 0)


@composite()
def dstack(tensors: Sequence[Tensor]) -> Tensor:
    """Joins tensors along the third dimension."""
    return flambeau.cat([atleast_3d(x) for x in tensors], 2)


@composite()
def column_stack(tensors: Sequence[Tensor]) -> Tensor:
    """Joins vectors as columns."""
    return flambeau.cat([x.reshape(-1, 1) if x.dim() <= 1 else x for x in tensors], 1)


@composite(method=True)
def hsplit(input: Tensor, indices_or_sections: Any) -> tuple[Tensor, ...]:
    """Splits horizontally: vectors along dimension 0, others along dimension 1."""
    pieces: tuple[Tensor, ...] = input.tensor_split(
        indices_or_sections, 0 if input.dim() == 1 else 1
    )
    return pieces


@composite(method=True)
def vsplit(input: Tensor, indices_or_sections: Any) -> tuple[Tensor, ...]:
    """Splits along dimension 0."""
    pieces: tuple[Tensor, ...] = input.tensor_split(indices_or_sections, 0)
    return pieces


@composite(method=True)
def rot90(input: Tensor, k: int = 1, dims: Sequence[int] = (0, 1)) -> Tensor:
    """Rotates by k quarter turns in the plane of two dimensions."""
    a, b = dims
    k %= 4
    if k == 0:
        return input.clone()
    if k == 2:
        return input.flip((a, b))
    return input.flip(b).transpose(a, b) if k == 1 else input.transpose(a, b).flip(b)


@composite(method=True)
def fliplr(input: Tensor) -> Tensor:
    """Reverses the columns."""
    return input.flip(1)


@composite(method=True)
def flipud(input: Tensor) -> Tensor:
    """Reverses the rows."""
    return input.flip(0)
