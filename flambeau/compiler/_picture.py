"""A graph as a picture: operands at the top, steps below, what they leave at the bottom."""

from __future__ import annotations

from flambeau._boxes import Box, arranged, svg_text
from flambeau.compiler._graph import Buffer, Graph, Node, Value
from flambeau.compiler._text import Names

MOST_PARTS = 6  # of a merged node, by name


def graph_svg(graph: Graph) -> str:
    """The picture as SVG text."""
    return svg_text(arranged(*_boxes(graph)))


def _boxes(graph: Graph) -> tuple[list[Box], list[list[int]]]:
    """The boxes, the end of the run first, and for each the boxes it is computed from."""
    names = Names()
    boxes = [Box("result", "end", "")]
    inputs: list[list[int]] = [[]]
    maker: dict[Buffer, int] = {}

    def box_of(value: Value) -> int:
        if value.buffer not in maker:
            name = names.buffer(value.buffer)
            maker[value.buffer] = len(boxes)
            boxes.append(Box("leaf", f"{value.buffer.kind} {name}", _shape(value)))
            inputs.append([])
        return maker[value.buffer]

    used: set[int] = set()
    for node in graph.nodes:
        sources = list(dict.fromkeys(box_of(value) for value in node.reads))
        used.update(sources)
        for value in node.outputs:
            maker[value.buffer] = len(boxes)
        boxes.append(_box(node))
        inputs.append(sources)
    ends = {box_of(value) for value in graph.results()}
    # Steps that nothing reads have written to memory that stays.
    ends.update(number for number in range(1, len(boxes)) if number not in used)
    inputs[0] = sorted(ends)
    boxes[0] = Box("result", "end", f"steps: {len(graph.nodes)}, outputs: {len(graph.outputs)}")
    return boxes, inputs


def _box(node: Node) -> Box:
    if not node.parts:
        kind = "operation" if node.program is None else "program"
        return Box(kind, node.operator, _shape(node.outputs[0]) if node.outputs else "")
    if node.columns:
        return Box("program", node.operator, f"{len(node.reads) // node.columns} times")
    shown = list(dict.fromkeys(node.parts))
    more = f" + {len(shown) - MOST_PARTS}" if len(shown) > MOST_PARTS else ""
    return Box(
        "program", f"{node.operator} {len(node.parts)}", ", ".join(shown[:MOST_PARTS]) + more
    )


def _shape(value: Value) -> str:
    return " × ".join(map(str, value.shape)) or "scalar"
