"""Streams, which are queues of work on a GPU, and events, which are marks in them."""

from __future__ import annotations

from types import TracebackType
from typing import Any

import flambeau as fl
from flambeau import _core
from flambeau.cuda._device import Device, index_of


class Stream:
    """A queue of work on a GPU: what is in it runs in order; two streams run side by side.

    Memory that a tensor of one stream gives back may be used again on that stream at once; a
    tensor that another stream uses, too, needs `tensor.record_stream(other)`.

    Args:
        device: a GPU; by default the current one.
        priority: lower numbers run first where the GPU has to choose; -1 is high, 0 usual.

    Raises:
        RuntimeError: there is no such GPU.

    Example (needs a GPU):
        side = torch.cuda.Stream()
        with torch.cuda.stream(side):
            y = x @ x
        torch.cuda.current_stream().wait_stream(side)
    """

    def __init__(self, device: Device = None, priority: int = 0, **_: Any) -> None:
        self._core = _core.CudaStream(index_of(device, "torch.cuda.Stream"), priority)

    @classmethod
    def _of(cls, core: _core.CudaStream) -> Stream:
        stream = cls.__new__(cls)
        stream._core = core
        return stream

    @property
    def device(self) -> fl.device:
        """The GPU."""
        return fl.device("cuda", self._core.device)

    @property
    def device_index(self) -> int:
        """The GPU's number."""
        return self._core.device

    @property
    def priority(self) -> int:
        """The priority."""
        return self._core.priority

    @property
    def cuda_stream(self) -> int:
        """The driver's handle as a number; 0 is the default stream."""
        return self._core.handle

    stream_id = cuda_stream

    @staticmethod
    def priority_range() -> tuple[int, int]:
        """Returns the least and the greatest priority of the current GPU."""
        greatest, least = _core.cuda_stream_priorities(-1)
        return least, greatest

    def query(self) -> bool:
        """Returns whether all work queued so far is done."""
        return self._core.query()

    def synchronize(self) -> None:
        """Waits in this thread until all work queued so far is done."""
        self._core.synchronize()

    def wait_event(self, event: Event) -> None:
        """Makes work that is queued from now on wait for an event.

        Args:
            event: recorded in any stream; one that never was is over.
        """
        event.wait(self)

    def wait_stream(self, stream: Stream) -> None:
        """Makes work that is queued from now on wait for what another stream has to do now.

        Args:
            stream: the other stream.
        """
        self.wait_event(stream.record_event())

    def record_event(self, event: Event | None = None) -> Event:
        """Puts a mark behind the work queued so far.

        Args:
            event: by default a new one.

        Returns:
            The event.
        """
        event = Event() if event is None else event
        event.record(self)
        return event

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Stream):
            return NotImplemented
        return (self.device_index, self.cuda_stream) == (other.device_index, other.cuda_stream)

    def __hash__(self) -> int:
        return hash((self.device_index, self.cuda_stream))

    def __repr__(self) -> str:
        return f"<torch.cuda.Stream device={self.device} cuda_stream={self.cuda_stream:#x}>"

    def __enter__(self) -> Stream:
        self._scope = StreamContext(self)
        self._scope.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._scope.__exit__(*error)


class ExternalStream(Stream):
    """A stream that another library has made.

    Args:
        stream_ptr: the driver's handle as a number.
        device: the stream's GPU; by default the current one.

    The other library must keep the stream for as long as it is used here, and until memory that
    `record_stream` has named is free.

    Raises:
        RuntimeError: there is no such GPU.
    """

    def __init__(self, stream_ptr: int, device: Device = None, **_: Any) -> None:
        if not isinstance(stream_ptr, int) or isinstance(stream_ptr, bool) or stream_ptr < 0:
            raise TypeError(
                "torch.cuda.ExternalStream: the handle of a stream, a number that is not negative, "
                f"is required, got {stream_ptr!r}"
            )
        index = index_of(device, "torch.cuda.ExternalStream")
        self._core = _core.CudaStream.external(index, stream_ptr)


class Event:
    """A mark in a stream, for waiting and for measuring time on the GPU.

    Args:
        enable_timing: whether elapsed_time() can be asked.
        blocking: whether synchronize() leaves the processor to others while it waits.
        interprocess: must be False.

    Example (needs a GPU):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        y = x @ x
        end.record()
        end.synchronize()
        print(start.elapsed_time(end), "ms")
    """

    def __init__(
        self, enable_timing: bool = False, blocking: bool = False, interprocess: bool = False
    ) -> None:
        if interprocess:
            raise NotImplementedError(
                "torch.cuda.Event: events between processes do not exist here; use "
                "interprocess=False"
            )
        self._core = _core.CudaEvent(bool(enable_timing), bool(blocking))

    @property
    def device(self) -> fl.device | None:
        """The GPU in whose stream it was recorded first, or None."""
        index = self._core.device
        return None if index < 0 else fl.device("cuda", index)

    @property
    def cuda_event(self) -> int:
        """The driver's handle as a number; 0 before it is recorded."""
        return self._core.handle

    def record(self, stream: Stream | None = None) -> None:
        """Puts the mark behind the work that a stream has to do now.

        Args:
            stream: by default the current one.
        """
        self._core.record((current_stream() if stream is None else stream)._core)

    def wait(self, stream: Stream | None = None) -> None:
        """Makes work that a stream gets from now on wait for the mark.

        Args:
            stream: by default the current one.
        """
        self._core.wait((current_stream() if stream is None else stream)._core)

    def query(self) -> bool:
        """Returns whether all work before the mark is done."""
        return self._core.query()

    def synchronize(self) -> None:
        """Waits in this thread until all work before the mark is done."""
        self._core.synchronize()

    def elapsed_time(self, end_event: Event) -> float:
        """Returns the milliseconds from this mark to another one.

        Args:
            end_event: recorded later, and over by now.

        Raises:
            RuntimeError: one of them has no timing, was not recorded, or is not over.
        """
        return self._core.elapsed_time(end_event._core)

    def __repr__(self) -> str:
        return f"<torch.cuda.Event {self.cuda_event:#x}>"


class StreamContext:
    """A scope in which work of this thread goes to a stream; None changes nothing.

    Args:
        stream: the stream, whose GPU becomes the current one, too.
    """

    def __init__(self, stream: Stream | None) -> None:
        self.stream = stream
        self._before: list[tuple[int, Stream]] = []

    def __enter__(self) -> None:
        if self.stream is None:
            return
        device = self.stream.device_index
        self._before.append((_core.cuda_current_device(), current_stream(device)))
        set_stream(self.stream)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.stream is None:
            return
        device, stream = self._before.pop()
        stream._core.make_current()
        _core.cuda_set_device(device)


def stream(stream: Stream | None) -> StreamContext:
    """Returns a scope in which work goes to a stream.

    Args:
        stream: the stream; None changes nothing.
    """
    return StreamContext(stream)


def current_stream(device: Device = None) -> Stream:
    """Returns the stream that work of this thread goes to.

    Args:
        device: a GPU; by default the current one.
    """
    return Stream._of(_core.CudaStream.current_of(index_of(device, "current_stream")))


def default_stream(device: Device = None) -> Stream:
    """Returns the stream that is current at first.

    Args:
        device: a GPU; by default the current one.
    """
    return Stream._of(_core.CudaStream.default_of(index_of(device, "default_stream")))


def set_stream(stream: Stream | None) -> None:
    """Sends work of this thread to a stream from now on, and makes its GPU current.

    Args:
        stream: the stream; None changes nothing.
    """
    if stream is not None:
        _core.cuda_set_device(stream.device_index)
        stream._core.make_current()
