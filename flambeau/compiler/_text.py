"""The text of a graph, for people and for tests."""

from __future__ import annotations

from typing import Any

from flambeau.compiler._graph import Buffer, Graph, Input, Node, Number, Value
from flambeau.compiler._programs import facts

PREFIXES = {
    "argument": "arg",
    "captured": "p",
    "gradient": "g",
    "tangent": "t",
    "constant": "c",
    "internal": "b",
}
SHORT = {"float": "f", "bfloat": "bf", "int": "i", "uint": "u", "bool": "bool"}


def type_text(value: Value) -> str:
    """Type and shape: f32[64, 10]."""
    name = str(value.dtype).removeprefix("torch.")
    letters = name.rstrip("0123456789")
    short = SHORT.get(letters, letters) + name[len(letters) :]
    return f"{short}[{', '.join(map(str, value.shape))}]"


def _view_text(value: Value) -> str:
    """Type and shape, and the layout where it is not the usual one."""
    text = type_text(value)
    if not value.contiguous:
        text += f" by {', '.join(map(str, value.strides))}"
    return text + (f" at {value.offset}" if value.offset else "")


class Names:
    """Names of buffers, given in the order in which they are asked for."""

    def __init__(self) -> None:
        self._names: dict[Buffer, str] = {}
        self._counts: dict[str, int] = {}
        self._views: dict[Buffer, Value] = {}

    def buffer(self, buffer: Buffer) -> str:
        """arg0, p2, b7."""
        name = self._names.get(buffer)
        if name is None:
            number = buffer.index
            if buffer.kind not in ("argument", "tangent"):
                number = self._counts.get(buffer.kind, 0)
                self._counts[buffer.kind] = number + 1
            name = self._names[buffer] = f"{PREFIXES[buffer.kind]}{number}"
        return name

    def value(self, value: Value) -> str:
        """The buffer's name, with the view in brackets unless it is the one seen first."""
        name = self.buffer(value.buffer)
        if self._views.setdefault(value.buffer, value) == value:
            return name
        return f"{name}({_view_text(value)})"

    def typed(self, value: Value) -> str:
        """With the type, if this is where the buffer is met first."""
        known = value.buffer in self._views
        name = self.value(value)
        return name if known else f"{name}: {_view_text(value)}"

    def operand(self, operand: Input) -> str:
        """An input of a node."""
        if isinstance(operand, Value):
            return self.value(operand)
        return f"n{operand.slot}" if isinstance(operand, Number) else repr(operand)


def graph_text(graph: Graph) -> str:
    """One line per node: `b0: f32[64, 100] = mm(arg0, p0)`, then the programs that were made."""
    names = Names()
    made: list[Any] = []
    lines = ["graph:"]
    written = {value.buffer for node in graph.nodes for value in node.outputs}
    for buffer in _first_reads(graph):
        if buffer.kind != "internal":
            value = _first_reads(graph)[buffer]
            note = ", written" if buffer in written else ""
            lines.append(f"  {names.typed(value)}  ({buffer.kind}{note})")
    backward_at = graph.backward_at
    for number, node in enumerate(graph.nodes):
        if number == backward_at:
            lines.append("backward:")
        lines.append("  " + _line(node, names, made))
    results = ", ".join(names.value(value) for value in graph.outputs)
    lines.append(f"return {results}".rstrip())
    for number, (_, gradient) in enumerate(graph.gradients):
        lines.append(f"grad {number} = {names.value(gradient) if gradient else None}")
    for number, program in enumerate(made):
        lines.append(f"program {number}:")
        lines += ["  " + line for line in repr(program).splitlines()]
    return "\n".join(lines) + "\n"


def _first_reads(graph: Graph) -> dict[Buffer, Value]:
    first: dict[Buffer, Value] = {}
    for node in graph.nodes:
        for value in [*node.reads, *node.outputs]:
            first.setdefault(value.buffer, value)
    for value in graph.results():
        first.setdefault(value.buffer, value)
    return first


def _line(node: Node, names: Names, made: list[Any]) -> str:
    followed = node.epilogue
    operands = ", ".join(map(names.operand, followed.factors if followed else node.inputs))
    outputs = ", ".join(names.typed(value) for value in node.outputs)
    operator = node.operator
    if operator in ("fused", "update"):  # an operator of the library needs no listing
        operator += f" {_number_of(node.program, made)}"
    attributes = getattr(node.call, "attributes_text", "")
    line = f"{outputs} = {operator}({operands})" + (f" {{{attributes}}}" if attributes else "")
    if followed:
        operands = ", ".join(map(names.operand, followed.inputs))
        number = _number_of(followed.program, made)
        line += f" in {names.value(followed.result)}, then program {number}({operands})"
    return line


def _number_of(program: Any, made: list[Any]) -> int:
    """The number under which a program is listed."""
    key = facts(program).key
    known = next((i for i, other in enumerate(made) if facts(other).key == key), len(made))
    if known == len(made):
        made.append(program)
    return known
