"""CUDA graphs: work that is captured once and queued again as a whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

import flambeau as fl
from flambeau import Generator, Tensor, _core
from flambeau.cuda.streams import Stream, StreamContext, current_stream


def is_current_stream_capturing() -> bool:
    """Returns whether work of this thread is captured instead of run."""
    return _core.cuda_capturing()


def graph_pool_handle() -> tuple[int, int]:
    """Returns a token for `pool=`; every graph has its own memory here, so it changes nothing."""
    return (0, 0)


class CUDAGraph:
    """Captured work of a GPU.

    Between capture_begin() and capture_end() (torch.cuda.graph calls both) work is captured
    instead of run; replay() runs it, on the same memory: fill the inputs in place before, and
    copy the results that should outlive the next replay.

    Raises:
        RuntimeError: there is no GPU.
    """

    def __init__(self, keep_graph: bool = False) -> None:
        self._core = _core.CudaGraph(-1)

    def capture_begin(
        self, pool: Any = None, capture_error_mode: str = "thread_local", **_: Any
    ) -> None:
        """Starts to capture the current stream, which must not be the default one.

        Args:
            pool: accepted as PyTorch does; every graph has memory of its own.
            capture_error_mode: accepted as PyTorch does; what other threads do never matters.
        """
        self._core.begin(current_stream()._core)

    def capture_end(self) -> None:
        """Ends the capture.

        Raises:
            RuntimeError: something in it waits for the GPU.
        """
        self._core.end()

    def replay(self) -> None:
        """Queues the captured work on the current stream.

        Raises:
            RuntimeError: nothing was captured.
        """
        self._core.replay()

    def reset(self) -> None:
        """Lets go of the captured work and its memory."""
        self._core = _core.CudaGraph(-1)

    def register_generator_state(self, generator: Generator) -> None:
        """Accepted as PyTorch does; whatever generators the work draws from, they are found."""

    def pool(self) -> tuple[int, int]:
        """Returns a token for `pool=` of another capture."""
        return graph_pool_handle()


class graph:
    """A scope whose work is captured into a graph.

    Args:
        cuda_graph: the graph.
        pool: accepted as PyTorch does; every graph has memory of its own.
        stream: where to capture; by default a stream made for it.
        capture_error_mode: accepted as PyTorch does.

    Example (needs a GPU):
        g = torch.cuda.CUDAGraph()
        with torch.cuda.graph(g):
            y = x @ x
        x.copy_(other)
        g.replay()
    """

    def __init__(
        self,
        cuda_graph: CUDAGraph,
        pool: Any = None,
        stream: Stream | None = None,
        capture_error_mode: str = "global",
    ) -> None:
        self.cuda_graph = cuda_graph
        self.capture_stream = Stream() if stream is None else stream
        self._scope = StreamContext(self.capture_stream)

    def __enter__(self) -> None:
        fl.cuda.synchronize()
        outer = current_stream()
        self.capture_stream.wait_stream(outer)
        self._scope.__enter__()
        try:
            self.cuda_graph.capture_begin()
        except BaseException:
            self._scope.__exit__(None, None, None)
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self.cuda_graph.capture_end()
            else:  # what failed is the news, not that the capture is incomplete
                self.cuda_graph._core.abandon()
        finally:
            self._scope.__exit__(kind, error, traceback)


def _warm_up(call: Callable[[], Any], times: int) -> None:
    """Compiled kernels and caches must be there before a capture."""
    side = Stream()
    side.wait_stream(current_stream())
    with StreamContext(side):
        for _ in range(times):
            call()
    current_stream().wait_stream(side)


class _Graphed:
    """One function whose forward and backward parts are graphs over fixed memory."""

    def __init__(
        self, function: Callable[..., Any], sample: Sequence[Tensor], parameters: list[Tensor]
    ) -> None:
        self.inputs = [x.detach().clone().requires_grad_(x.requires_grad) for x in sample]
        self.parameters = parameters
        self.wanted = [x for x in (*self.inputs, *parameters) if x.requires_grad]
        _warm_up(lambda: self._differentiate(self._forward(function)), 3)
        self.forward_graph, self.backward_graph = CUDAGraph(), CUDAGraph()
        with graph(self.forward_graph):
            self.outputs = self._forward(function)
        self.tangents = [fl.ones_like(y) for y in self.outputs if y.requires_grad]
        with graph(self.backward_graph):
            self.gradients = self._differentiate(self.outputs, self.tangents)

    def _forward(self, function: Callable[..., Any]) -> tuple[Tensor, ...]:
        result = function(*self.inputs)
        self.is_tuple = isinstance(result, tuple)
        return result if self.is_tuple else (result,)

    def _differentiate(
        self, outputs: Sequence[Tensor], tangents: list[Tensor] | None = None
    ) -> tuple[Tensor | None, ...]:
        roots = [y for y in outputs if y.requires_grad]
        if not roots or not self.wanted:
            return ()
        tangents = [fl.ones_like(y) for y in roots] if tangents is None else tangents
        return fl.autograd.grad(roots, self.wanted, tangents, allow_unused=True)

    def __call__(self, *args: Tensor) -> Any:
        results = _Replay.apply(self, *args, *self.parameters)
        return results if self.is_tuple else results[0]


class _Replay(fl.autograd.Function):
    @staticmethod
    def forward(ctx: Any, graphed: _Graphed, *tensors: Tensor) -> Any:
        ctx.graphed = graphed
        for own, given in zip(graphed.inputs, tensors, strict=False):
            own.data.copy_(given)
        graphed.forward_graph.replay()
        return tuple(y.detach().clone() for y in graphed.outputs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        graphed = ctx.graphed
        wanted = [g for g, y in zip(grads, graphed.outputs, strict=True) if y.requires_grad]
        for own, given in zip(graphed.tangents, wanted, strict=True):
            own.copy_(given)
        graphed.backward_graph.replay()
        found = iter(graphed.gradients)
        gradients = [
            next(found, None) if x.requires_grad else None
            for x in (*graphed.inputs, *graphed.parameters)
        ]
        return None, *(None if g is None else g.clone() for g in gradients)


def make_graphed_callables(
    callables: Any, sample_args: Any, num_warmup_iters: int = 3, **_: Any
) -> Any:
    """Makes functions or modules replay graphs of their forward and backward parts.

    Args:
        callables: a function or module of tensors, or a tuple of them.
        sample_args: its arguments, tensors of the shapes of every later call; a tuple of such
            tuples for several callables.
        num_warmup_iters: accepted as PyTorch does.

    Returns:
        The function, or the module with another `forward`; a tuple for a tuple.
    """
    if not isinstance(callables, tuple):
        return make_graphed_callables((callables,), (sample_args,))[0]
    made: list[Any] = []
    for function, sample in zip(callables, sample_args, strict=True):
        is_module = isinstance(function, fl.nn.Module)
        parameters = list(function.parameters()) if is_module else []
        graphed = _Graphed(function, sample, parameters)
        if is_module:
            function.forward = graphed
            made.append(function)
        else:
            made.append(graphed)
    return tuple(made)
