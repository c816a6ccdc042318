"""Machine code of programs beside hand-fused loops of the C++ compiler.

    python -m benchmarks.emitter

Needs g++. Prints nanoseconds per call, minima over many short repetitions in one thread.
"""

from __future__ import annotations

import ctypes
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import flambeau as fl
from flambeau import _core

ROOT = Path(__file__).resolve().parent.parent.parent
api = _core.program
scalar: Any = type("Scalar", (), {k: staticmethod(v) for k, v in api.instructions.items()})


def hand_loops(folder: str, isa: str) -> Any:
    library = Path(folder) / f"hand_{isa}.so"
    width = ["-mprefer-vector-width=512"] if isa == "v4" else []
    command = ["g++", "-O3", f"-march=x86-64-{isa}", *width, "-std=c++20", "-shared", "-fPIC"]
    command += ["-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast", "-fopenmp-simd"]
    source = Path(__file__).with_name("hand_loops.cpp")
    command += ["-Wno-psabi", f"-I{ROOT / 'core'}", str(source), "-o", str(library)]
    subprocess.run(command, check=True)
    repeat = ctypes.CDLL(str(library)).repeat
    repeat.restype = ctypes.c_double
    repeat.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int]
    return repeat


def chain(a: Any, b: Any, c: Any) -> Any:
    return scalar.tanh(a * b + c) * scalar.sigmoid(a)


def cheap(a: Any, b: Any, c: Any) -> Any:
    return (a * b + c) * a - b


def cubic(x: Any, y: Any, a: Any, b: Any, c: Any, d: Any) -> Any:
    x2 = x * x
    x3 = x2 * x
    error = a + b * x + c * x2 + d * x3 - y
    g = 2 * error
    sums = [scalar.row_sum(v) for v in (g, g * x, g * x2, g * x3)]
    updated = [p - 1e-6 * s for p, s in zip((a, b, c, d), sums, strict=True)]
    return (*updated, scalar.row_sum(scalar.square(error)))


def adam(p: Any, g: Any, m: Any, v: Any) -> Any:
    m = m * 0.9 + g * 0.1
    v = v * 0.999 + g * g * 0.001
    return p - 1e-3 * (m * 1.2) / (scalar.sqrt(v * 1.3) + 1e-8), m, v


def operands(which: int, n: int) -> tuple[list[Any], list[Any]]:
    """Inputs and outputs; the hand-written loops take the inputs, then outputs that are new."""
    tensors = [fl.rand(n) for _ in range(4)]
    if which == 3:
        return tensors, [tensors[0], tensors[2], tensors[3]]
    if which == 2:
        parameters = [fl.rand(1) for _ in range(4)]
        return [*tensors[:2], *parameters], [*parameters, fl.empty(1)]
    return tensors[:3], tensors[3:]


def measure(which: int, program: Any, n: int, isa: str, loops: Any) -> tuple[float, float]:
    inputs, outputs = operands(which, n)
    new = [o for o in outputs if not any(o is i for i in inputs)]
    addresses = [t.data_ptr() for t in [*inputs, *new]]
    pointers = (ctypes.c_void_p * len(addresses))(*addresses)
    run = api.prepare(program, inputs, outputs, isa)
    assert run.emitted
    count = max(1, 400_000 // n)
    hand = ours = 1e9
    for _ in range(60 if n < 1_000_000 else 12):
        hand = min(hand, loops(which, pointers, n, count) / count)
        start = time.perf_counter()
        run.repeat(inputs, outputs, count)
        ours = min(ours, (time.perf_counter() - start) / count)
    return hand, ours


def main() -> None:
    fl.set_num_threads(1)
    programs = [
        ("tanh(a*b+c)*sigmoid(a)", api.trace(chain, "eee"), (16, 2000, 65536, 1 << 22)),
        ("(a*b+c)*a-b", api.trace(cheap, "eee"), (16, 2000, 65536, 1 << 22)),
        ("cubic fit step", api.trace(cubic, "eerrrr"), (2000,)),
        ("Adam", api.trace(adam, "eeee"), (100_000, 1_000_000)),
    ]
    print(f"{'ns per call':26} {'n':>8}  set {'hand':>11} {'emitter':>11} ratio")
    with tempfile.TemporaryDirectory() as folder:
        for isa in api.instruction_sets():
            loops = hand_loops(folder, isa)
            for which, (name, program, sizes) in enumerate(programs):
                for n in sizes:
                    hand, ours = (t * 1e9 for t in measure(which, program, n, isa, loops))
                    print(f"{name:26} {n:8}  {isa:>3} {hand:11.1f} {ours:11.1f} {ours / hand:5.2f}")
    for which, (name, formula, extents) in enumerate(
        [("chain", chain, "eee"), ("cheap", cheap, "eee"), ("cubic", cubic, "eerrrr")]
    ):
        inputs, outputs = operands(which, 64)
        best = 1e9
        for fresh in [api.trace(formula, extents) for _ in range(30)]:
            start = time.perf_counter()
            api.prepare(fresh, inputs, outputs)
            best = min(best, time.perf_counter() - start)
        print(f"writing the machine code of {name}: {best * 1e6:.0f} us")


if __name__ == "__main__":
    main()
