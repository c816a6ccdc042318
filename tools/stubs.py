"""Writes what type checkers read: flambeau/__init__.pyi and the end of flambeau/_core.pyi.

The core's operators carry their signatures, argument kinds and result types; functions written in
Python carry annotations. Everything here is derived from them.
"""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import flambeau
from flambeau import Tensor, _core

Operator = type(_core.functions["add"])
ROOT = Path(__file__).resolve().parent.parent
# The core tries overloads in order; some differ only in how they are called.
OVERLOADS = '# mypy: disable-error-code="overload-cannot-match"'
MARK = "# --- written by tools/stubs.py ---\n"
# Python's slots that return a tensor, by number of further operands.
UNARY = ("neg", "pos", "abs", "invert")
BINARY = "add sub mul truediv floordiv mod pow matmul and or xor lshift rshift".split()
COMPARISONS = ("lt", "le", "gt", "ge")

# What the core calls a kind of argument, as an annotation.
KINDS = {
    "Tensor": "Tensor",
    "tuple of Tensors": "Sequence[Tensor]",
    "Number": "_Number",
    "Tensor or Number": "Tensor | _Number",
    "int": "_int",
    "tuple of ints": "_Ints",
    "bool": "_bool",
    "float": "_float",
    "torch.dtype": "_dtype",
    "torch.device": "_Device",
    "torch.memory_format": "_memory_format",
    "str": "str",
    "torch.Generator": "Generator",
}
RESULTS = {"int": "_int", "bool": "_bool", "float": "_float"}
# Names that a class body or `flambeau` itself gives another meaning.
RENAMED = {
    "int": "_int",
    "float": "_float",
    "bool": "_bool",
    "dtype": "_dtype",
    "device": "_Device",
    "type": "_type",
    "memory_format": "_memory_format",
}
KNOWN = {"Tensor", "Any", "None", "str", "object", "tuple", "list", "dict", "Sequence", "Callable"}
KNOWN |= {"HookHandle", "Generator", "Size", "Node", *RENAMED}


def core_parameters(signature: str, kinds: Iterable[str]) -> Iterator[str]:
    """The parameters of one overload with annotations; `kinds` leaves out the lone star."""
    kinds = iter(kinds)
    for piece in signature.split(", "):
        if piece in ("*", ""):
            yield from [piece] if piece else []
            continue
        name, _, default = piece.partition("=")
        kind = next(kinds)
        optional = kind.endswith("?")
        annotation = KINDS[kind.removesuffix("?")] + (" | None" if optional else "")
        if default.startswith("torch."):
            default = "..."
        yield f"{name}: {annotation}" + (f" = {default}" if default else "")


def core_function(name: str, operator: Any, method: bool) -> list[str]:
    """The definitions of an operator, one for each overload and for spelled-out sizes."""
    definitions = []
    for signature, kinds, result in operator.overloads:
        parameters = list(core_parameters(signature, kinds))
        if method:
            parameters[0] = "self"
        if operator.forms & 8 and not operator.in_place:
            star = [] if "*" in parameters else ["*"]
            parameters += [*star, "out: Any = None"]
        variants = [parameters]
        before_star = parameters[: parameters.index("*")] if "*" in parameters else parameters
        if before_star and ": _Ints" in before_star[-1]:
            name_of_ints = before_star[-1].split(":")[0]
            rest = parameters[len(before_star) + 1 :]
            variants.append([*before_star[:-1], f"*{name_of_ints}: _int", *rest])
        returns = RESULTS.get(result, result)
        definitions += [f"def {name}({', '.join(v)}) -> {returns}: ..." for v in variants]
    unique = list(dict.fromkeys(definitions))
    if len(unique) > 1:
        return [line for definition in unique for line in ("@overload", definition)]
    return unique


def annotation_text(annotation: Any) -> str:
    """An annotation of a Python function with names that mean the same in a stub, or Any."""
    if annotation is inspect.Parameter.empty:
        return "Any"
    tree = ast.parse(str(annotation).replace("_core.", ""), mode="eval")
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) or (isinstance(node, ast.Name) and node.id not in KNOWN):
            return "Any"
        if isinstance(node, ast.Name):
            node.id = RENAMED.get(node.id, node.id)
    return ast.unparse(tree)


