"""A recorded computation: steps that read and write views of memory buffers.

Note [Buffers, not tensors]
There are no view nodes. A value is a strided window on a buffer, a node reads and writes values,
and what must happen in which order follows from the memory that they share. Nearly all internal
buffers are written once; for those, reading a buffer is the same as using the result of the one
node that writes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from flambeau import Tensor, device, dtype

# Whether a buffer of this kind holds something that exists outside of one run of the graph.
PERSISTENT = frozenset({"argument", "captured", "gradient", "tangent"})


class Buffer:
    """A block of memory.

    Attributes:
        kind: "argument" (memory of argument `index`), "captured" (of a tensor that existed before
            the recording), "gradient" (of `tensor.grad` as it was at entry), "tangent" (incoming
            gradient `index`), "constant" (its contents at the start of every run are those of
            `tensor`) or "internal" (made by a node).
        bytes: how long it is.
    """

    __slots__ = ("bytes", "index", "kind", "tensor")

    def __init__(
        self, kind: str, bytes: int, index: int = -1, tensor: Tensor | None = None
    ) -> None:
        self.kind = kind
        self.bytes = bytes
        self.index = index
        self.tensor = tensor

    @property
    def persistent(self) -> bool:
        """Whether what is written to it can be seen after the run."""
        return self.kind in PERSISTENT

    def __repr__(self) -> str:
        return f"<{self.kind} buffer of {self.bytes} bytes>"


class Value(NamedTuple):
    """A strided view of a buffer; strides and offset are in elements."""

    buffer: Buffer
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int
    dtype: dtype

    @property
    def elements(self) -> int:
        """How many elements the value has."""
        count = 1
        for length in self.shape:
            count *= length
        return count

    @property
    def contiguous(self) -> bool:
        """Whether the elements lie in row-major order without gaps."""
        expected = 1
        for length, stride in zip(reversed(self.shape), reversed(self.strides)):
            if length == 0:
                return True
            if length != 1 and stride != expected:
                return False
            expected *= length
        return True

    @property
    def span(self) -> tuple[int, int]:
        """First byte and the byte after the last one that it reaches."""
        last = 0
        for length, stride in zip(self.shape, self.strides):
            if length == 0:
                return 0, 0
            last += (length - 1) * stride
        size = self.dtype.itemsize
        return self.offset * size, (self.offset + last + 1) * size

    @property
    def fills(self) -> bool:
        """Whether it consists of all the buffer's memory, each element once."""
        if self.offset or self.elements * self.dtype.itemsize != self.buffer.bytes:
            return False
        if self.contiguous:
            return True
        expected = 1
        for stride, length in sorted(zip(self.strides, self.shape)):
            if length != 1 and stride != expected:
                return False
            expected *= length
        return True

    def on(self, buffer: Buffer) -> Value:
        """The same view of another buffer."""
        return Value(buffer, self.shape, self.strides, self.offset, self.dtype)


def dense(buffer: Buffer, shape: Sequence[int], dtype: dtype, offset: int = 0) -> Value:
    """A contiguous value."""
    strides = [1] * len(shape)
    for axis in range(len(shape) - 2, -1, -1):
        strides[axis] = strides[axis + 1] * shape[axis + 1]
    return Value(buffer, tuple(shape), tuple(strides), offset, dtype)


class Number(NamedTuple):
    """A number that is supplied at every run, such as a learning rate."""

    slot: int


# What a node reads; None is an absent optional operand.
Input = Value | Number | float | int | bool | None


class Epilogue(NamedTuple):
    """The program that follows a product, block by block.

    Attributes:
        program: the program.
        inputs: what it reads, seen as matrices of the product's shape.
        outputs: what it writes, likewise.
        factors: what the product reads.
        result: where the product lies before the program has read it; may be an output.
    """

    program: Any
    inputs: list[Input]
    outputs: list[Value]
    factors: list[Input]
    result: Value


class Sums(NamedTuple):
    """What is added up beside a product on a GPU.

    Attributes:
        call: the recorded sum.
        source: what it reads; `factor` of the product (0 or 1), as the sum sees it.
        result: what it writes.
    """

    call: Any
    source: Value
    result: Value
    factor: int


