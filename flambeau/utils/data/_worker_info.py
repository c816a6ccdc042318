"""What a worker process knows about itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple


class WorkerInfo(NamedTuple):
    """What `get_worker_info` returns: this worker's number, how many there are, its seed (a base
    seed plus the number) and its copy of the dataset."""

    id: int
    num_workers: int
    seed: int
    dataset: Any


_info: WorkerInfo | None = None

# In a worker: makes an uninitialised tensor (shape, dtype, bytes) that can be sent without a copy,
# or None where that is not worth while.
empty_for_batch: Callable[[tuple[int, ...], Any, int], Any] | None = None


def get_worker_info() -> WorkerInfo | None:
    """Returns the facts about the worker process this is called in; None in the main process.

    Example:
        >>> get_worker_info() is None
        True
    """
    return _info


def become_worker(info: WorkerInfo, empty: Callable[[tuple[int, ...], Any, int], Any]) -> None:
    """Makes this process a worker."""
    global _info, empty_for_batch
    _info, empty_for_batch = info, empty
