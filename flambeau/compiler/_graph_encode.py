"""A static graph as the header and the contents of a file (docs/static_graphs.md)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from flambeau import _core, uint8
from flambeau._buffers import in_memory_order, tensor_bytes
from flambeau.compiler._graph import Buffer, Graph, Input, Node, Number, Value
from flambeau.compiler._graph_file import Contents
from flambeau.compiler._structure import PLAIN

if TYPE_CHECKING:
    from flambeau import Tensor, dtype
    from flambeau.compiler._parts import ControlPlan, Kind


Names = dict[Buffer, "list[tuple[str, Tensor]]"]


def encode(
    graph: Graph, names: Names, controls: list[ControlPlan], contents: Contents | None = None
) -> Encoder:
    """Describe a graph.

    Args:
        names: the tensors in captured memory that have a name.
        controls: its loops and branches.
        contents: where blocks of bytes go, for the part of a larger graph.

    Raises:
        RuntimeError: a step cannot be described.
    """
    encoder = Encoder(names, controls, contents)
    nodes = [encoder.node(node) for node in graph.nodes]
    outputs = [encoder.value(value) for value in graph.outputs]
    gradients = [
        [leaf_buffer, None if value is None else encoder.value(value)]
        for leaf, value in graph.gradients
        if (leaf_buffer := encoder.leaf(leaf, needed=value is not None)) is not None
    ]
    encoder.header.update(
        nodes=nodes,
        outputs=outputs,
        gradients=gradients,
        buffers=encoder.buffers,
        values=encoder.values,
        programs=encoder.programs,
        controls=encoder.controls,
    )
    return encoder


class Encoder:
    """Numbers what a graph consists of.

    Attributes:
        header: what is known so far.
        contents: of captured and constant memory.
    """

    def __init__(
        self, names: Names, controls: list[ControlPlan], contents: Contents | None
    ) -> None:
        self.header: dict[str, Any] = {}
        self.contents = contents or Contents()
        self.buffers: list[dict[str, Any]] = []
        self.values: list[list[Any]] = []
        self.programs: list[dict[str, Any]] = []
        self.controls: list[dict[str, Any]] = []
        self._plans = {plan.signature: plan for plan in controls}
        self._control_numbers: dict[bytes, int] = {}
        self._names = names
        self._buffer_numbers: dict[Buffer, int] = {}
        self._value_numbers: dict[Value, int] = {}
        self._program_numbers: dict[str, int] = {}
        self._captured: dict[int, int] = {}  # buffers by the address of their memory

    # --- memory -------------------------------------------------------------------------

    def buffer(self, buffer: Buffer) -> int:
        """The number of a buffer."""
        number = self._buffer_numbers.get(buffer)
        if number is None:
            entry = self._describe(buffer)
            number = self._buffer_numbers[buffer] = len(self.buffers)
            self.buffers.append(entry)
            if buffer.kind == "captured" and buffer.tensor is not None and buffer.bytes:
                self._captured[buffer.tensor.untyped_storage().data_ptr()] = number
        return number

    def _describe(self, buffer: Buffer) -> dict[str, Any]:
        entry: dict[str, Any] = {"kind": buffer.kind, "bytes": buffer.bytes}
        tensor = buffer.tensor
        if buffer.kind == "argument":
            entry["index"] = buffer.index
        elif buffer.kind == "gradient" and tensor is not None:
            entry["leaf"] = self.leaf(tensor, needed=True)
            grad = tensor.grad
            if grad is None:
                raise RuntimeError(
                    "save: the graph adds to a .grad that is None now; run the graph or call "
                    "backward() first"
                )
            entry["data"] = self.contents.add(tensor_bytes(in_memory_order(grad.cpu())[0]))
            entry["bytes"] = entry["data"][1]
        elif tensor is not None:
            entry["data"] = self.contents.add(_storage_bytes(tensor))
            if buffer.kind == "captured":
                entry["tensor"] = layout_of(tensor)
                entry["names"] = [
                    [name, layout_of(named)] for name, named in self._names.get(buffer, [])
                ]
        elif buffer.kind != "internal":
            raise RuntimeError(f"save: a buffer of kind {buffer.kind} cannot be saved")
        return entry

    def leaf(self, leaf: Tensor, needed: bool) -> int | None:
        """The number of the buffer that a tensor with a gradient lies in."""
        number = self._captured.get(leaf.untyped_storage().data_ptr())
        if number is None and needed:
            number = self.buffer(Buffer("captured", leaf.untyped_storage().nbytes(), tensor=leaf))
        return number

    def value(self, value: Value) -> int:
        """The number of a value."""
        number = self._value_numbers.get(value)
        if number is None:
            buffer = self.buffer(value.buffer)
            number = self._value_numbers[value] = len(self.values)
            self.values.append(
                [buffer, value.shape, value.strides, value.offset, dtype_name(value.dtype)]
            )
        return number

    # --- steps --------------------------------------------------------------------------

    def node(self, node: Node) -> dict[str, Any]:
        """The description of a step."""
        entry: dict[str, Any] = {
            "operator": node.operator,
            "inputs": [self._input(x) for x in node.inputs],
            "outputs": [self.value(x) for x in node.outputs],
        }
        if node.parts:
            entry["parts"] = node.parts
        if node.call is not None and not node.columns:
            signature = _core.control_signature(node.call)
            if signature is None:
                entry["call"] = _call(node.call)
            else:
                entry["control"] = self._control(signature)
        else:
            entry["program"] = self._program(node.program)
            entry["dtype"] = dtype_name(node.dtype)
            if node.columns:
                entry["columns"] = node.columns
        return entry

    def _control(self, signature: bytes) -> int:
        number = self._control_numbers.get(signature)
        if number is None:
            plan = self._plans[signature]
            parts = []
            for graph, arguments, controls in plan.parts:
                encoder = encode(graph, {}, controls, self.contents)
                parts.append({"inputs": _kinds(arguments), **encoder.header})
            number = self._control_numbers[signature] = len(self.controls)
            self.controls.append(
                {
                    "kind": plan.kind,
                    "parts": parts,
                    "carried": plan.carried,
                    "walked": plan.walked,
                    "steps": plan.steps,
                    "reverse": plan.reverse,
                    "keeps_carries": plan.keeps_carries,
                    "outputs": _kinds(plan.kinds),
                }
            )
        return number

    def _input(self, x: Input) -> Any:
        if x is None:
            return None
        if isinstance(x, Value):
            return ["value", self.value(x)]
        return ["number", x.slot] if isinstance(x, Number) else ["constant", _number(x)]

    def _program(self, program: Any) -> int:
        text = repr(program)
        number = self._program_numbers.get(text)
        if number is None:
            number = self._program_numbers[text] = len(self.programs)
            instructions = [
                [*parts[:-1], _number(parts[-1])] if parts[0] == "constant" else list(parts)
                for parts in _core.instructions_of(program)
            ]
            self.programs.append(
                {
                    "inputs": program.input_count,
                    "instructions": instructions,
                    "outputs": _core.program_outputs(program),
                }
            )
        return number


def _storage_bytes(tensor: Tensor) -> memoryview:
    """The whole memory that a tensor is a view of."""
    storage = tensor.untyped_storage()
    if tensor.is_cpu:
        return memoryview(storage).cast("B")
    count, number = storage.nbytes(), tensor.get_device()
    whole = _core.tensor_over_memory(storage.data_ptr(), number, [count], [1], uint8, tensor)
    return tensor_bytes(whole.cpu())


def _kinds(kinds: list[Kind]) -> list[dict[str, Any]]:
    return [{"shape": shape, "dtype": dtype_name(dtype)} for shape, dtype in kinds]


def _call(call: Any) -> dict[str, Any]:
    name, ints, more_ints, scalars, dtype, flag, in_place = _core.describe_call(call)
    return {
        "primitive": name,
        "ints": list(ints),
        "more_ints": list(more_ints),
        "scalars": [_number(x) for x in scalars],
        "dtype": dtype_name(dtype),
        "flag": flag,
        "in_place": in_place,
    }


def _number(x: float | int | bool | str | None) -> Any:
    """Itself, but the name of a number that JSON has none for."""
    return x if not isinstance(x, float) or math.isfinite(x) else repr(x)


def layout_of(tensor: Tensor) -> list[Any]:
    """[shape, strides, offset, dtype, requires_grad] of a view of its storage."""
    return [
        list(tensor.shape),
        list(tensor.stride()),
        tensor.storage_offset(),
        dtype_name(tensor.dtype),
        tensor.requires_grad,
    ]


def dtype_name(dtype: dtype | None) -> str:
    """float32 and so on."""
    return str(dtype).removeprefix("torch.")


def structure_text(spec: Any) -> Any:
    """What take_apart left of a result, as JSON."""
    if spec == "tensor":
        return "tensor"
    if not isinstance(spec, tuple):
        raise RuntimeError(
            f"save: the function returns a {type(spec.value).__name__}; return tensors, numbers, "
            "strings, tuples, lists and dicts"
        )
    kind, content = spec[0], spec[-1]
    if kind is dict:
        return ["dict", [[_key(key), structure_text(item)] for key, item in content]]
    if kind in (tuple, list):
        return [kind.__name__, [structure_text(item) for item in content]]
    if kind in PLAIN and isinstance(content, (bool, int, float, str, type(None))):
        number = _number(content)
        return ["constant" if number is content else "float", number]
    raise RuntimeError(
        f"save: the function returns a {kind.__name__}; return tensors, numbers, strings, tuples, "
        "lists and dicts"
    )


def _key(key: Any) -> Any:
    if not isinstance(key, (str, int)):
        raise RuntimeError("save: the keys of returned dicts must be strings or whole numbers")
    return key
