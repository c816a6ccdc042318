"""Draws the computation graph behind a tensor as a picture: `draw_graph(loss, "graph.svg")`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flambeau._boxes import Box, arranged, draw_with_matplotlib, svg_text

if TYPE_CHECKING:
    from flambeau import Tensor


def draw_graph(
    output: Tensor,
    path: str | Path,
    parameters: Iterable[tuple[str, Tensor]] = (),
    result: str = "result",
) -> None:
    """Draws the operations that led to `output`, from the leaves at the top down to the result.

    Args:
        output: any tensor with a `grad_fn`, usually a loss.
        path: where to write; `.svg` is drawn by this module, other endings by matplotlib.
        parameters: names of leaves, as `model.named_parameters()` gives them.
        result: the name of `output` in the picture.

    Raises:
        ValueError: if `output` has no history.

    Example:
        >>> import tempfile
        >>> x = torch.ones(3, requires_grad=True)
        >>> folder = tempfile.TemporaryDirectory()
        >>> draw_graph((x * x).sum(), folder.name + "/graph.svg", [("x", x)])
        >>> folder.cleanup()
    """
    picture = arranged(*_collect(output, parameters, result))
    if str(path).endswith(".svg"):
        Path(path).write_text(svg_text(picture), encoding="utf-8")
    else:
        draw_with_matplotlib(picture, path)


def _collect(
    output: Tensor, parameters: Iterable[tuple[str, Tensor]], result: str
) -> tuple[list[Box], list[list[int]]]:
    """Returns the boxes, the result first, and for each box the boxes it is computed from."""
    if output.grad_fn is None:
        raise ValueError(
            "draw_graph: output must have a grad_fn, got a tensor without history; "
            "compute it from tensors that require grad, outside of no_grad()"
        )
    names = {id(parameter): name for name, parameter in parameters}
    boxes = [Box("result", result, _shape(output))]
    inputs: list[list[int]] = [[1]]
    numbers: dict[Any, int] = {output.grad_fn: 1}
    nodes = [output.grad_fn]
    for node in nodes:  # grows while it is walked
        boxes.append(_box(node, names))
        sources = [source for source, _ in node.next_functions if source is not None]
        for source in sources:
            if source not in numbers:
                nodes.append(source)
                numbers[source] = len(nodes)
        inputs.append(list(dict.fromkeys(numbers[source] for source in sources)))
    return boxes, inputs


def _box(node: Any, names: dict[int, str]) -> Box:
    leaf = getattr(node, "variable", None)
    if leaf is not None:
        return Box("leaf", names.get(id(leaf), "leaf"), _shape(leaf))
    return Box("operation", node.name().rstrip("0123456789").removesuffix("Backward"), "")


def _shape(tensor: Tensor) -> str:
    return " × ".join(map(str, tensor.shape)) or "scalar"
