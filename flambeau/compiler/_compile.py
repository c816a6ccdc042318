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
from typing import Any
from weakref import WeakSet

from flambeau import Tensor, _core
from flambeau.compiler._effects import Effects
from flambeau.compiler._family import Family
from flambeau.compiler._pipeline import Compiled
from flambeau.compiler._recorded import Recorded, finish, modes
from flambeau.compiler._sizes import without_sizes
from flambeau.compiler._sources import SETS_OPTIMIZER, sources_of, take_sources
from flambeau.compiler._structure import geometry, put_together, take_apart
from flambeau.compiler._watch import Watch

KEPT_EXECUTABLES = 8  # of one function; the least recently used goes first
KEPT_FAMILIES = 4
RECORDINGS = 4  # how many may differ before the function stays eager
_MISS = object()
compiled_functions: WeakSet[CompiledFunction] = WeakSet()


class CompileError(RuntimeError):
    """With fullgraph=True: the function cannot be recorded as one graph."""


class CompileWarning(UserWarning):
    """A function stays eager, and why."""


class Entry:
    """An executable with its guards."""

    def __init__(self, recorded: Recorded, key: Hashable) -> None:
        self.key = key
        self.recorded = recorded._replace(tensors=[])
        self.watch = recorded.watch
        self._holds = recorded.watch.holds
        self.sources = recorded.sources if recorded.sources.entries else None
        self.names = [call.name for call in recorded.recording.calls]
        self.compiled = Compiled(recorded)
        recorded.recording.forget_memory()
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
        if not self._holds() and self.watch.changed() is not None:
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
        self._families: list[Family] = []  # most recently used first
        self.recordings = 0  # how often the function ran to be recorded
        self.instantiations = 0  # executables that were made of recordings
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
        result = self._instantiate(key, tensors)
        if result is not _MISS:
            return result
        return self._record(key, tensors, args, kwargs)

    # --- other batch sizes --------------------------------------------------------------

    def _instantiate(self, key: Hashable, tensors: list[Tensor]) -> Any:
        """The result of an executable that follows from two others; _MISS if there is none."""
        for i, family in enumerate(self._families):
            recorded = family.member(tensors) if family.key == key else ""
            if isinstance(recorded, str):
                continue
            entry = Entry(recorded, key)
            result = entry.try_run(tensors)
            if result is _MISS:
                continue
            self.instantiations += 1
            self._families.insert(0, self._families.pop(i))
            self._keep(entry)
            return result
        return _MISS

    def _found_family(self, entry: Entry) -> None:
        """Look for an executable from which this one differs in the batch size only."""
        for other in self._entries:
            if other.key != entry.key or other.names != entry.names:
                continue
            family = Family.of(entry.key, other.recorded, entry.recorded)
            if isinstance(family, Family):
                self._families.insert(0, family)
                del self._families[KEPT_FAMILIES:]
                return

    def _keep(self, entry: Entry) -> None:
        self._entries.insert(0, entry)
        del self._entries[KEPT_EXECUTABLES:]

    # --- recording ----------------------------------------------------------------------

    def _record(
        self, key: Hashable, tensors: list[Tensor], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        watch = Watch(self._function, (*args, *kwargs.values()))
        before = modes()
        setting = (geometry(tensors), before)
        recording = _core.Recording(tensors)
        recording.numbers_are_slots = True
        sources_of(recording).settings = watch.settings
        recording.tracks_sizes = not watch.tells_types
        self.recordings += 1
        try:
            with Effects() as effects:
                result = without_sizes(self._function(*args, **kwargs))
        except BaseException:
            recording.stop()
            take_sources(recording)
            raise
        refusal = watch.refusal or effects.reason
        if modes() != before:
            refusal = "it leaves another grad mode or default dtype behind"
        if refusal is not None:
            recording.fail(refusal)
        if watch.settings.changed():
            recording.fail(SETS_OPTIMIZER)
        recorded = finish(recording, tensors, watch, result)
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
            entry = Entry(recorded, key)
            self._found_family(entry)
            self._keep(entry)
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
        self._families.clear()
        self.recordings = self.instantiations = 0
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
        """The steps of the executable that ran last, with time, bytes and bound of each.

        It says as well how often the function was recorded, and how many executables were made
        of recordings for other batch sizes.
        """
        report = self._last().compiled.report()
        report.recordings = self.recordings
        report.instantiations = self.instantiations
        return report

    def _last(self) -> Entry:
        if not self._entries:
            reasons = list(self._reasons.values())
            why = f"it stays eager: {reasons[-1]}" if reasons else "call it twice first"
            raise RuntimeError(f"compile: {self._name} has no executable; {why}")
        return self._entries[0]


def _is_tensor(value: Any) -> bool:
    return isinstance(value, Tensor)
