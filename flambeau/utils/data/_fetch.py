"""Reads one batch of a dataset, given the indices that a sampler chose."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import Any

import flambeau
from flambeau.utils.data._collate import default_collate
from flambeau.utils.data.dataset import IterableDataset, Subset, TensorDataset, samples_at

Reader = Callable[[Any], Any]


def batch_reader(
    dataset: Any, joins: bool, collate_fn: Callable[[Any], Any], drop_last: bool
) -> Reader:
    """Returns the function from indices to a batch.

    Args:
        dataset: indexed or iterable dataset.
        joins: True if the function gets a list of indices and joins their samples; False if it
            gets a single index and converts one sample.
        collate_fn: joins a list of samples, or converts one.
        drop_last: whether an iterable dataset's last, shorter batch is left out.

    Returns:
        A function; for an iterable dataset it reads on from where it was and raises StopIteration
        at the end.
    """
    if isinstance(dataset, IterableDataset):
        if joins:
            return _stream_batches(dataset, collate_fn, drop_last)
        stream = iter(dataset)
        return lambda _: collate_fn(next(stream))
    if collate_fn is default_collate and joins:
        whole = _whole_batches(dataset)
        if whole is not None:
            return whole

    def read(indices: Any) -> Any:
        try:
            return collate_fn(samples_at(dataset, indices) if joins else dataset[indices])
        except StopIteration as error:
            # It would look like the end of the data.
            raise RuntimeError(
                f"DataLoader: {type(dataset).__name__} raised StopIteration for {indices}; "
                "an indexed dataset raises IndexError"
            ) from error

    return read


def _stream_batches(dataset: Any, collate_fn: Callable[[Any], Any], drop_last: bool) -> Reader:
    stream = iter(dataset)

    def read(indices: list[int]) -> Any:
        samples = list(itertools.islice(stream, len(indices)))
        if not samples or (drop_last and len(samples) < len(indices)):
            raise StopIteration
        return collate_fn(samples)

    return read


def _rows(tensors: tuple[Any, ...], indices: list[int]) -> list[Any]:
    index = flambeau.tensor(indices)
    if min(indices) < 0:
        return [tensor[index] for tensor in tensors]
    return [tensor.index_select(0, index) for tensor in tensors]


def _whole_batches(dataset: Any) -> Reader | None:
    """Returns a reader that indexes tensors once per batch, if that gives the same batches."""
    kind = type(dataset)
    getitem = getattr(kind, "__getitem__", None)
    if hasattr(kind, "__getitems__") and kind.__getitems__ is not Subset.__getitems__:
        return None
    if getitem is TensorDataset.__getitem__:
        return functools.partial(_rows, dataset.tensors)
    if getitem is Subset.__getitem__:
        inner = _whole_batches(dataset.dataset)
        if inner is not None:
            positions = dataset.indices
            return lambda indices: inner([positions[index] for index in indices])
    return None
