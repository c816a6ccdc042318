"""Python runs this at start in the processes that a script under `flambeau run` starts."""

import importlib.machinery
import importlib.util
import os
import sys

import flambeau_alias  # type: ignore[import-not-found]  # it lies beside this file

flambeau_alias.install()

# The environment's own sitecustomize, which this one hides, runs as well.
_here = os.path.dirname(os.path.abspath(__file__))
_others = [path for path in sys.path if os.path.abspath(path) != _here]
_spec = importlib.machinery.PathFinder.find_spec("sitecustomize", _others)
if _spec is not None and _spec.loader is not None:
    _spec.loader.exec_module(importlib.util.module_from_spec(_spec))
