"""Compile: a function of tensors recorded once, optimised and replayed without Python."""

from flambeau.compiler._compile import CompileError as CompileError
from flambeau.compiler._compile import CompileWarning as CompileWarning
from flambeau.compiler._module import CompiledModule as CompiledModule
from flambeau.compiler._public import compile as compile
from flambeau.compiler._public import disable as disable
from flambeau.compiler._public import is_compiling as is_compiling
from flambeau.compiler._public import reset as reset
