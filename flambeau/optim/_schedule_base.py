"""LRScheduler: sets the learning rate of every group, one value per step."""

from __future__ import annotations

import warnings
from typing import Any

from flambeau import Tensor
from flambeau.compiler._sources import refuse, repeated_by_replays

from .optimizer import Group, Optimizer


class LRScheduler:
    """The base of schedulers.

    Args:
        optimizer: whose groups are changed.
        last_epoch: number of the last step taken; -1 to begin.

    A subclass defines `get_lr`, which returns the rate of every group for step
    `self.last_epoch`, usually from the rate the group has; and `_get_closed_form_lr` if the
    rate can be computed without history.
    """

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"{type(optimizer).__name__} is not an Optimizer")
        refuse("a scheduler was made; make it before the compiled function")
        self.optimizer = optimizer
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", group["lr"])
            elif "initial_lr" not in group:
                raise KeyError(
                    f"param 'initial_lr' is not specified in param_groups[{i}] when resuming "
                    "an optimizer"
                )
        self.base_lrs: list[float] = [group["initial_lr"] for group in optimizer.param_groups]
        self.last_epoch = last_epoch
        self._step_count = 0
        self._last_lr: list[float] = [group["lr"] for group in optimizer.param_groups]
        self.step()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "step" in cls.__dict__:
            cls.step = repeated_by_replays(cls.__dict__["step"])  # type: ignore[method-assign]

    @property
    def _groups(self) -> list[Group]:
        return self.optimizer.param_groups

    def get_lr(self) -> list[float]:
        """The rate of every group for the present step."""
        raise NotImplementedError(f"{type(self).__name__} must define get_lr")

    def get_last_lr(self) -> list[float]:
        """The rates that were set last."""
        return self._last_lr

    def _current(self) -> list[float]:
        return [group["lr"] for group in self._groups]

    def _scaled(self, factor: float) -> list[float]:
        return [group["lr"] * factor for group in self._groups]

    @repeated_by_replays
    def step(self, epoch: int | None = None) -> None:
        """Go to the next step, or to step `epoch`."""
        if self._step_count == 1 and not self.optimizer._opt_called:
            warnings.warn(
                "lr_scheduler.step() was called before optimizer.step(): the first value of the "
                "schedule is skipped; call optimizer.step() first"
            )
        self._step_count += 1
        if epoch is None:
            self.last_epoch += 1
            values = self.get_lr()
        else:
            self.last_epoch = epoch
            closed_form = getattr(self, "_get_closed_form_lr", self.get_lr)
            values = closed_form()
        self._set_lr(values)

    def _set_lr(self, values: list[float]) -> None:
        for group, value in zip(self._groups, values, strict=True):
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(value)
            else:
                group["lr"] = value
        self._last_lr = [float(lr) if isinstance(lr, Tensor) else lr for lr in self._current()]

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimizer."""
        return {key: value for key, value in self.__dict__.items() if key != "optimizer"}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict()` returned."""
        self.__dict__.update(state_dict)


def per_group(name: str, value: Any, optimizer: Optimizer) -> list[Any]:
    """A setting for every group: a list of that length, or one value for all."""
    count = len(optimizer.param_groups)
    if not isinstance(value, (list, tuple)):
        return [value] * count
    if len(value) != count:
        raise ValueError(f"{name}: expected {count} values, one per group, got {len(value)}")
    return list(value)
