"""From a recording through the passes to an executable."""

from __future__ import annotations

from typing import Any

from flambeau.compiler._graph import Graph
from flambeau.compiler._lower import Lowering
from flambeau.compiler._passes import run_passes
from flambeau.compiler._record import graph_of


class Compiled:
    """An executable with the graphs that it came from.

    Attributes:
        recorded: the graph as it was recorded.
        graph: the graph after the passes.
        seconds: the time of each pass.
    """

    def __init__(self, recorded: Any) -> None:
        recording = recorded.recording
        self.recorded = graph_of(recording)
        self.graph: Graph = graph_of(recording)
        self.seconds = run_passes(self.graph)
        lowering = Lowering(self.graph)
        for tensor in recorded.tensors:
            lowering.builder.expect_argument(tensor)
        for leaf in recording.without_gradient:
            lowering.builder.expect_no_gradient(leaf)
        values = [lowering.value(value) for value in self.graph.outputs]
        count = len(values) - len(recorded.leaves)
        self.executable = lowering.builder.finish(
            values[:count],
            [(leaf, lowering.value(value)) for leaf, value in self.graph.gradients],
            lowering.plan.bytes,
            sources=recorded.leaves,
            source_gradients=values[count:],
            differentiable=recorded.differentiable,
            used=recorded.used,
            slots=recording.slot_count,
        )
