"""From a graph to an executable of the core."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from flambeau import _core
from flambeau.compiler._graph import Buffer, Epilogue, Graph, Input, Node, Number, Sums, Value
from flambeau.compiler._passes.epilogues import epilogues
from flambeau.compiler._passes.lanes import lanes
from flambeau.compiler._passes.library_epilogues import library_epilogues
from flambeau.compiler._passes.memory_plan import memory_plan

if TYPE_CHECKING:
    from flambeau import Tensor


class Lowering:
    """An executable under construction.

    Attributes:
        graph: the graph as it is executed; what only executables know, such as epilogues, is in.

    Example:
        lowering = Lowering(graph)
        lowering.builder.expect_argument(x)  # guards are the caller's
        executable = lowering.finish()
    """

    def __init__(self, graph: Graph) -> None:
        graph = graph.copy()
        if graph.device is None:
            epilogues(graph)
            lanes(graph)
        else:  # its steps are one queue
            library_epilogues(graph)
        self.graph = graph
        self.plan = memory_plan(graph)
        self.builder: Any = _core.ExecutableBuilder(graph.device)
        self._buffers: dict[Buffer, int] = {}
        self._values: dict[Value, int] = {}
        backward_at = graph.backward_at
        for number, node in enumerate(graph.nodes):
            if number == backward_at:
                self.builder.backward()
            self._add(node)
        if backward_at == len(graph.nodes):
            self.builder.backward()
        for fork in graph.forks:
            self.builder.fork(*fork)

    def buffer(self, buffer: Buffer) -> int:
        """The number of a buffer."""
        number = self._buffers.get(buffer)
        if number is None:
            kind = self.plan.fresh.get(buffer, buffer.kind)
            offset = self.plan.offsets.get(buffer, 0) if kind == "internal" else -1
            number = self._buffers[buffer] = self.builder.buffer(
                kind, buffer.bytes, buffer.index, buffer.tensor, offset
            )
        return number

    def value(self, value: Value | None) -> int:
        """The number of a value; -1 for None."""
        if value is None:
            return -1
        number = self._values.get(value)
        if number is None:
            number = self._values[value] = self.builder.value(
                self.buffer(value.buffer), value.shape, value.strides, value.offset, value.dtype
            )
        return number

    def finish(
        self,
        sources: Sequence[int | Tensor] = (),
        source_gradients: Sequence[Value | None] = (),
        differentiable: Sequence[int] = (),
    ) -> Any:
        """The executable.

        Args:
            sources: what the backward part's results are gradients of: numbers of arguments, or
                captured tensors.
            source_gradients: these results.
            differentiable: numbers of the outputs whose gradients the backward part takes.
        """
        return self.builder.finish(
            [self.value(value) for value in self.graph.outputs],
            [(leaf, self.value(value)) for leaf, value in self.graph.gradients],
            self.plan.bytes,
            list(sources),
            [self.value(value) for value in source_gradients],
            list(differentiable),
        )

    def _add(self, node: Node) -> None:
        outputs = [self.value(value) for value in node.outputs]
        if node.columns:
            self._add_update(node)
        elif node.epilogue is not None:
            self._add_product(node, node.epilogue)
        elif node.sums is not None:
            self._add_product_and_sum(node, node.sums)
        elif node.call is not None:
            inputs = [self.value(x) if isinstance(x, Value) else -1 for x in node.inputs]
            self.builder.call(node.call, inputs, outputs, label(node))
        else:
            operands = [self._operand(x) for x in node.inputs]
            self.builder.program(node.program, node.dtype, operands, outputs, label(node))

    def _add_product(self, node: Node, epilogue: Epilogue) -> None:
        self.builder.product(
            node.call,
            [self.value(x) if isinstance(x, Value) else -1 for x in epilogue.factors],
            self.value(epilogue.result),
            epilogue.program,
            node.dtype,
            [self._operand(x) for x in epilogue.inputs],
            [self.value(value) for value in epilogue.outputs],
            label(node),
        )

    def _add_product_and_sum(self, node: Node, sums: Sums) -> None:
        self.builder.product_and_sum(
            node.call,
            [self.value(x) for x in node.reads],
            self.value(node.outputs[0]),
            sums.call,
            self.value(sums.source),
            self.value(sums.result),
            sums.factor,
            label(node),
        )

    def _operand(self, x: Input) -> tuple[str, Any]:
        if isinstance(x, Value):
            return "value", self.value(x)
        return ("slot", x.slot) if isinstance(x, Number) else ("constant", x)

    def _add_update(self, node: Node) -> None:
        reads = node.reads
        starts = range(0, len(reads), node.columns)
        runs = [reads[start : start + node.columns] for start in starts]
        results = len(node.outputs) // len(runs)
        numbers = [self._operand(x) for x in node.inputs[len(reads) :]]
        self.builder.update(
            node.program,
            node.dtype,
            [[self.value(run[i]) for run in runs] for i in range(node.columns)],
            numbers,
            [runs[0].index(value) for value in node.outputs[:results]],
            label(node),
        )


def label(node: Node) -> str:
    """What a report calls the step."""
    parts = ", ".join(dict.fromkeys(node.parts))
    if node.epilogue is not None:
        return f"{node.operator} then {parts}"
    if node.sums is not None:
        return f"{node.operator} and {parts}"
    return f"{node.operator} ({parts})" if parts else node.operator


def lower(graph: Graph) -> Any:
    """The executable of a graph that is not differentiated from outside."""
    return Lowering(graph).finish()
