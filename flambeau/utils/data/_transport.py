"""Hands batches from a worker process to its loader.

Note [Batches in shared memory]
The structure of a batch is pickled; the bytes of its tensors and NumPy arrays are set apart
(pickle protocol 5). Few bytes travel in the message. Many lie in a slot: an anonymous file in
memory that both processes map, whose descriptor travels over the socket once. There is no name
that could stay behind when a process is killed, and no descriptor kept open.

A slot is used again when both sides are done with it, so that its pages are paid for once. Its
first bytes tell: WORKER is 1 while a tensor of the worker uses the slot, LOADER from when it is
sent until no tensor of the loader's process uses it. Each side clears its byte when its last
tensor goes, by way of `_core.lend`. A worker's `default_collate` joins samples in a slot to begin
with.
"""

from __future__ import annotations

import io
import os
import pickle
import tempfile
from multiprocessing import reduction
from typing import TYPE_CHECKING, Any

import flambeau
from flambeau import _core
from flambeau._buffers import in_memory_order, tensor_bytes, tensor_from_bytes

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from flambeau import Tensor, dtype

_INLINE_BYTES = 1 << 16
_WORKER, _LOADER = 0, 1  # positions of the flags
_CONTENT = 64  # where the content of a slot starts
_SPARE_SLOTS = 8


class _Slot:
    """A worker's view of a slot."""

    def __init__(self, number: int, nbytes: int) -> None:
        self.number = number
        self.nbytes = nbytes
        self.descriptor: int | None = _anonymous_file(_CONTENT + nbytes)
        self.memory = _core.map_file(self.descriptor, _CONTENT + nbytes)
        self.view = tensor_bytes(self.memory)

    def is_free(self) -> bool:
        return self.view[_WORKER] == 0 and self.view[_LOADER] == 0

    def lend(self, nbytes: int) -> Tensor:
        return _core.lend(self.memory, _CONTENT, nbytes, _WORKER)

    def announce(self, connection: Connection) -> None:
        assert self.descriptor is not None
        reduction.send_handle(connection, self.descriptor, None)
        self.close()

    def close(self) -> None:
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None


class BatchSender:
    """The worker's end; see Note [Batches in shared memory].

    Args:
        connection: socket to the loader.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._slots: list[_Slot] = []
        self._made = 0
        self._lent: dict[int, _Slot] = {}  # address of content -> slot, for this batch

    def empty(self, shape: tuple[int, ...], dtype: dtype, nbytes: int) -> Tensor | None:
        """Returns an uninitialised tensor in a slot, or None where that is not worth while."""
        if nbytes <= _INLINE_BYTES:
            return None
        slot = self._free_slot(nbytes)
        content = slot.lend(nbytes)
        self._lent[content.data_ptr()] = slot
        return content.view(dtype).view(shape)

    def send(self, label: tuple[Any, ...], batch: Any) -> None:
        """Sends `label` and `batch`.

        Raises:
            Exception: whatever pickling raises; then nothing has been sent.
        """
        stream = io.BytesIO()
        apart, self._lent = _SetApart(self._lent), {}
        _BatchPickler(stream, apart).dump(batch)
        places: list[bytearray | tuple[int, int]] = []
        used: list[_Slot] = []
        held: list[Tensor] = []
        for buffer, slot in apart.buffers:
            content = buffer.raw()
            if slot is None:
                if content.nbytes <= _INLINE_BYTES:
                    places.append(bytearray(content))
                    continue
                slot = self._free_slot(content.nbytes)
                held.append(slot.lend(content.nbytes))  # nobody else may take it meanwhile
                slot.view[_CONTENT : _CONTENT + content.nbytes] = content
            places.append((slot.number, content.nbytes))
            used.append(slot)
        new = [slot for slot in used if slot.descriptor is not None]
        gone = self._drop_spare_slots()
        sizes = [(slot.number, slot.nbytes) for slot in new]
        message = (label, stream.getvalue(), places, sizes, gone)
        for slot in used:
            slot.view[_LOADER] = 1
        self._connection.send_bytes(pickle.dumps(message, 5))
        for slot in new:
            slot.announce(self._connection)

    def _free_slot(self, nbytes: int) -> _Slot:
        """Returns the smallest free slot that is large enough, but not much too large."""
        fitting = [
            slot for slot in self._slots if nbytes <= slot.nbytes <= 2 * nbytes and slot.is_free()
        ]
        if fitting:
            return min(fitting, key=lambda slot: slot.nbytes)
        slot = _Slot(self._made, nbytes)
        self._made += 1
        self._slots.append(slot)
        return slot

    def _drop_spare_slots(self) -> list[int]:
        """Forgets free slots beyond a few, oldest first; returns their numbers."""
        free = [slot for slot in self._slots if slot.is_free()]
        spare = free[: max(0, len(free) - _SPARE_SLOTS)]
        for slot in spare:
            self._slots.remove(slot)
            slot.close()
        return [slot.number for slot in spare]


class BatchReceiver:
    """The loader's end for one worker; see Note [Batches in shared memory].

    Args:
        connection: socket to the worker.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._slots: dict[int, Tensor] = {}

    def receive(self) -> tuple[tuple[Any, ...], bytes, list[Any]]:
        """Receives what `BatchSender.send` sent.

        Returns:
            The label, and the two arguments of `unpickle_batch`.
        """
        message = pickle.loads(self._connection.recv_bytes())
        label, body, places, new, gone = message
        for number, nbytes in new:
            descriptor = reduction.recv_handle(self._connection)
            try:
                self._slots[number] = _core.map_file(descriptor, _CONTENT + nbytes)
            finally:
                os.close(descriptor)
        contents = [
            place if isinstance(place, bytearray) else tensor_bytes(self._content(*place))
            for place in places
        ]
        for number in gone:
            self._slots.pop(number, None)
        return label, body, contents

    def _content(self, number: int, nbytes: int) -> Tensor:
        return _core.lend(self._slots[number], _CONTENT, nbytes, _LOADER)


