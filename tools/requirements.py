"""Prints requirement lists of pyproject.toml, one requirement a line, for pip.

Usage: python tools/requirements.py NAME...   (`build`, `runtime` or a dependency group)
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    from pip._vendor import tomli as tomllib


def requirements(project: dict[str, Any], name: str) -> list[str]:
    """Returns one list, with the groups it includes."""
    if name == "runtime":
        return list(project["project"]["dependencies"])
    found = list(project["build-system"]["requires"]) if name == "build" else []
    for entry in project["dependency-groups"][name]:
        if isinstance(entry, str):
            found.append(entry)
        else:
            found += requirements(project, entry["include-group"])
    return found


def main() -> None:
    text = (Path(__file__).parent.parent / "pyproject.toml").read_text(encoding="utf-8")
    project = tomllib.loads(text)
    for name in sys.argv[1:]:
        print("\n".join(requirements(project, name)))


if __name__ == "__main__":
    main()
