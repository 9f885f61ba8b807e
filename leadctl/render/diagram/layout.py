"""Where boxes and lines stand in a diagram, in pixels; nothing here knows SVG."""

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from leadctl.render.data import short_type
from leadctl.render.diagram.graph import (
    Bend,
    Edge,
    Node,
    Port,
    components,
    forward,
    layers,
    links,
    node,
    ordered,
)
from leadctl.schema.definition import ForeignKey, Schema, Table

ROW = 20.0
HEADER = 26.0
CHARACTER = 7.25
"""Width of a character of the monospace font at 12 pixels."""
MARK = 26.0
"""Room for PK and FK in front of a column's name."""

_MARGIN = 24.0
_GAP = 28.0
"""Between two boxes of a layer."""
_LANE = 12.0
_BEND = 10.0
_LONGEST = 36
"""Characters of a name; a longer one is cut."""
_WIDEST = 1200.0
"""Tables without relations stand in rows up to this width."""
_PHASES = 3
_SETTLINGS = 10


@dataclass(frozen=True)
class Line:
    """One row of a box: a column's name, its type, and PK or FK."""

    name: str
    type: str
    mark: str
    nullable: bool


@dataclass(frozen=True)
class Box:
    """A table."""

    name: str
    x: float
    y: float
    width: float
    lines: tuple[Line, ...]

    @property
    def height(self) -> float:
        """Its height."""
        return _height(len(self.lines))


@dataclass(frozen=True)
class Route:
    """A line from what is referred to (`points[0]`) to what refers to it, along right angles.

    Lines of one `bundle` come from the same column and run together.
    """

    points: tuple[tuple[float, float], ...]
    bundle: int
    parent_first: bool


@dataclass(frozen=True)
class Layout:
    """A whole diagram."""

    width: float
    height: float
    boxes: tuple[Box, ...]
    routes: tuple[Route, ...]


def lay_out(schema: Schema) -> Layout:
    """Place tables and lines: no box overlaps another, no line runs through a box."""
    tables = {table.name: table for table in schema.tables if table.kind != "view"}
    edges = _edges(tables)
    boxes: list[Box] = []
    routes: list[Route] = []
    top = width = _MARGIN
    alone: list[Table] = []
    for names in components(list(tables), edges):
        members = set(names)
        own = [edge for edge in edges if edge.child.table in members]
        if len(names) == 1 and not own:
            alone.append(tables[names[0]])
            continue
        part = _Part([tables[name] for name in names], own, top, len(routes))
        boxes += part.boxes
        routes += part.routes
        top, width = part.bottom + 2 * _GAP, max(width, part.right)
    for box in _rows_of_boxes(alone, top, max(width, _WIDEST)):
        boxes.append(box)
        top, width = max(top, box.y), max(width, box.x + box.width)
    bottom = max((box.y + box.height for box in boxes), default=0.0)
    lowest = max((y for route in routes for _, y in route.points), default=0.0)
    right = max((x for route in routes for x, _ in route.points), default=0.0)
    return Layout(
        max(width, right) + _MARGIN, max(bottom, lowest) + _MARGIN, tuple(boxes), tuple(routes)
    )