def unpickle_batch(body: bytes, contents: list[Any]) -> Any:
    """Returns the batch; its tensors and arrays lie in `contents` and keep them alive."""
    return pickle.loads(body, buffers=contents)


class _SetApart:
    """The bytes that a pickle leaves out, each with the slot it lies in, if any."""

    def __init__(self, lent: dict[int, _Slot]) -> None:
        self._lent = lent
        self._next: _Slot | None = None
        self.buffers: list[tuple[pickle.PickleBuffer, _Slot | None]] = []

    def content_of(self, tensor: Tensor) -> pickle.PickleBuffer:
        """Returns a contiguous tensor's bytes, which must be the next buffer that is set apart."""
        self._next = self._lent.pop(tensor.data_ptr(), None)
        return pickle.PickleBuffer(tensor_bytes(tensor))

    def add(self, buffer: pickle.PickleBuffer) -> None:
        self.buffers.append((buffer, self._next))
        self._next = None


class _BatchPickler(pickle.Pickler):
    """Sets the bytes of tensors and arrays apart.

    What it sets apart it keeps in another object: a pickler that calls itself back would be a
    cycle, and its slots would not be free before the garbage collector ran.
    """

    def __init__(self, stream: io.BytesIO, apart: _SetApart) -> None:
        super().__init__(stream, 5, buffer_callback=apart.add)
        self._apart = apart

    def reducer_override(self, value: Any) -> Any:
        if type(value) is not flambeau.Tensor:
            return NotImplemented
        if value.grad_fn is not None:
            raise RuntimeError(
                "DataLoader: a worker's batch must not carry a gradient graph, got a tensor with "
                f"grad_fn {value.grad_fn.name()}; call .detach() on it in the dataset"
            )
        line, strides = in_memory_order(value)
        content = self._apart.content_of(line)
        described = (str(value.dtype), tuple(value.shape), value.requires_grad, strides)
        return _rebuild_tensor, (content, *described)


def _rebuild_tensor(
    content: Any,
    dtype: str,
    shape: tuple[int, ...],
    requires_grad: bool,
    strides: tuple[int, ...] | None,
) -> Tensor:
    kind = getattr(flambeau, dtype.removeprefix("torch."))
    tensor = tensor_from_bytes(content, kind, shape, strides)
    return tensor.requires_grad_() if requires_grad else tensor


def _anonymous_file(nbytes: int) -> int:
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("flambeau-batch", os.MFD_CLOEXEC)
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    try:
        os.ftruncate(descriptor, nbytes)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
