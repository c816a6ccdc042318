"""Runs a program that imports torch on Flambeau, as if Python itself had been called with it."""

from __future__ import annotations

import builtins
import importlib.machinery
import importlib.util
import io
import os
import sys
from types import CodeType, ModuleType
from typing import NoReturn

USAGE = """\
usage: flambeau run script.py [argument ...]
       flambeau run -m module [argument ...]
       flambeau run -c code [argument ...]

Runs a program with `torch` meaning Flambeau, in its own process and in the Python processes
that it starts."""

_SITE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "_site")


def run(arguments: list[str]) -> NoReturn:
    """Runs a program and exits with its exit code.

    Args:
        arguments: a script, `-m module` or `-c code`, then the program's own arguments.
    """
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE)
        raise SystemExit(0 if arguments else 2)
    _alias_torch()
    form, rest = arguments[0], arguments[1:]
    if form in ("-m", "-c") and not rest:
        _fail(f"argument expected after {form}")
    try:
        if form == "-c":
            sys.path[0] = ""
            code, spec = compile(rest[0], "<string>", "exec"), None
            sys.argv = ["-c", *rest[1:]]
        elif form == "-m":
            sys.path[0] = os.getcwd()
            code, spec = _module_code(rest[0])
            sys.argv = [spec.origin or rest[0], *rest[1:]]
        elif form.startswith("-"):
            _fail(f"unknown option {form}")
        else:
            sys.path[0] = os.path.dirname(os.path.abspath(form))
            code, spec = _script_code(form), None
            sys.argv = [form, *rest]
        file = None if form == "-c" else sys.argv[0]
        _execute(code, _new_main(file, spec))
    except Exception as error:
        _report(error, 1)
    except KeyboardInterrupt as error:
        _report(error, 130)
    raise SystemExit(0)


def _alias_torch() -> None:
    """Aliases torch here, and by way of PYTHONPATH in every Python process started from here."""
    spec = importlib.util.spec_from_file_location(
        "flambeau_alias", os.path.join(_SITE, "flambeau_alias.py")
    )
    assert spec is not None and spec.loader is not None
    alias = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(alias)
    alias.install()
    inherited = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([_SITE, inherited] if inherited else [_SITE])


def _script_code(path: str) -> CodeType:
    try:
        with io.open_code(os.path.abspath(path)) as file:
            source = file.read()
    except OSError as error:
        _fail(f"can't open file {path!r}: {error.strerror}")
    return compile(source, path, "exec")


def _module_code(name: str) -> tuple[CodeType, importlib.machinery.ModuleSpec]:
    try:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.submodule_search_locations is not None:
            spec = importlib.util.find_spec(f"{name}.__main__")
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise
        spec = None
    if spec is None or not hasattr(spec.loader, "get_code"):
        _fail(f"no module named {name!r} that can be run")
    code = spec.loader.get_code(spec.name)  # type: ignore[union-attr]
    if code is None:
        _fail(f"no code in module {name!r}")
    return code, spec


def _new_main(file: str | None, spec: importlib.machinery.ModuleSpec | None) -> ModuleType:
    """Returns a module `__main__` with what Python sets in it before a program runs."""
    main = ModuleType("__main__")
    main.__dict__.update(__builtins__=builtins, __spec__=spec, __cached__=None)
    if file is not None:
        main.__file__ = file
    if spec is not None:
        main.__dict__.update(__package__=spec.parent, __loader__=spec.loader)
    sys.modules["__main__"] = main
    return main


def _execute(code: CodeType, main: ModuleType) -> None:
    exec(code, main.__dict__)


def _report(error: BaseException, exit_code: int) -> NoReturn:
    """Shows an exception of the program without the frames that lie under it, and exits."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    sys.excepthook(type(error), error.with_traceback(trace), trace)
    raise SystemExit(exit_code)


def _fail(message: str) -> NoReturn:
    print(f"flambeau run: {message}", file=sys.stderr)
    raise SystemExit(2)
