"""What kernels need of a GPU, read from machine code (a cubin is an ELF file)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

# Attributes in sections .nv.info and .nv.info.KERNEL.
MOST_THREADS, FRAME_BYTES, PARAMETER_BYTES, REGISTERS = 0x05, 0x11, 0x19, 0x2F
BEFORE_VALUE, SIZED = struct.Struct("<BBH"), 4

# Of every GPU since sm_80.
REGISTERS_OF_BLOCK, SHARED_BYTES, MOST_PARAMETER_BYTES = 65536, 48 << 10, 4096
RESERVED_SHARED_BYTES = 1024  # by the system, counted as the kernel's own since sm_90


@dataclass
class Kernel:
    name: str
    registers: int = 0
    most_threads: int = 0  # of a block: __launch_bounds__; 0: not declared
    frame_bytes: int = 0  # of local memory in each thread: arrays, registers that were spilled
    shared_bytes: int = 0  # static
    parameter_bytes: int = 0

    def problems(self, architecture: str, frame_bytes: int) -> list[str]:
        """Why a launch with the declared block would be refused; or slow, with a larger frame."""
        # Every warp gets its registers eight for each thread at a time.
        registers = -(-self.registers // 8) * 8 * self.most_threads
        reserved = RESERVED_SHARED_BYTES if int(architecture.removeprefix("sm_")) >= 90 else 0
        limits = (
            (self.most_threads == 0, "no __launch_bounds__"),
            (registers > REGISTERS_OF_BLOCK, f"{registers} registers in a block"),
            (self.shared_bytes - reserved > SHARED_BYTES, f"{self.shared_bytes} bytes shared"),
            (self.frame_bytes > frame_bytes, f"{self.frame_bytes} bytes of local memory"),
            (
                self.parameter_bytes > MOST_PARAMETER_BYTES,
                f"{self.parameter_bytes} parameter bytes",
            ),
        )
        return [f"{self.name}: {text}" for wrong, text in limits if wrong]


@dataclass
class Section:
    name: str
    offset: int
    size: int


def sections(code: bytes) -> Iterator[Section]:
    (table,) = struct.unpack_from("<Q", code, 0x28)
    size, count, names = struct.unpack_from("<HHH", code, 0x3A)
    rows = [struct.unpack_from("<IIQQQQIIQQ", code, table + i * size) for i in range(count)]
    for row in rows:
        yield Section(text_at(code, rows[names][4] + row[0]), row[4], row[5])


def text_at(code: bytes, begin: int) -> str:
    return code[begin : code.index(b"\0", begin)].decode()


def symbols(code: bytes, everything: dict[str, Section]) -> list[str]:
    """Names, by number."""
    table, names = everything[".symtab"], everything[".strtab"]
    entries = range(table.offset, table.offset + table.size, 24)
    return [text_at(code, names.offset + struct.unpack_from("<I", code, at)[0]) for at in entries]


def attributes(code: bytes, section: Section) -> Iterator[tuple[int, bytes]]:
    at = section.offset
    while at < section.offset + section.size:
        kind, attribute, number = BEFORE_VALUE.unpack_from(code, at)
        at += BEFORE_VALUE.size
        if kind == SIZED:
            yield attribute, code[at : at + number]
            at += number
        else:
            yield attribute, struct.pack("<I", number)


def kernels(code: bytes) -> list[Kernel]:
    everything = {section.name: section for section in sections(code)}
    found = {
        name: Kernel(name)
        for name in (full.partition(".nv.info.")[2] for full in everything)
        if name
    }
    for kernel in found.values():
        for attribute, value in attributes(code, everything[f".nv.info.{kernel.name}"]):
            if attribute == MOST_THREADS:
                x, y, z = struct.unpack("<III", value)
                kernel.most_threads = x * y * z
            elif attribute == PARAMETER_BYTES:
                (kernel.parameter_bytes,) = struct.unpack("<I", value)
        shared = everything.get(f".nv.shared.{kernel.name}")
        kernel.shared_bytes = shared.size if shared else 0
    names = symbols(code, everything)
    for attribute, value in attributes(code, everything[".nv.info"]):
        if attribute not in (REGISTERS, FRAME_BYTES):
            continue
        symbol, number = struct.unpack("<II", value)
        if names[symbol] not in found:
            continue
        if attribute == REGISTERS:
            found[names[symbol]].registers = number
        else:
            found[names[symbol]].frame_bytes = number
    return list(found.values())
