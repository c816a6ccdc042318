"""Loss scaling: float16 gradients too small for the type are kept by a factor on the loss."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Iterable
from enum import Enum
from typing import Any, NamedTuple

import flambeau as fl
from flambeau import Tensor


class OptState(Enum):
    """How far an optimizer has come since the last update()."""

    READY = 0
    UNSCALED = 1
    STEPPED = 2


class _Progress:
    """What a scaler knows of one optimizer since the last update()."""

    def __init__(self) -> None:
        self.stage = OptState.READY
        self.found_inf: dict[fl.device, Tensor] = {}  # 1.0 where a gradient is not finite


class _Settings(NamedTuple):
    growth_factor: float
    backoff_factor: float
    growth_interval: int


class GradScaler:
    """Scales the loss, skips steps with infinite gradients, and adapts the scale.

    Args:
        device: "cuda" or "cpu".
        init_scale: the first scale.
        growth_factor: factor of the scale after `growth_interval` steps without infinities.
        backoff_factor: factor of the scale after a step with one.
        growth_interval: that number of steps.
        enabled: False makes every method do nothing but what the optimizer would do.

    Raises:
        AssertionError: a factor or interval that makes no sense.

    Example:
        >>> weight = torch.tensor([1.0], requires_grad=True)
        >>> optimizer = torch.optim.SGD([weight], lr=0.1)
        >>> scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
        >>> scaler.scale((2 * weight).sum()).backward()
        >>> scaler.step(optimizer)
        >>> scaler.update()
        >>> weight
        tensor([0.8000], requires_grad=True)
    """

    def __init__(
        self,
        device: str = "cuda",
        init_scale: float = 2.0**16,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
        enabled: bool = True,
    ) -> None:
        self._device = device
        self._enabled = enabled
        if enabled and device == "cuda" and not fl.cuda.is_available():
            warnings.warn(
                "torch.cuda.amp.GradScaler is enabled, but CUDA is not available.  Disabling.",
                stacklevel=2,
            )
            self._enabled = False
        if not self._enabled:
            return
        assert growth_factor > 1.0, "The growth factor must be > 1.0."
        assert backoff_factor < 1.0, "The backoff factor must be < 1.0."
        self._init_scale = init_scale
        self._settings = _Settings(growth_factor, backoff_factor, growth_interval)
        # On the device from the first loss on: a step waits for the GPU once, not for the scale.
        self._scale: Tensor | None = None
        self._growth_tracker: Tensor | None = None
        self._init_growth_tracker = 0
        self._per_optimizer_states: dict[int, _Progress] = defaultdict(_Progress)

    def _start(self, device: fl.device) -> Tensor:
        if self._scale is None:
            self._scale = fl.full((), self._init_scale, dtype=fl.float32, device=device)
            self._growth_tracker = fl.full(
                (), self._init_growth_tracker, dtype=fl.int32, device=device
            )
        return self._scale

    def scale(self, outputs: Any) -> Any:
        """Returns the outputs times the scale.

        Args:
            outputs: a tensor or an iterable of them.

        Raises:
            ValueError: neither of these.
        """
        if not self._enabled:
            return outputs
        if isinstance(outputs, Tensor):
            return outputs * self._start(outputs.device).to(outputs.device)
        if isinstance(outputs, Iterable) and not isinstance(outputs, (str, bytes)):
            scaled = [self.scale(output) for output in outputs]
            return type(outputs)(scaled) if isinstance(outputs, (list, tuple)) else iter(scaled)
        raise ValueError("outputs must be a Tensor or an iterable of Tensors")

    def unscale_(self, optimizer: Any) -> None:
        """Divides the gradients of an optimizer's parameters by the scale, in place.

        Call it before clipping gradients; `step` does so itself otherwise.

        Args:
            optimizer: the optimizer.

        Raises:
            RuntimeError: it was called before, since the last update().
            ValueError: a gradient is float16: parameters must be float32.
        """
        if not self._enabled:
            return
        progress = self._per_optimizer_states[id(optimizer)]
        if progress.stage is OptState.UNSCALED:
            raise RuntimeError(
                "unscale_() has already been called on this optimizer since the last update()."
            )
        if progress.stage is OptState.STEPPED:
            raise RuntimeError("unscale_() is being called after step().")
        progress.found_inf = self._unscale(optimizer)
        progress.stage = OptState.UNSCALED

    def _unscale(self, optimizer: Any) -> dict[fl.device, Tensor]:
        scale = self._require_scale("unscale_")
        inverse = scale.double().reciprocal().float()
        on_device: dict[fl.device, list[Tensor]] = defaultdict(list)
        with fl.no_grad():
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    if parameter.grad is not None:
                        on_device[parameter.grad.device].append(parameter.grad)
            found = {}
            for device, gradients in on_device.items():
                if any(gradient.dtype == fl.float16 for gradient in gradients):
                    raise ValueError("Attempting to unscale FP16 gradients.")
                factor = inverse.to(device)
                finite = [fl.isfinite(gradient).all() for gradient in gradients]
                for gradient in gradients:
                    gradient.mul_(factor)
                found[device] = fl.stack(finite).all().logical_not().float()
        return found

    def step(self, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        """Unscales the gradients, unless that is done, and steps if all of them are finite.

        Args:
            optimizer: the optimizer.
            args, kwargs: for its `step`.

        Returns:
            What its `step` returns; None if it was left out.

        Raises:
            RuntimeError: step() was called before, since the last update(), or a closure is given.
        """
        if not self._enabled:
            return optimizer.step(*args, **kwargs)
        if "closure" in kwargs:
            raise RuntimeError("Closure use is not currently supported if GradScaler is enabled.")
        self._require_scale("step")
        progress = self._per_optimizer_states[id(optimizer)]
        if progress.stage is OptState.STEPPED:
            raise RuntimeError("step() has already been called since the last update().")
        if progress.stage is OptState.READY:
            self.unscale_(optimizer)
        assert len(progress.found_inf) > 0, "No inf checks were recorded for this optimizer."
        progress.stage = OptState.STEPPED
        if sum(found.item() for found in progress.found_inf.values()):
            return None
        return optimizer.step(*args, **kwargs)

    def update(self, new_scale: float | Tensor | None = None) -> None:
        """Adapts the scale to what the steps since the last update() have found.

        Args:
            new_scale: what the scale becomes instead, a number or a float32 scalar.

        Raises:
            RuntimeError: nothing was scaled yet.
        """
        if not self._enabled:
            return
        scale = self._require_scale("update")
        if new_scale is not None:
            with fl.no_grad():
                scale.fill_(new_scale)
        else:
            found = [
                found.to(scale.device)
                for progress in self._per_optimizer_states.values()
                for found in progress.found_inf.values()
            ]
            assert len(found) > 0, "No inf checks were recorded prior to update."
            self._adapt(scale, sum(found[1:], found[0]) > 0)
        self._per_optimizer_states.clear()

    def _adapt(self, scale: Tensor, is_infinite: Tensor) -> None:
        tracker, settings = self._growth_tracker, self._settings
        assert tracker is not None
        with fl.no_grad():
            steps = tracker + 1
            grown = scale * settings.growth_factor
            is_due = steps == settings.growth_interval
            larger = fl.where(fl.logical_and(is_due, fl.isfinite(grown)), grown, scale)
            scale.copy_(fl.where(is_infinite, scale * settings.backoff_factor, larger))
            tracker.copy_(fl.where(fl.logical_or(is_infinite, is_due), fl.zeros_like(steps), steps))

    def _require_scale(self, method: str) -> Tensor:
        if self._scale is None:
            raise RuntimeError(
                f"GradScaler.{method}: scale(loss).backward() is required first, but nothing was "
                "scaled yet"
            )
        return self._scale

    def get_scale(self) -> float:
        """Returns the scale, 1 if disabled; waits for the GPU."""
        if not self._enabled:
            return 1.0
        return self._init_scale if self._scale is None else float(self._scale.item())

    def get_growth_factor(self) -> float:
        """Returns the factor of growth."""
        return self._settings.growth_factor

    def set_growth_factor(self, new_factor: float) -> None:
        """Sets the factor of growth."""
        self._settings = self._settings._replace(growth_factor=new_factor)

    def get_backoff_factor(self) -> float:
        """Returns the factor after infinities."""
        return self._settings.backoff_factor

    def set_backoff_factor(self, new_factor: float) -> None:
        """Sets the factor after infinities."""
        self._settings = self._settings._replace(backoff_factor=new_factor)

    def get_growth_interval(self) -> int:
        """Returns the number of steps before growth."""
        return self._settings.growth_interval

    def set_growth_interval(self, new_interval: int) -> None:
        """Sets the number of steps before growth."""
        self._settings = self._settings._replace(growth_interval=new_interval)

    def is_enabled(self) -> bool:
        """Returns whether it scales."""
        return self._enabled

    def _get_growth_tracker(self) -> int:
        if not self._enabled:
            return 0
        tracker = self._growth_tracker
        return self._init_growth_tracker if tracker is None else int(tracker.item())

    def state_dict(self) -> dict[str, Any]:
        """Returns the scale, the settings and the steps since it last changed; {} if disabled."""
        if not self._enabled:
            return {}
        return {
            "scale": self.get_scale(),
            **self._settings._asdict(),
            "_growth_tracker": self._get_growth_tracker(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continues from a state.

        Args:
            state_dict: what state_dict() of an enabled scaler returned.

        Raises:
            RuntimeError: it is empty.
        """
        if not self._enabled:
            return
        if len(state_dict) == 0:
            raise RuntimeError(
                "The source state dict is empty, possibly because it was saved "
                "from a disabled instance of GradScaler."
            )
        self._settings = _Settings(*(state_dict[name] for name in _Settings._fields))
        self._init_scale = state_dict["scale"]
        self._init_growth_tracker = state_dict["_growth_tracker"]
        if self._scale is not None and self._growth_tracker is not None:
            self._scale.fill_(state_dict["scale"])
            self._growth_tracker.fill_(state_dict["_growth_tracker"])

    def __getstate__(self) -> dict[str, Any]:
        if self._enabled:
            assert len(self._per_optimizer_states) == 0, (
                "A GradScaler instance may only be pickled at the beginning of an iteration, or "
                "at the end after scaler.update()."
            )
        state = self.__dict__.copy()
        if self._enabled:
            state["_init_scale"] = self.get_scale()
            state["_init_growth_tracker"] = self._get_growth_tracker()
            state["_scale"] = state["_growth_tracker"] = None
        return state
