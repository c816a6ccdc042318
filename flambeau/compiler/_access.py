"""How a step walks through memory, independent of the shape in which it was written down.

Note [Accesses]
A program visits the elements of its shape in row-major order, 0, 1, ... count - 1. An access is
the function from this running number to memory: lengths and strides with neighbours merged where
they can be. So (64, 100) and (6400,) of contiguous memory are the same access, and two steps can
share a loop if there is a shape that refines the lengths of all their accesses. A row of a
program with rows is `columns` consecutive numbers; one number per row is an access that does not
move within the row.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from flambeau.compiler._graph import Buffer, Value

if TYPE_CHECKING:
    from flambeau import dtype


class Access(NamedTuple):
    """Memory by running number; no length is 1 and no two neighbours can be merged."""

    buffer: Buffer
    dtype: dtype
    offset: int
    lengths: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def span(self) -> tuple[int, int]:
        """First byte and the byte after the last one that it reaches."""
        last = 0
        for length, stride in zip(self.lengths, self.strides):
            last += (length - 1) * stride
        size = self.dtype.itemsize
        return self.offset * size, (self.offset + last + 1) * size

    @property
    def cuts(self) -> tuple[int, ...]:
        """The numbers of elements after which an outer index moves."""
        found = []
        inner = 1
        for length in reversed(self.lengths[1:]):
            inner *= length
            found.append(inner)
        return tuple(found)

    def moves_within(self, columns: int) -> bool:
        """Whether the first `columns` elements are not all the same one."""
        return bool(self.lengths) and columns > 1 and self.strides[-1] != 0

    def repeated(self, columns: int) -> Access:
        """Each element `columns` times in a row: a row's number seen from its elements."""
        return merged(
            self.buffer, self.dtype, self.offset, (*self.lengths, columns), (*self.strides, 0)
        )


def merged(
    buffer: Buffer, dtype: dtype, offset: int, shape: Iterable[int], strides: Iterable[int]
) -> Access:
    """The access of these lengths and strides."""
    lengths: list[int] = []
    steps: list[int] = []
    for length, stride in zip(shape, strides):
        if length == 1:
            continue
        if lengths and steps[-1] == stride * length:
            lengths[-1] *= length
            steps[-1] = stride
        else:
            lengths.append(length)
            steps.append(stride)
    return Access(buffer, dtype, offset, tuple(lengths), tuple(steps))


def access_of(value: Value, shape: tuple[int, ...]) -> Access:
    """The access of a value that broadcasts to `shape`."""
    lead = len(shape) - len(value.shape)
    strides = [0] * lead
    for length, stride in zip(value.shape, value.strides):
        strides.append(0 if length == 1 else stride)
    return merged(value.buffer, value.dtype, value.offset, shape, strides)


def joint_cuts(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...] | None:
    """The cuts of a shape that refines both, if there is one."""
    if a == b:
        return a
    cuts = tuple(sorted({*a, *b}))
    for inner, outer in zip(cuts, cuts[1:]):
        if outer % inner:
            return None
    return cuts


def shape_of(count: int, cuts: tuple[int, ...]) -> tuple[int, ...]:
    """The shape with these cuts."""
    if count == 1 and not cuts:
        return ()
    shape = []
    inner = 1
    for cut in (*cuts, count):
        shape.append(cut // inner)
        inner = cut
    return tuple(reversed(shape))


def value_of(access: Access, count: int, cuts: tuple[int, ...], row: bool) -> Value:
    """The access as a value that broadcasts to the shape with these cuts.

    Args:
        row: whether it is one number per row: the last axis gets length 1.
    """
    shape = shape_of(count, cuts)
    strides = []
    # From the inside out, every length of the access is a product of lengths of the shape.
    lengths = list(access.lengths)
    steps = list(access.strides)
    rest, step = (lengths.pop(), steps.pop()) if lengths else (1, 0)
    for length in reversed(shape):
        if length == 1:
            strides.append(0)
            continue
        strides.append(step)
        rest //= length
        step *= length
        if rest == 1 and lengths:
            rest, step = lengths.pop(), steps.pop()
    strides.reverse()
    kept = tuple(1 if stride == 0 else length for length, stride in zip(shape, strides))
    # A stride of an axis of length 1 is never used; what contiguous memory would have reads best.
    named = list(strides)
    inner = 1
    for axis in range(len(kept) - 1, -1, -1):
        if kept[axis] == 1:
            named[axis] = inner
        inner = kept[axis] * named[axis]
    lead = 0
    while not row and lead < len(kept) and kept[lead] == 1:
        lead += 1
    return Value(access.buffer, kept[lead:], tuple(named[lead:]), access.offset, access.dtype)
