"""Measures every case in every installed library and prints times and ratios.

Usage: python -m benchmarks [--suite cpu|cuda] [--only TEXT] [--rounds N] [--output FOLDER]
       [--publish]

Libraries take turns, case by case and round by round, on the same two cores; the figures are
minima over all rounds, and a ratio is PyTorch's minimum over ours.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import suites
from benchmarks.case import CASES, Case

ROOT = Path(__file__).resolve().parent.parent
CORES = 2
PAUSE_SECONDS = 0.05  # in which the pool of the library just measured goes to sleep


class Worker:
    """One library in a process of its own."""

    def __init__(self, suite: str, name: str) -> None:
        self.name = name
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", suite, name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.version = self.answer()

    def answer(self) -> float | str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        return json.loads(line) if line else "the process ended"

    def measure(self, number: int) -> float | str:
        if self.process.poll() is not None:
            return "the process ended"
        assert self.process.stdin is not None
        print(number, file=self.process.stdin, flush=True)
        answer = self.answer()
        time.sleep(PAUSE_SECONDS)
        return answer


Times = dict[str, list[float]]


def measure_all(numbers: list[int], workers: list[Worker], rounds: int) -> dict[int, Times]:
    names = [worker.name for worker in workers]
    times: dict[int, Times] = {number: {} for number in numbers}
    for turn in range(rounds):
        for number in numbers:
            for worker in workers:
                if worker.name not in CASES[number].bodies:
                    continue
                answer = worker.measure(number)
                if isinstance(answer, float):
                    times[number].setdefault(worker.name, []).append(answer)
                else:
                    print(f"{worker.name}: {CASES[number].name}: {answer}", file=sys.stderr)
            if turn == rounds - 1:
                print(console_line(CASES[number], times[number], names), flush=True)
    return times


def readable(seconds: float) -> str:
    for unit, factor in (("s", 1.0), ("ms", 1e3), ("us", 1e6)):
        if seconds * factor >= 1:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"


def row(case: Case, times: Times, libraries: Sequence[str]) -> list[str]:
    """Name, the time in each library, our rate if it has one, ratio, target, verdict."""
    best = {name: min(values) for name, values in times.items()}
    cells = [readable(best[name]) if name in best else "" for name in libraries]
    ratio = None
    if case.rival in best and "flambeau" in best:
        ratio = best[case.rival] / best["flambeau"]
    verdict = ""
    if case.target and ratio:
        verdict = "reached" if ratio >= case.target else "missed"
    target = f"{case.target:g}x" if case.target else ""
    if case.rival != "torch":
        target += f" of {case.rival}"
    rate = case.rate(best["flambeau"]) if "flambeau" in best else ""
    return [case.name, *cells, rate, f"{ratio:.2f}x" if ratio else "", target, verdict]


def console_line(case: Case, times: Times, libraries: Sequence[str]) -> str:
    name, *cells = row(case, times, libraries)
    return f"{case.group + ': ' + name:64}" + "".join(f"{cell:>10}" for cell in cells)


def markdown(times: dict[int, Times], machine: str, libraries: Sequence[str]) -> str:
    head = ["case", *libraries, "rate", "ratio", "target", ""]
    has_rates = any(CASES[number].bytes or CASES[number].flops for number in times)
    if not has_rates:
        head.remove("rate")
    lines = [
        "# Benchmarks",
        "",
        f"Least time per step, measured on {machine}.",
        "The ratio is PyTorch's time to ours, or JAX's where the target says so.",
        "",
    ]
    group = ""
    for number, found in times.items():
        if CASES[number].group != group:
            group = CASES[number].group
            lines += ["", f"## {group.capitalize()}", "", f"| {' | '.join(head)} |"]
            lines.append("| --- |" + " ---: |" * (len(head) - 1))
        cells = row(CASES[number], found, libraries)
        if not has_rates:
            del cells[-4]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def publish(times: dict[int, Times], machine: str, libraries: Sequence[str]) -> None:
    """Writes the whole table to docs/benchmarks.md and the headlines into README.md."""
    (ROOT / "docs" / "benchmarks.md").write_text(markdown(times, machine, libraries))
    lines = [f"Least time per step over many repetitions, on {machine}; all cases are in", ""]
    lines[0] += " [docs/benchmarks.md](docs/benchmarks.md)."
    lines += ["| | Flambeau | PyTorch | ratio |", "| --- | ---: | ---: | ---: |"]
    for number, found in times.items():
        if CASES[number].headline:
            name, ours, theirs, *_ = row(CASES[number], found, libraries)
            ratio = f"{min(found['torch']) / min(found['flambeau']):.2f}x"
            lines.append(f"| {CASES[number].group}: {name} | {ours} | {theirs} | {ratio} |")
    readme = ROOT / "README.md"
    before, begin, rest = re.split(r"(<!-- measured:begin.*?-->\n)", readme.read_text())
    after = rest[rest.index("<!-- measured:end") :]
    readme.write_text(before + begin + "\n" + "\n".join(lines) + "\n\n" + after)


def processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--suite", choices=tuple(suites.LIBRARIES), default="cpu")
    parser.add_argument("--only", default="", help="cases whose group or name contains this")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, default=Path("bench-output"))
    parser.add_argument("--publish", action="store_true", help="also write README and docs")
    options = parser.parse_args()

    suites.load(options.suite)
    libraries = suites.LIBRARIES[options.suite]
    cores = sorted(os.sched_getaffinity(0))[:CORES]
    os.sched_setaffinity(0, cores)
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = str(len(cores))
    workers = [
        Worker(options.suite, name)
        for name in libraries
        if importlib.util.find_spec(name.split()[0])
    ]
    versions = ", ".join(f"{worker.name} {worker.version}" for worker in workers)
    machine = f"{len(cores)} cores of {processor()}, Python {platform.python_version()}, {versions}"
    print(machine)

    numbers = [i for i, case in enumerate(CASES) if options.only in f"{case.group}: {case.name}"]
    times = measure_all(numbers, workers, options.rounds)
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "benchmarks.md").write_text(markdown(times, machine, libraries))
    table = [
        {
            "group": CASES[i].group,
            "name": CASES[i].name,
            "target": CASES[i].target,
            "rival": CASES[i].rival,
            "times": found,
        }
        for i, found in times.items()
    ]
    document = {"machine": machine, "cases": table}
    (options.output / "benchmarks.json").write_text(json.dumps(document, indent=1))
    print(f"written: {options.output}/benchmarks.md, {options.output}/benchmarks.json")
    if options.publish:
        publish(times, machine, libraries)


if __name__ == "__main__":
    main()
