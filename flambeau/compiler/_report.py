"""What a compiled function's steps cost, and what they could not be faster than."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from math import prod
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple

import flambeau as fl
from flambeau.compiler._graph import Graph, Node, Value
from flambeau.compiler._lower import label
from flambeau.compiler._programs import facts

if TYPE_CHECKING:
    from flambeau import device

CACHED_BYTES = 1 << 20  # what a step before may have left in the caches


class Machine(NamedTuple):
    """What this machine can do."""

    bytes_per_second: float  # of memory, read and written
    cached_bytes_per_second: float  # of the caches
    operations_per_second: float  # multiplications and additions of float32

    def bound(self, bytes: int, operations: int) -> float:
        """The seconds that a step needs at least."""
        cached = bytes <= CACHED_BYTES
        speed = self.cached_bytes_per_second if cached else self.bytes_per_second
        return max(bytes / speed, operations / self.operations_per_second)


class StepCost(NamedTuple):
    """One step of a run.

    Attributes:
        label: operator, and what was merged into it.
        lane: of steps that run beside others, "1a" or "1b": the fork, and which of its chains.
        place: the user's line.
        seconds: what it took.
        bytes: how much memory it reads and writes.
        operations: how many multiplications, additions and the like.
        bound: the seconds that the machine needs at least to move the bytes (from its caches if
            they are few) or to compute.
    """

    label: str
    lane: str
    place: str
    seconds: float
    bytes: int
    operations: int
    bound: float


class Report:
    """The costs of all steps; prints as a table.

    Attributes:
        recordings: how often a compiled function was recorded so far.
        instantiations: how many executables were made of its recordings for other batch sizes.
        queue: on a GPU, how the steps get there.
    """

    def __init__(self, steps: Sequence[StepCost], machine: Machine, arena: int) -> None:
        self.steps = list(steps)
        self.machine = machine
        self.arena = arena
        self.recordings = 0
        self.instantiations = 0
        self.queue = ""

    @property
    def seconds(self) -> float:
        """Of all steps, one after the other."""
        return sum(step.seconds for step in self.steps)

    def __str__(self) -> str:
        total = self.seconds or 1.0
        lines = [
            f"{'us':>9}  {'%':>4}  {'kB':>9}  {'GB/s':>6}  {'Gop/s':>6}  {'bound us':>8}  "
            f"{'lane':4}  step"
        ]
        for step in self.steps:
            seconds = step.seconds or 1e-9
            lines.append(
                f"{step.seconds * 1e6:9.1f}  {100 * step.seconds / total:4.1f}  "
                f"{step.bytes / 1e3:9.1f}  {step.bytes / seconds / 1e9:6.1f}  "
                f"{step.operations / seconds / 1e9:6.1f}  {step.bound * 1e6:8.1f}  "
                f"{step.lane:4}  {step.label}" + (f"  ({step.place})" if step.place else "")
            )
        bound = sum(step.bound for step in self.steps)
        lines.append(
            f"{self.seconds * 1e6:9.1f} us in {len(self.steps)} steps, bound {bound * 1e6:.1f} us "
            f"({self.machine.bytes_per_second / 1e9:.1f} GB/s, in caches "
            f"{self.machine.cached_bytes_per_second / 1e9:.1f} GB/s, "
            f"{self.machine.operations_per_second / 1e9:.0f} Gop/s); "
            f"{self.arena / 1e3:.1f} kB of intermediate memory"
        )
        if self.recordings:
            lines.append(
                f"recorded {self.recordings} times, instantiated {self.instantiations} times "
                "for other batch sizes"
            )
        if self.queue:
            lines.append(self.queue)
        return "\n".join(lines)


def report(graph: Graph, seconds: Sequence[tuple[str, float]], arena: int = 0) -> Report:
    """The costs of a graph's steps.

    Args:
        seconds: (label, seconds) of every step, as `Executable.profile` gives them.
        arena: bytes of intermediate memory.
    """
    machine = measured_machine(graph.device)
    steps = []
    lanes = _lanes(graph)
    for number, (node, (_, taken)) in enumerate(zip(graph.nodes, seconds, strict=True)):
        moved, work = _bytes(node), _operations(node)
        bound = machine.bound(moved, work)
        lane = lanes.get(number, "")
        steps.append(StepCost(label(node), lane, node.place, taken, moved, work, bound))
    return Report(steps, machine, arena)


def _lanes(graph: Graph) -> dict[int, str]:
    """The lanes of the steps that run beside others."""
    found: dict[int, str] = {}
    for fork, (begin, middle, end) in enumerate(graph.forks, 1):
        found.update(dict.fromkeys(range(begin, middle), f"{fork}a"))
        found.update(dict.fromkeys(range(middle, end), f"{fork}b"))
    return found


@lru_cache(maxsize=8)
def measured_machine(device: device | None = None) -> Machine:
    """Measures the CPU or a GPU with copies and a matrix product."""
    side = 512
    a = fl.ones(side, side, device=device)
    return Machine(
        _copy_speed(1 << 25, device),
        _copy_speed(CACHED_BYTES // 4, device),
        2 * side**3 / min(_timed(lambda: a @ a, device) for _ in range(5)),
    )


def _copy_speed(bytes: int, device: device | None) -> float:
    """Bytes read and written per second."""
    source, target = (fl.zeros(bytes // 4, device=device) for _ in range(2))
    copy = partial(target.copy_, source)
    return 2 * bytes / min(_timed(copy, device) for _ in range(5))


def _timed(call: Callable[[], object], device: device | None) -> float:
    start = perf_counter()
    call()
    if device is not None:
        fl.cuda.synchronize(device)
    return perf_counter() - start


def _bytes(node: Node) -> int:
    """How much memory is read and written, each place once."""
    return sum(_size(value) for value in {*node.reads, *node.outputs})


def _size(value: Value) -> int:
    distinct = prod(n for n, stride in zip(value.shape, value.strides) if stride or n == 0)
    return distinct * value.dtype.itemsize


def _operations(node: Node) -> int:
    """Multiplications and additions; every instruction of a program counts as one."""
    if node.program is not None and node.call is None:
        elements = max(value.elements for value in (*node.reads, *node.outputs))
        if node.columns:
            elements = sum(value.elements for value in node.reads) // node.columns
        return elements * max(facts(node.program).values - len(node.inputs), 1)
    pairs = PRODUCTS.get(node.operator)
    if pairs is not None:
        return 2 * pairs(node.reads, node.outputs[0])
    return max((value.elements for value in (*node.reads, *node.outputs)), default=0)


def _matrix_product(reads: list[Value], out: Value) -> int:
    return out.elements * reads[-2].shape[-1]


# How many pairs of elements are multiplied.
PRODUCTS: dict[str, Callable[[list[Value], Value], int]] = {
    "mm": _matrix_product,
    "addmm": _matrix_product,
    "bmm": _matrix_product,
    "baddbmm": _matrix_product,
    "batch_matmul": _matrix_product,
    "convolution": lambda reads, out: out.elements * prod(reads[1].shape[1:]),
    "convolution_transpose": lambda reads, out: reads[0].elements * prod(reads[1].shape[1:]),
    "convolution_weight": lambda reads, out: reads[1].elements * prod(out.shape[1:]),
}
