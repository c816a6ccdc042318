"""Schedulers of schedulers, and the one that watches a metric."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

from ._schedule_base import LRScheduler, per_group
from .optimizer import Optimizer


class SequentialLR(LRScheduler):
    """One scheduler after the other.

    Args:
        optimizer: whose groups are changed.
        schedulers: the schedulers, in order.
        milestones: the steps at which the next one begins.
        last_epoch: number of the last step taken; -1 to begin.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        schedulers: list[LRScheduler],
        milestones: list[int],
        last_epoch: int = -1,
    ) -> None:
        if len(schedulers) < 1:
            raise ValueError("SequentialLR expects at least one scheduler")
        for i, scheduler in enumerate(schedulers):
            if isinstance(scheduler, ReduceLROnPlateau):
                raise ValueError(
                    "SequentialLR: ReduceLROnPlateau needs a metric, it cannot be here"
                )
            if scheduler.optimizer is not optimizer:
                raise ValueError(f"SequentialLR: scheduler {i} belongs to a different optimizer")
        if len(milestones) != len(schedulers) - 1:
            raise ValueError(
                f"SequentialLR: one milestone less than schedulers is required, got "
                f"{len(milestones)} and {len(schedulers)}"
            )
        self._schedulers = schedulers
        self._milestones = milestones
        self.last_epoch = last_epoch + 1
        self.optimizer = optimizer
        # Every scheduler has taken its first step when it was made; only the first should have.
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"]
        for scheduler in schedulers:
            scheduler.last_epoch -= 1
        schedulers[0]._step_count -= 1
        schedulers[0].step()
        self._last_lr = schedulers[0].get_last_lr()

    def step(self, epoch: int | None = None) -> None:
        """Go to the next step of the scheduler whose turn it is."""
        self.last_epoch += 1
        i = bisect_right(self._milestones, self.last_epoch)
        scheduler = self._schedulers[i]
        if i > 0 and self._milestones[i - 1] == self.last_epoch:
            scheduler.step(0)
        else:
            scheduler.step()
        self._last_lr = scheduler.get_last_lr()

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimizer, with the states of the schedulers."""
        return _state_with_schedulers(super().state_dict(), self._schedulers)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict()` returned."""
        super().load_state_dict(_load_schedulers(state_dict, self._schedulers))


class ChainedScheduler(LRScheduler):
    """All schedulers at every step; each changes the rate that the others left.

    Args:
        schedulers: the schedulers.
        optimizer: theirs; found by itself.
    """

    def __init__(
        self, schedulers: Sequence[LRScheduler], optimizer: Optimizer | None = None
    ) -> None:
        if len(schedulers) < 1:
            raise ValueError("ChainedScheduler expects at least one scheduler to be chained")
        self.optimizer = schedulers[0].optimizer if optimizer is None else optimizer
        for i, scheduler in enumerate(schedulers):
            if isinstance(scheduler, ReduceLROnPlateau):
                raise ValueError("ChainedScheduler: ReduceLROnPlateau needs a metric")
            if scheduler.optimizer is not self.optimizer:
                raise ValueError(f"ChainedScheduler: scheduler {i} has a different optimizer")
        self._schedulers = schedulers
        self._last_lr = [group["lr"] for group in self._groups]

    def step(self, epoch: int | None = None) -> None:
        """Go to the next step of every scheduler."""
        for scheduler in self._schedulers:
            scheduler.step()
        self._last_lr = [group["lr"] for group in self._groups]

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimizer, with the states of the schedulers."""
        return _state_with_schedulers(super().state_dict(), self._schedulers)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict()` returned."""
        super().load_state_dict(_load_schedulers(state_dict, self._schedulers))


def _state_with_schedulers(
    state: dict[str, Any], schedulers: Sequence[LRScheduler]
) -> dict[str, Any]:
    return {**state, "_schedulers": [scheduler.state_dict() for scheduler in schedulers]}


def _load_schedulers(
    state_dict: dict[str, Any], schedulers: Sequence[LRScheduler]
) -> dict[str, Any]:
    """Load the schedulers' states; returns the rest."""
    for scheduler, state in zip(schedulers, state_dict["_schedulers"], strict=True):
        scheduler.load_state_dict(state)
    return {key: value for key, value in state_dict.items() if key != "_schedulers"}


class ReduceLROnPlateau(LRScheduler):
    """Times `factor` when a metric has not improved for `patience` steps.

    Args:
        optimizer: whose groups are changed.
        mode: "min" or "max": what improving means.
        factor: less than 1.
        patience: steps without improvement that are tolerated.
        threshold: smallest improvement that counts.
        threshold_mode: "rel" (a share of the best) or "abs".
        cooldown: steps after a reduction in which nothing is counted.
        min_lr: lowest rate, a number or a list for the groups.
        eps: a smaller change is not made.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: list[float] | float = 0,
        eps: float = 1e-8,
    ) -> None:
        if factor >= 1.0:
            raise ValueError(f"ReduceLROnPlateau: factor should be < 1.0, got {factor}")
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"{type(optimizer).__name__} is not an Optimizer")
        if mode not in ("min", "max"):
            raise ValueError(f"mode {mode} is unknown!")
        if threshold_mode not in ("rel", "abs"):
            raise ValueError(f"threshold mode {threshold_mode} is unknown!")
        self.optimizer = optimizer
        self.factor = factor
        self.min_lrs = per_group("min_lr", min_lr, optimizer)
        self.patience = patience
        self.cooldown = cooldown
        self.eps = eps
        self.mode = mode
        self.threshold = threshold
        self.threshold_mode = threshold_mode
        self.last_epoch = 0
        self._last_lr = self._current()
        self._reset()

    def _reset(self) -> None:
        """Forget the best value and the counts."""
        self.best = math.inf if self.mode == "min" else -math.inf
        self.cooldown_counter = 0
        self.num_bad_epochs = 0

    @property
    def in_cooldown(self) -> bool:
        """Whether a reduction was so recent that nothing is counted."""
        return self.cooldown_counter > 0

    def is_better(self, a: float, best: float) -> bool:
        """Whether `a` improves on `best` by the threshold."""
        sign = 1 if self.mode == "max" else -1
        if self.threshold_mode == "rel":
            limit = best * (1.0 + sign * self.threshold)
        else:
            limit = best + sign * self.threshold
        return a > limit if self.mode == "max" else a < limit

    def step(self, metrics: Any, epoch: int | None = None) -> None:  # type: ignore[override]
        """Tell the metric of this step."""
        current = float(metrics)
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
        if self.is_better(current, self.best):
            self.best = current
            self.num_bad_epochs = 0
        else:
            self.num_bad_epochs += 1
        if self.in_cooldown:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            self._reduce_lr()
            self.cooldown_counter = self.cooldown
            self.num_bad_epochs = 0
        self._last_lr = self._current()

    def _reduce_lr(self) -> None:
        reduced = [
            max(lr * self.factor, low)
            for lr, low in zip(self._current(), self.min_lrs, strict=True)
        ]
        self._set_lr(
            [
                new if old - new > self.eps else old
                for old, new in zip(self._current(), reduced, strict=True)
            ]
        )
