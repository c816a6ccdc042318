"""Sequences of different lengths: padded in one tensor, or packed without padding."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import flambeau as fl
from flambeau import Tensor


class _Packed(NamedTuple):
    data: Tensor
    batch_sizes: Tensor
    sorted_indices: Tensor | None
    unsorted_indices: Tensor | None


class PackedSequence(_Packed):
    """Sequences sorted by falling length, step by step in one tensor.

    Args:
        data: (total length, ...): the first elements of all sequences, then the second, ...
        batch_sizes: int64, on the CPU: how many sequences reach each step.
        sorted_indices: which sequence is at each place, or None if they came sorted.
        unsorted_indices: the inverse permutation.
    """

    def __new__(
        cls,
        data: Tensor,
        batch_sizes: Tensor | None = None,
        sorted_indices: Tensor | None = None,
        unsorted_indices: Tensor | None = None,
    ) -> PackedSequence:
        if batch_sizes is None:
            raise ValueError("PackedSequence: batch_sizes are required")
        if unsorted_indices is None and sorted_indices is not None:
            unsorted_indices = sorted_indices.argsort()
        return super().__new__(cls, data, batch_sizes, sorted_indices, unsorted_indices)

    def to(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """The same with `data` converted; indices follow to its device."""
        data = self.data.to(*args, **kwargs)

        def follow(indices: Tensor | None) -> Tensor | None:
            return None if indices is None else indices.to(data.device)

        return PackedSequence(
            data, self.batch_sizes, follow(self.sorted_indices), follow(self.unsorted_indices)
        )

    @property
    def is_cuda(self) -> bool:
        """Whether the data are on a GPU."""
        return bool(self.data.is_cuda)


def _lengths_tensor(lengths: Any) -> Tensor:
    if isinstance(lengths, Tensor):
        return lengths
    return fl.tensor([int(length) for length in lengths], dtype=fl.int64)


def _pack(padded: Tensor, batch_sizes: Sequence[int]) -> Tensor:
    """(L, N, ...) sorted by falling length to (total length, ...)."""
    return fl.cat([padded[t, :count] for t, count in enumerate(batch_sizes)])


def pack_padded_sequence(
    input: Tensor, lengths: Any, batch_first: bool = False, enforce_sorted: bool = True
) -> PackedSequence:
    """Leave the padding out.

    Args:
        input: (L, N, ...), or (N, L, ...) with batch_first.
        lengths: the N lengths, a list or an int64 tensor on the CPU.
        enforce_sorted: the lengths must fall; otherwise they are sorted here.
    """
    lengths = _lengths_tensor(lengths)
    sorted_indices = None
    if not enforce_sorted:
        lengths, sorted_indices = lengths.sort(descending=True)
        sorted_indices = sorted_indices.to(input.device)
        input = input.index_select(0 if batch_first else 1, sorted_indices)
    if batch_first:
        input = input.transpose(0, 1)
    values = lengths.tolist()
    if len(values) != input.shape[1]:
        raise RuntimeError(
            f"pack_padded_sequence: one length per sequence is required, {input.shape[1]}, "
            f"got {len(values)}"
        )
    if not values or min(values) <= 0 or max(values) > input.shape[0]:
        raise RuntimeError(
            f"pack_padded_sequence: lengths in [1, {input.shape[0]}] are required, got {values}"
        )
    if values != sorted(values, reverse=True):
        raise RuntimeError(
            "pack_padded_sequence: lengths must fall when enforce_sorted=True; "
            f"pass enforce_sorted=False, got {values}"
        )
    batch_sizes = [sum(length > t for length in values) for t in range(values[0])]
    return PackedSequence(_pack(input, batch_sizes), fl.tensor(batch_sizes), sorted_indices)


def pack_like(padded: Tensor, packed: PackedSequence) -> PackedSequence:
    """Pack (L, N, ...), already in the packed order, with the lengths of another."""
    return PackedSequence(
        _pack(padded, packed.batch_sizes.tolist()),
        packed.batch_sizes,
        packed.sorted_indices,
        packed.unsorted_indices,
    )


def pad_packed_sequence(
    sequence: PackedSequence,
    batch_first: bool = False,
    padding_value: float = 0.0,
    total_length: int | None = None,
) -> tuple[Tensor, Tensor]:
    """The inverse of pack_padded_sequence.

    Returns:
        (L, N, ...) padded with `padding_value`, or (N, L, ...) with batch_first; and the lengths.
    """
    data, sizes = sequence.data, sequence.batch_sizes.tolist()
    steps = len(sizes)
    length = steps if total_length is None else total_length
    if length < steps:
        raise ValueError(
            f"pad_packed_sequence: total_length of at least {steps} is required, got {length}"
        )
    rows, start = [], 0
    for size in [*sizes, *[0] * (length - steps)]:
        filling = data.new_full((sizes[0] - size, *data.shape[1:]), padding_value)
        rows.append(fl.cat([data[start : start + size], filling]))
        start += size
    padded = fl.stack(rows)
    lengths = fl.tensor([sum(size > i for size in sizes) for i in range(sizes[0])])
    if sequence.unsorted_indices is not None:
        padded = padded.index_select(1, sequence.unsorted_indices)
        lengths = lengths[sequence.unsorted_indices.cpu()]
    return (padded.transpose(0, 1) if batch_first else padded), lengths


def pad_sequence(
    sequences: Iterable[Tensor],
    batch_first: bool = False,
    padding_value: float = 0.0,
    padding_side: str = "right",
) -> Tensor:
    """Stack sequences (L_i, ...) to (L, N, ...), or (N, L, ...) with batch_first.

    Args:
        sequences: tensors that differ in their first dimension only.
        padding_value: what the short ones are filled with.
        padding_side: "right" or "left".
    """
    if padding_side not in ("left", "right"):
        raise ValueError(f"pad_sequence: padding_side is left or right, got {padding_side!r}")
    sequences = list(sequences)
    if not sequences:
        raise RuntimeError("pad_sequence: at least one sequence is required, got an empty list")
    longest = max(sequence.shape[0] for sequence in sequences)
    rows = []
    for sequence in sequences:
        filling = sequence.new_full(
            (longest - sequence.shape[0], *sequence.shape[1:]), padding_value
        )
        parts = [sequence, filling] if padding_side == "right" else [filling, sequence]
        rows.append(fl.cat(parts))
    return fl.stack(rows, 0 if batch_first else 1)


def unpad_sequence(
    padded_sequences: Tensor, lengths: Tensor, batch_first: bool = False
) -> list[Tensor]:
    """The sequences of a padded tensor, without padding."""
    if not batch_first:
        padded_sequences = padded_sequences.transpose(0, 1)
    lengths = lengths.tolist()
    return [row[:length] for row, length in zip(padded_sequences, lengths, strict=True)]


def pack_sequence(sequences: Sequence[Tensor], enforce_sorted: bool = True) -> PackedSequence:
    """Pack a list of sequences."""
    lengths = [sequence.shape[0] for sequence in sequences]
    return pack_padded_sequence(pad_sequence(sequences), lengths, enforce_sorted=enforce_sorted)


def unpack_sequence(packed_sequences: PackedSequence) -> list[Tensor]:
    """The list of sequences that were packed."""
    padded, lengths = pad_packed_sequence(packed_sequences, batch_first=True)
    return unpad_sequence(padded, lengths, batch_first=True)
