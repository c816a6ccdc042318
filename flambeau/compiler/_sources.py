"""What a replay needs from Python: numbers that change from call to call, and schedulers.

Note [Sources]
While a function is recorded, an optimizer's step leaves a source and a scheduler's step leaves an
effect. Before every replay they run in the order of the recording: a source gives the numbers of
its step (learning rate, bias corrections), which fill the recording's number slots in that order,
and moves its step count on; an effect is the call itself again.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from flambeau import Tensor
from flambeau._core import recording as _recording
from flambeau.compiler._sizes import without_sizes

if TYPE_CHECKING:
    from flambeau.compiler._watch import Settings

SETS_OPTIMIZER = (
    "it sets options of an optimizer's param_groups, which a replay would not do; set them outside "
    "of the function, or let a scheduler step in it"
)
Step = TypeVar("Step", bound=Callable[..., Any])


class NotReplayable(BaseException):
    """A function cannot be a part of recorded control flow; the text says why.

    It is caught before it reaches the user, and must get past the user's `except Exception`.
    """


class Source(Protocol):
    """Something that Python does before every replay."""

    def is_current(self) -> bool:
        """Whether a replay would do what was recorded; changes nothing."""

    def advance(self, is_prepared: bool) -> list[float]:
        """The numbers of this step; what they depend on moves on to the next.

        Args:
            is_prepared: nothing has changed since `is_current()`.
        """

    def rewind(self) -> bool:
        """Takes back what the recorded run changed; False if that cannot be done."""

    @property
    def names(self) -> list[str]:
        """What the numbers are called."""


class Sources:
    """The sources of one recording (Note [Sources])."""

    def __init__(self) -> None:
        self.entries: list[Source] = []
        # False once a step has created state: the next recording will differ from this one.
        self.is_settled = True
        self.is_part = False  # of a loop or branch, in which nothing may have effects
        self.kept: list[Any] = []  # what has to live until the recording ends
        self.controls: list[Any] = []  # what its loops and branches are made of
        self.settings: Settings | None = None  # of the optimizers that the function can reach
        self._is_in_effect = False
        self._has_effects = False

    def add(self, source: Source) -> None:
        """Leave a source, before its effects."""
        if self.is_part:
            raise NotReplayable("an optimizer or scheduler steps inside control flow")
        self.entries.append(source)

    def replay(self) -> list[float] | None:
        """Prepare a replay.

        Returns:
            The numbers of all slots; or None, with nothing changed, if the function has to be
            recorded again.
        """
        for source in self.entries:
            if not source.is_current():
                return None
        numbers: list[float] = []
        for source in self.entries:
            numbers += source.advance(not self._has_effects)
        return numbers

    def run_effect(self, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Make a call that every replay repeats; calls inside it belong to it."""
        if self._is_in_effect:
            return call(*args, **kwargs)
        args, kwargs = without_sizes(args), without_sizes(kwargs)
        if any(isinstance(value, Tensor) for value in (*args, *kwargs.values())):
            refuse(f"{call.__qualname__} was given a tensor; call it outside, with a number")
        if self.settings is not None and self.settings.changed():
            refuse(SETS_OPTIMIZER)
        self.add(_Effect(call, args, kwargs))
        self._has_effects = True
        self._is_in_effect = True
        try:
            return call(*args, **kwargs)
        finally:
            self._is_in_effect = False
            if self.settings is not None:
                self.settings.renew()


class _Effect:
    """A call to repeat before every replay."""

    def __init__(
        self, call: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        self._call = call
        self._args = args
        self._kwargs = kwargs

    def is_current(self) -> bool:
        return True

    def advance(self, is_prepared: bool) -> list[float]:
        self._call(*self._args, **self._kwargs)
        return []

    def rewind(self) -> bool:
        return False

    @property
    def names(self) -> list[str]:
        return []


_sources: dict[Any, Sources] = {}  # of the recordings in progress


def recording_sources() -> Sources | None:
    """The sources of this thread's recording, or None if nothing is being recorded."""
    recording = _recording()
    return None if recording is None else sources_of(recording)


def sources_of(recording: Any) -> Sources:
    """The sources of a recording in progress."""
    return _sources.setdefault(recording, Sources())


def begin_part() -> None:
    """Say that this thread's recording is a part of control flow."""
    sources = recording_sources()
    assert sources is not None
    sources.is_part = True


def take_sources(recording: Any) -> Sources:
    """The sources of a recording that has ended."""
    sources = _sources.pop(recording, None) or Sources()
    sources.kept.clear()
    return sources


def refuse(reason: str) -> None:
    """Say that what is being recorded, if anything is, cannot be replayed."""
    recording = _recording()
    if recording is not None:
        recording.fail(reason)


def repeated_by_replays(step: Step) -> Step:
    """Decorates a method that only changes Python objects: a replay calls it again."""

    @wraps(step)
    def stepped(*args: Any, **kwargs: Any) -> Any:
        sources = recording_sources()
        if sources is None:
            return step(*args, **kwargs)
        return sources.run_effect(step, *args, **kwargs)

    return stepped  # type: ignore[return-value]
