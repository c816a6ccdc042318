"""A static graph out of a file. Nothing in the file is believed: every number is checked."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import flambeau as fl
from flambeau import _core
from flambeau.compiler._graph import Buffer, Graph, Input, Node, Number, Value
from flambeau.compiler._graph_file import Reader
from flambeau.compiler._verify import GraphError, need, verify, verify_value
from flambeau.compiler._verify_control import verify_control, verify_part

if TYPE_CHECKING:
    from flambeau import Tensor, device
    from flambeau.compiler._parts import ControlPlan

Item = TypeVar("Item")
_MOST_BYTES = 1 << 46
_MOST_NUMBERS = 1 << 20
_DTYPES = {
    name: getattr(fl, name)
    for name in (
        *("bool", "uint8", "int8", "int16", "int32", "int64"),
        *("float16", "bfloat16", "float32", "float64"),
    )
}
_KINDS = ("argument", "captured", "gradient", "constant", "internal")


def whole(x: Any, least: int = 0, most: int = 1 << 62) -> int:
    """A whole number within bounds."""
    need(type(x) is int and least <= x <= most, f"a whole number is required, got {short(x)}")
    number: int = x
    return number


def text(x: Any) -> str:
    """A string."""
    need(isinstance(x, str), f"a string is required, got {short(x)}")
    return str(x)


def listed(x: Any, read: Callable[[Any], Item], count: int | None = None) -> list[Item]:
    """A list, of `count` items if that is given."""
    fits = isinstance(x, list) and count in (None, len(x))
    need(fits, f"a list is required, got {short(x)}")
    return [read(item) for item in x]


def field(x: Any, name: str) -> Any:
    """An entry of a dictionary."""
    need(isinstance(x, dict) and name in x, f"{name} is missing")
    return x[name]


def dtype_named(x: Any) -> Any:
    """The dtype of a name."""
    need(isinstance(x, str) and x in _DTYPES, f"there is no dtype {short(x)}")
    return _DTYPES[x]


def number(x: Any) -> float | int | bool:
    """A number, or the name of one that JSON has none for."""
    if isinstance(x, str) and x in ("nan", "inf", "-inf"):
        return float(x)
    need(isinstance(x, (bool, int, float)), f"a number is required, got {short(x)}")
    if type(x) is int:
        whole(x, -(1 << 63), (1 << 63) - 1)
    result: float = x
    return result


def integers(x: Any) -> tuple[int, ...]:
    """A tuple of 64-bit numbers."""
    return tuple(listed(x, lambda item: whole(item, -(1 << 63), (1 << 63) - 1)))


def lengths(x: Any) -> tuple[int, ...]:
    """A shape or strides."""
    return tuple(listed(x, whole))


def short(x: Any) -> str:
    """A text of something that may be long."""
    shown = repr(x)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."


class Decoder:
    """Makes the graph that a file describes.

    Attributes:
        inputs: shape and dtype of each.
        input_names: what they are called; empty for a part of control flow.
        graph: the graph.
        controls: its loops and branches.
        names: the tensors in captured memory that have a name.
        no_gradients: tensors whose .grad must be None before a run.
    """

    def __init__(self, reader: Reader, device: device, part: Any = None) -> None:
        self._reader = reader
        self._device = device
        header = reader.header if part is None else part
        declared = listed(field(header, "inputs"), lambda x: x)
        self.inputs = [_kind(x) for x in declared]
        self.input_names = [] if part is not None else [text(field(x, "name")) for x in declared]
        self.names: dict[Buffer, list[tuple[str, Tensor]]] = {}
        self._buffers: list[Buffer] = []
        for entry in listed(field(header, "buffers"), lambda x: x):
            self._buffers.append(self._buffer(entry))
        self._values = listed(field(header, "values"), self._value)
        self._programs = listed(field(header, "programs"), _program)
        pairs = listed(field(header, "controls"), self._control)
        self.controls = [plan for plan, _ in pairs]
        self._calls = [call for _, call in pairs]
        numbers = [] if part is not None else listed(field(header, "numbers"), text)
        slots = whole(len(numbers), 0, _MOST_NUMBERS)
        self.graph = Graph(
            listed(field(header, "nodes"), self._node),
            [self._values_at(x) for x in listed(field(header, "outputs"), whole)],
            listed(field(header, "gradients"), self._gradient),
            slots,
            device=None if device.type == "cpu" else device,
        )
        verify(self.graph)
        leaves = [] if part is not None else listed(field(header, "no_gradients"), lambda x: x)
        self.no_gradients = [self._leaf(x) for x in leaves]

    # --- memory -------------------------------------------------------------------------

    def _buffer(self, entry: Any) -> Buffer:
        kind = text(field(entry, "kind"))
        need(kind in _KINDS, f"there is no kind {short(kind)} of buffers")
        if kind == "argument":
            return self._argument(whole(field(entry, "index")))
        bytes = whole(field(entry, "bytes"), 0, _MOST_BYTES)
        if kind == "internal":
            return Buffer(kind, bytes)
        block = self._reader.block(listed(field(entry, "data"), whole, 2))
        need(len(block) == bytes, f"{bytes} bytes are required, the file has {len(block)}")
        block = block.to(self._device)
        if kind == "gradient":
            return self._gradient_buffer(entry, block)
        if kind == "constant":
            return Buffer(kind, bytes, tensor=block)
        buffer = Buffer(kind, bytes)
        buffer.tensor = _view(buffer, block, field(entry, "tensor"))
        self.names[buffer] = [
            (text(name), _view(buffer, block, layout))
            for name, layout in listed(field(entry, "names"), lambda x: listed(x, lambda y: y, 2))
        ]
        return buffer

    def _argument(self, index: int) -> Buffer:
        need(index < len(self.inputs), f"there is no input {index}")
        shape, dtype = self.inputs[index]
        count = dtype.itemsize
        for length in shape:
            count *= length
        need(count <= _MOST_BYTES, f"input {index} is too large")
        return Buffer("argument", count, index)

    def _gradient_buffer(self, entry: Any, block: Tensor) -> Buffer:
        leaf = self._leaf(field(entry, "leaf"))
        need(leaf.requires_grad, "a gradient belongs to a tensor that requires none")
        expected = leaf.numel() * leaf.element_size()
        need(len(block) == expected, "a gradient has not the length of its tensor")
        order = fl.empty_like(leaf).stride()  # that gradients of the leaf have
        leaf.grad = block.view(leaf.dtype).as_strided(leaf.shape, order, 0)
        return Buffer("gradient", expected, tensor=leaf)

    def _leaf(self, x: Any) -> Tensor:
        buffer = self._buffers[whole(x, 0, len(self._buffers) - 1)]
        need(buffer.kind == "captured" and buffer.tensor is not None, "there is no such tensor")
        assert buffer.tensor is not None
        return buffer.tensor

    def _value(self, entry: Any) -> Value:
        buffer, shape, strides, offset, dtype = listed(entry, lambda x: x, 5)
        value = Value(
            self._buffers[whole(buffer, 0, len(self._buffers) - 1)],
            lengths(shape),
            lengths(strides),
            whole(offset),
            dtype_named(dtype),
        )
        verify_value(value)
        return value

    def _values_at(self, x: int) -> Value:
        return self._values[whole(x, 0, len(self._values) - 1)]

    def _gradient(self, entry: Any) -> tuple[Tensor, Value | None]:
        leaf, value = listed(entry, lambda x: x, 2)
        tensor = self._leaf(leaf)
        need(tensor.requires_grad, "a gradient belongs to a tensor that requires none")
        return tensor, None if value is None else self._values_at(value)

    # --- steps --------------------------------------------------------------------------

    def _node(self, entry: Any) -> Node:
        operator = text(field(entry, "operator"))
        inputs = listed(field(entry, "inputs"), self._input)
        outputs = [self._values_at(x) for x in listed(field(entry, "outputs"), whole)]
        parts = listed(entry.get("parts", []), text)
        try:
            if "control" in entry:
                number = whole(entry["control"], 0, len(self.controls) - 1)
                verify_control(self.controls[number], inputs, outputs)
                call = self._calls[number]
                return Node(operator, inputs, outputs, call=call, random=call.random)
            if "call" in entry:
                call = _call(entry["call"], inputs, outputs, self._device)
                return Node(operator, inputs, outputs, call=call, parts=parts, random=call.random)
            program = whole(field(entry, "program"), 0, len(self._programs) - 1)
            return Node(
                operator,
                inputs,
                outputs,
                program=self._programs[program],
                dtype=dtype_named(field(entry, "dtype")),
                columns=whole(entry.get("columns", 0), 0, len(inputs)),
                parts=parts,
            )
        except GraphError:
            raise
        except (RuntimeError, TypeError, ValueError, IndexError, NotImplementedError) as error:
            raise GraphError(str(error)) from None

    def _control(self, entry: Any) -> tuple[ControlPlan, Any]:
        """A loop or a branch, and the call of it."""
        from flambeau.compiler._lower import Lowering
        from flambeau.compiler._parts import ControlPlan, PartGraph, control_of_plan

        kind = text(field(entry, "kind"))
        parts, executables, random = [], [], False
        for part in listed(field(entry, "parts"), lambda x: x):
            decoder = Decoder(self._reader, self._device, part)
            verify_part(decoder.graph)
            lowering = Lowering(decoder.graph)
            for shape, dtype in decoder.inputs:
                lowering.builder.expect_argument(fl.empty(shape, dtype=dtype))
            parts.append(PartGraph(decoder.graph, decoder.inputs, decoder.controls))
            executables.append(lowering.finish())
            random = random or any(node.random for node in decoder.graph.nodes)
        plan = ControlPlan(
            kind,
            parts,
            repr(entry).encode(),
            whole(field(entry, "carried"), 0, _MOST_NUMBERS),
            whole(field(entry, "walked"), 0, _MOST_NUMBERS),
            whole(field(entry, "steps")),
            field(entry, "reverse") is True,
            field(entry, "keeps_carries") is True,
            random,
            listed(field(entry, "outputs"), _kind),
        )
        return plan, _core.control_call(control_of_plan(plan, executables))

    def _input(self, entry: Any) -> Input:
        if entry is None:
            return None
        kind, x = listed(entry, lambda item: item, 2)
        if kind == "value":
            return self._values_at(x)
        if kind == "number":
            return Number(whole(x))
        need(kind == "constant", f"there is no kind {short(kind)} of inputs")
        return number(x)


def _kind(entry: Any) -> tuple[tuple[int, ...], Any]:
    return lengths(field(entry, "shape")), dtype_named(field(entry, "dtype"))


def _view(buffer: Buffer, block: Tensor, entry: Any) -> Tensor:
    """The tensor of [shape, strides, offset, dtype, requires_grad] over a block."""
    shape, strides, offset, dtype, requires_grad = listed(entry, lambda x: x, 5)
    value = Value(buffer, lengths(shape), lengths(strides), whole(offset), dtype_named(dtype))
    verify_value(value)
    need(type(requires_grad) is bool, "requires_grad is true or false")
    need(not requires_grad or value.dtype.is_floating_point, "only floats require gradients")
    typed = block[: buffer.bytes // value.dtype.itemsize * value.dtype.itemsize].view(value.dtype)
    tensor = typed.as_strided(value.shape, value.strides, value.offset).detach()
    return tensor.requires_grad_(requires_grad)


def _program(entry: Any) -> Any:
    count = whole(field(entry, "inputs"), 0, _MOST_NUMBERS)
    instructions = listed(field(entry, "instructions"), _instruction)
    outputs = listed(field(entry, "outputs"), lambda x: whole(x, 0, _MOST_NUMBERS))
    try:
        return _core.program_from(count, instructions, outputs)
    except (RuntimeError, TypeError, ValueError) as error:
        raise GraphError(str(error).partition("\n")[0]) from None


def _instruction(entry: Any) -> tuple[Any, ...]:
    name, *details = listed(entry, lambda x: x) or [None]
    if name == "input":
        index, extent = listed(details, lambda x: x, 2)
        return name, whole(index, 0, _MOST_NUMBERS), text(extent)
    if name == "constant":
        return name, *listed(details, lambda x: float(number(x)), 1)
    return text(name), *listed(details, lambda x: whole(x, 0, _MOST_NUMBERS))


def _call(entry: Any, inputs: list[Input], outputs: list[Value], device: device) -> Any:
    need(
        all(x is None or isinstance(x, Value) for x in inputs),
        "calls read values, and no other numbers than their attributes",
    )
    description = (
        text(field(entry, "primitive")),
        integers(field(entry, "ints")),
        integers(field(entry, "more_ints")),
        tuple(listed(field(entry, "scalars"), number, 4)),
        dtype_named(field(entry, "dtype")),
        whole(field(entry, "flag"), -(1 << 31), (1 << 31) - 1),
        field(entry, "in_place") is True,
    )
    layouts = [None if not isinstance(x, Value) else _layout(x) for x in inputs]
    return _core.described_call(description, layouts, [_layout(x) for x in outputs], device)


def _layout(x: Value) -> tuple[tuple[int, ...], tuple[int, ...], Any]:
    return x.shape, x.strides, x.dtype


def structure_of(entry: Any, tensors: int) -> Any:
    """What take_apart would leave of the result, which holds so many tensors."""
    count = 0

    def read(x: Any) -> Any:
        nonlocal count
        if x == "tensor":
            count += 1
            return "tensor"
        kind, content = listed(x, lambda item: item, 2)
        if kind == "dict":
            pairs = listed(content, lambda pair: listed(pair, lambda item: item, 2))
            need(all(isinstance(key, (str, int)) for key, _ in pairs), "keys are texts")
            return (dict, tuple((key, read(item)) for key, item in pairs))
        if kind in ("tuple", "list"):
            return (tuple if kind == "tuple" else list, tuple(listed(content, read)))
        need(kind in ("constant", "float"), f"there is no kind {short(kind)} of results")
        plain = kind == "constant" and isinstance(content, (str, type(None)))
        constant = content if plain else number(content)
        return (type(constant), None, constant)

    spec = read(entry)
    need(count == tensors, f"the result has {count} tensors, the graph makes {tensors}")
    return spec
