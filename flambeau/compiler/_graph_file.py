"""The container of saved graphs: a header of text and raw bytes behind it.

Layout, little endian (docs/static_graphs.md has it for other readers):

    0   8  magic
    8   4  version of the format
    12  4  CRC-32 of everything from byte 16 on
    16  8  length of the header in bytes
    24  8  length of the contents in bytes
    32     header: JSON in UTF-8, padded with spaces so that what follows is aligned
    ...    contents: blocks, each at a multiple of 64 bytes from their beginning
"""

from __future__ import annotations

import json
import os
import re
import struct
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import flambeau as fl
from flambeau._buffers import tensor_bytes

if TYPE_CHECKING:
    from flambeau import Tensor

MAGIC = b"\x89flame\r\n"  # survives no transfer that changes line ends or the eighth bit
VERSION = 1
ALIGNMENT = 64
START = struct.Struct("<8sLLQQ")
_CHECKED_FROM = 16


class GraphFileError(RuntimeError):
    """A file is not a saved graph, or is damaged."""


class Contents:
    """Blocks to write, one after another.

    Attributes:
        length: of all with their padding.
    """

    def __init__(self) -> None:
        self.blocks: list[memoryview] = []
        self.length = 0

    def add(self, block: memoryview) -> list[int]:
        """Appends a block; returns where it lies: [offset, length]."""
        offset = self.length
        self.blocks.append(block)
        self.length += _aligned(len(block))
        return [offset, len(block)]


def write(path: str | os.PathLike[str], header: dict[str, Any], contents: Contents) -> None:
    """Writes a file; one that exists is replaced once the new one is complete."""
    from flambeau.serialization import _replacing

    text = json.dumps(header, separators=(",", ":"), allow_nan=False).encode()
    text += b" " * (-(START.size + len(text)) % ALIGNMENT)
    parts: list[bytes | memoryview] = [text]
    for block in contents.blocks:
        parts.append(block)
        parts.append(bytes(-len(block) % ALIGNMENT))
    lengths = struct.pack("<QQ", len(text), contents.length)
    checksum = zlib.crc32(lengths)
    for part in parts:
        checksum = zlib.crc32(part, checksum)
    with _replacing(os.fspath(path)) as file:
        file.write(START.pack(MAGIC, VERSION, checksum, len(text), contents.length))
        for part in parts:
            file.write(part)


class Reader:
    """A file with checked lengths and checksum.

    Attributes:
        header: what `write` was given.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._name = os.fspath(path)
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            start = file.read(START.size)
            self._check_start(start)
            _, _, checksum, header_length, length = START.unpack(start)
            if START.size + header_length + length != size:
                raise self.damaged(f"it has {size} bytes")
            text = file.read(header_length)
            self._contents = fl.empty(length, dtype=fl.uint8)
            content = tensor_bytes(self._contents)
            if len(text) != header_length or file.readinto(content) != length:
                raise self.damaged("it was cut while it was read")
        found = zlib.crc32(content, zlib.crc32(text, zlib.crc32(start[_CHECKED_FROM:])))
        if found != checksum:
            raise self.damaged("its checksum differs")
        try:
            self.header: Any = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise self.damaged(f"its header cannot be read ({error})") from None

    def _check_start(self, start: bytes) -> None:
        if start[: len(MAGIC)] != MAGIC:
            raise GraphFileError(
                f"load: {self._name} is not a saved graph; write it with StaticGraph.save(path), "
                "and load checkpoints with torch.load"
            )
        if len(start) < START.size:
            raise self.damaged("it ends in its first line")
        version = START.unpack(start)[1]
        if version != VERSION:
            raise GraphFileError(
                f"load: {self._name} has version {version} of the format, this flambeau reads "
                f"version {VERSION}; update flambeau, or save the graph again"
            )

    def device(self) -> str:
        """Where the graph was when it was saved: "cpu", "cuda:0" and the like."""
        found = self.header.get("device", "cpu") if isinstance(self.header, dict) else "cpu"
        if not isinstance(found, str) or not re.fullmatch(r"cpu|cuda(:\d\d?)?", found):
            raise self.damaged(f"there is no device {found!r:.40}")
        return found

    def damaged(self, how: str) -> GraphFileError:
        """The error for contents that make no sense."""
        return GraphFileError(
            f"load: {self._name} is no graph that can be run: {how}; copy or save it again"
        )

    def block(self, place: Sequence[int]) -> Tensor:
        """The bytes at [offset, length], in memory of their own."""
        offset, length = place
        if offset < 0 or length < 0 or offset + length > len(self._contents):
            raise self.damaged(f"{length} bytes at {offset} lie outside")
        return self._contents[offset : offset + length].clone()


def _aligned(length: int) -> int:
    return -(-length // ALIGNMENT) * ALIGNMENT
