"""flambeau.compile: record a function, optimise the recording, replay it while guards hold.

Note [From call to replay]
A call whose arguments and surroundings match an executable replays it. Any other call runs the
function eagerly while it is recorded. When two recordings in a row for arguments of one geometry
are equal, the executable is built; once there is one, a recording of the same operations on other
shapes is enough. A function whose recordings keep differing, or that cannot be
recorded, stays eager, and one warning says why.
"""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Hashable, Sequence
from functools import partial, update_wrapper
from typing import Any, NamedTuple
from weakref import WeakSet

import flambeau as fl
from flambeau import Tensor, _core
from flambeau.compiler._effects import Effects
from flambeau.compiler._pipeline import Compiled
from flambeau.compiler._sources import Sources, take_sources
from flambeau.compiler._structure import geometry, put_together, take_apart
from flambeau.compiler._watch import Watch

KEPT_EXECUTABLES = 8  # of one function; the least recently used goes first
RECORDINGS = 4  # how many may differ before the function stays eager
_MISS = object()
compiled_functions: WeakSet[CompiledFunction] = WeakSet()


class CompileError(RuntimeError):
    """With fullgraph=True: the function cannot be recorded as one graph."""


class CompileWarning(UserWarning):
    """A function stays eager, and why."""


class Result(NamedTuple):
    """What a function returned, as a replay makes it again."""

    spec: Hashable
    # By tensor: the number of an argument or output, or the tensor itself if it was there before.
    parts: list[tuple[str, Any]]


class Recorded(NamedTuple):
    """One recording with all that a replay depends on."""

    recording: Any
    tensors: list[Tensor]
    watch: Watch
    sources: Sources
    result: Result
    # Of a function that is differentiated from outside: what the backward part's outputs are
    # gradients of, and for which outputs.
    leaves: list[int | Tensor]
    differentiable: list[int]
    used: list[int]


class Entry:
    """An executable with its guards."""

    def __init__(self, recorded: Recorded, key: Hashable) -> None:
        self.key = key
        self.watch = recorded.watch
        self.sources = recorded.sources if recorded.sources.entries else None
        self.names = [call.name for call in recorded.recording.calls]
        self.compiled = Compiled(recorded)
        self.executable = self.compiled.executable
        spec, parts = recorded.result
        self._spec = spec
        self._parts = parts
        self._is_single = spec == "tensor" and parts == [("output", 0)]
        # Of a function of tensors alone, with one tensor as result: there is nothing else to do.
        self.run_alone: Callable[[Sequence[Tensor]], list[Tensor] | None] | None = None
        if key is None and self._is_single and self.sources is None and self.watch.is_empty:
            self.run_alone = self.executable.try_run

    def try_run(self, tensors: Sequence[Tensor]) -> Any:
        """The function's result, or _MISS if the guards do not hold."""
        if self.watch.changed() is not None:
            return _MISS
        if self.sources is None:
            outputs = self.executable.try_run(tensors)
            if outputs is None:
                return _MISS
        else:
            if self.executable.mismatch(tensors) is not None:
                return _MISS
            numbers = self.sources.replay()
            if numbers is None:
                return _MISS
            outputs = self.executable.try_run(tensors, numbers)
        if self._is_single:
            return outputs[0]
        found = (
            outputs[part] if kind == "output" else tensors[part] if kind == "argument" else part
            for kind, part in self._parts
        )
        return put_together(self._spec, found)