class _Part:
    """Tables that hang together."""

    def __init__(
        self, tables: Sequence[Table], edges: Sequence[Edge], top: float, bundles: int
    ) -> None:
        self._lines = {table.name: lines_of(table) for table in tables}
        self._edges, self._bundles = edges, bundles
        names = list(self._lines)
        directed = forward(names, edges)
        layer = layers(names, directed)
        self._links = links(directed, layer)
        self._columns = ordered(layer, self._links)
        self._widths = [self._widest(column) for column in self._columns]
        self._loops = [edge for edge in edges if edge.parent.table == edge.child.table]
        self._y = self._settle(top)
        self._lanes = [self._channel(i) for i in range(len(self._columns))]
        self._x = self._places()
        self.boxes = [
            Box(name, self._x[i], self._y[name], self._widths[i], self._lines[name])
            for i, column in enumerate(self._columns)
            for name in column
            if isinstance(name, str)
        ]
        self.routes = self._routes(directed, layer)
        self.bottom = max(self._y[each] + self._size(each) for each in self._y)
        self.right = self._x[-1] + self._widths[-1] + self._channel_width(len(self._columns) - 1)

    def _size(self, each: Node) -> float:
        return _BEND if isinstance(each, Bend) else _height(len(self._lines[each]))

    def _widest(self, column: Sequence[Node]) -> float:
        tables = [each for each in column if isinstance(each, str)]
        return max((box_width(each, self._lines[each]) for each in tables), default=_BEND)

    def _offset(self, end: Port | Bend) -> float:
        return _BEND / 2 if isinstance(end, Bend) else HEADER + (end.row + 0.5) * ROW

    def _settle(self, top: float) -> dict[Node, float]:
        """Return where each node's top is: near to its neighbours, and below the one above it."""
        y: dict[Node, float] = {}
        for column in self._columns:
            at = top
            for each in column:
                y[each] = at
                at += self._size(each) + _GAP
        pulls: dict[Node, list[tuple[float, Port | Bend]]] = defaultdict(list)
        for left, right in self._links:
            pulls[node(left)].append((self._offset(left), right))
            pulls[node(right)].append((self._offset(right), left))
        for _ in range(_SETTLINGS):
            for column in self._columns:
                wanted = [
                    sum(y[node(to)] + self._offset(to) - own for own, to in pulls[each])
                    / len(pulls[each])
                    if pulls[each]
                    else y[each]
                    for each in column
                ]
                sizes = [self._size(each) + _GAP for each in column]
                y |= dict(zip(column, _apart(wanted, sizes), strict=True))
        highest = min(y.values())
        for i, column in enumerate(self._columns):
            # Rows of neighbouring layers never have the same height, so lines do not run together.
            phase = (i % _PHASES) * ROW / _PHASES
            for each in column:
                y[each] = top + phase + round((y[each] - highest) / ROW) * ROW
        return y

    def _groups(self, column: int) -> dict[Port | Bend, list[float]]:
        """Return the vertical parts right of a column: their source, and the heights they reach."""
        groups: dict[Port | Bend, list[float]] = defaultdict(list)
        members = set(self._columns[column])
        for left, right in self._links:
            if node(left) in members:
                groups[left] += [self._height_of(left), self._height_of(right)]
        for loop in self._loops:
            if loop.parent.table in members:
                groups[loop.child] += [self._height_of(loop.parent), self._height_of(loop.child)]
        return groups

    def _channel(self, column: int) -> dict[Port | Bend, int]:
        """Give each vertical part a lane that no other has at the same height."""
        taken: list[list[tuple[float, float]]] = []
        lanes: dict[Port | Bend, int] = {}
        groups = self._groups(column)
        for source, heights in sorted(
            groups.items(), key=lambda each: (max(each[1]), min(each[1]))
        ):
            low, high = min(heights) - 1, max(heights) + 1
            free = (
                lane
                for lane, spans in enumerate(taken)
                if all(high < begin or end < low for begin, end in spans)
            )
            lanes[source] = next(free, len(taken))
            if lanes[source] == len(taken):
                taken.append([])
            taken[lanes[source]].append((low, high))
        return lanes

    def _channel_width(self, column: int) -> float:
        lanes = self._lanes[column]
        return (max(lanes.values()) + 1) * _LANE + 3 * _LANE if lanes else 0.0

    def _places(self) -> list[float]:
        places, x = [], _MARGIN
        for i in range(len(self._columns)):
            places.append(x)
            x += self._widths[i] + self._channel_width(i)
        return places

    def _height_of(self, end: Port | Bend) -> float:
        return self._y[node(end)] + self._offset(end)

    def _lane_x(self, column: int, source: Port | Bend) -> float:
        right = self._x[column] + self._widths[column]
        return right + 2 * _LANE + self._lanes[column][source] * _LANE

    def _routes(
        self, directed: Sequence[tuple[Port, Port]], layer: Mapping[str, int]
    ) -> list[Route]:
        lefts = [left for left, _ in directed] + [loop.child for loop in self._loops]
        sources = {left: i for i, left in enumerate(dict.fromkeys(lefts))}
        parents = {(edge.parent, edge.child) for edge in self._edges}
        routes = []
        for left, right in directed:
            first = layer[left.table]
            path: list[Port | Bend] = [left]
            path += [Bend(left, i) for i in range(first + 1, layer[right.table])]
            points = [(self._x[first] + self._widths[first], self._height_of(left))]
            for column, (here, there) in enumerate(
                zip(path, [*path[1:], right], strict=True), start=first
            ):
                x, high = self._lane_x(column, here), self._height_of(there)
                points += [(x, points[-1][1]), (x, high)]
            points.append((self._x[layer[right.table]], points[-1][1]))
            bundle = self._bundles + sources[left]
            routes.append(Route(tuple(points), bundle, parent_first=(left, right) in parents))
        for loop in self._loops:
            column = layer[loop.parent.table]
            right_side, x = self._x[column] + self._widths[column], self._lane_x(column, loop.child)
            high, low = self._height_of(loop.parent), self._height_of(loop.child)
            loop_points = ((right_side, high), (x, high), (x, low), (right_side, low))
            routes.append(
                Route(loop_points, self._bundles + sources[loop.child], parent_first=True)
            )
        return routes


