"""Schedules that rise and fall, with momentum going the other way: CyclicLR and OneCycleLR."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ._schedule_base import LRScheduler, per_group
from .optimizer import Optimizer


def _momentum_key(optimizer: Optimizer) -> str:
    """Where the optimizer keeps its momentum: "momentum", or the first of "betas"."""
    for key in ("momentum", "betas"):
        if key in optimizer.defaults:
            return key
    raise ValueError(
        "cycle_momentum=True needs an optimizer with momentum or betas; pass cycle_momentum=False"
    )


def _set_momentum(group: dict[str, Any], key: str, value: float) -> None:
    group[key] = value if key == "momentum" else (value, *group["betas"][1:])


class CyclicLR(LRScheduler):
    """Between two rates, up and down (Smith, 2017).

    Args:
        optimizer: whose groups are changed.
        base_lr, max_lr: lowest and highest rate, numbers or lists for the groups.
        step_size_up, step_size_down: steps of the rise and of the fall.
        mode: "triangular", "triangular2" (half the height in each cycle) or "exp_range"
            (height times gamma^step).
        gamma: for "exp_range".
        scale_fn: a function for the height instead of a mode.
        scale_mode: what scale_fn is called with, "cycle" or "iterations".
        cycle_momentum: momentum goes from max_momentum down to base_momentum and back.
        base_momentum, max_momentum: its limits.
        last_epoch: number of the last step taken; -1 to begin.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        base_lr: float | list[float],
        max_lr: float | list[float],
        step_size_up: int = 2000,
        step_size_down: int | None = None,
        mode: str = "triangular",
        gamma: float = 1.0,
        scale_fn: Callable[[float], float] | None = None,
        scale_mode: str = "cycle",
        cycle_momentum: bool = True,
        base_momentum: float = 0.8,
        max_momentum: float = 0.9,
        last_epoch: int = -1,
    ) -> None:
        if mode not in ("triangular", "triangular2", "exp_range") and scale_fn is None:
            raise ValueError(f"CyclicLR: mode is invalid and scale_fn is None, got {mode!r}")
        lows = per_group("base_lr", base_lr, optimizer)
        if last_epoch == -1:
            for group, low in zip(optimizer.param_groups, lows, strict=True):
                group["lr"] = low
        self.max_lrs = per_group("max_lr", max_lr, optimizer)
        down = step_size_up if step_size_down is None else step_size_down
        self.total_size = float(step_size_up + down)
        self.step_ratio = float(step_size_up) / self.total_size
        self.mode = mode
        self.gamma = gamma
        self.scale_fn = scale_fn
        self.scale_mode = scale_mode
        if scale_fn is None:
            self.scale_mode = "iterations" if mode == "exp_range" else "cycle"
        self.cycle_momentum = cycle_momentum
        if cycle_momentum:
            key = _momentum_key(optimizer)
            self.base_momentums = per_group("base_momentum", base_momentum, optimizer)
            self.max_momentums = per_group("max_momentum", max_momentum, optimizer)
            if last_epoch == -1:
                for group, high in zip(optimizer.param_groups, self.max_momentums, strict=True):
                    _set_momentum(group, key, high)
        super().__init__(optimizer, last_epoch)
        self.base_lrs = lows

    def _scale(self, cycle: int) -> float:
        """The height of this cycle, or of this step, relative to the first."""
        x = cycle if self.scale_mode == "cycle" else self.last_epoch
        if self.scale_fn is not None:
            return self.scale_fn(x)
        if self.mode == "triangular2":
            return 1 / (2.0 ** (x - 1))
        return self.gamma**x if self.mode == "exp_range" else 1.0

    def get_lr(self) -> list[float]:
        cycle = math.floor(1 + self.last_epoch / self.total_size)
        place = 1.0 + self.last_epoch / self.total_size - cycle
        if place <= self.step_ratio:
            height = place / self.step_ratio
        else:
            height = (place - 1) / (self.step_ratio - 1)
        scale = self._scale(cycle)
        if self.cycle_momentum:
            key = _momentum_key(self.optimizer)
            limits = zip(self._groups, self.base_momentums, self.max_momentums, strict=True)
            for group, low, high in limits:
                _set_momentum(group, key, high - (high - low) * height * scale)
        return [
            low + (high - low) * height * scale
            for low, high in zip(self.base_lrs, self.max_lrs, strict=True)
        ]

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimizer; functions are not saved."""
        state = super().state_dict()
        state.pop("scale_fn")
        return state


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) / 2.0 * (math.cos(math.pi * share) + 1)


def _linear(start: float, end: float, share: float) -> float:
    return (end - start) * share + start


class OneCycleLR(LRScheduler):
    """Up to `max_lr`, then down to almost nothing (Smith and Topin, 2019).

    Args:
        optimizer: whose groups are changed.
        max_lr: highest rate, a number or a list for the groups.
        total_steps: length of the cycle; or
        epochs, steps_per_epoch: whose product it is.
        pct_start: share of the rise.
        anneal_strategy: "cos" or "linear".
        cycle_momentum: momentum goes from max_momentum down to base_momentum and back.
        base_momentum, max_momentum: its limits.
        div_factor: the first rate is max_lr / div_factor.
        final_div_factor: the last is the first divided by this.
        three_phase: fall to the first rate as fast as it rose, then to the last.
        last_epoch: number of the last step taken; -1 to begin.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | list[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: float | list[float] = 0.85,
        max_momentum: float | list[float] = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        self.total_steps = _total_steps(total_steps, epochs, steps_per_epoch)
        if not isinstance(pct_start, float) or pct_start < 0 or pct_start > 1:
            raise ValueError(f"Expected float between 0 and 1 pct_start, but got {pct_start}")
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(
                f"anneal_strategy must be one of 'cos' or 'linear', instead got {anneal_strategy}"
            )
        self._anneal_func_type = anneal_strategy
        self._schedule_phases = _phases(self.total_steps, pct_start, three_phase)
        highs = per_group("max_lr", max_lr, optimizer)
        if last_epoch == -1:
            for group, high in zip(optimizer.param_groups, highs, strict=True):
                group["initial_lr"] = high / div_factor
                group["max_lr"] = high
                group["min_lr"] = group["initial_lr"] / final_div_factor
        self.cycle_momentum = cycle_momentum
        if cycle_momentum:
            key = _momentum_key(optimizer)
            lows = per_group("base_momentum", base_momentum, optimizer)
            highs = per_group("max_momentum", max_momentum, optimizer)
            if last_epoch == -1:
                for group, low, high in zip(optimizer.param_groups, lows, highs, strict=True):
                    _set_momentum(group, key, high)
                    group["max_momentum"] = high
                    group["base_momentum"] = low
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        if self.last_epoch > self.total_steps:
            raise ValueError(
                f"OneCycleLR: step {self.last_epoch} is past the total of {self.total_steps} steps"
            )
        anneal = _cosine if self._anneal_func_type == "cos" else _linear
        start = 0.0
        for phase in self._schedule_phases:
            end = phase["end_step"]
            if self.last_epoch <= end or phase is self._schedule_phases[-1]:
                break
            start = end
        share = (self.last_epoch - start) / (end - start)
        rates = []
        for group in self._groups:
            rates.append(anneal(group[phase["start_lr"]], group[phase["end_lr"]], share))
            if self.cycle_momentum:
                first, last = group[phase["start_momentum"]], group[phase["end_momentum"]]
                _set_momentum(group, _momentum_key(self.optimizer), anneal(first, last, share))
        return rates


def _total_steps(total_steps: int | None, epochs: int | None, steps_per_epoch: int | None) -> int:
    if total_steps is not None:
        given = {"total_steps": total_steps}
    elif epochs is not None and steps_per_epoch is not None:
        given = {"epochs": epochs, "steps_per_epoch": steps_per_epoch}
    else:
        raise ValueError("OneCycleLR: total_steps, or epochs and steps_per_epoch, are required")
    for name, value in given.items():
        if value <= 0 or not isinstance(value, int):
            raise ValueError(f"Expected positive integer {name}, but got {value}")
    return math.prod(given.values())


def _phases(total_steps: int, pct_start: float, three_phase: bool) -> list[dict[str, Any]]:
    """Each phase ends at a step and goes from one named rate and momentum to another."""

    def phase(end: float, lr: tuple[str, str], momentum: tuple[str, str]) -> dict[str, Any]:
        return {
            "end_step": end,
            "start_lr": lr[0],
            "end_lr": lr[1],
            "start_momentum": momentum[0],
            "end_momentum": momentum[1],
        }

    up, down = ("initial_lr", "max_lr"), ("max_momentum", "base_momentum")
    peak = float(pct_start * total_steps) - 1
    last = total_steps - 1
    first = phase(peak, up, down)
    if not three_phase:
        return [first, phase(last, ("max_lr", "min_lr"), down[::-1])]
    middle = float(2 * pct_start * total_steps) - 2
    return [
        first,
        phase(middle, up[::-1], down[::-1]),
        phase(last, ("initial_lr", "min_lr"), ("max_momentum", "max_momentum")),
    ]
