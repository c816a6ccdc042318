"""Traps: functions whose replay could be silently wrong, and how they are compared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import flambeau as torch
from flambeau import nn

CALLS = 6
Trap = Callable[[Callable[[Any], Any]], list[Any]]
TRAPS: dict[str, Trap] = {}


def trap(make: Trap) -> Trap:
    """Registers a trap: given torch.compile or the identity, it returns what it saw."""
    TRAPS[make.__name__] = make
    return make


def values(result: Any) -> Any:
    """Tensors as lists, for comparison."""
    if isinstance(result, torch.Tensor):
        return result.detach().clone().tolist()
    if isinstance(result, (list, tuple)):
        return [values(item) for item in result]
    if isinstance(result, dict):
        return {key: values(item) for key, item in result.items()}
    return result


def same(a: Any, b: Any) -> bool:
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, float):
        return a == pytest.approx(b, rel=1e-5, abs=1e-6, nan_ok=True)
    return bool(a == b)


def x_of(i: int, *shape: int) -> torch.Tensor:
    torch.manual_seed(100 + i)
    return torch.randn(*(shape or (4,)))


def small_net(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Dropout(0.5), nn.Linear(5, 2))


def mean_square_step(net, optimizer, schedule=None):
    def step(x):
        optimizer.zero_grad()
        loss = net(x).square().mean()
        loss.backward()
        optimizer.step()
        if schedule is not None:
            schedule.step()
        return loss

    return step