class CompiledFunction:
    """What flambeau.compile returns for a function."""

    def __init__(self, function: Callable[..., Any], fullgraph: bool) -> None:
        update_wrapper(self, function)
        self._function = function
        self._fullgraph = fullgraph
        self._name = getattr(function, "__qualname__", repr(function))
        self._entries: list[Entry] = []  # most recently used first
        self._attempts: dict[Hashable, tuple[Hashable, int]] = {}
        self._reasons: dict[Hashable, str] = {}  # of calls that stay eager
        self._plain_stays_eager = False  # calls with positional tensors alone
        compiled_functions.add(self)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        entries = self._entries
        if entries and not kwargs and entries[0].key is None:
            entry = entries[0]
            if entry.run_alone is not None:
                outputs = entry.run_alone(args)
                if outputs is not None:
                    return outputs[0]
            else:
                result = entry.try_run(args)
                if result is not _MISS:
                    return result
        elif not kwargs and self._plain_stays_eager and all(map(_is_tensor, args)):
            return self._function(*args)
        return self._call(args, kwargs)

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return self
        return partial(self, instance)

    def _call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if _core.recording() is not None:  # part of a larger recording
            return self._function(*args, **kwargs)
        tensors: list[Tensor] = []
        spec: Hashable = take_apart((args, kwargs), tensors)
        # Positional tensors alone need no taking apart at the next call.
        key = None if not kwargs and all(map(_is_tensor, args)) else spec
        if key in self._reasons:
            return self._function(*args, **kwargs)
        for i, entry in enumerate(self._entries):
            if entry.key != key:
                continue
            result = entry.try_run(tensors)
            if result is not _MISS:
                self._entries.insert(0, self._entries.pop(i))
                return result
        return self._record(key, tensors, args, kwargs)

    # --- recording ----------------------------------------------------------------------

    def _record(
        self, key: Hashable, tensors: list[Tensor], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        watch = Watch(self._function, (*args, *kwargs.values()))
        modes = _modes()
        setting = (geometry(tensors), modes)
        recording = _core.Recording(tensors)
        recording.numbers_are_slots = True
        try:
            with Effects() as effects:
                result = self._function(*args, **kwargs)
        except BaseException:
            recording.stop()
            take_sources(recording)
            raise
        refusal = watch.refusal or effects.reason
        if _modes() != modes:
            refusal = "it leaves another grad mode or default dtype behind"
        if refusal is not None:
            recording.fail(refusal)
        recorded = _finish(recording, tensors, watch, result)
        changed = watch.changed()
        if changed is not None:
            recording.fail(f"it changes {changed}, which a replay would not do")
        if recording.failure is not None:
            self._stay_eager(key, recording.failure)
            return result
        self._consider(key, setting, recorded)
        return result

    def _consider(self, key: Hashable, setting: Hashable, recorded: Recorded) -> None:
        """Build an executable if this recording is like the last one."""
        recording = recorded.recording
        escaped = recording.escaped()
        if escaped:
            gc.collect()  # what is only held by a cycle cannot be seen
            escaped = recording.escaped()
        signature = (recording.signature(), recorded.result.spec)
        settled = not escaped and recorded.sources.is_settled
        last, attempts = self._attempts.get((key, setting), (None, 0))
        if settled and (signature == last or self._is_known(key, recording)):
            self._attempts.pop((key, setting), None)
            self._entries.insert(0, Entry(recorded, key))
            del self._entries[KEPT_EXECUTABLES:]
            return
        if attempts + 1 >= RECORDINGS:
            reason = f"a tensor that it makes is kept elsewhere: {escaped}; return it"
            if not escaped:
                reason = (
                    "what it does differs from call to call (random numbers of Python, a counter, "
                    "changing control flow)"
                )
            self._stay_eager(key, reason)
            return
        if len(self._attempts) > 64:  # ever new shapes
            self._attempts.clear()
        self._attempts[key, setting] = (signature if settled else None, attempts + 1)

    def _is_known(self, key: Hashable, recording: Any) -> bool:
        """Whether an executable for other shapes consists of the same operations."""
        names = [call.name for call in recording.calls]
        return any(entry.key == key and entry.names == names for entry in self._entries)

    def _stay_eager(self, key: Hashable, reason: str) -> None:
        if self._fullgraph:
            raise CompileError(f"compile: {self._name} cannot be one graph: {reason}")
        if not self._reasons:
            warnings.warn(
                f"compile: {self._name} stays eager: {reason}", CompileWarning, stacklevel=5
            )
        if len(self._reasons) > 64:
            self._reasons.clear()
        self._reasons[key] = reason
        self._plain_stays_eager = None in self._reasons

    def reset(self) -> None:
        """Forget executables, recordings, and why calls stay eager."""
        self._entries.clear()
        self._attempts.clear()
        self._reasons.clear()
        self._plain_stays_eager = False

    # --- looking ------------------------------------------------------------------------

    @property
    def graph(self) -> Any:
        """The optimised graph that ran last.

        Raises:
            RuntimeError: nothing has been compiled yet.
        """
        return self._last().compiled.graph

    @property
    def recorded_graph(self) -> Any:
        """The graph of the last executable as it was recorded, before the passes."""
        return self._last().compiled.recorded

    def report(self) -> Any:
        """The steps of the executable that ran last, with time, bytes and bound of each."""
        return self._last().compiled.report()

    def _last(self) -> Entry:
        if not self._entries:
            reasons = list(self._reasons.values())
            why = f"it stays eager: {reasons[-1]}" if reasons else "call it twice first"
            raise RuntimeError(f"compile: {self._name} has no executable; {why}")
        return self._entries[0]


def _is_tensor(value: Any) -> bool:
    return isinstance(value, Tensor)


def _modes() -> tuple[Any, ...]:
    grad, inference = fl.is_grad_enabled(), fl.is_inference_mode_enabled()
    return grad, inference, fl.get_default_dtype(), _core.autocast_modes()


def _finish(recording: Any, tensors: list[Tensor], watch: Watch, result: Any) -> Recorded:
    """End a recording; what is differentiable from outside gets its backward part."""
    outputs: list[Tensor] = []
    spec = take_apart(result, outputs)
    alive: list[int] = []
    used: list[int] = []
    parts: list[tuple[str, Any]] = []
    fresh: list[Tensor] = []
    before = {id(tensor): i for i, tensor in enumerate(tensors)}
    captured = {id(buffer[3]): buffer[3] for buffer in recording.buffers if buffer[0] == "captured"}
    for output in outputs:
        if id(output) in before:
            parts.append(("argument", before[id(output)]))
        elif id(output) in captured:
            parts.append(("object", output))
        else:
            parts.append(("output", len(fresh)))
            history = _core.history(output) if fl.is_grad_enabled() else "none"
            if history == "alive":
                alive.append(len(fresh))
            elif history == "used":
                used.append(len(fresh))
            fresh.append(output)
    leaves: list[int | Tensor] = []
    gradients: list[Tensor] = []
    if alive and recording.failure is None:
        leaves, gradients = _record_backward(recording, tensors, [fresh[i] for i in alive])
    recording.finish([*fresh, *gradients])
    sources = take_sources(recording)
    return Recorded(recording, tensors, watch, sources, Result(spec, parts), leaves, alive, used)


def _record_backward(
    recording: Any, tensors: list[Tensor], outputs: list[Tensor]
) -> tuple[list[int | Tensor], list[Tensor]]:
    """Record the gradients of the outputs, for incoming gradients of their shapes."""
    candidates: list[tuple[int | Tensor, Tensor]] = [
        (i, tensor) for i, tensor in enumerate(tensors) if tensor.requires_grad
    ]
    for kind, _, _, tensor, _ in recording.buffers:
        if kind == "captured" and tensor.requires_grad and tensor.is_leaf:
            candidates.append((tensor, tensor))
    tangents = [fl.ones(x.shape, dtype=x.dtype, device=x.device) for x in outputs]
    recording.tangents(tangents)
    found = fl.autograd.grad(
        outputs, [x for _, x in candidates], tangents, retain_graph=True, allow_unused=True
    )
    pairs = [
        (leaf, gradient)
        for (leaf, _), gradient in zip(candidates, found, strict=True)
        if gradient is not None
    ]
    return [leaf for leaf, _ in pairs], [gradient for _, gradient in pairs]
