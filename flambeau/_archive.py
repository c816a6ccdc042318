"""The container of .pt files: an uncompressed zip archive whose large entries are aligned.

Written here rather than with `zipfile`, which cannot align; sizes and checksums are known before
an entry is written, so that any writable object will do, a pipe too.
Format: PKWARE, APPNOTE.TXT 6.3, sections 4.3 and 4.5.3 (zip64).
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from typing import Any, NamedTuple

_ALIGNMENT = 64
_LIMIT_32 = 0xFFFFFFFF
_LIMIT_16 = 0xFFFF
_VERSION = 45  # of the format: with zip64
_UTF8_NAMES = 0x800
_DATE = 0x21  # 1 January 1980: equal contents make equal files
_ZIP64_EXTRA = 1
_PADDING_EXTRA = 0x4246  # any unregistered number: readers skip what they do not know

_LOCAL = struct.Struct("<4s5H3L2H")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_END64 = struct.Struct("<4sQ2H2L4Q")
_END64_LOCATOR = struct.Struct("<4sLQL")
_END = struct.Struct("<4s4H2LH")


class _Entry(NamedTuple):
    name: bytes
    size: int
    checksum: int
    offset: int


class ArchiveWriter:
    """Writes an archive; all entries lie in one folder.

    Args:
        file: object with `write`.
        folder: name of the folder.
    """

    def __init__(self, file: Any, folder: str) -> None:
        self._file = file
        self._folder = folder
        self._position = 0
        self._entries: list[_Entry] = []

    def add(self, name: str, content: bytes | memoryview) -> None:
        """Adds an entry whose content starts at a multiple of 64 bytes."""
        size = memoryview(content).nbytes
        checksum = zlib.crc32(content)
        entry = _Entry(f"{self._folder}/{name}".encode(), size, checksum, self._position)
        extra = b""
        if size >= _LIMIT_32:
            extra = struct.pack("<2H2Q", _ZIP64_EXTRA, 16, size, size)
        start = self._position + _LOCAL.size + len(entry.name) + len(extra) + 4
        padding = -start % _ALIGNMENT
        extra += struct.pack("<2H", _PADDING_EXTRA, padding) + bytes(padding)
        short = min(size, _LIMIT_32)
        header = _LOCAL.pack(
            *(b"PK\3\4", _VERSION, _UTF8_NAMES, 0, 0, _DATE),
            *(checksum, short, short, len(entry.name), len(extra)),
        )
        self._write(header + entry.name + extra)
        self._write(content)
        self._entries.append(entry)

    def finish(self) -> None:
        """Writes the table of contents."""
        start = self._position
        for entry in self._entries:
            self._write(_central_header(entry))
        size, count, end = self._position - start, len(self._entries), self._position
        if max(start, size) >= _LIMIT_32 or count >= _LIMIT_16:
            self._write(
                _END64.pack(b"PK\6\6", 44, _VERSION, _VERSION, 0, 0, count, count, size, start)
                + _END64_LOCATOR.pack(b"PK\6\7", 0, end, 1)
            )
        count = min(count, _LIMIT_16)
        size, start = min(size, _LIMIT_32), min(start, _LIMIT_32)
        self._write(_END.pack(b"PK\5\6", 0, 0, count, count, size, start, 0))

    def _write(self, content: bytes | memoryview) -> None:
        self._file.write(content)
        self._position += memoryview(content).nbytes


def _central_header(entry: _Entry) -> bytes:
    large = [entry.size, entry.size] if entry.size >= _LIMIT_32 else []
    large += [entry.offset] if entry.offset >= _LIMIT_32 else []
    extra = struct.pack(f"<2H{len(large)}Q", _ZIP64_EXTRA, 8 * len(large), *large) if large else b""
    size = min(entry.size, _LIMIT_32)
    fixed = _CENTRAL.pack(
        *(b"PK\1\2", _VERSION, _VERSION, _UTF8_NAMES, 0, 0, _DATE),
        *(entry.checksum, size, size, len(entry.name), len(extra), 0, 0, 0, 0),
        min(entry.offset, _LIMIT_32),
    )
    return fixed + entry.name + extra


class ArchiveReader:
    """Reads the entries of an archive, checking that they lie within the file and are whole.

    Args:
        file: object with `read`, `seek`, `tell`.
        name: what to call it in messages.

    Raises:
        RuntimeError: not such an archive, or a damaged one; from the methods too.
    """

    def __init__(self, file: Any, name: str) -> None:
        self._file = file
        self._name = name
        self._length = file.seek(0, 2)
        file.seek(0)
        head = file.read(2)
        try:
            self._directory = zipfile.ZipFile(file)
        except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error) as error:
            if head in (b"\x80\x02", b"\x80\x04"):
                raise RuntimeError(
                    f"load: {name} is a bare pickle, not an archive: if it is a checkpoint of "
                    "PyTorch before 1.6, save it again with a newer PyTorch"
                ) from None
            raise self.damage(f"it is no zip archive: {error}") from None
        self._entries = {entry.filename: entry for entry in self._directory.infolist()}
        folders = [
            path[: -len("/data.pkl")] for path in self._entries if path.endswith("/data.pkl")
        ]
        if len(folders) != 1:
            raise self.damage("it has no data.pkl")
        self._folder = folders[0]

    def damage(self, what: str) -> RuntimeError:
        """Returns the error to raise for a malformed file."""
        return RuntimeError(f"load: cannot read {self._name}, {what}; is it a whole .pt file?")

    def __contains__(self, name: str) -> bool:
        return f"{self._folder}/{name}" in self._entries

    def size(self, name: str) -> int:
        """Returns the number of bytes of an entry, having checked that the file has them."""
        entry = self._entry(name)
        limit = self._length if entry.compress_type == zipfile.ZIP_STORED else 1032 * self._length
        if entry.file_size > limit:  # deflate makes things at most 1032 times smaller
            raise self.damage(f"entry {name} is cut off")
        return entry.file_size

    def offset(self, name: str) -> int | None:
        """Returns where an entry's bytes start in the file; None if they are compressed."""
        entry = self._entry(name)
        self._file.seek(max(entry.header_offset, 0))
        header = self._file.read(_LOCAL.size)
        if entry.header_offset < 0 or len(header) != _LOCAL.size or header[:4] != b"PK\3\4":
            raise self.damage(f"entry {name} is not where it should be")
        name_length, extra_length = _LOCAL.unpack(header)[-2:]
        start: int = entry.header_offset + _LOCAL.size + name_length + extra_length
        if entry.compress_type != zipfile.ZIP_STORED:
            return None
        if start + entry.file_size > self._length:
            raise self.damage(f"entry {name} is cut off")
        return start

    def read(self, name: str) -> bytes:
        """Returns the content of an entry."""
        content = bytearray(self.size(name))
        self.read_into(name, memoryview(content))
        return bytes(content)

    def read_into(self, name: str, target: memoryview) -> None:
        """Reads an entry into memory of its size."""
        entry, start = self._entry(name), self.offset(name)
        if start is None:
            content = self._inflate(entry)
            if len(content) != target.nbytes:
                raise self.damage(f"entry {name} has a wrong length")
            target[:] = content
        else:
            self._file.seek(start)
            self._fill(name, target)
        # PyTorch can be told to leave the checksum out and then writes 0.
        if entry.CRC and zlib.crc32(target) != entry.CRC:
            raise self.damage(f"entry {name} has a wrong checksum")

    def _fill(self, name: str, target: memoryview) -> None:
        read_into = getattr(self._file, "readinto", None)
        while target.nbytes:
            if read_into is not None:
                count = read_into(target)
            else:
                piece = self._file.read(min(target.nbytes, 1 << 24))
                count = len(piece)
                target[:count] = piece
            if not count:
                raise self.damage(f"entry {name} is cut off")
            target = target[count:]

    def _inflate(self, entry: zipfile.ZipInfo) -> bytes:
        try:
            return self._directory.read(entry)
        except (zipfile.BadZipFile, NotImplementedError, zlib.error, EOFError) as error:
            raise self.damage(f"entry {entry.filename} cannot be unpacked: {error}") from None

    def _entry(self, name: str) -> zipfile.ZipInfo:
        try:
            return self._entries[f"{self._folder}/{name}"]
        except KeyError:
            raise self.damage(f"it has no entry {name}") from None
