"""Programs of calls: copies, fills and reductions along rows get a program, so that they can be
merged with elementwise steps around them."""

from __future__ import annotations

from collections.abc import Callable

from flambeau.compiler._graph import Graph, Node, Value
from flambeau.compiler._programs import Symbols, build

# Few rows longer than this in total are reduced faster by a call, which shares a row among
# threads.
MOST_ELEMENTS_OF_FEW_ROWS = 1 << 18
FEW_ROWS = 8


def programs_of_calls(graph: Graph) -> None:
    """Gives a program to every call that is one, and drops the calls that need not be kept."""
    for node in graph.nodes:
        if node.call is not None and node.program is None:
            form = FORMS.get(node.operator)
            if form is not None:
                form(node)


def _copy(node: Node) -> None:
    """clone, to and copy_: the last operand is written into the output."""
    source, target = node.inputs[-1], node.outputs[0]
    if not isinstance(source, Value) or not _converts_like_a_copy(source, target):
        return
    ordered = source.contiguous and target.contiguous
    if node.operator == "copy":
        if not ordered and source.elements == target.elements:
            return  # what turns memory around has a kernel of its own
        node.inputs, node.call = [source], None
    node.program, node.dtype = build(lambda s, x: x), target.dtype


def _converts_like_a_copy(source: Value, target: Value) -> bool:
    """Whether loading into a register and storing it does what a copy does."""
    floating = target.dtype.is_floating_point and target.dtype.itemsize >= 4
    return source.dtype == target.dtype or floating


def _fill(node: Node) -> None:
    value = 0 if node.operator == "zero" else node.call.scalars[0]
    target = node.outputs[0]
    node.inputs, node.call = [value], None
    node.program, node.dtype = build(lambda s, x: x), target.dtype


def _reduction(node: Node) -> None:
    source, target = node.inputs[0], node.outputs[0]
    if not isinstance(source, Value) or source.dtype != target.dtype:
        return
    columns = _columns(source, target, node)
    rows = target.elements
    if columns < 2 or (rows < FEW_ROWS and rows * columns > MOST_ELEMENTS_OF_FEW_ROWS):
        return
    if source.shape[-1] > 1 and source.strides[-1] > 1:
        return
    instruction = {"amax": "row_max", "amin": "row_min"}.get(node.operator, "row_sum")

    def formula(s: Symbols, x: int) -> int:
        total = s.apply(instruction, x)
        return s.apply("div", total, s.constant(columns)) if node.operator == "mean" else total

    node.program, node.dtype = build(formula), target.dtype


def _columns(source: Value, target: Value, node: Node) -> int:
    """How many consecutive elements each result combines; 0 if they are not consecutive."""
    ints = node.call.ints
    if node.operator == "sum_to":
        lead = len(source.shape) - len(ints)
        shape = (1,) * lead + tuple(ints)
        reduced = [length != kept for length, kept in zip(source.shape, shape)]
    else:
        reduced = [bool(ints[0] >> axis & 1) for axis in range(len(source.shape))]
    columns = 1
    kept_behind = False
    for length, gone in zip(reversed(source.shape), reversed(reduced)):
        if length == 0 or (length > 1 and gone and kept_behind):
            return 0
        kept_behind = kept_behind or (length > 1 and not gone)
        columns *= length if gone else 1
    return columns


FORMS: dict[str, Callable[[Node], None]] = {
    "clone": _copy,
    "to": _copy,
    "copy": _copy,
    "fill": _fill,
    "zero": _fill,
    "sum": _reduction,
    "mean": _reduction,
    "sum_to": _reduction,
    "amax": _reduction,
    "amin": _reduction,
}
