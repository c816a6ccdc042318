"""How a tensor is shown: layout, common number format, abbreviation, and the trailing facts."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flambeau import Tensor

_PROFILES: dict[str, dict[str, Any]] = {
    "default": {"precision": 4, "threshold": 1000, "edgeitems": 3, "linewidth": 80},
    "short": {"precision": 2, "threshold": 1000, "edgeitems": 2, "linewidth": 80},
    "full": {"precision": 4, "threshold": float("inf"), "edgeitems": 3, "linewidth": 80},
}

_options: dict[str, Any] = {**_PROFILES["default"], "sci_mode": None}

# Beyond these a column of plain decimals becomes unreadable and scientific notation is used.
_MAX_RATIO = 1000.0
_MAX_PLAIN = 1.0e8
_MIN_PLAIN = 1.0e-4


def set_printoptions(
    precision: int | None = None,
    threshold: float | None = None,
    edgeitems: int | None = None,
    linewidth: int | None = None,
    profile: str | None = None,
    sci_mode: bool | None = None,
) -> None:
    """Sets how tensors are printed; whatever is left out stays as it is.

    Args:
        precision: digits after the point (4).
        threshold: number of elements above which a tensor is abbreviated (1000).
        edgeitems: entries shown at each end of an abbreviated dimension (3).
        linewidth: characters per line (80).
        profile: "default", "short" or "full"; applied before the other arguments.
        sci_mode: True or False forces scientific notation on or off; None, also when left out,
            decides for each tensor.

    Raises:
        ValueError: an unknown profile.

    Example:
        >>> flambeau.set_printoptions(precision=2)
        >>> flambeau.tensor([1.12345])
        tensor([1.12])
        >>> flambeau.set_printoptions(profile="default")
    """
    if profile is not None:
        if profile not in _PROFILES:
            raise ValueError(
                f"set_printoptions: profile must be one of {sorted(_PROFILES)}, got {profile!r}"
            )
        _options.update(_PROFILES[profile])
    given = {
        "precision": precision,
        "threshold": threshold,
        "edgeitems": edgeitems,
        "linewidth": linewidth,
    }
    _options.update({name: value for name, value in given.items() if value is not None})
    _options["sci_mode"] = sci_mode


def get_printoptions() -> dict[str, Any]:
    """Returns the present print options as a dictionary of `set_printoptions`' arguments."""
    return dict(_options)


def tensor_repr(tensor: Tensor) -> str:
    """Returns the text that `repr` and `print` show for a tensor.

    Args:
        tensor: any tensor; of a large one only the entries that are printed are read.

    Returns:
        The values in aligned brackets, then device, size, dtype and gradient facts where these
        are not the usual ones.
    """
    kind = type(tensor).__name__
    prefix = "tensor(" if kind in ("Tensor", "Parameter") else f"{kind}("
    text = prefix + _values_text(tensor, len(prefix))
    return _append_facts(text, _facts(tensor), len(prefix))


def tensor_format(tensor: Tensor, spec: str) -> str:
    """Returns `format(tensor, spec)`: a 0-d tensor formats as its number.

    Raises:
        TypeError: a non-empty `spec` for a tensor with dimensions.
    """
    if tensor.dim() == 0 and type(tensor).__name__ == "Tensor":
        return format(tensor.item(), spec)
    return object.__format__(tensor, spec)


def _values_text(tensor: Tensor, indent: int) -> str:
    if tensor.numel() == 0:
        return "[]"
    abbreviate = tensor.numel() > _options["threshold"]
    values = _shown_values(_on_host(tensor.detach(), abbreviate), abbreviate)
    flat: list[Any] = [values]
    for _ in range(tensor.dim()):
        flat = [value for row in flat for value in row]
    if tensor.dtype.is_floating_point:
        show, width = _float_format(flat)
    else:
        show, width = str, max((len(str(value)) for value in flat), default=1)
    return _Layout(tuple(tensor.shape), abbreviate, show, width).text(values, 0, indent)


def _on_host(tensor: Tensor, abbreviate: bool) -> Tensor:
    """Returns the entries to show on the CPU, cut before they are copied from a GPU."""
    import flambeau

    if tensor.is_cpu:
        return tensor
    # One entry more than is shown at each end keeps what is cut out recognisable as such.
    edge = _options["edgeitems"] + 1
    for dim in range(tensor.dim() if abbreviate else 0):
        length = tensor.shape[dim]
        if length > 2 * edge:
            ends = (tensor.narrow(dim, 0, edge), tensor.narrow(dim, length - edge, edge))
            tensor = flambeau.cat(ends, dim)
    return tensor.cpu()


