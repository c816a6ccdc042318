"""Makes `import torch` mean `import flambeau`, submodules too.

`flambeau run` installs this in the process of a script and, through `sitecustomize` beside this
file, in the Python processes that the script starts. It therefore imports nothing of Flambeau
before the script asks for torch.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import os
import sys
from types import ModuleType
from typing import Any

_PACKAGE_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


class TorchAlias:
    """Finder and loader of the module names `torch` and `torch.*`."""

    def find_spec(
        self, name: str, path: Any = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Returns how to import `name`, or None if it has nothing to do with torch.

        Raises:
            ModuleNotFoundError: Flambeau has no such module.
        """
        if name != "torch" and not name.startswith("torch."):
            return None
        if _find(_real_name(name)) is None:
            raise ModuleNotFoundError(
                f"No module named {name!r}: this script runs on Flambeau, which does not have it "
                f"(there is no {_real_name(name)!r})",
                name=name,
            )
        return importlib.machinery.ModuleSpec(name, self)  # type: ignore[arg-type]

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> None:
        """Leaves the making of the passing module that `exec_module` replaces to Python."""

    def exec_module(self, module: ModuleType) -> None:
        """Puts Flambeau's own module in the place of `module`."""
        sys.modules[module.__name__] = importlib.import_module(_real_name(module.__name__))


def install() -> None:
    """Lets this process import Flambeau under the name torch."""
    if not any(isinstance(finder, TorchAlias) for finder in sys.meta_path):
        sys.meta_path.insert(0, TorchAlias())


def _real_name(name: str) -> str:
    return "flambeau" + name[len("torch") :]


def _find(name: str) -> importlib.machinery.ModuleSpec | None:
    if name == "flambeau" and importlib.util.find_spec(name) is None:
        # A process that was started elsewhere: use the package this file belongs to.
        sys.path.append(_PACKAGE_ROOT)
    try:
        return importlib.util.find_spec(name)
    except ModuleNotFoundError:
        return None  # the parent is not a package
