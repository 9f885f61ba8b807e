"""The SVG writer: a picture that any browser shows, with nothing to load."""

from collections.abc import Iterator
from html import escape

from leadctl.render.diagram.layout import (
    HEADER,
    MARK,
    ROW,
    Box,
    Layout,
    Line,
    Route,
    cut,
    lay_out,
)
from leadctl.schema.definition import Schema
from leadctl.text import plain

_COLORS = ("#2563a8", "#a8452b", "#2e7d4f", "#7b3f98", "#97701a", "#1d7f8c", "#a3366b", "#5a6472")
_CORNER = 5.0
_FOOT = 9.0
_STYLE = """
text { font: 12px ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; fill: #1f2933; }
.box { fill: #ffffff; stroke: #8895a3; }
.head { fill: #e4e9ef; stroke: #8895a3; }
.name { font-weight: bold; }
.type, .mark { fill: #6b7885; }
.mark { font-size: 9px; }
.key { font-weight: bold; }
.line { fill: none; stroke-width: 1.4; }
"""


def diagram(schema: Schema) -> str:
    """Return a schema as an SVG document."""
    layout = lay_out(schema)
    width, height = round(layout.width), round(layout.height)
    title = escape(plain(f"{schema.source}, schema {schema.name}"))
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
            f'viewBox="0 0 {width} {height}" role="img">',
            f"<title>{title}</title>",
            f"<style>{_STYLE}</style>",
            f'<rect width="{width}" height="{height}" fill="#fbfcfd"/>',
            *_routes(layout),
            *(line for box in layout.boxes for line in _box(box)),
            "</svg>",
        ]
    )


def _box(box: Box) -> Iterator[str]:
    shape = f'x="{box.x:g}" y="{box.y:g}" width="{box.width:g}"'
    yield f'<rect class="box" {shape} height="{box.height:g}" rx="4"/>'
    yield f'<rect class="head" {shape} height="{HEADER:g}" rx="4"/>'
    yield _text(box.x + 10, box.y + 17, cut(box.name), "name")
    for i, line in enumerate(box.lines):
        yield from _line(box, line, box.y + HEADER + i * ROW + 15)


def _line(box: Box, line: Line, y: float) -> Iterator[str]:
    if line.mark:
        yield _text(box.x + 8, y, line.mark, "mark")
    yield _text(box.x + MARK, y, line.name, "key" if line.mark == "PK" else "")
    kind = f"{line.type}?" if line.nullable else line.type
    yield _text(box.x + box.width - 10, y, kind, "type", end=True)


def _text(x: float, y: float, text: str, name: str, *, end: bool = False) -> str:
    attributes = f' class="{name}"' if name else ""
    attributes += ' text-anchor="end"' if end else ""
    return f'<text x="{x:g}" y="{y:g}"{attributes}>{escape(plain(text))}</text>'


def _routes(layout: Layout) -> Iterator[str]:
    for route in layout.routes:
        color = _COLORS[route.bundle % len(_COLORS)]
        yield f'<path class="line" stroke="{color}" d="{_path(route)} {_ends(route)}"/>'


def _path(route: Route) -> str:
    """Return a path with rounded corners."""
    points = _without_repeats(route)
    parts = [f"M{points[0][0]:g} {points[0][1]:g}"]
    for before, here, after in zip(points, points[1:], points[2:], strict=False):
        size = min(_CORNER, _distance(before, here) / 2, _distance(here, after) / 2)
        begin, end = _towards(here, before, size), _towards(here, after, size)
        parts.append(f"L{begin[0]:g} {begin[1]:g} Q{here[0]:g} {here[1]:g} {end[0]:g} {end[1]:g}")
    parts.append(f"L{points[-1][0]:g} {points[-1][1]:g}")
    return " ".join(parts)


def _ends(route: Route) -> str:
    """Return a bar where one is referred to, and a crow's foot where many refer to it."""
    points = _without_repeats(route)
    first, last = (points[0], points[1]), (points[-1], points[-2])
    one, many = (first, last) if route.parent_first else (last, first)
    bar = _towards(*one, _FOOT * 0.7)
    foot = _towards(*many, _FOOT)
    (x, y), spread = many[0], _FOOT * 0.5
    return (
        f"M{bar[0]:g} {bar[1] - spread:g}V{bar[1] + spread:g}"
        f" M{x:g} {y - spread:g}L{foot[0]:g} {foot[1]:g}L{x:g} {y + spread:g}"
    )


def _without_repeats(route: Route) -> list[tuple[float, float]]:
    points = [route.points[0]]
    points += [b for a, b in zip(route.points, route.points[1:], strict=False) if a != b]
    return points


def _distance(one: tuple[float, float], other: tuple[float, float]) -> float:
    return abs(one[0] - other[0]) + abs(one[1] - other[1])


def _towards(
    start: tuple[float, float], end: tuple[float, float], size: float
) -> tuple[float, float]:
    """Return the point `size` from start to end, which are on one level or one above the other."""
    length = _distance(start, end) or 1.0
    return (
        start[0] + (end[0] - start[0]) / length * size,
        start[1] + (end[1] - start[1]) / length * size,
    )
