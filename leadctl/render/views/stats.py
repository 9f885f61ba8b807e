"""Views of statistics, with bars and sparklines of block characters."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any

from leadctl.render.blocks import (
    Block,
    Cell,
    Column,
    Grid,
    Line,
    Pairs,
    holds_numbers,
    named_value,
    numbers,
)
from leadctl.stats import Overview, ReportResult, SkippedPart, TableStats
from leadctl.text import counted, estimated, listed, size, value_text

_EIGHTHS = " ▏▎▍▌▋▊▉█"
_HEIGHTS = "▁▂▃▄▅▆▇█"
_WIDEST = 60
"""Columns of a sparkline; a longer series is summed up in as many parts."""
_TABLES = 40
"""So many tables are listed on the first screen."""
_UNREAD = "not read: too many files; leadctl stats --exact reads it"
_SKIPPED = 5
"""So many reasons are shown why something was skipped, and so many parts for each."""
_BARS = 10
"""Rows of a chart on the first screen."""


def overview(result: Overview) -> list[Block]:
    """The database, its tables, and the app's charts."""
    blocks = [_database(result)]
    if result.tables:
        blocks += _tables(result.tables)
    if any(not table.exact for table in result.tables):
        blocks.append(Line("~ is the server's estimate; leadctl stats --exact counts.", "dim"))
    for chart in result.charts:
        drawn = _chart(chart)
        if drawn and isinstance(blocks[-1], Line):
            blocks.append(Line(""))
        blocks += drawn
    if result.charts and isinstance(blocks[-1], Line):
        blocks.append(Line(""))
    if result.left_out:
        names = ", ".join(result.left_out)
        blocks.append(Line(f"Charts left out, because their tables are large: {names}", "dim"))
    blocks += _skipped(result.skipped)
    if result.reports:
        blocks.append(
            Line(f"Reports: {', '.join(result.reports)}. See: leadctl stats REPORT", "dim")
        )
    return blocks


def report(result: ReportResult) -> Iterator[Block]:
    """A sparkline where there is one; one row as pairs, more as a table, with bars."""
    title = result.title + (f", of {result.user}" if result.user else "")
    title += f", since {result.since:%Y-%m-%d %H:%M}Z" if result.since else ""
    yield Line(title, "strong")
    if not result.rows:
        yield Line("No rows.")
        return
    first = result.rows[0]
    if len(result.rows) == 1 and result.chart is None:
        yield Pairs([(name, named_value(name, value)) for name, value in first.items()])
        return
    if result.chart and result.chart.kind == "line":
        yield from _line(result)
    elif result.chart and result.chart.kind == "funnel":
        yield _funnel(result)
    columns = [Column(name, numbers=holds_numbers(name, result.rows)) for name in first]
    rows: list[list[Any]] = [
        [named_value(name, row[name]) for name in first] for row in result.rows
    ]
    if result.chart and result.chart.kind == "bars":
        columns.append(Column("chart", optional=True))
        for row, drawn in zip(rows, _bars(result), strict=True):
            row.append(Cell(drawn))
    yield Grid(columns, rows)


def _database(result: Overview) -> Block:
    database = result.database
    if database is None:
        return Pairs([("Schema", result.schema)])
    kind = ", a standby" if database.standby else ""
    hit = "" if database.cache_hit is None else f"{database.cache_hit:.1%}"
    pairs: list[tuple[str, Any]] = [
        ("Database", f"{database.name}, schema {result.schema}"),
        ("Server", f"PostgreSQL {database.server_version}{kind}"),
        ("Started", database.started_at),
        ("Size", _UNREAD if database.size_bytes is None else size(database.size_bytes)),
        ("Connections", f"{database.connections} of {database.max_connections}"),
        ("Cache hit", hit),
    ]
    if result.replica_lag_seconds is not None:
        pairs.insert(2, ("Replica", f"{result.replica_lag_seconds:.1f} s behind"))
    return Pairs(pairs)


