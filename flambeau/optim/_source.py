"""An optimizer's step as a source of numbers for replays (Note [Sources])."""

from __future__ import annotations

from operator import is_
from typing import TYPE_CHECKING

from flambeau import _core
from flambeau.compiler._sources import Sources

if TYPE_CHECKING:
    from .optimizer import Batch, Group, Numbers, Optimizer

_CONSTANTS = frozenset((bool, int, float, type(None)))


class UpdateSource:
    """The update of one batch of parameters.

    Args:
        optimizer, group, batch: what is updated.
        ahead: how many steps of the same batch the recording has before this one.
    """

    def __init__(self, optimizer: Optimizer, group: Group, batch: Batch, ahead: int) -> None:
        self.optimizer = optimizer
        self.group = group
        # Gradients are the program's to drop.
        self.batch = batch._replace(is_new=False, gradients=[])
        self.ahead = ahead
        self.parameters = list(group["params"])
        first = batch.rows[0]
        self.before = {key: first[key] for key in optimizer.number_keys if key in first}
        # Entries of the state that a replay reads and writes by their memory.
        places = [(row, name) for row in batch.rows if row for name in optimizer.state_names]
        self._rows = [row for row, _ in places]
        self._names = [name for _, name in places]
        self._tensors = [row.get(name) for row, name in places]
        self._coming: tuple[Numbers, list[float]] = ({}, [])
        self.flags = self._look_ahead()

    def _look_ahead(self) -> list[bool | str]:
        """The settings that choose the formula of the coming step, and which others are numbers.

        Keeps the state's numbers after the step, and those of the formula.
        """
        after = self.batch.rows[0]
        for _ in range(self.ahead + 1):
            after = self.optimizer._advanced(self.group, after)
        settings = self.optimizer._settings(self.group, self.batch, after)
        # A formula that counts nothing gives the same numbers while the group is as it was.
        self._seen = list(self.group.values()) if self._is_constant() else []
        values = settings.values()
        self._coming = after, [float(value) for value in values if not isinstance(value, bool)]
        return [value if isinstance(value, bool) else name for name, value in settings.items()]

    def _is_constant(self) -> bool:
        settings = (value for key, value in self.group.items() if key != "params")
        return not self.before and all(type(value) in _CONSTANTS for value in settings)

    def is_current(self) -> bool:
        """Whether parameters, state and the choice of formula are those that were recorded."""
        optimizer, batch, group = self.optimizer, self.batch, self.group
        for other in optimizer.param_groups:
            if other is group:
                break
        else:
            return False
        if not _core.same_objects(group["params"], self.parameters):
            return False
        first = batch.rows[0]
        if not first:
            if optimizer._new_state(batch.parameters[0], group):
                return False
        elif not all(map(is_, map(optimizer.state.get, batch.parameters), batch.rows)):
            return False
        for key in optimizer.number_keys if first else ():
            if [row[key] for row in batch.rows].count(first[key]) != len(batch.rows):
                return False
        if not _core.same_items(self._rows, self._names, self._tensors):
            return False
        if self._seen and _core.same_objects(list(group.values()), self._seen):
            return True
        return self._look_ahead() == self.flags

    def advance(self, is_prepared: bool) -> list[float]:
        """The numbers of the coming step, which is counted.

        Args:
            is_prepared: nothing has changed since `is_current()`.
        """
        if not is_prepared or self.ahead:
            ahead, self.ahead = self.ahead, 0
            self._look_ahead()
            self.ahead = ahead
        after, numbers = self._coming
        self.batch.write(after)
        return numbers

    def rewind(self) -> bool:
        """Puts the numbers of the state back to what they were before the recorded step."""
        self.batch.write(self.before)
        return True

    @property
    def names(self) -> list[str]:
        """The settings that are numbers, such as "Adam.eps"."""
        kind = type(self.optimizer).__name__
        return [f"{kind}.{name}" for name in self.flags if isinstance(name, str)]


def record_update(sources: Sources, optimizer: Optimizer, group: Group, batch: Batch) -> None:
    """Leave the source of an update that is about to run."""
    ahead = sum(
        isinstance(source, UpdateSource)
        and source.optimizer is optimizer
        and source.batch.parameters[0] is batch.parameters[0]
        for source in sources.entries
    )
    sources.add(UpdateSource(optimizer, group, batch, ahead))
    if batch.is_new and batch.rows[0]:
        sources.is_settled = False
