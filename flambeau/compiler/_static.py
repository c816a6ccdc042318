"""Static graphs: declared inputs, built once, run many times, saved to one file."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import flambeau as fl
from flambeau import Tensor, _core, device, dtype
from flambeau.compiler._compile import RECORDINGS, CompileError
from flambeau.compiler._graph import Buffer, Graph
from flambeau.compiler._lower import Lowering
from flambeau.compiler._named import named_tensors
from flambeau.compiler._passes import run_passes
from flambeau.compiler._record import graph_of
from flambeau.compiler._sources import Sources, refuse, take_sources
from flambeau.compiler._structure import put_together, take_apart


class Input:
    """Declares an input of a static graph: what tf.placeholder and keras.Input are.

    Args:
        shape: its lengths, all of them fixed.
        dtype: its element type; the default dtype if not given.
        name: what a feed calls it; the function's parameter if not given.
        example: a tensor of that shape and dtype to record with, where zeros will not do.

    Example:
        >>> torch.compiler.Input((32, 10), name="x")
        Input((32, 10), torch.float32, name='x')
    """

    def __init__(
        self,
        shape: Sequence[int],
        dtype: dtype | None = None,
        name: str | None = None,
        *,
        example: Tensor | None = None,
    ) -> None:
        self.shape = tuple(shape)
        self.dtype = fl.get_default_dtype() if dtype is None else dtype
        self.name = name
        if any(not isinstance(length, int) or length < 0 for length in self.shape):
            raise TypeError(
                f"Input: all lengths of a static shape are whole numbers, got {self.shape}; "
                "build one graph per shape, or use torch.compile"
            )
        if example is not None and (example.shape, example.dtype) != (self.shape, self.dtype):
            raise RuntimeError(f"Input: the example is {_described(example)}, not {self}")
        self.example = example

    def __repr__(self) -> str:
        name = "" if self.name is None else f", name={self.name!r}"
        return f"Input({self.shape}, {self.dtype}{name})"

    def _sample(self, device: device) -> Tensor:
        """A tensor to record with, in memory of its own."""
        if self.example is None:
            return fl.zeros(self.shape, dtype=self.dtype, device=device)
        return self.example.detach().contiguous().clone().to(device)

    def _accept(self, value: Any, device: device) -> Tensor:
        """What is fed, as the tensor that the graph reads."""
        if not isinstance(value, Tensor):
            value = _as_tensor(value, self.dtype).to(device)
        if tuple(value.shape) != self.shape or value.dtype != self.dtype:
            mend = f"feed {self.name}.to({self.dtype})"
            if tuple(value.shape) != self.shape:
                mend = "reshape it, or build a graph for this shape"
            raise RuntimeError(
                f"run: input {self.name!r} must be {self.dtype} of shape {self.shape}, got "
                f"{_described(value)}; {mend}"
            )
        if value.device != device:
            raise RuntimeError(
                f"run: input {self.name!r} must be on {device}, where the graph is, got "
                f"{value.device}; feed {self.name}.to({str(device)!r})"
            )
        dense: Tensor = value.detach().contiguous()
        return dense


class _Parts(NamedTuple):
    """What a static graph is made of, however it came to be."""

    graph: Graph
    inputs: list[Input]
    result: Any  # what take_apart left of the function's result
    names: dict[Buffer, list[tuple[str, Tensor]]]
    no_gradients: list[Tensor]
    number_names: list[str]
    numbers: list[float] | None
    sources: Sources | None
    controls: list[Any]  # loops and branches


class StaticGraph:
    """A function as one graph with declared inputs, to be run and saved.

    The function is called on zeros (or the inputs' examples) while it is recorded; a step with an
    optimizer twice, because the first one makes the optimizer's state. Parameters, buffers,
    optimizers and random generators are as before afterwards. Whatever Python decides while it is
    recorded - branches, loops, train or eval - is decided for good.

    Tensors that the function reads beside its inputs, such as parameters, are read and written
    where they are: the graph trains the model that it was built from. Results have no history; a
    graph that trains calls backward() and step() inside.

    Args:
        function: a function of tensors, or a module.
        inputs: the declared inputs by parameter name, or in order. Instead of an Input, a tensor
            serves as an example.
        state: modules, optimizers and tensors by name, for `state_dict()`; those that the
            function refers to by a variable if not given.
        device: where inputs without an example are, and so the graph; by default where the
            examples are, or else the parameters of a module.

    Raises:
        CompileError: the function cannot be one graph, and why.

    Example:
        >>> model = torch.nn.Linear(3, 2)
        >>> graph = torch.compiler.StaticGraph(model, [torch.compiler.Input((4, 3), name="x")])
        >>> graph.run({"x": torch.ones(4, 3)}).shape
        torch.Size([4, 2])
    """

    def __init__(
        self,
        function: Callable[..., Any],
        inputs: Mapping[str, Input | Tensor] | Sequence[Input | Tensor] | Input | Tensor,
        state: Mapping[str, Any] | None = None,
        device: fl.device | str | None = None,
    ) -> None:
        if not callable(function):
            raise TypeError(
                f"StaticGraph: a function or a module is required, got {type(function).__name__}"
            )
        declared, by_name = _declare(function, inputs)
        place = _place(function, declared) if device is None else _concrete(device)
        self._set_up(_build(function, declared, by_name, state, place))

    def _set_up(self, parts: _Parts) -> None:
        self._parts = parts
        self.graph = parts.graph
        self.numbers = parts.numbers
        lowering = Lowering(parts.graph)
        with fl.inference_mode(False), fl.enable_grad():
            for declared in parts.inputs:
                model = fl.empty(declared.shape, dtype=declared.dtype)
                lowering.builder.expect_argument(model)
            for leaf in parts.no_gradients:
                lowering.builder.expect_no_gradient(leaf)
            self._executable = lowering.builder.finish(
                [lowering.value(value) for value in parts.graph.outputs],
                [(leaf, lowering.value(value)) for leaf, value in parts.graph.gradients],
                lowering.plan.bytes,
                slots=parts.graph.numbers,
            )

    # --- looking ------------------------------------------------------------------------

    @property
    def inputs(self) -> dict[str, Input]:
        """The declared inputs by name."""
        return {str(declared.name): declared for declared in self._parts.inputs}

    @property
    def device(self) -> fl.device:
        """Where the graph and its inputs are."""
        return self.graph.device or fl.device("cpu")

    @property
    def number_names(self) -> list[str]:
        """What the numbers of a run are, such as "Adam.step_size"; empty for most graphs."""
        return list(self._parts.number_names)

    def state_dict(self) -> dict[str, Tensor]:
        """The tensors that the graph keeps from run to run, by name; shared, not copied.

        Those without a name are called "captured.0" and so on.
        """
        found: dict[str, Tensor] = {}
        for buffer in _captured(self.graph):
            named = self._parts.names.get(buffer, [])
            found.update((name, tensor.detach()) for name, tensor in named)
            if not named and buffer.tensor is not None:
                found[f"captured.{len(found)}"] = buffer.tensor.detach()
        return found

    def __repr__(self) -> str:
        inputs = ", ".join(map(repr, self._parts.inputs))
        return f"<StaticGraph of {len(self.graph.nodes)} steps, inputs: {inputs or 'none'}>"

    # --- running ------------------------------------------------------------------------

    def run(self, *feed: Any, numbers: Sequence[float] | None = None, **named: Any) -> Any:
        """Run the graph.

        Args:
            feed: one dictionary of inputs by name, or the inputs in order: tensors, NumPy arrays,
                numbers or nested lists.
            numbers: the numbers of this run (see `number_names`). A graph that was built here
                asks its optimizers for them; one that was loaded needs them.
            named: inputs by name.

        Returns:
            What the function returned, with new tensors.

        Raises:
            TypeError: an input is missing or unknown.
            RuntimeError: an input has another shape or dtype, or what the graph reads beside its
                inputs has been replaced.
        """
        tensors = self._feed(feed, named)
        refuse("a static graph runs inside; call the function that it was built from")
        values = self._numbers_of(numbers)
        if fl.is_grad_enabled() and not fl.is_inference_mode_enabled():
            outputs = self._execute(tensors, values)
        else:
            with fl.inference_mode(False), fl.enable_grad():
                outputs = self._execute(tensors, values)
        return put_together(self._parts.result, iter(outputs))

    __call__ = run

    def _execute(self, tensors: list[Tensor], numbers: Sequence[float]) -> list[Tensor]:
        outputs = self._executable.try_run(tensors, numbers)
        if outputs is None:  # inputs may not share memory with one another or with the state
            tensors = [tensor.clone() for tensor in tensors]
            why = self._executable.mismatch(tensors)
            if why is not None:
                raise RuntimeError(
                    f"run: {why} has changed since the graph was built; build it again. (A step "
                    "that calls backward() begins with zero_grad().)"
                )
            outputs = self._executable.run(tensors, numbers)
        return list(outputs)

    def _feed(self, feed: tuple[Any, ...], named: dict[str, Any]) -> list[Tensor]:
        inputs = self._parts.inputs
        found = list(feed)
        if len(found) == 1 and isinstance(found[0], Mapping):
            named = {**found.pop(), **named}
        if len(found) > len(inputs):
            raise TypeError(f"run: {len(inputs)} inputs are required, got {len(found)}")
        for declared in inputs[len(found) :]:
            if declared.name not in named:
                raise TypeError(
                    f"run: input {declared.name!r} is missing; the inputs are "
                    f"{', '.join(str(x.name) for x in inputs)}"
                )
            found.append(named.pop(declared.name))
        if named:
            name = next(iter(named))
            known = [str(x.name) for x in inputs]
            twice = "is fed twice" if name in known else "is unknown"
            raise TypeError(f"run: input {name!r} {twice}; the inputs are {', '.join(known)}")
        device = self.device
        return [x._accept(value, device) for x, value in zip(inputs, found, strict=True)]

    def _numbers_of(self, given: Sequence[float] | None) -> Sequence[float]:
        names, sources = self._parts.number_names, self._parts.sources
        if given is not None:
            if len(given) != len(names):
                raise ValueError(
                    f"run: {len(names)} numbers are required ({', '.join(names)}), got {len(given)}"
                )
            self.numbers = [float(x) for x in given]
        elif sources is not None:
            self.numbers = sources.replay()
            if self.numbers is None:
                raise RuntimeError(
                    "run: the parameters, state or settings of an optimizer have been replaced "
                    "since the graph was built; build it again"
                )
        elif names:
            raise TypeError(
                f"run: this graph was loaded without its optimizer, so it needs numbers=[...]: "
                f"{', '.join(names)}; graph.numbers are those of the last run"
            )
        return self.numbers or ()

    # --- files --------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the graph after all passes, with the tensors that it keeps, to one file.

        The file holds no Python and no machine code; `flambeau.compiler.load` runs it on any
        supported machine, on the CPU or a GPU. A file that exists is replaced once the new one is
        complete.

        Raises:
            RuntimeError: a step of the graph cannot be saved, or the function returns objects
                other than tensors, numbers, strings and containers of these.
        """
        from flambeau.compiler._graph_encode import dtype_name, encode, structure_text
        from flambeau.compiler._graph_file import write
        from flambeau.compiler._verify import verify

        parts = self._parts
        verify(parts.graph)
        result = structure_text(parts.result)
        encoder = encode(parts.graph, parts.names, parts.controls)
        no_gradients = [encoder.leaf(leaf, needed=True) for leaf in parts.no_gradients]
        header = {
            "flambeau": fl.__version__,
            "device": str(self.device),
            "inputs": [
                {"name": x.name, "shape": x.shape, "dtype": dtype_name(x.dtype)}
                for x in parts.inputs
            ],
            "result": result,
            "no_gradients": no_gradients,
            "numbers": parts.number_names,
            "last_numbers": None if self.numbers is None else [repr(x) for x in self.numbers],
            **encoder.header,
        }
        write(path, header, encoder.contents)


def load(path: str | os.PathLike[str], device: device | str | None = None) -> StaticGraph:
    """Read a graph that `StaticGraph.save` wrote.

    The file is data: nothing in it is executed before every step was checked for the memory that
    it reads and writes. Random numbers come from the device's default generator.

    Args:
        path: the file.
        device: where the graph runs; by default where it was when it was saved.

    Returns:
        A graph with tensors of its own.

    Raises:
        RuntimeError: the file is no graph, is damaged, or comes from another version; or there is
            no such device.
    """
    from flambeau.compiler._graph_decode import Decoder, listed, number, structure_of, text
    from flambeau.compiler._graph_file import Reader

    reader = Reader(path)
    place = _concrete(reader.device() if device is None else device)
    try:
        decoder = Decoder(reader, place)
        header = reader.header
        last = header.get("last_numbers")
        names = listed(header["numbers"], text)
        graph = StaticGraph.__new__(StaticGraph)
        graph._set_up(
            _Parts(
                decoder.graph,
                [
                    Input(shape, dtype, name)
                    for name, (shape, dtype) in zip(decoder.input_names, decoder.inputs)
                ],
                structure_of(header.get("result"), len(decoder.graph.outputs)),
                decoder.names,
                decoder.no_gradients,
                names,
                None if last is None else listed(last, lambda x: float(number(float(text(x))))),
                None,
                decoder.controls,
            )
        )
    except (RuntimeError, ValueError, TypeError, OverflowError, MemoryError) as error:
        raise reader.damaged(str(error).partition("\n")[0]) from None
    return graph


# --- building -------------------------------------------------------------------------------------


def _concrete(place: device | str) -> device:
    """The device with its number.

    Raises:
        RuntimeError: there is no such device.
    """
    found = fl.device(place)
    if found.type == "cpu":
        return fl.device("cpu")
    concrete: device = fl.empty(0, device=found).device
    return concrete


def _place(function: Callable[..., Any], inputs: list[Input]) -> device:
    tensors = [x.example for x in inputs if x.example is not None]
    if isinstance(function, fl.nn.Module):
        tensors += function.parameters()
    return tensors[0].device if tensors else fl.device("cpu")


def _declare(
    function: Callable[..., Any],
    inputs: Mapping[str, Input | Tensor] | Sequence[Input | Tensor] | Input | Tensor,
) -> tuple[list[Input], bool]:
    """The inputs with names, and whether they are passed by name."""
    if isinstance(inputs, (Input, Tensor)):
        inputs = [inputs]
    if isinstance(inputs, Mapping):
        return [_declared(x, name) for name, x in inputs.items()], True
    parameters = _parameter_names(function)
    declared = []
    for place, x in enumerate(inputs):
        usual = parameters[place] if place < len(parameters) else f"input_{place}"
        declared.append(_declared(x, getattr(x, "name", None) or usual))
    names = [x.name for x in declared]
    if len(set(names)) < len(names):
        raise TypeError(f"StaticGraph: the names of inputs must differ, got {names}")
    return declared, False


def _declared(x: Any, name: str) -> Input:
    if isinstance(x, Tensor):
        return Input(x.shape, x.dtype, name, example=x)
    if not isinstance(x, Input):
        raise TypeError(
            f"StaticGraph: input {name!r} must be a compiler.Input(shape, dtype) or a tensor, got "
            f"{type(x).__name__}"
        )
    if x.name not in (None, name):
        raise TypeError(f"StaticGraph: input {name!r} is called {x.name!r} as well; name it once")
    return Input(x.shape, x.dtype, name, example=x.example)


def _parameter_names(function: Callable[..., Any]) -> list[str]:
    """Names of the positional parameters, as far as they are known."""
    from inspect import signature

    called = getattr(function, "forward", function)
    try:
        parameters = signature(called).parameters.values()
    except (TypeError, ValueError):
        return []
    return [x.name for x in parameters if x.kind in (x.POSITIONAL_ONLY, x.POSITIONAL_OR_KEYWORD)]


def _build(
    function: Callable[..., Any],
    inputs: list[Input],
    by_name: bool,
    state: Mapping[str, Any] | None,
    place: device,
) -> _Parts:
    for _ in range(RECORDINGS):
        recording, result, sources, escaped = _record(function, inputs, by_name, place)
        if recording.failure is not None:
            break
        if sources.is_settled and not escaped:
            return _parts_of(recording, result, sources, inputs, named_tensors(function, state))
    name = getattr(function, "__qualname__", type(function).__name__)
    reason = recording.failure
    if reason is None:
        reason = f"a tensor that it makes is kept elsewhere: {escaped}; return it"
    raise CompileError(f"StaticGraph: {name} cannot be one graph: {reason}")


def _record(
    function: Callable[..., Any], inputs: list[Input], by_name: bool, place: device
) -> tuple[Any, Any, Sources, str]:
    """One recording, all effects of which are taken back.

    Returns:
        The recording, the structure of the result, the sources, and which tensors escaped.
    """
    samples = [declared._sample(place) for declared in inputs]
    random_state = fl.get_rng_state()
    random_state_of_gpu = None if place.type == "cpu" else fl.cuda.get_rng_state(place)
    with fl.inference_mode(False), fl.enable_grad():
        recording = _core.Recording(samples)
        recording.numbers_are_slots = recording.keeps_state = True
        try:
            if by_name:
                found = function(**{str(x.name): t for x, t in zip(inputs, samples)})
            else:
                found = function(*samples)
            tensors: list[Tensor] = []
            result = take_apart(found, tensors)
            recording.finish(tensors)
        finally:
            recording.stop()
            sources = take_sources(recording)
            escaped = recording.escaped()
            if escaped:
                gc.collect()  # what is only held by a cycle cannot be seen
                escaped = recording.escaped()
            for source in reversed(sources.entries):
                if not source.rewind():
                    recording.fail("a scheduler steps inside; call its step() after run()")
            recording.undo()
            fl.set_rng_state(random_state)
            if random_state_of_gpu is not None:
                fl.cuda.set_rng_state(random_state_of_gpu, place)
    return recording, result, sources, escaped


def _parts_of(
    recording: Any,
    result: Any,
    sources: Sources,
    inputs: list[Input],
    named: Callable[[Buffer], list[tuple[str, Tensor]]],
) -> _Parts:
    graph = graph_of(recording)
    run_passes(graph)
    names = {buffer: found for buffer in _captured(graph) if (found := named(buffer))}
    number_names = [name for source in sources.entries for name in source.names]
    return _Parts(
        graph,
        inputs,
        result,
        names,
        recording.without_gradient,
        number_names,
        None,
        sources if sources.entries else None,
        sources.controls,
    )


def _captured(graph: Graph) -> list[Buffer]:
    """The buffers of tensors that were there before, in the order of their use."""
    found: dict[Buffer, None] = {}
    values = [value for node in graph.nodes for value in (*node.reads, *node.outputs)]
    for value in (*values, *graph.results()):
        if value.buffer.kind == "captured":
            found[value.buffer] = None
    return list(found)


def _as_tensor(value: Any, dtype: dtype) -> Tensor:
    """Arrays keep their type, which is then checked; numbers and lists take the input's."""
    if hasattr(value, "__array__"):
        return fl.as_tensor(value)
    return fl.as_tensor(value, dtype=dtype)


def _described(tensor: Tensor) -> str:
    return f"{tensor.dtype} of shape {tuple(tensor.shape)}"
