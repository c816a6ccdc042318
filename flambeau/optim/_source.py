"""An optimizer's step as a source of numbers for replays (Note [Sources])."""

from __future__ import annotations

from operator import is_
from typing import TYPE_CHECKING

from flambeau.compiler._sources import Sources

if TYPE_CHECKING:
    from .optimizer import Batch, Group, Optimizer


class UpdateSource:
    """The update of one batch of parameters.

    Args:
        optimizer, group, batch: what is updated.
        ahead: how many steps of the same batch the recording has before this one.
    """

    def __init__(self, optimizer: Optimizer, group: Group, batch: Batch, ahead: int) -> None:
        self.optimizer = optimizer
        self.group = group
        self.batch = batch._replace(is_new=False)
        self.ahead = ahead
        self.parameters = list(group["params"])
        first = batch.rows[0]
        self.before = {key: first[key] for key in optimizer.number_keys if key in first}
        self.flags = self._flags()
        # Entries of the state that a replay reads and writes by their memory.
        self.tensors = [
            (row, name, row.get(name)) for row in batch.rows for name in optimizer.state_names
        ]

    def _flags(self, ahead: int = 0) -> list[bool | str]:
        """The settings that choose the formula, and which others are numbers."""
        numbers = self.batch.rows[0]
        for _ in range(ahead + 1):
            numbers = self.optimizer._advanced(self.group, numbers)
        settings = self.optimizer._settings(self.group, self.batch, numbers)
        return [value if isinstance(value, bool) else name for name, value in settings.items()]

    def is_current(self) -> bool:
        """Whether parameters, state and the choice of formula are those that were recorded."""
        optimizer, batch, group = self.optimizer, self.batch, self.group
        if not any(group is other for other in optimizer.param_groups):
            return False
        parameters = group["params"]
        if len(parameters) != len(self.parameters) or not all(
            map(is_, parameters, self.parameters)
        ):
            return False
        state, first, keys = optimizer.state, batch.rows[0], optimizer.number_keys
        if not first and optimizer._new_state(batch.parameters[0], group):
            return False
        for parameter, row in zip(batch.parameters, batch.rows, strict=True):
            if row and state.get(parameter) is not row:
                return False
            if any(row[key] != first[key] for key in keys):
                return False
        for row, name, tensor in self.tensors:
            if row.get(name) is not tensor:
                return False
        return self._flags(self.ahead) == self.flags

    def advance(self) -> list[float]:
        """The numbers of the coming step, which is counted."""
        optimizer, batch = self.optimizer, self.batch
        after = optimizer._advanced(self.group, batch.rows[0])
        settings = optimizer._settings(self.group, batch, after)
        batch.write(after)
        return [float(value) for value in settings.values() if not isinstance(value, bool)]

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
    sources.entries.append(UpdateSource(optimizer, group, batch, ahead))
    if batch.is_new and batch.rows[0]:
        sources.is_settled = False
