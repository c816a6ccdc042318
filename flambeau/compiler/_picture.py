"""A graph as a picture."""

from __future__ import annotations

from flambeau.compiler._graph import Graph


def graph_svg(graph: Graph) -> str:
    """The picture as SVG text."""
    raise NotImplementedError("graph_svg: comes with the picture of graphs")