def _shown_values(tensor: Tensor, abbreviate: bool) -> Any:
    """Returns the nested list of the entries to show, cut before anything is converted."""
    edge = _options["edgeitems"]
    if not abbreviate or tensor.dim() == 0:
        return tensor.tolist()
    length = tensor.shape[0]
    if edge == 0:
        return []
    cut = length > 2 * edge
    if tensor.dim() == 1:
        return tensor[:edge].tolist() + tensor[-edge:].tolist() if cut else tensor.tolist()
    rows = [*range(edge), *range(length - edge, length)] if cut else range(length)
    return [_shown_values(tensor[row], abbreviate) for row in rows]


def _float_format(values: list[float]) -> tuple[Callable[[float], str], int]:
    """Chooses one notation for all values; returns it with the widest text it makes.

    Zeros and non-finite values neither decide the notation nor widen the column.
    """
    infinity = float("inf")
    deciding = [value for value in values if value != 0.0 and -infinity < value < infinity]
    if not deciding:
        return _float_notation(whole=True, scientific=False), 1
    smallest, largest = min(map(abs, deciding)), max(map(abs, deciding))
    scientific = _options["sci_mode"]
    if scientific is None:
        spread = largest / smallest > _MAX_RATIO
        scientific = spread or largest > _MAX_PLAIN or smallest < _MIN_PLAIN
    whole = all(value.is_integer() for value in deciding)
    show = _float_notation(whole, scientific)
    return show, max(len(show(value)) for value in deciding)


def _float_notation(whole: bool, scientific: bool) -> Callable[[float], str]:
    precision = _options["precision"]
    if scientific:
        return f"{{:.{precision}e}}".format
    if whole:
        return lambda value: f"{value:.0f}." if abs(value) < float("inf") else str(value)
    return f"{{:.{precision}f}}".format


class _Layout:
    """Places formatted values in nested, wrapped brackets."""

    def __init__(
        self, shape: tuple[int, ...], abbreviate: bool, show: Callable[[Any], str], width: int
    ) -> None:
        self.shape = shape
        self.abbreviate = abbreviate
        self.show = show
        self.width = width

    def text(self, values: Any, axis: int, indent: int) -> str:
        depth = len(self.shape) - axis
        if depth == 0:
            return self.show(values).rjust(self.width)
        if depth == 1:
            return self._row(values, indent)
        parts = [self.text(row, axis + 1, indent + 1) for row in values]
        if self._is_cut(axis):
            parts.insert(_options["edgeitems"], "...")
        separator = "," + "\n" * (depth - 1) + " " * (indent + 1)
        return f"[{separator.join(parts)}]"

    def _row(self, values: list[Any], indent: int) -> str:
        parts = [self.show(value).rjust(self.width) for value in values]
        if self.abbreviate and _options["edgeitems"] == 0:
            parts = ["..."]
        elif self._is_cut(len(self.shape) - 1):
            parts.insert(_options["edgeitems"], " ...")
        per_line = max(1, (_options["linewidth"] - indent) // (self.width + 2))
        lines = [
            ", ".join(parts[start : start + per_line]) for start in range(0, len(parts), per_line)
        ]
        separator = ",\n" + " " * (indent + 1)
        return f"[{separator.join(lines)}]"

    def _is_cut(self, axis: int) -> bool:
        return self.abbreviate and self.shape[axis] > 2 * _options["edgeitems"]


def _facts(tensor: Tensor) -> list[str]:
    """Returns what follows the values: only what a reader would not assume."""
    import flambeau

    facts = []
    empty = tensor.numel() == 0
    if tensor.device.type != "cpu":
        facts.append(f"device='{tensor.device}'")
    if (empty and tensor.dim() != 1) or (not empty and _options["edgeitems"] == 0):
        facts.append(f"size={tuple(tensor.shape)}")
    assumed = [flambeau.get_default_dtype()]
    if not empty:
        assumed += [flambeau.int64, flambeau.bool]
    if tensor.dtype not in assumed:
        facts.append(f"dtype={tensor.dtype}")
    if tensor.grad_fn is not None:
        facts.append(f"grad_fn=<{tensor.grad_fn.name()}>")
    elif tensor.requires_grad:
        facts.append("requires_grad=True")
    return facts


def _append_facts(text: str, facts: list[str], indent: int) -> str:
    # PyTorch counts one character more on a first line and two more after a line break.
    used = len(text) - text.rfind("\n") + 1
    for fact in facts:
        if used + len(fact) + 2 > _options["linewidth"]:
            text += ",\n" + " " * indent + fact
            used = indent + len(fact)
        else:
            text += ", " + fact
            used += len(fact) + 2
    return text + ")"
