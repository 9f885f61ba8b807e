"""Views of inspect's reports."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from leadctl.inspect.run import Inspection, InspectReport, ReportFiles, ReportList
from leadctl.render import json, table
from leadctl.render.blocks import (
    Block,
    Cell,
    Column,
    Grid,
    Line,
    Pairs,
    Value,
    holds_numbers,
    named_value,
)
from leadctl.text import counted, size, span

_LONG = frozenset(
    {"definition", "remedy", "query", "last_query", "wants", "transaction_seconds", "application"}
)
"""Columns that a narrow terminal does without."""
_QUERY_WIDTH = 80
_ROWS_OF_ALL = 20
"""So many rows of each report are shown where all reports are asked for."""
_MANY_COLUMNS = 7
"""A single row of more columns is easier to read as names and values."""


def listing(result: ReportList) -> list[Block]:
    """Every report with the question that it answers."""
    rows = [(report.name, _question(report.description)) for report in result.reports]
    return [
        Grid(["Report", "Question"], rows),
        Line(
            "See: leadctl inspect REPORT; all of them to files: leadctl inspect all --to DIR", "dim"
        ),
    ]


def inspection(result: Inspection) -> Iterator[Block]:
    """Each report after the other; of many, the first rows, and those without in a line."""
    if len(result.reports) == 1:
        yield from report(result.reports[0])
        return
    for each in result.reports:
        if each.rows:
            yield from report(each, most=_ROWS_OF_ALL)
    for each in result.reports:
        if each.skipped:
            yield Line(f"{each.report}: skipped: {each.skipped}.", "warn")
    if empty := [each.report for each in result.reports if not each.rows and not each.skipped]:
        yield Line(f"None: {', '.join(empty)}", "dim")
    for note in dict.fromkeys(each.note for each in result.reports if each.note and not each.rows):
        yield Line(f"Note: {note}.", "dim")


def report(result: InspectReport, most: int | None = None) -> Iterator[Block]:
    """One report: its question, then its rows, or the first so many."""
    yield Line(f"{result.report}: {_question(result.description)}", "strong")
    if remarks := result.description.partition("? ")[2].strip():
        yield Line(" ".join(remarks.split()), "dim")
    if result.skipped:
        yield Line(f"Skipped: {result.skipped}.", "warn")
    elif not result.rows:
        yield Line("None.")
    elif len(result.rows) == 1 and len(result.rows[0]) > _MANY_COLUMNS:
        yield Pairs([(_title(name), _value(name, found)) for name, found in result.rows[0].items()])
    else:
        yield Grid(
            [_column(name, result.rows) for name in result.rows[0]],
            [[_value(name, found) for name, found in row.items()] for row in result.rows[:most]],
        )
        if most is not None and len(result.rows) > most:
            left = counted(len(result.rows) - most, "more row")
            yield Line(f"{left}: leadctl inspect {result.report}", "dim")
    if result.note:
        yield Line(f"Note: {result.note}.", "dim")


def written(result: ReportFiles) -> Iterator[Block]:
    """Where the reports are."""
    yield Line(f"{len(result.files)} reports in {result.folder}")
    if result.skipped:
        yield Line(f"Skipped, with the reason in the file: {', '.join(result.skipped)}")


def _question(description: str) -> str:
    return description.partition("? ")[0].removesuffix("?") + "?"


def _title(name: str) -> str:
    title = name.removesuffix("_bytes").removesuffix("_seconds").replace("_", " ").capitalize()
    return title.replace(" percent", " %")


def _column(name: str, rows: Sequence[dict[str, Any]]) -> Column:
    return Column(
        _title(name),
        numbers=holds_numbers(name, rows),
        optional=name in _LONG,
        key=name in {"session", "pid"},
    )


def _value(name: str, value: Any) -> Value:
    if value is None:
        return None
    if name.endswith("bytes"):
        return size(value)
    if name.endswith("seconds"):
        return span(value)
    if name in {"query", "last_query"}:
        return value if len(value) <= _QUERY_WIDTH else f"{value[:_QUERY_WIDTH]}…"
    if isinstance(value, list):
        return Cell(", ".join(map(str, value)))
    return named_value(name, value)  # type: ignore[no-any-return]


def file_format(
    output: str, csv: Callable[[Sequence[Any]], str]
) -> tuple[str, Callable[[InspectReport], str]]:
    """Return how a file with a report ends, and what makes its text; `csv` writes rows."""
    formats: dict[str, tuple[str, Callable[[InspectReport], str]]] = {
        "table": ("txt", lambda found: table.dumps([*report(found)])),
        "json": ("json", lambda found: json.dumps(found) + "\n"),
        "csv": ("csv", lambda found: csv(found.rows) + "\n"),
    }
    return formats[output]
