"""Prints the lines of each folder, and the long files and functions as places to look.

A report, not a check: long code is split by meaning, never by count.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("core", "flambeau", "tests", "examples", "benchmarks", "tools")
SUFFIXES = {".py", ".h", ".cpp", ".def", ".cu"}
LONG_FILE = 600
LONG_FUNCTION = 60


def source_files() -> Iterator[Path]:
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in SUFFIXES:
                yield path


def python_functions(text: str) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node.name, (node.end_lineno or node.lineno) - node.lineno + 1


def cpp_functions(text: str) -> Iterator[tuple[str, int]]:
    """Free functions and out-of-class members: formatted code starts and ends them in column 0."""
    start, name = 0, ""
    for number, line in enumerate(text.splitlines()):
        if match := re.match(r"^(?!namespace|class|struct|enum|union|using)\S.*?([\w:~]+)\(", line):
            start, name = number, match[1]
        elif line == "}" and name:
            yield name, number - start + 1
            name = ""


def main() -> None:
    folders: Counter[str] = Counter()
    long_files: list[tuple[int, str]] = []
    long_functions: list[tuple[int, str]] = []
    for path in source_files():
        text = path.read_text(encoding="utf-8")
        where = path.relative_to(ROOT)
        lines = text.count("\n")
        folders["/".join(where.parts[:-1][:2])] += lines
        if lines > LONG_FILE:
            long_files.append((lines, str(where)))
        functions = python_functions if path.suffix == ".py" else cpp_functions
        long_functions += [(n, f"{where}:{f}") for f, n in functions(text) if n > LONG_FUNCTION]
    for folder, lines in sorted(folders.items()):
        print(f"{lines:7}  {folder}")
    print(f"{sum(folders.values()):7}  in all")
    for title, rows in (("files", long_files), ("functions", long_functions)):
        for lines, where_text in sorted(rows, reverse=True):
            print(f"long {title}: {lines:5}  {where_text}")


if __name__ == "__main__":
    main()
