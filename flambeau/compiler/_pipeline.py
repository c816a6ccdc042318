"""From a recording through the passes to an executable."""

from __future__ import annotations

from typing import Any

import flambeau as fl
from flambeau import _core
from flambeau.compiler._graph import Graph
from flambeau.compiler._lower import Lowering
from flambeau.compiler._passes import run_passes
from flambeau.compiler._record import graph_of
from flambeau.compiler._report import Report, report


class Compiled:
    """An executable with the graphs that it came from.

    Attributes:
        recorded: the graph as it was recorded.
        graph: the graph after the passes.
        executed: the graph as it was lowered: its nodes are the executable's steps.
        seconds: the time of each pass.
    """

    def __init__(self, recorded: Any) -> None:
        recording = recorded.recording
        self.models = [(x.shape, x.dtype, x.requires_grad) for x in recorded.tensors]
        self.slots = recording.slot_count
        self.recorded = graph_of(recording)
        self.graph: Graph = self.recorded.copy()
        self.seconds = run_passes(self.graph)
        lowering = Lowering(self.graph)
        for tensor in recorded.tensors:
            lowering.builder.expect_argument(tensor)
        for leaf in recording.without_gradient:
            lowering.builder.expect_no_gradient(leaf)
        self.executed = lowering.graph
        self.arena_bytes = lowering.plan.bytes
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

    def times(self, runs: int = 5) -> list[tuple[str, float]]:
        """Label and seconds of every step, the least of some runs on zeros.

        What the steps write to - parameters, gradients, the random stream - is as before
        afterwards.
        """
        written = {
            value.buffer.tensor
            for node in self.graph.nodes
            for value in node.outputs
            if value.buffer.kind == "captured" and value.buffer.tensor is not None
        }
        leaves = [leaf for leaf, _ in self.graph.gradients]
        gradients = [leaf.grad for leaf in leaves]
        kept = [(tensor, tensor.detach().clone()) for tensor in written]
        states = _core.DefaultStates()
        arguments = [
            fl.zeros(shape, dtype=dtype, device=self.graph.device).requires_grad_(needs)
            for shape, dtype, needs in self.models
        ]
        try:
            profiles = [self.executable.profile(arguments, [1.0] * self.slots) for _ in range(runs)]
        finally:
            states.restore()
            for tensor, before in kept:
                tensor.data.copy_(before)
            for leaf, gradient in zip(leaves, gradients):
                leaf.grad = gradient
        return [
            (label, min(profile[i][1] for profile in profiles))
            for i, (label, _) in enumerate(profiles[0])
        ]

    def report(self) -> Report:
        """Time, bytes moved and bound of every step; printing it makes a table."""
        result = report(self.executed, self.times(), self.arena_bytes)
        if self.graph.device is not None:
            result.queue = self._queue()
        return result

    def _queue(self) -> str:
        """How the steps get to the GPU."""
        if self.executable.captured:
            return "one launch: the steps are a CUDA graph"
        waiting = sorted(set(self.executable.not_capturable))
        if waiting:
            return f"queued step by step: {', '.join(waiting)} cannot be part of a CUDA graph"
        return "queued step by step so far: a CUDA graph is made after two replays"
