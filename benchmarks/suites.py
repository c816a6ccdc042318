"""The suites: which cases are measured together, and in which libraries."""

from __future__ import annotations

import importlib

# A second word of a library is a way of using it; bodies of cases have these names.
LIBRARIES = {
    "cpu": ("flambeau", "torch", "numpy", "jax", "flambeau eager", "torch compiled"),
    "cuda": ("flambeau", "torch", "torch compiled"),
}
MODULES = {"cpu": ("operations", "training", "compiled"), "cuda": ("cuda",)}


def load(suite: str) -> None:
    """Fills benchmarks.case.CASES with the cases of a suite."""
    from benchmarks.case import CASES

    if suite == "cuda":  # its models come from modules that declare cases of their own
        load("cpu")
        CASES.clear()
    for module in MODULES[suite]:
        importlib.import_module(f"benchmarks.{module}")
