"""The sampler that gives each process of a distributed job its own share of a dataset."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sized

import flambeau
from flambeau.utils.data.sampler import Sampler


class DistributedSampler(Sampler[int]):
    """Every `num_replicas`-th index from `rank` on; all processes give the same number.

    Args:
        dataset: something with a length.
        num_replicas: number of processes; the size of the running job if None.
        rank: this process's number in it; its rank in the running job if None.
        shuffle: whether to permute, with a generator seeded by `seed` plus the epoch.
        seed: the same in all processes.
        drop_last: leave out samples that do not fill a round, instead of repeating the first ones.

    Raises:
        RuntimeError: `num_replicas` or `rank` is None and no distributed job is running.
        ValueError: `rank` is not in [0, num_replicas).

    Example:
        >>> list(DistributedSampler(range(5), num_replicas=2, rank=1, shuffle=False))
        [1, 3, 0]
    """

    def __init__(
        self,
        dataset: Sized,
        num_replicas: int | None = None,
        rank: int | None = None,
        shuffle: bool = True,
        seed: int = 0,
        drop_last: bool = False,
    ) -> None:
        if num_replicas is None or rank is None:
            num_replicas, rank = _running_job(num_replicas, rank)
        if not 0 <= rank < num_replicas:
            raise ValueError(
                f"DistributedSampler: Invalid rank {rank}, rank should be in the interval "
                f"[0, {num_replicas - 1}]"
            )
        self.dataset = dataset
        self.num_replicas = num_replicas
        self.rank = rank
        self.epoch = 0
        self.drop_last = drop_last
        self.shuffle = shuffle
        self.seed = seed
        length = len(dataset)
        self.num_samples = length // num_replicas if drop_last else -(-length // num_replicas)
        self.total_size = self.num_samples * num_replicas

    def __iter__(self) -> Iterator[int]:
        length = len(self.dataset)
        order = range(length)
        if self.shuffle:
            generator = flambeau.Generator()
            generator.manual_seed(self.seed + self.epoch)
            order = flambeau.randperm(length, generator=generator).tolist()
        rounds = itertools.islice(itertools.cycle(order), self.total_size)
        return itertools.islice(rounds, self.rank, None, self.num_replicas)

    def __len__(self) -> int:
        return self.num_samples

    def set_epoch(self, epoch: int) -> None:
        """Chooses the permutation of the next pass; call it before every epoch.

        Args:
            epoch: the number of the epoch, the same in all processes.
        """
        self.epoch = epoch


def _running_job(num_replicas: int | None, rank: int | None) -> tuple[int, int]:
    """Fills in what is None from the running distributed job."""
    distributed = getattr(flambeau, "distributed", None)
    if distributed is None or not distributed.is_available():
        raise RuntimeError(
            "DistributedSampler: Requires distributed package to be available, or pass "
            "num_replicas and rank"
        )
    size = distributed.get_world_size() if num_replicas is None else num_replicas
    return size, distributed.get_rank() if rank is None else rank
