"""Datasets: where samples come from, and how they are put together and split."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import flambeau

if TYPE_CHECKING:
    from flambeau import Generator, Tensor

T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")


class Dataset(Generic[T_co]):
    """A collection of samples looked up by index: write `__getitem__`, and mostly `__len__`.

    A dataset may also write `__getitems__(indices)`, which returns the list of samples of a whole
    batch; loaders then call it instead of `__getitem__`.

    Example:
        >>> class Squares(Dataset):
        ...     def __len__(self):
        ...         return 10
        ...     def __getitem__(self, index):
        ...         return index * index
        >>> (Squares() + Squares())[13]
        9
    """

    def __getitem__(self, index: Any) -> T_co:
        raise NotImplementedError(f"{type(self).__name__}: __getitem__(index) is required")

    def __add__(self, other: Dataset[Any]) -> ConcatDataset[Any]:
        return ConcatDataset([self, other])


class IterableDataset(Dataset[T_co], Iterable[T_co]):
    """A stream of samples: write `__iter__`.

    With worker processes each worker iterates over its own copy: divide the stream by
    `get_worker_info()`, or every sample comes once per worker.
    """

    def __add__(self, other: Dataset[Any]) -> ChainDataset:  # type: ignore[override]
        return ChainDataset([self, other])


class TensorDataset(Dataset["tuple[Tensor, ...]"]):
    """Sample i is the tuple of the i-th rows of the tensors.

    Args:
        tensors: tensors of the same length in dimension 0.

    Raises:
        AssertionError: the lengths differ.
    """

    tensors: tuple[Tensor, ...]

    def __init__(self, *tensors: Tensor) -> None:
        if any(tensor.shape[0] != tensors[0].shape[0] for tensor in tensors):
            raise AssertionError(
                "TensorDataset: Size mismatch between tensors: equal lengths in dimension 0 are "
                f"required, got shapes {[tuple(tensor.shape) for tensor in tensors]}"
            )
        self.tensors = tensors

    def __getitem__(self, index: Any) -> tuple[Tensor, ...]:
        return tuple(tensor[index] for tensor in self.tensors)

    def __len__(self) -> int:
        length: int = self.tensors[0].shape[0]
        return length


class StackDataset(Dataset[Any]):
    """Sample i is made of the i-th samples of several datasets: a tuple, or a dict by name.

    Args:
        args: datasets of equal length, for tuples.
        kwargs: datasets of equal length, for dicts.

    Raises:
        ValueError: both kinds are given, none is given, or the lengths differ.
    """

    datasets: tuple[Any, ...] | dict[str, Any]

    def __init__(self, *args: Dataset[Any], **kwargs: Dataset[Any]) -> None:
        if bool(args) == bool(kwargs):
            raise ValueError(
                "StackDataset: datasets are required, either all positional or all named; "
                f"got {len(args)} positional and {len(kwargs)} named"
            )
        self.datasets = args or kwargs
        lengths = [len(dataset) for dataset in self._parts()]
        if len(set(lengths)) != 1:
            raise ValueError(
                f"StackDataset: Size mismatch between datasets: equal lengths are required, "
                f"got {lengths}"
            )
        self._length = lengths[0]

    def _parts(self) -> list[Any]:
        parts = self.datasets.values() if isinstance(self.datasets, dict) else self.datasets
        return list(parts)

    def _joined(self, samples: Iterable[Any]) -> Any:
        if isinstance(self.datasets, dict):
            return dict(zip(self.datasets, samples, strict=True))
        return tuple(samples)

    def __getitem__(self, index: Any) -> Any:
        return self._joined(part[index] for part in self._parts())

    def __getitems__(self, indices: list[int]) -> list[Any]:
        columns = [samples_at(part, indices) for part in self._parts()]
        for column in columns:
            if len(column) != len(indices):
                raise ValueError(
                    f"StackDataset: Nested dataset's output size mismatch: __getitems__ must "
                    f"return {len(indices)} samples, got {len(column)}"
                )
        return [self._joined(row) for row in zip(*columns, strict=True)]

    def __len__(self) -> int:
        return self._length


class ConcatDataset(Dataset[T_co]):
    """The samples of several datasets, one dataset after the other.

    Raises:
        AssertionError: no dataset, or an iterable one.
    """

    datasets: list[Any]
    cumulative_sizes: list[int]

    def __init__(self, datasets: Iterable[Dataset[Any]]) -> None:
        self.datasets = list(datasets)
        if not self.datasets:
            raise AssertionError("ConcatDataset: datasets should not be an empty iterable")
        if any(isinstance(dataset, IterableDataset) for dataset in self.datasets):
            raise AssertionError(
                "ConcatDataset does not support IterableDataset: use ChainDataset for streams"
            )
        self.cumulative_sizes = list(itertools.accumulate(map(len, self.datasets)))

    def __len__(self) -> int:
        return self.cumulative_sizes[-1]

    def __getitem__(self, index: int) -> T_co:
        if index < 0:
            if -index > len(self):
                raise ValueError(
                    "ConcatDataset: absolute value of index should not exceed dataset length "
                    f"{len(self)}, got {index}"
                )
            index += len(self)
        which = bisect.bisect_right(self.cumulative_sizes, index)
        if which == len(self.datasets):
            raise IndexError(f"ConcatDataset: index must be below {len(self)}, got {index}")
        start = self.cumulative_sizes[which - 1] if which else 0
        sample: T_co = self.datasets[which][index - start]
        return sample


class ChainDataset(IterableDataset[Any]):
    """The samples of several iterable datasets, one stream after the other."""

    def __init__(self, datasets: Iterable[Dataset[Any]]) -> None:
        self.datasets = datasets

    def _streams(self) -> Iterator[Any]:
        for dataset in self.datasets:
            if not isinstance(dataset, IterableDataset):
                raise AssertionError(
                    "ChainDataset only supports IterableDataset, "
                    f"got {type(dataset).__name__}: use ConcatDataset for indexed ones"
                )
            yield dataset

    def __iter__(self) -> Iterator[Any]:
        for stream in self._streams():
            yield from stream

    def __len__(self) -> int:
        return sum(len(stream) for stream in self._streams())


class Subset(Dataset[T_co]):
    """The samples of a dataset at some indices.

    Args:
        dataset: the whole.
        indices: positions in it, in the order of the subset.
    """

    dataset: Dataset[T_co]
    indices: Sequence[int]

    def __init__(self, dataset: Dataset[T_co], indices: Sequence[int]) -> None:
        self.dataset = dataset
        self.indices = indices

    def __getitem__(self, index: Any) -> T_co:
        if isinstance(index, list):
            return self.dataset[[self.indices[i] for i in index]]
        return self.dataset[self.indices[index]]

    def __getitems__(self, indices: list[int]) -> list[T_co]:
        if type(self).__getitem__ is not Subset.__getitem__:
            return [self[i] for i in indices]
        return samples_at(self.dataset, [self.indices[i] for i in indices])

    def __len__(self) -> int:
        return len(self.indices)


def random_split(
    dataset: Dataset[T], lengths: Sequence[float], generator: Generator | None = None
) -> list[Subset[T]]:
    """Divides a dataset at random into parts that do not overlap.

    Args:
        dataset: a dataset with a length.
        lengths: the number of samples of each part, or fractions that add up to 1; what rounding
            leaves over goes to the first parts, one sample each.
        generator: source of the permutation; the default generator if None.

    Returns:
        One `Subset` per length.

    Raises:
        ValueError: the lengths do not add up to the dataset's, or a fraction is not in [0, 1].

    Example:
        >>> train, test = random_split(range(10), [0.8, 0.2])
        >>> len(train), len(test)
        (8, 2)
    """
    total = len(dataset)  # type: ignore[arg-type]
    counts = _split_counts(total, lengths)
    if sum(counts) != total:
        raise ValueError(
            "random_split: Sum of input lengths does not equal the length of the input dataset: "
            f"{list(lengths)} add up to {sum(counts)}, not {total}"
        )
    order = flambeau.randperm(total, generator=generator).tolist()
    ends = itertools.accumulate(counts)
    return [
        Subset(dataset, order[end - count : end]) for count, end in zip(counts, ends, strict=True)
    ]


def _split_counts(total: int, lengths: Sequence[float]) -> list[int]:
    if abs(sum(lengths) - 1) > 1e-9:
        return [int(length) for length in lengths]
    for position, fraction in enumerate(lengths):
        if not 0 <= fraction <= 1:
            raise ValueError(
                f"random_split: Fraction at index {position} is not between 0 and 1: {fraction}"
            )
    counts = [int(total * fraction) for fraction in lengths]
    for extra in range(total - sum(counts)):
        counts[extra % len(counts)] += 1
    for position, count in enumerate(counts):
        if count == 0:
            import warnings

            warnings.warn(
                f"Length of split at index {position} is 0. This might result in an empty dataset.",
                stacklevel=3,
            )
    return counts


def samples_at(dataset: Any, indices: list[int]) -> list[Any]:
    """Returns the samples at `indices`, in one call where the dataset offers one."""
    whole_batch = getattr(dataset, "__getitems__", None)
    if whole_batch is not None:
        samples: list[Any] = whole_batch(indices)
        return samples
    return [dataset[index] for index in indices]