class Node:
    """One step.

    Attributes:
        operator: what it is called: "mm", "add", "fused", "update" ...
        inputs: what it reads; of a program node, the program's inputs in order.
        outputs: what it writes; may be memory that it also reads.
        program: the program of an elementwise or row-wise node, which is run with registers of
            `dtype`'s precision. The values broadcast against the outputs' shape; rows are the last
            axis.
        call: the recorded call of any other node, which the core repeats as it was. A node with
            both (a sum, a copy) is repeated as a call unless it is merged with others.
        columns: of an "update" node, which runs its program for one list of tensors after the
            other: how many values each run reads. `inputs` are these values run by run, then the
            numbers; `outputs` are the results run by run.
        parts: of a node that several were merged into: the operators of these.
        epilogue: of a product that a program follows; what both read and write is in `inputs` and
            `outputs` as well.
        sums: of a product beside which a factor's rows are added up; `outputs` has both results.
        random: draws from the random generator, so it must keep its place among such nodes.
        backward: belongs to the backward part of a function that is differentiated from outside.
        place: the user's line.
    """

    __slots__ = (
        "backward",
        "call",
        "columns",
        "dtype",
        "epilogue",
        "inputs",
        "operator",
        "outputs",
        "parts",
        "place",
        "program",
        "random",
        "sums",
    )

    def __init__(
        self,
        operator: str,
        inputs: Iterable[Input],
        outputs: Iterable[Value],
        *,
        program: Any = None,
        dtype: dtype | None = None,
        call: Any = None,
        columns: int = 0,
        parts: Iterable[str] = (),
        random: bool = False,
        backward: bool = False,
        place: str = "",
        epilogue: Epilogue | None = None,
        sums: Sums | None = None,
    ) -> None:
        self.operator = operator
        self.inputs: list[Input] = list(inputs)
        self.outputs: list[Value] = list(outputs)
        self.program = program
        self.dtype = dtype
        self.call = call
        self.columns = columns
        self.parts: list[str] = list(parts)
        self.random = random
        self.backward = backward
        self.place = place
        self.epilogue = epilogue
        self.sums = sums

    @property
    def reads(self) -> list[Value]:
        """The values among the inputs."""
        return [x for x in self.inputs if isinstance(x, Value)]

    def copy(self) -> Node:
        """A node of its own lists."""
        return Node(
            self.operator,
            self.inputs,
            self.outputs,
            program=self.program,
            dtype=self.dtype,
            call=self.call,
            columns=self.columns,
            parts=self.parts,
            random=self.random,
            backward=self.backward,
            place=self.place,
            epilogue=self.epilogue,
            sums=self.sums,
        )

    def __repr__(self) -> str:
        return f"<node {self.operator}>"


class Fork(NamedTuple):
    """Steps that run beside each other: [begin, middle) and [middle, end)."""

    begin: int
    middle: int
    end: int


class Graph:
    """The steps of one run, in an order in which they can be executed.

    Attributes:
        nodes: the steps.
        outputs: what the function returns.
        gradients: (leaf, what its `.grad` is bound to at the end; None for None).
        numbers: how many numbers are supplied at every run.
        differentiable: whether there is a backward part, run later than the forward part.
        device: where all its memory is; None for the CPU.
        forks: the steps that run beside each other; known once the graph is lowered.
    """

    def __init__(
        self,
        nodes: Iterable[Node] = (),
        outputs: Iterable[Value] = (),
        gradients: Iterable[tuple[Tensor, Value | None]] = (),
        numbers: int = 0,
        differentiable: bool = False,
        device: device | None = None,
    ) -> None:
        self.nodes: list[Node] = list(nodes)
        self.outputs: list[Value] = list(outputs)
        self.gradients: list[tuple[Tensor, Value | None]] = list(gradients)
        self.numbers = numbers
        self.differentiable = differentiable
        self.device = device
        self.forks: list[Fork] = []

    @property
    def backward_at(self) -> int | None:
        """Number of the first node of the backward part; None if there is no such part."""
        if not self.differentiable:
            return None
        for number, node in enumerate(self.nodes):
            if node.backward:
                return number
        return len(self.nodes)

    @property
    def escaping(self) -> set[Buffer]:
        """The buffers that live on after the run as results or gradients."""
        return {value.buffer for value in self.results()}

    def results(self) -> Iterator[Value]:
        """The outputs and the gradients that are not None."""
        yield from self.outputs
        for _, value in self.gradients:
            if value is not None:
                yield value

    def replace(self, old: dict[Buffer, Buffer]) -> None:
        """Lets all results that lie in old buffers lie in the new ones."""
        if old:
            self.outputs = [v.on(old.get(v.buffer, v.buffer)) for v in self.outputs]
            self.gradients = [
                (leaf, v and v.on(old.get(v.buffer, v.buffer))) for leaf, v in self.gradients
            ]

    def copy(self) -> Graph:
        """A graph of its own nodes over the same buffers."""
        nodes = [node.copy() for node in self.nodes]
        return Graph(
            nodes, self.outputs, self.gradients, self.numbers, self.differentiable, self.device
        )

    def print(self) -> None:
        """Prints one line per step."""
        print(self)

    def __str__(self) -> str:
        from flambeau.compiler._text import graph_text

        return graph_text(self)

    def to_svg(self, path: str | Path | None = None) -> str:
        """Draws the steps, from the arguments at the top down to the results.

        Args:
            path: where to write the picture, if anywhere.

        Returns:
            The picture as SVG text.
        """
        from flambeau.compiler._picture import graph_svg

        text = graph_svg(self)
        if path is not None:
            Path(path).write_text(text, encoding="utf-8")
        return text


