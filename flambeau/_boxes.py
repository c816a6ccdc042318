"""Pictures of boxes joined by curves: laid out in rows, written as SVG or by matplotlib."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import NamedTuple

from flambeau._layered_layout import Point, place

TEXT_SIZE = 13.0
DETAIL_SIZE = 10.5
LETTER_WIDTH = 0.62  # of the text size, the average of a bold sans-serif letter
BOX_HEIGHT = 40.0
ROW_GAP = 32.0
COLUMN_GAP = 18.0
MARGIN = 24.0
FONT = "DejaVu Sans"
INK, FAINT_INK, LINE = "#2b2b33", "#6b6b78", "#9a9aa8"
# Fill and outline by kind of box.
COLOURS = {
    "result": ("#ffd9d2", "#d9432f"),
    "operation": ("#fff1dc", "#ee8a2b"),
    "leaf": ("#e2effb", "#3d7fc2"),
    "program": ("#e3f4e1", "#4c9f4a"),
}


class Box(NamedTuple):
    """One node of the graph as it is shown."""

    kind: str
    text: str
    detail: str

    def width(self) -> float:
        """The room that its two lines of text need."""
        text = len(self.text) * TEXT_SIZE * LETTER_WIDTH
        return max(text, len(self.detail) * DETAIL_SIZE * LETTER_WIDTH, 40.0) + 22.0


class Picture(NamedTuple):
    """Boxes with their centres, and curves of 1 + 3n points (cubic Bezier pieces)."""

    width: float
    height: float
    boxes: list[tuple[Box, Point]]
    curves: list[list[Point]]


def arranged(boxes: list[Box], inputs: list[list[int]]) -> Picture:
    """The boxes in rows; `inputs` are the boxes that each is computed from, box 0 the result."""
    widths = [box.width() for box in boxes]
    layout = place(widths, inputs, COLUMN_GAP)
    step = BOX_HEIGHT + ROW_GAP

    def on_page(x: float, rank: float) -> Point:
        return Point(x + MARGIN, MARGIN + BOX_HEIGHT / 2 + (layout.ranks - 1 - rank) * step)

    centres = [on_page(*centre) for centre in layout.centres]
    curves = []
    for source, target, bends in layout.edges:
        reach = widths[target] / 2 - 14.0
        arrival = min(max(centres[source].x, centres[target].x - reach), centres[target].x + reach)
        stops = [Point(centres[source].x, centres[source].y + BOX_HEIGHT / 2)]
        for bend in bends:
            x, y = on_page(*bend)
            stops += [Point(x, y - BOX_HEIGHT / 2), Point(x, y + BOX_HEIGHT / 2)]
        stops.append(Point(arrival, centres[target].y - BOX_HEIGHT / 2))
        curves.append(_curve(stops))
    height = 2 * MARGIN + layout.ranks * step - ROW_GAP
    return Picture(layout.width + 2 * MARGIN, height, list(zip(boxes, centres)), curves)


def _curve(stops: list[Point]) -> list[Point]:
    """A curve through the stops that is vertical at each of them."""
    points = stops[:1]
    for start, end in zip(stops, stops[1:]):
        middle = (start.y + end.y) / 2
        points += [Point(start.x, middle), Point(end.x, middle), end]
    return points


def _text_lines(box: Box, centre: Point) -> list[tuple[str, float, float, str, str]]:
    """(text, baseline y, size, weight, colour) of the lines in a box."""
    if not box.detail:
        return [(box.text, centre.y + 4.5, TEXT_SIZE, "bold", INK)]
    return [
        (box.text, centre.y - 2.5, TEXT_SIZE, "bold", INK),
        (box.detail, centre.y + 12.5, DETAIL_SIZE, "normal", FAINT_INK),
    ]


def svg_text(picture: Picture) -> str:
    """The picture as SVG."""
    width, height = picture.width, picture.height
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.1f} {height:.1f}" font-family="{FONT}, Verdana, sans-serif" '
        'text-anchor="middle">',
        '<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        f'markerHeight="7" orient="auto"><path d="M0,0.5 L8,4 L0,7.5 z" fill="{LINE}"/>'
        "</marker></defs>",
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for curve in picture.curves:
        start, *rest = (f"{x:.1f},{y:.1f}" for x, y in curve)
        lines.append(
            f'<path d="M{start} C{" ".join(rest)}" fill="none" stroke="{LINE}" '
            'stroke-width="1.6" marker-end="url(#arrow)"/>'
        )
    for box, centre in picture.boxes:
        fill, outline = COLOURS[box.kind]
        left, top, box_width = centre.x - box.width() / 2, centre.y - BOX_HEIGHT / 2, box.width()
        lines.append(
            f'<rect x="{left:.1f}" y="{top:.1f}" width="{box_width:.1f}" height="{BOX_HEIGHT:.1f}" '
            f'rx="8" fill="{fill}" stroke="{outline}" stroke-width="1.5"/>'
        )
        for text, y, size, weight, colour in _text_lines(box, centre):
            lines.append(
                f'<text x="{centre.x:.1f}" y="{y:.1f}" font-size="{size}" font-weight="{weight}" '
                f'fill="{colour}">{escape(text)}</text>'
            )
    return "\n".join([*lines, "</svg>", ""])


def draw_with_matplotlib(picture: Picture, path: str | Path) -> None:
    """Writes the picture in a format that matplotlib knows."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
    from matplotlib.path import Path as Curve

    points_per_inch = 72.0
    figure = Figure((picture.width / points_per_inch, picture.height / points_per_inch))
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, picture.width), ylim=(picture.height, 0))
    axes.axis("off")
    for points in picture.curves:
        codes = [Curve.MOVETO] + [Curve.CURVE4] * (len(points) - 1)
        axes.add_patch(
            FancyArrowPatch(
                path=Curve(points, codes),
                arrowstyle="-|>,head_length=5,head_width=2.6",
                color=LINE,
                linewidth=1.4,
                shrinkA=0,
                shrinkB=0,
            )
        )
    for box, centre in picture.boxes:
        fill, outline = COLOURS[box.kind]
        corner = (centre.x - box.width() / 2 + 8, centre.y - BOX_HEIGHT / 2 + 8)
        axes.add_patch(
            FancyBboxPatch(
                corner,
                box.width() - 16,
                BOX_HEIGHT - 16,
                boxstyle="round,pad=8,rounding_size=8",
                facecolor=fill,
                edgecolor=outline,
                linewidth=1.3,
                zorder=3,
            )
        )
        for text, y, size, weight, colour in _text_lines(box, centre):
            axes.text(
                centre.x, y, text, ha="center", va="baseline", size=size, weight=weight,
                color=colour, family=FONT, zorder=4,
            )  # fmt: skip
    figure.savefig(path, dpi=150)
