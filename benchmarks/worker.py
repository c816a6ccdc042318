"""A process that measures cases in one library: reads case numbers, answers seconds per step.

Usage: python -m benchmarks.worker SUITE LIBRARY

Each library has its own process, because thread pools that spin while idle would slow down the
neighbour. A case is set up anew for each measurement and dropped afterwards.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import timeit

from benchmarks import suites
from benchmarks.case import CASES, Case, Library

REPETITION_SECONDS = 0.01  # long against the clock and a context switch
MEASUREMENT_SECONDS = 0.4
MOST_REPETITIONS = 200


def load(name: str) -> Library:
    library = importlib.import_module(name.split()[0])  # "torch compiled" is torch
    if hasattr(library, "set_num_threads"):
        library.set_num_threads(len(os.sched_getaffinity(0)))
    if hasattr(library, "manual_seed"):
        library.manual_seed(0)
    return library


def measure(case: Case, name: str, library: Library) -> float:
    """Returns the least seconds per step over many repetitions."""
    statement = case.bodies[name](library)
    timer = timeit.Timer(statement.code, globals=statement.names)
    first = timer.timeit(1)  # also warms up caches and compilers
    first = min(first, timer.timeit(1))
    number = max(1, int(REPETITION_SECONDS / max(first, 1e-7)))
    repetitions = int(MEASUREMENT_SECONDS / max(first * number, REPETITION_SECONDS))
    times = timer.repeat(max(3, min(repetitions, MOST_REPETITIONS)), number)
    return min(times) / number / case.steps


def main() -> None:
    suite, name = sys.argv[1:]
    suites.load(suite)
    answers = os.fdopen(os.dup(1), "w")  # cases may print
    os.dup2(2, 1)
    library = load(name)
    where = f" on {library.cuda.get_device_name()}" if suite == "cuda" else ""
    print(json.dumps(library.__version__ + where), file=answers, flush=True)
    for line in sys.stdin:
        try:
            answer: float | str = measure(CASES[int(line)], name, library)
        except Exception as error:  # one case must not end the whole comparison
            answer = f"{type(error).__name__}: {error}"
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