def overlap(a: Value, b: Value) -> bool:
    """Whether two values may share memory (their byte ranges do)."""
    if a.buffer is not b.buffer:
        return False
    (a_begin, a_end), (b_begin, b_end) = a.span, b.span
    return a_begin < b_end and b_begin < a_end


class _Accesses:
    """Who reads and writes the parts of one buffer, as far as later nodes must know."""

    __slots__ = ("entries",)

    def __init__(self) -> None:
        self.entries: list[tuple[int, int, int, bool]] = []  # begin, end, node, whether a write

    def read(self, begin: int, end: int, node: int, before: set[int]) -> None:
        for first, last, other, write in self.entries:
            if write and first < end and begin < last:
                before.add(other)
        self.entries.append((begin, end, node, False))

    def write(self, begin: int, end: int, node: int, before: set[int]) -> None:
        kept = []
        for entry in self.entries:
            first, last, other, _ = entry
            if first < end and begin < last:
                before.add(other)
            # Who comes after this write need not know of what it covers.
            if first < begin or end < last:
                kept.append(entry)
        kept.append((begin, end, node, True))
        self.entries = kept


def dependencies(nodes: Sequence[Node]) -> list[set[int]]:
    """For each node the numbers of the nodes that must come before it.

    Read after write, write after read and write after write on overlapping memory, and the
    order of random draws. What follows through another node may be left out.
    """
    count = writes(nodes)
    maker: dict[Buffer, int] = {}  # of buffers that are written once: no later write to wait for
    memory: dict[Buffer, _Accesses] = {}
    last_random = -1
    found = []
    for number, node in enumerate(nodes):
        before: set[int] = set()
        for value in node.inputs:
            if not isinstance(value, Value):
                continue
            buffer = value.buffer
            if buffer in maker:
                before.add(maker[buffer])
            elif buffer in count:
                memory.setdefault(buffer, _Accesses()).read(*value.span, number, before)
        for value in node.outputs:
            buffer = value.buffer
            if count[buffer] == 1 and buffer not in memory:
                maker[buffer] = number
            else:
                memory.setdefault(buffer, _Accesses()).write(*value.span, number, before)
        if node.random:
            if last_random >= 0:
                before.add(last_random)
            last_random = number
        before.discard(number)
        found.append(before)
    return found


def writes(nodes: Sequence[Node]) -> dict[Buffer, int]:
    """How many times each buffer is written to."""
    count: dict[Buffer, int] = {}
    for node in nodes:
        for value in node.outputs:
            count[value.buffer] = count.get(value.buffer, 0) + 1
    return count


def single_assignment(nodes: Sequence[Node]) -> set[Buffer]:
    """The internal buffers that are written exactly once: values in the mathematical sense."""
    return {
        buffer
        for buffer, count in writes(nodes).items()
        if count == 1 and buffer.kind == "internal"
    }
