"""From a recording of the core to a graph."""

from __future__ import annotations

from typing import Any

from flambeau.compiler._graph import Buffer, Graph, Input, Node, Number, Value


def graph_of(recording: Any) -> Graph:
    """The graph of a finished recording, step by step as it was recorded."""
    buffers = [
        Buffer(kind, bytes, index, tensor) for kind, index, bytes, tensor, _ in recording.buffers
    ]

    def value(recorded: Any) -> Value:
        number, shape, strides, offset, dtype = recorded
        return Value(buffers[number], shape, strides, offset, dtype)

    def operand(recorded: Any) -> Input:
        if not isinstance(recorded, tuple):
            return recorded
        return Number(recorded[1]) if recorded[0] == "slot" else value(recorded)

    backward_at = recording.backward_at
    nodes = []
    for number, call in enumerate(recording.calls):
        program = call.program
        nodes.append(
            Node(
                call.name,
                [operand(x) for x in call.inputs],
                [value(x) for x in call.outputs],
                program=program,
                dtype=None if program is None else call.dtype,
                call=None if program is not None else call,
                random=call.random,
                backward=0 <= backward_at <= number,
                place=call.place,
            )
        )
    return Graph(
        nodes,
        [value(x) for x in recording.outputs],
        [(leaf, None if x is None else value(x)) for leaf, x in recording.gradients],
        recording.slot_count,
        backward_at >= 0,
        recording.device,
    )
