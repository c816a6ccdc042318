"""Reports and pictures of graphs."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest
from graphs import Call, argument, captured, chain, internal, product, program

from flambeau.compiler import _report
from flambeau.compiler._graph import Graph, Node
from flambeau.compiler._passes import run_passes


def small_graph() -> Graph:
    x, w = argument(0, 64, 32), captured(32, 16)
    m = product(x, w)
    nodes, out = chain(("tanh", m.outputs[0]), ("mul", None, 2.0))
    update = program("descend", w, argument(1, 32, 16), 0.1, out=w)
    return Graph([m, *nodes, update], [out])


def test_report_counts_bytes_and_operations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_report, "measured_machine", lambda _: _report.Machine(1e8, 1e9, 2e9))
    graph = small_graph()
    run_passes(graph)
    report = _report.report(graph, [("", 1e-5)] * len(graph.nodes), arena=4096)
    first, fused, update = report.steps
    assert first.operations == 2 * 64 * 32 * 16
    assert first.bytes == 4 * (64 * 32 + 32 * 16 + 64 * 16)
    assert first.bound == pytest.approx(max(first.bytes / 1e9, first.operations / 2e9))
    assert fused.label == "fused (tanh, mul)" and fused.bytes == 2 * 4 * 64 * 16
    assert update.bytes == 2 * 4 * 32 * 16  # the parameter once, though read and written
    assert report.seconds == pytest.approx(3e-5)
    text = str(report)
    assert "fused (tanh, mul)" in text and "30.0 us in 3 steps" in text and "4.1 kB" in text


def test_operations_of_convolutions() -> None:
    x, w = argument(0, 2, 3, 8, 8), captured(5, 3, 3, 3)
    out = internal(2, 5, 6, 6)
    pairs = 2 * 5 * 6 * 6 * 3 * 9
    for name, reads, made in [
        ("convolution", [x, w], out),
        ("convolution_transpose", [out, w], x),
        ("convolution_weight", [x, out], w),
    ]:
        assert _report._operations(Node(name, reads, [made], call=Call(name))) == 2 * pairs


def test_the_machine_is_measured() -> None:
    machine = _report.measured_machine()
    assert 1e8 < machine.bytes_per_second < 1e13
    assert 1e8 < machine.cached_bytes_per_second < 1e14
    assert machine.bound(1 << 22, 0) == pytest.approx((1 << 22) / machine.bytes_per_second)
    assert 1e8 < machine.operations_per_second < 1e14


def test_picture_of_a_graph(tmp_path: Path) -> None:
    graph = small_graph()
    run_passes(graph)
    text = graph.to_svg(tmp_path / "graph.svg")
    assert (tmp_path / "graph.svg").read_text() == text
    words = [element.text for element in ElementTree.fromstring(text).iter() if element.text]
    for word in ["mm", "fused 2", "tanh, mul", "descend", "argument arg0", "captured p0", "end"]:
        assert word in words
    assert "steps: 3, outputs: 1" in words


def test_picture_of_an_empty_graph() -> None:
    assert "end" in Graph().to_svg()


def test_pictures_of_the_documents(monkeypatch: pytest.MonkeyPatch) -> None:
    root = Path(__file__).parent.parent.parent
    monkeypatch.syspath_prepend(str(root / "tools"))
    from compile_pictures import pictures

    for name, text in pictures().items():
        assert ElementTree.fromstring(text).tag.endswith("svg")
        assert (root / "docs" / "pictures" / name).exists(), "run `make stubs`"
    assert "fused" in text and "steps: 1, outputs: 1" in text
