"""DataLoader: batches of a dataset, in this process or made ahead by worker processes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import flambeau
from flambeau.utils.data._collate import default_collate, default_convert, map_tensors
from flambeau.utils.data._fetch import batch_reader
from flambeau.utils.data.dataset import Dataset, IterableDataset
from flambeau.utils.data.sampler import (
    BatchSampler,
    RandomSampler,
    Sampler,
    SequentialSampler,
    draw_seed,
)

if TYPE_CHECKING:
    from multiprocessing.context import BaseContext

    from flambeau import Generator

__all__ = ["DataLoader", "default_collate", "default_convert"]

T_co = TypeVar("T_co", covariant=True)

_FIXED = ("batch_size", "batch_sampler", "sampler", "drop_last", "dataset", "persistent_workers")


class DataLoader(Generic[T_co]):
    """Iterates over a dataset in batches.

    Args:
        dataset: indexed (`__getitem__`, `__len__`) or an `IterableDataset`.
        batch_size: samples of a batch; None gives single samples.
        shuffle: visit in a new random order at every pass.
        sampler: iterable of indices; excludes `shuffle`.
        batch_sampler: iterable of lists of indices; excludes `batch_size`, `shuffle`, `sampler`
            and `drop_last`.
        num_workers: processes that make batches ahead; 0 makes them here, when asked for.
        collate_fn: joins a list of samples into a batch (`default_collate`), or converts a single
            one where `batch_size` is None (`default_convert`).
        pin_memory: put batches in page-locked memory, where there is an accelerator.
        drop_last: leave out a last, shorter batch.
        timeout: seconds to wait for a batch of a worker; 0 waits for ever.
        worker_init_fn: called in each worker with its number, after seeding.
        multiprocessing_context: "fork", "spawn", "forkserver", or a context.
        generator: source of the order and of the workers' base seed; the default one if None.
        prefetch_factor: batches that each worker makes ahead (2).
        persistent_workers: keep the workers for the next pass.

    Raises:
        ValueError: options that exclude each other, or out of range.
        RuntimeError: while iterating: a worker died, or a batch timed out. An exception of the
            dataset is raised here as its own type, with the worker's traceback in its text.

    Example:
        >>> list(DataLoader(range(5), batch_size=2))
        [tensor([0, 1]), tensor([2, 3]), tensor([4])]
    """

    def __init__(
        self,
        dataset: Dataset[T_co],
        batch_size: int | None = 1,
        shuffle: bool | None = None,
        sampler: Sampler[Any] | Iterable[Any] | None = None,
        batch_sampler: Sampler[list[Any]] | Iterable[list[Any]] | None = None,
        num_workers: int = 0,
        collate_fn: Callable[[Any], Any] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: Callable[[int], None] | None = None,
        multiprocessing_context: str | BaseContext | None = None,
        generator: Generator | None = None,
        *,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
    ) -> None:
        _check_workers(num_workers, timeout, prefetch_factor, persistent_workers)
        self.dataset = dataset
        self.num_workers = num_workers
        self.prefetch_factor = 2 if num_workers and prefetch_factor is None else prefetch_factor
        self.pin_memory = pin_memory
        self.timeout = timeout
        self.worker_init_fn = worker_init_fn
        self.multiprocessing_context = multiprocessing_context
        self.generator = generator
        self.persistent_workers = persistent_workers
        self._iterator: Any = None
        if isinstance(dataset, IterableDataset):
            _check_unused(shuffle=shuffle, sampler=sampler, batch_sampler=batch_sampler)
        _check_sampling(batch_size, shuffle, sampler, batch_sampler, drop_last)
        if sampler is None:
            sampler = self._usual_sampler(bool(shuffle))
        if batch_sampler is not None:
            batch_size, drop_last = None, False
        elif batch_size is not None:
            batch_sampler = BatchSampler(sampler, batch_size, drop_last)
        self.batch_size = batch_size
        self.drop_last = drop_last
        self.sampler = sampler
        self.batch_sampler = batch_sampler
        if collate_fn is None:
            collate_fn = default_convert if batch_sampler is None else default_collate
        self.collate_fn = collate_fn
        self._ready = True

    def _usual_sampler(self, shuffle: bool) -> Sampler[Any]:
        if isinstance(self.dataset, IterableDataset):
            return _EndlessSampler()
        if shuffle:
            return RandomSampler(self.dataset, generator=self.generator)  # type: ignore[arg-type]
        return SequentialSampler(self.dataset)  # type: ignore[arg-type]

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _FIXED and "_ready" in self.__dict__:
            raise ValueError(
                f"{name} attribute should not be set after {type(self).__name__} is initialized: "
                "make a new loader"
            )
        object.__setattr__(self, name, value)

    @property
    def multiprocessing_context(self) -> BaseContext | None:
        """How workers are started: set it to a context, the name of a start method, or None."""
        context: BaseContext | None = self._context
        return context

    @multiprocessing_context.setter
    def multiprocessing_context(self, context: str | BaseContext | None) -> None:
        self._context = _checked_context(context, self.num_workers)

    @property
    def _index_sampler(self) -> Any:
        return self.sampler if self.batch_sampler is None else self.batch_sampler

    def __len__(self) -> int:
        """The number of batches of a pass; for a stream, what its own length promises."""
        if not isinstance(self.dataset, IterableDataset):
            return len(self._index_sampler)
        length = len(self.dataset)  # type: ignore[arg-type]
        if self.batch_size is None:
            return length
        whole, rest = divmod(length, self.batch_size)
        return whole if self.drop_last or not rest else whole + 1

    def __iter__(self) -> Iterator[Any]:
        if self.num_workers == 0:
            iterator: Any = _LocalIterator(self)
        else:
            iterator = self._parallel_iterator()
        if self.pin_memory and _can_pin():
            return map(functools.partial(map_tensors, lambda tensor: tensor.pin_memory()), iterator)
        return iterator

    def _parallel_iterator(self) -> Any:
        # Imported here: most programs never start a process.
        import multiprocessing

        from flambeau.utils.data._parallel import ParallelIterator, WorkerPool
        from flambeau.utils.data._worker import WorkerPlan

        indices = iter(self._index_sampler)
        iterator = self._iterator
        if iterator is None or iterator.closed:
            plan = WorkerPlan(
                dataset=self.dataset,
                joins=self.batch_sampler is not None,
                collate_fn=self.collate_fn,
                drop_last=self.drop_last,
                worker_init_fn=self.worker_init_fn,
                base_seed=draw_seed(self.generator),
                num_workers=self.num_workers,
            )
            pool = WorkerPool(plan, self._context or multiprocessing.get_context(), self.timeout)
            iterator = ParallelIterator(
                pool,
                self._index_sampler,
                self.num_workers,
                self.prefetch_factor or 0,
                self.persistent_workers,
            )
        if self.persistent_workers:
            self._iterator = iterator
        iterator.start_pass(indices)
        return iterator


class _LocalIterator:
    """Makes batches in this process, when they are asked for."""

    def __init__(self, loader: DataLoader[Any]) -> None:
        self._index_sampler = loader._index_sampler
        self._indices = iter(self._index_sampler)
        # Unused here; drawn so that the random numbers that follow do not depend on num_workers.
        draw_seed(loader.generator)
        self._read = batch_reader(
            loader.dataset, loader.batch_sampler is not None, loader.collate_fn, loader.drop_last
        )

    def __next__(self) -> Any:
        return self._read(next(self._indices))

    def __iter__(self) -> _LocalIterator:
        return self

    def __len__(self) -> int:
        return len(self._index_sampler)


class _EndlessSampler(Sampler[None]):
    """What a stream is asked for: nothing in particular, for ever."""

    def __iter__(self) -> Iterator[None]:
        while True:
            yield None


def _check_workers(
    num_workers: int, timeout: float, prefetch_factor: int | None, persistent_workers: bool
) -> None:
    if num_workers < 0:
        raise ValueError(
            f"DataLoader: num_workers option should be non-negative, got {num_workers}; "
            "use num_workers=0 to load in this process"
        )
    if timeout < 0:
        raise ValueError(f"DataLoader: timeout option should be non-negative, got {timeout}")
    if num_workers == 0 and prefetch_factor is not None:
        raise ValueError(
            "DataLoader: prefetch_factor option could only be specified in multiprocessing: "
            "let num_workers > 0, or leave prefetch_factor out"
        )
    if prefetch_factor is not None and prefetch_factor <= 0:
        raise ValueError(
            f"DataLoader: prefetch_factor option should be positive, got {prefetch_factor}"
        )
    if persistent_workers and num_workers == 0:
        raise ValueError("DataLoader: persistent_workers option needs num_workers > 0")


def _check_unused(**options: Any) -> None:
    for name, value in options.items():
        if value is not None and value is not False:
            raise ValueError(
                f"DataLoader with IterableDataset: expected unspecified {name} option, but got "
                f"{name}={value}: a stream has an order of its own"
            )


def _check_sampling(
    batch_size: int | None, shuffle: bool | None, sampler: Any, batch_sampler: Any, drop_last: bool
) -> None:
    if sampler is not None and shuffle:
        raise ValueError("DataLoader: sampler option is mutually exclusive with shuffle")
    others = batch_size != 1 or shuffle or sampler is not None or drop_last
    if batch_sampler is not None and others:
        raise ValueError(
            "DataLoader: batch_sampler option is mutually exclusive with batch_size, shuffle, "
            "sampler, and drop_last"
        )
    if batch_sampler is None and batch_size is None and drop_last:
        raise ValueError(
            "DataLoader: batch_size=None option disables auto-batching and is mutually exclusive "
            "with drop_last"
        )


def _checked_context(context: Any, num_workers: int) -> Any:
    if context is None:
        return None
    import multiprocessing

    if num_workers == 0:
        raise ValueError(
            "DataLoader: multiprocessing_context can only be used with multi-process loading "
            "(num_workers > 0), but got num_workers=0"
        )
    if isinstance(context, str):
        methods = multiprocessing.get_all_start_methods()
        if context not in methods:
            raise ValueError(
                "DataLoader: multiprocessing_context option should specify a valid start method "
                f"in {methods}, but got {context!r}"
            )
        return multiprocessing.get_context(context)
    if not isinstance(context, multiprocessing.context.BaseContext):
        raise TypeError(
            "DataLoader: multiprocessing_context option should be a valid context object or a "
            f"string specifying the start method, but got {context!r}"
        )
    return context


def _can_pin() -> bool:
    if flambeau.cuda.is_available():
        return True
    import warnings

    warnings.warn(
        "'pin_memory' argument is set as true but no accelerator is found, then device pinned "
        "memory won't be used.",
        stacklevel=3,
    )
    return False
