"""The picture of the computation graph: everything is in it, nothing overlaps."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

import flambeau as torch
from flambeau._layered_layout import place
from flambeau.utils.graph_picture import draw_graph

SVG = "{http://www.w3.org/2000/svg}"


def texts(path: Path) -> list[str]:
    return [node.text or "" for node in ElementTree.parse(path).iter(f"{SVG}text")]


def test_names_shapes_and_operations(tmp_path: Path) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 1))
    loss = model(torch.ones(2, 3)).pow(2).mean()
    draw_graph(loss, tmp_path / "graph.svg", model.named_parameters(), result="loss")
    shown = texts(tmp_path / "graph.svg")
    assert {name for name, _ in model.named_parameters()} <= set(shown)
    assert {"loss", "scalar", "4 × 3", "Mean", "Pow"} <= set(shown)


def test_every_edge_is_drawn_once(tmp_path: Path) -> None:
    x = torch.ones(2, requires_grad=True)
    draw_graph((x * x).sum(), tmp_path / "graph.svg", [("x", x)])
    root = ElementTree.parse(tmp_path / "graph.svg").getroot()
    curves = [node for node in root.iter(f"{SVG}path") if node.get("marker-end")]
    assert len(curves) == 3  # x to Mul (used twice), Mul to Sum, Sum to the result
    assert texts(tmp_path / "graph.svg") == ["result", "scalar", "Sum", "Mul", "x", "2"]


def test_names_are_escaped(tmp_path: Path) -> None:
    x = torch.ones(2, requires_grad=True)
    draw_graph(x.sum(), tmp_path / "graph.svg", [("<a&b>", x)])
    assert "<a&b>" in texts(tmp_path / "graph.svg")


def test_png(tmp_path: Path) -> None:
    x = torch.ones(2, requires_grad=True)
    draw_graph(x.sum(), tmp_path / "graph.png")
    assert (tmp_path / "graph.png").read_bytes().startswith(b"\x89PNG")


def test_no_history(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="draw_graph: output must have a grad_fn"):
        draw_graph(torch.ones(2), tmp_path / "graph.svg")


def test_boxes_do_not_overlap_and_long_edges_bend() -> None:
    # 0 <- 1 <- 2 <- 3 (a chain), 0 <- 3 (a long edge), 1 <- 4, 5 (leaves beside 2)
    inputs = [[1, 3], [2, 4, 5], [3], [], [], []]
    widths = [60.0, 80.0, 60.0, 100.0, 70.0, 90.0]
    layout = place(widths, inputs, gap=10.0)
    assert [rank for _, rank in layout.centres] == [0, 1, 2, 3, 2, 2]
    assert {(a, b): len(bends) for a, b, bends in layout.edges}[3, 0] == 2
    spans = sorted((layout.centres[i][0], widths[i]) for i in (2, 4, 5))
    for (left, left_width), (right, right_width) in zip(spans, spans[1:]):
        assert right - left >= (left_width + right_width) / 2 + 10.0 - 1e-9
    assert all(w / 2 <= x <= layout.width - w / 2 for (x, _), w in zip(layout.centres, widths))


def test_deep_graph() -> None:
    depth = 5000
    layout = place([40.0] * depth, [[i + 1] for i in range(depth - 1)] + [[]], gap=10.0)
    assert layout.ranks == depth and layout.width == pytest.approx(40.0)