def _tables(found: Sequence[TableStats]) -> list[Block]:
    """The tables; of many the largest, and what the others are together."""
    by_size = sorted(found, key=_bytes, reverse=True)
    others = by_size[_TABLES:]
    shown = [each for each in found if each not in others] if others else found
    rows = [
        (
            table.name,
            estimated(table.rows, exact=table.exact),
            "?" if table.table_bytes is None else size(table.table_bytes),
            "?" if table.index_bytes is None else size(table.index_bytes),
            table.dead_rows,
            table.last_vacuum,
        )
        for table in shown
    ]
    columns = [
        Column("Table"),
        *numbers("Rows", "Size", "Indexes"),
        Column("Dead", numbers=True, optional=True),
        Column("Vacuumed", optional=True),
    ]
    blocks: list[Block] = [Grid(columns, rows)]
    if others:
        together = size(sum(map(_bytes, others)))
        left = counted(len(others), "smaller table")
        blocks.append(Line(f"{left}, {together} in all: leadctl inspect tables", "dim"))
    return blocks


def _bytes(table: TableStats) -> int:
    return (table.table_bytes or 0) + (table.index_bytes or 0)


def _skipped(parts: Iterable[SkippedPart]) -> list[Block]:
    """What could not be read: a line for each reason."""
    by_reason: dict[str, list[str]] = {}
    for each in parts:
        by_reason.setdefault(each.reason, []).append(each.part)
    lines: list[Block] = [
        Line(f"Skipped: {listed(names, _SKIPPED)}: {reason}", "warn")
        for reason, names in list(by_reason.items())[:_SKIPPED]
    ]
    if len(by_reason) > _SKIPPED:
        lines.append(Line("More was skipped: leadctl stats -o json names all.", "warn"))
    return lines


def _chart(result: ReportResult) -> list[Block]:
    """A report on the first screen: nothing where there is nothing to see."""
    assert result.chart is not None
    if not any(row[name] for row in result.rows for name in result.chart.columns):
        return []
    heading = Line(f"{result.title}: {result.report}", "strong")
    if result.chart.kind == "line":
        return [heading, *_line(result)]
    if result.chart.kind == "funnel":
        return [heading, _funnel(result)]
    label, column = next(iter(result.rows[0])), result.chart.columns[0]
    rows = [
        (named_value(label, row[label]), value_text(row[column]), Cell(drawn))
        for row, drawn in zip(result.rows[:_BARS], _bars(result), strict=False)
    ]
    return [heading, Grid([label, *numbers(column), "chart"], rows)]


def _line(result: ReportResult) -> list[Block]:
    assert result.chart is not None
    column, when = result.chart.columns[0], next(iter(result.rows[0]))
    values = [row[column] or 0 for row in result.rows]
    first, last = result.rows[0][when], result.rows[-1][when]
    return [
        Line(sparkline(values)),
        Line(f"{first} to {last}: {sum(values):,} {column}, at most {max(values):,} a {when}"),
    ]


def _funnel(result: ReportResult) -> Block:
    assert result.chart is not None
    sums = {name: sum(row[name] or 0 for row in result.rows) for name in result.chart.columns}
    most = max(sums.values())
    rows = [
        (name, f"{count:,}", f"{100 * count / most:.1f} %" if most else "", Cell(bar(count, most)))
        for name, count in sums.items()
    ]
    return Grid(["stage", *numbers("count", "share"), Column("chart", optional=True)], rows)


def _bars(result: ReportResult) -> list[str]:
    assert result.chart is not None
    column = result.chart.columns[0]
    values = [float(row[column] or 0) for row in result.rows]
    most = 100.0 if column.endswith("percent") else max(values, default=0.0)
    return [bar(value, most) for value in values]


def bar(value: float, most: float, width: int = 20) -> str:
    """Return a bar of `width` columns for the value `most`, in steps of an eighth of a column."""
    if value <= 0 or most <= 0:
        return ""
    eighths = max(1, round(8 * width * min(value / most, 1)))
    whole, rest = divmod(eighths, 8)
    return "█" * whole + (_EIGHTHS[rest] if rest else "")


def sparkline(values: Sequence[float]) -> str:
    """Return a line of one character a value, its height the share of the highest value."""
    values = _summed(values)
    most = max(values, default=0)
    if most <= 0:
        return _HEIGHTS[0] * len(values)
    return "".join(_HEIGHTS[round(max(value, 0) / most * (len(_HEIGHTS) - 1))] for value in values)


def _summed(values: Sequence[float]) -> Sequence[float]:
    count = len(values)
    if count <= _WIDEST:
        return values
    edges = [part * count // _WIDEST for part in range(_WIDEST + 1)]
    return [sum(values[start:end]) for start, end in pairwise(edges)]
