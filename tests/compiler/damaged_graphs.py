"""Damages files of graphs, loads and runs what is left: nothing but a clear error may come of it.

As a program: `python damaged_graphs.py SEED COUNT [DEVICE]`.
"""

from __future__ import annotations

import json
import random
import struct
import sys
import tempfile
import zlib
from pathlib import Path
from typing import Any

import flambeau as fl
from flambeau.compiler import load
from flambeau.compiler._graph_file import MAGIC, START, VERSION

# What a run of a loaded graph may raise: kernels look at indices, probabilities and the like.
ERRORS = (RuntimeError, IndexError, TypeError, ValueError)
NUMBERS = (-1, 0, 1, 2, 7, 64, 1 << 31, 1 << 40, 1 << 62, (1 << 63) - 1, -(1 << 63))
WORDS = (
    *("float32", "float64", "int64", "bool", "uint8", "captured", "argument", "constant"),
    *("internal", "gradient", "value", "number", "row", "element", "uniform", "input", "add"),
    *(
        "cpu",
        "select",
        "row_sum",
        "bitwise_and",
        "nan",
        "sum",
        "index",
        "scatter",
        "embedding",
        "cat",
    ),
)


def split(raw: bytes) -> tuple[Any, bytearray]:
    """The header and the contents of a file."""
    length = START.unpack(raw[: START.size])[3]
    return json.loads(raw[START.size : START.size + length]), bytearray(raw[START.size + length :])


def join(header: Any, contents: bytes | bytearray) -> bytes:
    """A file whose lengths and checksum are right."""
    text = json.dumps(header).encode()
    lengths = struct.pack("<QQ", len(text), len(contents))
    checksum = zlib.crc32(contents, zlib.crc32(text, zlib.crc32(lengths)))
    return START.pack(MAGIC, VERSION, checksum, len(text), len(contents)) + text + bytes(contents)


def places(x: Any) -> list[tuple[Any, Any]]:
    """All entries of a header: (container, key)."""
    found = []
    items = x.items() if isinstance(x, dict) else enumerate(x) if isinstance(x, list) else ()
    for key, item in items:
        found += [(x, key), *places(item)]
    return found


def damage(header: Any, randoms: random.Random) -> None:
    """Changes one entry, often one of a call: those are what kernels rely on."""
    part = header
    calls = [node["call"] for node in header.get("nodes", ()) if "call" in node]
    if calls and randoms.random() < 0.4:
        part = randoms.choice(calls)
    container, key = randoms.choice(places(part))
    x = container[key]
    if isinstance(x, bool):
        container[key] = not x
    elif isinstance(x, int):
        container[key] = randoms.choice((*NUMBERS, x + 1, x - 1, 2 * x, -x, x + 64))
    elif isinstance(x, str):
        container[key] = randoms.choice(WORDS)
    elif isinstance(x, list) and x and randoms.random() < 0.8:
        way, place = randoms.randrange(3), randoms.randrange(len(x))
        if way == 0:
            del x[place]
        elif way == 1:
            x.insert(place, randoms.choice(x))
        else:
            x[place], x[0] = x[0], x[place]
    elif isinstance(x, dict) and isinstance(container, list):
        container[key] = json.loads(json.dumps(randoms.choice(container)))
    else:
        container[key] = randoms.choice((None, [], {}, 0, "nan", ["value", 0]))


def survives(
    raw: bytes,
    feed: dict[str, fl.Tensor],
    path: Path,
    runs: bool = True,
    device: str | None = None,
) -> bool:
    """Loads and perhaps runs a file; returns whether it could be loaded."""
    path.write_bytes(raw)
    try:
        graph = load(path, device)
    except RuntimeError as error:
        assert str(error).startswith("load: "), error
        assert str(path) in str(error)
        return False
    try:
        if runs:
            graph.run(feed)
            if device == "cuda":
                fl.cuda.synchronize()  # what kernels have met
    except ERRORS:
        pass
    return True


def damaged(raw: bytes, randoms: random.Random) -> bytes:
    """A file with a right checksum of up to three wrong entries, sometimes wrong contents too."""
    header, contents = split(raw)
    for _ in range(randoms.choice((1, 1, 2, 3))):
        try:
            damage(header, randoms)
        except (AttributeError, TypeError, IndexError):
            break  # what is there now has no entries
    if contents and randoms.random() < 0.2:
        for _ in range(8):
            contents[randoms.randrange(len(contents))] = randoms.randrange(256)
    return join(header, contents)


def main(seed: int, count: int, device: str | None = None) -> None:
    """Loads so many damaged files."""
    from saved_graphs import CASES

    randoms = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "damaged.graph"
        files = []
        for make in CASES:
            fl.manual_seed(seed)
            case = make()
            case.graph.save(path)
            feed = {name: x.to(device) for name, x in case.feed.items()}
            files.append((path.read_bytes(), feed, case.finite))
        loaded = 0
        for _ in range(count):
            raw, feed, finite = randoms.choice(files)
            loaded += survives(damaged(raw, randoms), feed, path, finite, device)
    print(f"{count} files, {loaded} could be loaded")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])
