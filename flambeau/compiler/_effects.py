"""Effects outside of tensors: what a function does while it is recorded and a replay would not.

Note [Effects]
While a function is recorded, Python reports every call. Calls from the user's code that print,
read files, ask for the time or draw random numbers belong to one run of the function; so do draws
that only show in the state of a random generator. Each is a reason not to replay.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import FrameType
from typing import Any

_PACKAGE = str(Path(__file__).parent.parent) + "/"
_LOADERS = _PACKAGE + "utils/data/"
_PRINTING = frozenset(("print", "input", "open", "write", "writelines", "flush"))
# Modules in Python whose functions deal with something outside, and what that is.
_OUTSIDE = {"logging": "it writes to a log", "os": "it asks the operating system"}
_NOW = frozenset(("now", "utcnow", "today", "urandom"))


class Effects:
    """Watches the calls of this thread while it is the context.

    Attributes:
        reason: why a replay would not do the same; None if nothing was seen.
    """

    def __init__(self) -> None:
        self.reason: str | None = None

    def __enter__(self) -> Effects:
        self._states = _random_states()
        self._before = sys.getprofile()
        sys.setprofile(self._observe)
        return self

    def __exit__(self, *error: object) -> None:
        sys.setprofile(self._before)
        if self.reason is None and _random_states() != self._states:
            self.reason = "it draws random numbers of Python or NumPy; use torch.rand"

    def _observe(self, frame: FrameType, event: str, argument: Any) -> None:
        if event == "c_call":
            what = _effect_of(argument)
            if what is not None and not frame.f_code.co_filename.startswith(_PACKAGE):
                self._note(f"it calls {what}", frame)
        elif event == "call" and frame.f_back is not None:
            if frame.f_code.co_filename.startswith(_LOADERS):
                self._note("it reads from a loader or data set; pass the batch as argument", frame)
            elif frame.f_globals.get("__name__") in _OUTSIDE:
                caller = frame.f_back.f_code.co_filename
                if not caller.startswith(_PACKAGE):
                    self._note(_OUTSIDE[frame.f_globals["__name__"]], frame.f_back)

    def _note(self, reason: str, frame: FrameType) -> None:
        if self.reason is None:
            at: FrameType | None = frame
            while at is not None and at.f_code.co_filename.startswith(_PACKAGE):
                at = at.f_back
            place = f" ({at.f_code.co_filename}:{at.f_lineno})" if at is not None else ""
            self.reason = reason + place


def _effect_of(function: Any) -> str | None:
    name = getattr(function, "__name__", "")
    module = getattr(function, "__module__", None)
    owner = getattr(function, "__self__", None)
    if name in _PRINTING and (module in ("builtins", "_io", "io") or hasattr(owner, "fileno")):
        return f"{name}()"
    if module == "time" or (name in _NOW and module in (None, "posix", "nt")):
        return f"{name}(), which answers differently every time"
    random = sys.modules.get("random")
    if random is not None and isinstance(owner, random.Random):
        return f"random.{name}(); use torch.rand"
    return None


def _random_states() -> tuple[Any, ...]:
    """The states of the generators that everybody shares, of modules that are loaded."""
    random = sys.modules.get("random")
    numpy = sys.modules.get("numpy.random")
    python_state = None if random is None else random.getstate()
    if numpy is None:
        return python_state, None
    name, keys, *rest = numpy.get_state()
    return python_state, (name, keys.tobytes(), *rest)
