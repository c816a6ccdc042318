"""Sends a batch from a worker process to its loader.

Note [Batches in anonymous files]
The structure of a batch is pickled; the bytes of its tensors and NumPy arrays are set apart
(pickle protocol 5). Many bytes are written to one anonymous file in memory whose descriptor
travels over the socket, and the receiver maps it: no copy on that side, no name that could stay
behind when either process is killed, and no descriptor kept open. Few bytes travel in the message.
"""

from __future__ import annotations

import io
import mmap
import os
import pickle
import tempfile
from collections.abc import Sequence
from multiprocessing import reduction
from typing import TYPE_CHECKING, Any

import flambeau
from flambeau._buffers import tensor_bytes, tensor_from_bytes

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

_INLINE_BYTES = 1 << 16
_ALIGNMENT = 64


class _BatchPickler(pickle.Pickler):
    """Sets the bytes of tensors apart; the rest is pickled as usual."""

    def reducer_override(self, value: Any) -> Any:
        if type(value) is not flambeau.Tensor:
            return NotImplemented
        if value.grad_fn is not None:
            raise RuntimeError(
                "DataLoader: a worker's batch must not carry a gradient graph, got a tensor with "
                f"grad_fn {value.grad_fn.name()}; call .detach() on it in the dataset"
            )
        content = pickle.PickleBuffer(tensor_bytes(value))
        return _rebuild_tensor, (content, str(value.dtype), tuple(value.shape), value.requires_grad)


def _rebuild_tensor(
    content: Any, dtype: str, shape: tuple[int, ...], requires_grad: bool
) -> flambeau.Tensor:
    tensor = tensor_from_bytes(content, getattr(flambeau, dtype.split(".")[-1]), shape)
    return tensor.requires_grad_() if requires_grad else tensor


def send_batch(connection: Connection, label: tuple[Any, ...], batch: Any) -> None:
    """Sends `label` and `batch`; see Note [Batches in anonymous files].

    Raises:
        Exception: whatever pickling raises; then nothing has been sent.
    """
    apart: list[pickle.PickleBuffer] = []
    stream = io.BytesIO()
    _BatchPickler(stream, 5, buffer_callback=apart.append).dump(batch)
    contents = [buffer.raw() for buffer in apart]
    sizes = [content.nbytes for content in contents]
    if sum(sizes) <= _INLINE_BYTES:
        inline = [bytearray(content) for content in contents]
        connection.send_bytes(pickle.dumps((label, stream.getvalue(), inline, None), 5))
        return
    descriptor = _write_anonymous_file(contents)
    try:
        connection.send_bytes(pickle.dumps((label, stream.getvalue(), None, sizes), 5))
        reduction.send_handle(connection, descriptor, None)
    finally:
        os.close(descriptor)


def receive_batch(connection: Connection) -> tuple[tuple[Any, ...], bytes, list[Any]]:
    """Receives what `send_batch` sent.

    Returns:
        The label, and the two arguments of `unpickle_batch`.
    """
    label, body, inline, sizes = pickle.loads(connection.recv_bytes())
    if inline is not None:
        return label, body, inline
    descriptor = reduction.recv_handle(connection)
    try:
        return label, body, _map_anonymous_file(descriptor, sizes)
    finally:
        os.close(descriptor)


def unpickle_batch(body: bytes, contents: list[Any]) -> Any:
    """Returns the batch; its tensors and arrays lie in `contents` and keep them alive."""
    return pickle.loads(body, buffers=contents)


def _offsets(sizes: Sequence[int]) -> tuple[list[int], int]:
    """Returns where each content starts, aligned, and the length of the file."""
    offsets, end = [], 0
    for size in sizes:
        offsets.append(end)
        end += -(-size // _ALIGNMENT) * _ALIGNMENT
    return offsets, end


def _write_anonymous_file(contents: Sequence[memoryview]) -> int:
    offsets, length = _offsets([content.nbytes for content in contents])
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("flambeau-batch", os.MFD_CLOEXEC)
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    try:
        os.ftruncate(descriptor, length)
        for offset, content in zip(offsets, contents, strict=True):
            # One call writes 2 GiB at most.
            while content.nbytes:
                written = os.pwrite(descriptor, content, offset)
                content, offset = content[written:], offset + written
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _map_anonymous_file(descriptor: int, sizes: Sequence[int]) -> list[memoryview]:
    offsets, length = _offsets(sizes)
    # The pages exist already: entering all of them at once saves a fault on each.
    flags = mmap.MAP_SHARED | getattr(mmap, "MAP_POPULATE", 0)
    content = memoryview(mmap.mmap(descriptor, length, flags=flags))
    return [content[offset : offset + size] for offset, size in zip(offsets, sizes, strict=True)]