def python_method(function: FunctionType, name: str) -> str:
    signature = inspect.signature(function)
    parameters = []
    for index, parameter in enumerate(signature.parameters.values()):
        default = parameter.default
        if default is not inspect.Parameter.empty:
            default = default if isinstance(default, (int, float, str, type(None))) else ...
        text = "self" if index == 0 else annotation_text(parameter.annotation)
        annotation = inspect.Parameter.empty if index == 0 else _Raw(text)
        default = _Raw("...") if default is ... else default
        parameters.append(parameter.replace(annotation=annotation, default=default))
    plain = signature.replace(parameters=parameters, return_annotation=inspect.Signature.empty)
    returns = annotation_text(signature.return_annotation)
    return f"def {name}{plain} -> {returns}: ..."


class _Raw:
    """Text that inspect prints as it is."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


def tensor_class() -> list[str]:
    lines = ["class Tensor(_TensorBase):"]
    for name in UNARY:
        lines.append(f"def __{name}__(self) -> Tensor: ...")
    slots = [form + name for name in BINARY for form in ("", "r", "i")]
    for name in (*slots, *COMPARISONS):
        if hasattr(Tensor, f"__{name}__"):
            lines.append(f"def __{name}__(self, other: Any, /) -> Tensor: ...")
    for name, value in sorted(vars(Tensor).items()):
        if isinstance(value, Operator):
            lines += core_function(name, value, method=True)
        elif isinstance(value, FunctionType):
            lines.append(python_method(value, name))
    return [lines[0], *("    " + line for line in lines[1:])]


def core_stub() -> str:
    path = ROOT / "flambeau" / "_core.pyi"
    by_hand = path.read_text().split(MARK)[0]
    return by_hand + MARK + "\n".join(tensor_class()) + "\n"


def public_name(name: str, value: Any) -> list[str]:
    """The declaration of one name of the package."""
    if isinstance(value, ModuleType):
        return [f"from flambeau import {name} as {name}"]
    if isinstance(value, Operator):
        return core_function(name, value, method=False)
    if isinstance(value, _core.dtype) and getattr(_core, name, None) is not value:
        return [f"{name}: _dtype"]
    if value is not None and getattr(_core, name, None) is value:
        return [f"from flambeau._core import {name} as {name}"]
    module = getattr(value, "__module__", None)
    home = sys.modules.get(module) if isinstance(module, str) else None
    if home is not None and getattr(home, name, None) is value and home is not flambeau:
        return [f"from {module} import {name} as {name}"]
    if isinstance(value, (bool, int, float, str)):
        return [f"{name}: {RENAMED.get(type(value).__name__, 'str')}"]
    return [f"{name}: Any"]


def package_stub() -> str:
    names: list[str] = []
    imports = [
        "# Written by tools/stubs.py (`make stubs`); tests/test_stubs.py compares.",
        OVERLOADS,
        "import builtins",
        "from collections.abc import Sequence",
        "from typing import Any, TypeAlias, overload",
    ]
    for name in dir(flambeau):
        if not name.startswith("_") and name != "annotations":
            try:
                value = getattr(flambeau, name)
            except AttributeError:  # a submodule that is not built yet
                continue
            for line in public_name(name, value):
                (imports if line.startswith("from ") else names).append(line)
    aliases = [
        "_int: TypeAlias = builtins.int",
        "_float: TypeAlias = builtins.float",
        "_bool: TypeAlias = builtins.bool",
        "_Number: TypeAlias = builtins.int | builtins.float | builtins.bool",
        "_Ints: TypeAlias = builtins.int | Sequence[builtins.int]",
        "_Device: TypeAlias = device | str | builtins.int",
        "_dtype: TypeAlias = dtype",
        "_memory_format: TypeAlias = memory_format",
        "__version__: str",
    ]
    return "\n".join([*imports, *aliases, *names]) + "\n"


def formatted(text: str) -> str:
    ruff = [sys.executable, "-m", "ruff"]
    for command in (["check", "--fix-only", "--quiet", "--select=I"], ["format"]):
        done = subprocess.run(
            [*ruff, *command, "--stdin-filename", str(ROOT / "flambeau" / "stub.pyi"), "-"],
            input=text,
            capture_output=True,
            text=True,
            check=True,
        )
        text = done.stdout
    return text


def stubs() -> dict[Path, str]:
    """The text of each stub file."""
    folder = ROOT / "flambeau"
    return {
        folder / "_core.pyi": formatted(core_stub()),
        folder / "__init__.pyi": formatted(package_stub()),
    }


def main() -> None:
    for path, text in stubs().items():
        path.write_text(text)


if __name__ == "__main__":
    main()
