"""Joins samples into a batch."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Mapping, MutableMapping, MutableSequence, Sequence
from typing import TYPE_CHECKING, Any

import flambeau
from flambeau.utils.data import _worker_info

if TYPE_CHECKING:
    from flambeau import Tensor


def default_collate(batch: Any) -> Any:
    """Joins a list of samples into one batch, keeping their structure.

    Args:
        batch: non-empty list of samples of one structure. Tensors and NumPy arrays are stacked in
            a new first dimension, numbers become a tensor (float64 or int64), strings a list;
            mappings, named tuples, tuples and lists are joined item by item.

    Returns:
        The batch; where the samples have a tuple, it has a list.

    Raises:
        TypeError: a sample is none of these.
        RuntimeError: sequences of different lengths, tensors of different shapes.

    Example:
        >>> default_collate([(1, "a"), (2, "b")])
        [tensor([1, 2]), ('a', 'b')]
    """
    first = batch[0]
    if isinstance(first, flambeau.Tensor):
        return _stack(list(batch))
    if _is_numpy(first):
        return _collate_numpy(batch)
    if isinstance(first, float):
        return flambeau.tensor(batch, dtype=flambeau.float64)
    if isinstance(first, int):
        return flambeau.tensor(batch)
    if isinstance(first, (str, bytes)):
        return batch
    if isinstance(first, Mapping):
        return _rebuild_mapping(
            first, {key: default_collate([sample[key] for sample in batch]) for key in first}
        )
    if isinstance(first, Sequence):
        if any(len(sample) != len(first) for sample in batch):
            raise RuntimeError(
                "default_collate: each element in list of batch should be of equal size, got "
                f"lengths {sorted({len(sample) for sample in batch})}"
            )
        return _rebuild_sequence(first, [default_collate(c) for c in zip(*batch, strict=True)])
    raise TypeError(
        "default_collate: batch must contain tensors, numpy arrays, numbers, dicts or lists; "
        f"found {type(first)}; pass collate_fn to DataLoader to join your own types"
    )


def default_convert(data: Any) -> Any:
    """Turns the NumPy arrays in one sample into tensors, and leaves the rest as it is.

    Args:
        data: a sample: an array, or mappings and sequences of such.

    Returns:
        The same structure with tensors.

    Example:
        >>> default_convert({"a": 1, "b": [2, 3]})
        {'a': 1, 'b': [2, 3]}
    """
    if isinstance(data, flambeau.Tensor) or isinstance(data, (str, bytes)):
        return data
    if _is_numpy(data):
        return data if _is_text_array(data) else flambeau.as_tensor(data)
    if isinstance(data, Mapping):
        return _rebuild_mapping(data, {key: default_convert(data[key]) for key in data})
    if isinstance(data, Sequence):
        return _rebuild_sequence(data, [default_convert(item) for item in data])
    return data


def map_tensors(function: Callable[[Any], Any], data: Any) -> Any:
    """Applies `function` to every tensor in a batch and returns the batch of the results."""
    if isinstance(data, flambeau.Tensor):
        return function(data)
    if isinstance(data, (str, bytes)):
        return data
    if isinstance(data, Mapping):
        return _rebuild_mapping(data, {key: map_tensors(function, data[key]) for key in data})
    if isinstance(data, Sequence):
        return _rebuild_sequence(data, [map_tensors(function, item) for item in data])
    return data


def _rebuild_mapping(like: Any, values: dict[Any, Any]) -> Any:
    """Returns a mapping of the type of `like`, with its other attributes, if the type allows."""
    try:
        if isinstance(like, MutableMapping):
            mapping = copy.copy(like)
            mapping.update(values)
            return mapping
        return type(like)(values)
    except TypeError:
        return values


def _rebuild_sequence(like: Any, values: list[Any]) -> Any:
    if isinstance(like, tuple):
        return type(like)(*values) if hasattr(like, "_fields") else values
    try:
        if isinstance(like, MutableSequence):
            sequence = copy.copy(like)
            for position, value in enumerate(values):
                sequence[position] = value
            return sequence
        return type(like)(values)
    except TypeError:
        return values


def _is_numpy(value: Any) -> bool:
    # What came from NumPy can only exist where NumPy is loaded already.
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, (numpy.ndarray, numpy.generic))


def _is_text_array(value: Any) -> bool:
    return value.dtype.kind in "SUO"


def _collate_numpy(batch: Any) -> Any:
    first = batch[0]
    if _is_text_array(first):
        if isinstance(first, (str, bytes)):
            return batch
        raise TypeError(
            "default_collate: batch must contain tensors, numpy arrays, numbers, dicts or lists; "
            f"found an array of dtype {first.dtype}"
        )
    if isinstance(first, sys.modules["numpy"].generic):
        return flambeau.as_tensor(sys.modules["numpy"].array(batch))
    return _stack([flambeau.as_tensor(array) for array in batch])


def _stack(tensors: list[Tensor]) -> Tensor:
    """Stacks tensors; in a worker, where they can be handed over without another copy."""
    first, empty = tensors[0], _worker_info.empty_for_batch
    if empty is not None and all(_are_alike(tensor, first) for tensor in tensors):
        count = len(tensors)
        out = empty((count, *first.shape), first.dtype, count * first.numel() * first.itemsize)
        if out is not None:
            for position, tensor in enumerate(tensors):
                out[position] = tensor
            return out
    return flambeau.stack(tensors, 0)


def _are_alike(one: Tensor, other: Tensor) -> bool:
    return one.dtype == other.dtype and one.shape == other.shape and not one.requires_grad
