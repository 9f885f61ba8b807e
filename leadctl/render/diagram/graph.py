"""The graph of a schema, in layers: what is referred to stands left of what refers to it.

Layers after Sugiyama, Tagawa and Toda, "Methods for Visual Understanding of Hierarchical System
Structures" (1981): cycles are cut, each node is as far right as its longest way from the left,
and within a layer nodes are ordered by the mean place of their neighbours.
"""

from bisect import bisect_right, insort
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

_SWEEPS = 12


@dataclass(frozen=True)
class Port:
    """A row of a table's box."""

    table: str
    row: int


@dataclass(frozen=True)
class Edge:
    """A foreign key: `child` refers to `parent`."""

    parent: Port
    child: Port


@dataclass(frozen=True)
class Bend:
    """Where a line passes through a layer: it takes up room there as a table does."""

    source: Port
    layer: int


Node = str | Bend


def components(names: Sequence[str], edges: Iterable[Edge]) -> list[list[str]]:
    """Return the tables that hang together, the largest group first, in the order of `names`."""
    group = {name: {name} for name in names}
    for edge in edges:
        one, other = group[edge.parent.table], group[edge.child.table]
        if one is not other:
            one |= other
            for name in other:
                group[name] = one
    unique = {id(each): each for each in group.values()}.values()
    listed = [[name for name in names if name in each] for each in unique]
    return sorted(listed, key=lambda each: (-len(each), each[0]))


def forward(names: Sequence[str], edges: Sequence[Edge]) -> list[tuple[Port, Port]]:
    """Return edges as (left, right), turned round where that cuts a cycle; none to itself."""
    after = defaultdict(list)
    for edge in edges:
        after[edge.parent.table].append(edge.child.table)
    done: set[str] = set()
    place: dict[str, int] = {}

    def visit(start: str) -> None:
        stack = [(start, iter(after[start]))]
        seen = {start}
        while stack:
            name, rest = stack[-1]
            following = next((each for each in rest if each not in done | seen), None)
            if following is None:
                stack.pop()
                done.add(name)
                place[name] = -len(done)
            else:
                seen.add(following)
                stack.append((following, iter(after[following])))

    referring = {edge.child.table for edge in edges if edge.child.table != edge.parent.table}
    for name in sorted(names, key=lambda each: each in referring):
        if name not in done:
            visit(name)
    pairs = [(e.parent, e.child) for e in edges if e.parent.table != e.child.table]
    return [(a, b) if place[a.table] < place[b.table] else (b, a) for a, b in pairs]


def layers(names: Sequence[str], edges: Sequence[tuple[Port, Port]]) -> dict[str, int]:
    """Return the layer of each table: right of all that it refers to, and near to what refers."""
    layer = dict.fromkeys(names, 0)
    for _ in names:
        moved = False
        for left, right in edges:
            if layer[right.table] <= layer[left.table]:
                layer[right.table] = layer[left.table] + 1
                moved = True
        if not moved:
            break
    to_the_left = {right.table for _, right in edges}
    for name in names:
        followers = [layer[right.table] for left, right in edges if left.table == name]
        if name not in to_the_left and followers:
            layer[name] = min(followers) - 1
    return layer


def links(
    edges: Sequence[tuple[Port, Port]], layer: Mapping[str, int]
) -> list[tuple[Port | Bend, Port | Bend]]:
    """Cut edges into links between neighbouring layers; those of one source share their bends."""
    found: dict[tuple[Port | Bend, Port | Bend], None] = {}
    for left, right in edges:
        before: Port | Bend = left
        for between in range(layer[left.table] + 1, layer[right.table]):
            bend = Bend(left, between)
            found[before, bend] = None
            before = bend
        found[before, right] = None
    return list(found)


def node(end: Port | Bend) -> Node:
    """Return the node that an end of a link belongs to."""
    return end.table if isinstance(end, Port) else end


def ordered(
    layer: Mapping[str, int], found: Sequence[tuple[Port | Bend, Port | Bend]]
) -> list[list[Node]]:
    """Return the nodes of each layer from top to bottom, so that few lines cross."""
    nodes: dict[Node, int] = dict(layer.items())
    for pair in found:
        nodes |= {each: each.layer for each in pair if isinstance(each, Bend)}
    columns: list[list[Node]] = [[] for _ in range(max(nodes.values(), default=0) + 1)]
    for each, place in nodes.items():
        columns[place].append(each)
    best, fewest = [list(column) for column in columns], crossings(columns, found)
    for sweep in range(_SWEEPS):
        _sweep(columns, found, rightwards=sweep % 2 == 0)
        count = crossings(columns, found)
        if count < fewest:
            best, fewest = [list(column) for column in columns], count
    return best


def crossings(
    columns: Sequence[Sequence[Node]], found: Sequence[tuple[Port | Bend, Port | Bend]]
) -> int:
    """Count how often lines between neighbouring layers cross."""
    place = {each: i for column in columns for i, each in enumerate(column)}
    layer = {each: i for i, column in enumerate(columns) for each in column}
    between = defaultdict(list)
    for left, right in found:
        here = (place[node(left)], _row(left)), (place[node(right)], _row(right))
        between[layer[node(left)]].append(here)
    return sum(_inversions([there for _, there in sorted(pairs)]) for pairs in between.values())


def _inversions(values: Sequence[tuple[int, int]]) -> int:
    """Count the pairs that are in the wrong order."""
    seen: list[tuple[int, int]] = []
    count = 0
    for value in values:
        count += len(seen) - bisect_right(seen, value)
        insort(seen, value)
    return count


def _sweep(
    columns: list[list[Node]],
    found: Sequence[tuple[Port | Bend, Port | Bend]],
    *,
    rightwards: bool,
) -> None:
    neighbours: dict[Node, list[tuple[Node, float]]] = defaultdict(list)
    for left, right in found:
        here, there = (right, left) if rightwards else (left, right)
        neighbours[node(here)].append((node(there), _row(there) / 100))
    for column in columns if rightwards else columns[::-1]:
        place = {each: i for c in columns for i, each in enumerate(c)}
        mean = {
            each: sum(place[other] + row for other, row in near) / len(near)
            if (near := neighbours[each])
            else float(place[each])
            for each in column
        }
        column.sort(key=lambda each: mean[each])


def _row(end: Port | Bend) -> int:
    return end.row if isinstance(end, Port) else 0