def lines_of(table: Table) -> tuple[Line, ...]:
    """Return the rows of a table's box."""
    referring = {column for key in table.foreign_keys for column in key.columns}
    return tuple(
        Line(
            cut(column.name),
            cut(short_type(column.type)),
            "PK" if column.name in table.primary_key else "FK" if column.name in referring else "",
            column.nullable,
        )
        for column in table.columns
    )


def cut(text: str) -> str:
    """Return a name that is not too long for a box."""
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def text_width(text: str) -> float:
    """Return the width of a text in the monospace font; wide characters take two places."""
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    return (len(text) + wide) * CHARACTER


def box_width(name: str, lines: Sequence[Line]) -> float:
    """Return how wide a table's box must be."""
    rows = [MARK + text_width(line.name) + text_width(line.type) + 28 for line in lines]
    return round(max([text_width(cut(name)) + 24, *rows]))


def _height(rows: int) -> float:
    return HEADER + rows * ROW + 6


def _edges(tables: Mapping[str, Table]) -> list[Edge]:
    """Return the foreign keys whose two ends are here; one of several columns is one line."""
    edges = []
    for table in tables.values():
        for key in table.foreign_keys:
            if key.table in tables:
                column, referred = _own_pair(table, key)
                parent = Port(key.table, _row(tables[key.table], referred))
                edges.append(Edge(parent, Port(table.name, _row(table, column))))
    return edges


def _own_pair(table: Table, key: ForeignKey) -> tuple[str, str]:
    """Return the columns that tell a foreign key apart: those that fewest others share.

    Where every key begins with the tenant it is the last one.
    """
    shared = Counter(column for each in table.foreign_keys for column in each.columns)
    pairs = list(zip(key.columns, key.referred, strict=False))
    return min(reversed(pairs), key=lambda pair: shared[pair[0]])


def _row(table: Table, name: str) -> int:
    return next((i for i, column in enumerate(table.columns) if column.name == name), 0)


def _apart(wanted: Sequence[float], sizes: Sequence[float]) -> list[float]:
    """Return places in the same order, as near as can be to those wanted, that do not overlap.

    Least squares with an order to keep: pool adjacent violators.
    """
    offsets = [0.0, *accumulate(sizes[:-1])]
    pools: list[tuple[float, int]] = []
    for want, offset in zip(wanted, offsets, strict=True):
        pools.append((want - offset, 1))
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (a, m), (b, n) = pools.pop(), pools.pop()
            pools.append(((a * m + b * n) / (m + n), m + n))
    means = [mean for mean, count in pools for _ in range(count)]
    return [mean + offset for mean, offset in zip(means, offsets, strict=True)]


def _rows_of_boxes(tables: Sequence[Table], top: float, widest: float) -> list[Box]:
    boxes: list[Box] = []
    x, y, tallest = _MARGIN, top, 0.0
    for table in tables:
        lines = lines_of(table)
        width = box_width(table.name, lines)
        if boxes and x + width > widest:
            x, y, tallest = _MARGIN, y + tallest + _GAP, 0.0
        boxes.append(Box(table.name, x, y, width, lines))
        x, tallest = x + width + _GAP, max(tallest, _height(len(lines)))
    return boxes
