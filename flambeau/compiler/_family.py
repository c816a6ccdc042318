"""Recordings of other batch sizes, made of two without running the function again.

Note [Instantiation]
Two recordings of one function whose arguments differ in a leading length only give the core a
family (Note [Families] in core/trace/family.h). Here is what the core does not see: what the
function returns, the modes, the Python variables that it read, and the numbers of its optimizers.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

from flambeau import Tensor, _core
from flambeau.compiler._recorded import Recorded, modes


class Family:
    """The recordings of all batch sizes of one function.

    Attributes:
        key: the arguments beside tensors.
    """

    def __init__(self, key: Hashable, members: Any, second: Recorded) -> None:
        self.key = key
        self._members = members
        self._second = second

    @staticmethod
    def of(key: Hashable, first: Recorded, second: Recorded) -> Family | str:
        """The family of two recordings, or why there is none."""
        if first.modes != second.modes or not _same_surroundings(first, second):
            return "it returns something else, or leaves other gradients or sources"
        if first.watch.changed() is not None:
            return "a variable that it reads has changed"
        members = _core.fit_family(first.recording, second.recording)
        return members if isinstance(members, str) else Family(key, members, second)

    def member(self, tensors: Sequence[Tensor]) -> Recorded | str:
        """What a recording with these arguments would be, or why that cannot be told."""
        second = self._second
        if second.modes != modes() or second.watch.changed() is not None:
            return "a variable that it reads has changed"
        if [x.requires_grad for x in tensors] != second.needs:
            return "an argument requires a gradient or does so no more"
        recording = self._members.member(tensors)
        if isinstance(recording, str):
            return recording
        return second._replace(recording=recording, tensors=list(tensors))


def _same_surroundings(a: Recorded, b: Recorded) -> bool:
    return (
        a.result.spec == b.result.spec
        and all(map(_same_items, a.result.parts, b.result.parts))
        and _same_items(a.leaves, b.leaves)
        and a.differentiable == b.differentiable
        and a.used == b.used
        and a.needs == b.needs
        and list(map(type, a.sources.entries)) == list(map(type, b.sources.entries))
    )


def _same_items(a: Sequence[Any], b: Sequence[Any]) -> bool:
    """Tensors by identity, numbers and strings by value."""
    return len(a) == len(b) and all(
        x is y or (not isinstance(x, Tensor) and not isinstance(y, Tensor) and x == y)
        for x, y in zip(a, b)
    )
