"""L-BFGS: a quasi-Newton method that remembers the last few steps."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import flambeau as fl
from flambeau import Tensor

from ._settings import as_number, checked
from .optimizer import Closure, Optimizer


class LBFGS(Optimizer):
    """L-BFGS (Liu and Nocedal, 1989), with the line search of Nocedal and Wright, chapter 3.5.

    One step runs up to `max_iter` iterations and calls the closure several times. There is one
    group of parameters.

    Args:
        params: tensors.
        lr: first trial step (with a line search), or the step.
        max_iter: iterations in a step.
        max_eval: calls of the closure in a step; max_iter * 5 / 4 by default.
        tolerance_grad: stop when no element of the gradient is larger.
        tolerance_change: stop when parameters or loss change less.
        history_size: how many steps are remembered.
        line_search_fn: None or "strong_wolfe".
    """

    number_keys = ()

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 1,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
        line_search_fn: str | None = None,
    ) -> None:
        if max_eval is None:
            max_eval = max_iter * 5 // 4
        super().__init__(params, checked(locals()))
        if len(self.param_groups) != 1:
            raise ValueError("LBFGS: one group of parameters is required; there are no others")

    def step(self, closure: Closure) -> Any:  # type: ignore[override]
        """Run up to `max_iter` iterations.

        Args:
            closure: computes the loss again and calls backward.

        Returns:
            The loss before the step.
        """
        with fl.no_grad():
            return _Iterations(self, closure).run()


class _Iterations:
    """The iterations of one step; names follow Nocedal and Wright, algorithm 7.4 and 7.5."""

    def __init__(self, optimizer: LBFGS, closure: Closure) -> None:
        self.group = optimizer.param_groups[0]
        self.parameters: list[Tensor] = self.group["params"]
        self.state = optimizer.state[self.parameters[0]]
        self.state.setdefault("func_evals", 0)
        self.state.setdefault("n_iter", 0)
        self.closure = closure

    def run(self) -> Any:
        group, state = self.group, self.state
        first_loss = self._evaluate()
        loss, gradient = float(first_loss), self._gradient()
        evaluations = 1
        state["func_evals"] += 1
        if self._is_flat(gradient):
            return first_loss
        for iteration in range(1, group["max_iter"] + 1):
            state["n_iter"] += 1
            direction = self._direction(gradient)
            state["prev_flat_grad"] = gradient.clone()
            state["prev_loss"] = loss
            step = as_number(group["lr"])
            if state["n_iter"] == 1:
                step *= min(1.0, 1.0 / float(gradient.abs().sum()))
            slope = float(gradient.dot(direction))
            if slope > -group["tolerance_change"]:
                break
            previous_loss = loss
            is_last = iteration == group["max_iter"]
            loss, gradient, step, count = self._advance(
                loss, gradient, direction, step, slope, is_last
            )
            state["d"], state["t"] = direction, step
            evaluations += count
            state["func_evals"] += count
            if is_last or evaluations >= group["max_eval"] or self._is_flat(gradient):
                break
            if float((direction * step).abs().max()) <= group["tolerance_change"]:
                break
            if abs(loss - previous_loss) < group["tolerance_change"]:
                break
        return first_loss

    def _advance(
        self,
        loss: float,
        gradient: Tensor,
        direction: Tensor,
        step: float,
        slope: float,
        is_last: bool,
    ) -> tuple[float, Tensor, float, int]:
        """Move along the direction; returns loss, gradient, step and calls of the closure."""
        search = self.group["line_search_fn"]
        if search is None:
            self._move(direction, step)
            if is_last:  # nobody will use the gradient
                return loss, gradient, step, 0
            return float(self._evaluate()), self._gradient(), step, 1
        if search != "strong_wolfe":
            raise RuntimeError(f"LBFGS: only 'strong_wolfe' is supported, got {search!r}")
        start = [parameter.clone() for parameter in self.parameters]

        def probe(t: float) -> Probe:
            self._move(direction, t)
            value, at = float(self._evaluate()), self._gradient()
            for parameter, saved in zip(self.parameters, start, strict=True):
                parameter.copy_(saved)
            return Probe(t, value, at, float(at.dot(direction)))

        here = Probe(0.0, loss, gradient, slope)
        found, count = strong_wolfe(probe, here, step, float(direction.abs().max()))
        self._move(direction, found.t)
        return found.value, found.gradient, found.t, count

    def _direction(self, gradient: Tensor) -> Tensor:
        """-H g, by the two-loop recursion over the remembered steps."""
        state = self.state
        if state["n_iter"] == 1:
            state.update(old_dirs=[], old_stps=[], ro=[], H_diag=1)
            return -gradient
        ys, ss, rhos = state["old_dirs"], state["old_stps"], state["ro"]
        y = gradient - state["prev_flat_grad"]
        s = state["d"] * state["t"]
        curvature = y.dot(s)
        if curvature > 1e-10:  # keeps H positive
            if len(ys) == self.group["history_size"]:
                for remembered in (ys, ss, rhos):
                    remembered.pop(0)
            ys.append(y)
            ss.append(s)
            rhos.append(1.0 / curvature)
            state["H_diag"] = curvature / y.dot(y)
        q = -gradient
        alphas = []
        for y, s, rho in zip(reversed(ys), reversed(ss), reversed(rhos), strict=True):
            alphas.append(s.dot(q) * rho)
            q = q - alphas[-1] * y
        r = q * state["H_diag"]
        for y, s, rho, alpha in zip(ys, ss, rhos, reversed(alphas), strict=True):
            r = r + s * (alpha - y.dot(r) * rho)
        return r

    def _evaluate(self) -> Any:
        with fl.enable_grad():
            return self.closure()

    def _gradient(self) -> Tensor:
        """All gradients as one vector."""
        return fl.cat(
            [
                fl.zeros_like(p).reshape(-1) if p.grad is None else p.grad.reshape(-1)
                for p in self.parameters
            ]
        )

    def _is_flat(self, gradient: Tensor) -> bool:
        return bool(gradient.abs().max() <= self.group["tolerance_grad"])

    def _move(self, direction: Tensor, step: float) -> None:
        start = 0
        for parameter in self.parameters:
            end = start + parameter.numel()
            parameter.add_(direction[start:end].view_as(parameter), alpha=step)
            start = end


# --- line search ----------------------------------------------------------------------------


class Probe(NamedTuple):
    """What is known at step t along the direction."""

    t: float
    value: float
    gradient: Tensor
    slope: float


def strong_wolfe(
    probe: Callable[[float], Probe],
    start: Probe,
    t: float,
    reach: float,
    c1: float = 1e-4,
    c2: float = 0.9,
    tolerance: float = 1e-9,
    max_trials: int = 25,
) -> tuple[Probe, int]:
    """A step with enough decrease and a flat enough slope (Nocedal and Wright, 3.5 and 3.6).

    Args:
        probe: evaluates a step.
        start: the probe at 0.
        t: first trial.
        reach: largest element of the direction; an interval shorter than tolerance / reach ends
            the search.

    Returns:
        The probe that was accepted, and how often `probe` was called.
    """

    def is_too_high(p: Probe) -> bool:
        return p.value > start.value + c1 * p.t * start.slope

    def is_flat_enough(p: Probe) -> bool:
        return abs(p.slope) <= -c2 * start.slope

    # Bracketing: grow the step until a minimum lies between the last two probes.
    before, now = start, probe(t)
    calls, trials = 1, 0
    bracket: tuple[Probe, Probe] | None = None
    while trials < max_trials:
        if is_too_high(now) or (trials > 1 and now.value >= before.value):
            bracket = (before, now)
            break
        if is_flat_enough(now):
            return now, calls
        if now.slope >= 0:
            bracket = (before, now)
            break
        bounds = (now.t + 0.01 * (now.t - before.t), now.t * 10)
        before, now = now, probe(cubic_minimum(before, now, bounds))
        calls += 1
        trials += 1
    if bracket is None:
        bracket = (start, now)

    # Zooming: shrink the bracket around the lower end.
    low, high = sorted(bracket, key=lambda p: p.value)
    has_stalled = False
    while trials < max_trials and abs(high.t - low.t) * reach >= tolerance:
        left, right = sorted((low.t, high.t))
        t = cubic_minimum(low, high)
        margin = 0.1 * (right - left)
        is_near_end = min(right - t, t - left) < margin
        if is_near_end and (has_stalled or t >= right or t <= left):
            t = right - margin if abs(t - right) < abs(t - left) else left + margin
            has_stalled = False
        else:
            has_stalled = is_near_end
        now = probe(t)
        calls += 1
        trials += 1
        if is_too_high(now) or now.value >= low.value:
            low, high = (low, now) if low.value <= now.value else (now, low)
        else:
            if is_flat_enough(now):
                return now, calls
            if now.slope * (high.t - low.t) >= 0:
                high = low
            low = now
    return low, calls


def cubic_minimum(p: Probe, q: Probe, bounds: tuple[float, float] | None = None) -> float:
    """The minimum of the cubic through two probes, within bounds (Nocedal and Wright, 3.59)."""
    low, high = sorted((p.t, q.t)) if bounds is None else bounds
    left, right = (p, q) if p.t <= q.t else (q, p)
    d1 = left.slope + right.slope - 3 * (left.value - right.value) / (left.t - right.t)
    square = d1 * d1 - left.slope * right.slope
    if square < 0:
        return (low + high) / 2.0
    d2 = math.sqrt(square)
    share = (right.slope + d2 - d1) / (right.slope - left.slope + 2 * d2)
    return min(max(right.t - (right.t - left.t) * share, low), high)
