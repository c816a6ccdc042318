"""Compile: a function of tensors recorded once, optimised and replayed without Python."""

from typing import TYPE_CHECKING, Any

from flambeau.compiler._compile import CompileError as CompileError
from flambeau.compiler._compile import CompileWarning as CompileWarning
from flambeau.compiler._module import CompiledModule as CompiledModule
from flambeau.compiler._public import compile as compile
from flambeau.compiler._public import disable as disable
from flambeau.compiler._public import is_compiling as is_compiling
from flambeau.compiler._public import reset as reset

if TYPE_CHECKING:
    from flambeau.compiler._static import Input as Input
    from flambeau.compiler._static import StaticGraph as StaticGraph
    from flambeau.compiler._static import load as load

_STATIC = ("Input", "StaticGraph", "load")


def __getattr__(name: str) -> Any:
    if name not in _STATIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from flambeau.compiler import _static

    return getattr(_static, name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_STATIC])
