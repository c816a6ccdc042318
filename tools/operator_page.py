"""Writes docs/operators.md from the records: every operator, its signature, what it does."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import flambeau
import flambeau.nn.functional  # its composites count as well
from flambeau import Tensor, _core
from flambeau.ops import composites, registry

PAGE = Path(__file__).resolve().parent.parent / "docs" / "operators.md"
HEAD = """# Operators

Written by `make stubs` from the operators' own records. "Forms": **m**ethod of `Tensor`,
**i**n-place with a trailing underscore, **o**ut=. "GPU": **host** where some of the work on tensors
on a GPU is done on the host, from copies; all else runs on the GPU.
"""


def family(name: str) -> str:
    if name in registry:
        return "Elementwise: formulas"
    return "Composites" if name in composites else "Primitives"


def forms(name: str, function: Any) -> str:
    found = "m" if hasattr(Tensor, name) else ""
    found += "i" if hasattr(Tensor, name + "_") else ""
    return found + ("o" if getattr(function, "forms", 0) & 8 else "")


def gpu(name: str, function: Any) -> str:
    """Where calls on tensors on a GPU are computed."""
    without = {each.partition(".")[0] for each in _core.names_without_gpu_kernel()}
    return "host" if getattr(function, "forms", 0) & 64 or name in without else "yes"


def summary(name: str, function: Any) -> tuple[str, str]:
    """Signature and first sentence."""
    lines = [line.strip() for line in (function.__doc__ or "").strip().splitlines()]
    if name not in composites:  # the text starts with the signature and an empty line
        return lines[0], lines[2] if len(lines) > 2 else ""
    signature = inspect.signature(function)
    empty = inspect.Parameter.empty
    parameters = [each.replace(annotation=empty) for each in signature.parameters.values()]
    plain = signature.replace(parameters=parameters, return_annotation=empty)
    return f"{name}{plain}", lines[0] if lines else ""


def page() -> str:
    functions = dict(_core.functions) | {n: record.function for n, record in composites.items()}
    rows: dict[str, list[str]] = {}
    for name, function in sorted(functions.items()):
        if name.endswith("_"):
            continue
        signature, text = summary(name, getattr(flambeau, name, function))
        cells = (f"`{signature}`", forms(name, function), gpu(name, function), text)
        row = " | ".join(cell.replace("|", "\\|") for cell in cells)
        rows.setdefault(family(name), []).append(f"| {row} |")
    parts = [HEAD]
    for title in sorted(rows):
        parts += [f"## {title}\n", "| operator | forms | GPU | |\n| --- | --- | --- | --- |"]
        parts += [*rows[title], ""]
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page())
