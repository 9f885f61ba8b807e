"""Writers of rows that come one by one: CSV, JSON lines, and one JSON document.

The rows of the JSON formats hold each value as JSON already, as the server wrote it.
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from leadctl.render.json import to_jsonable
from leadctl.studio.record import Record, Relation
from leadctl.studio.rows import Head, Row, Stream
from leadctl.text import plain

_ACTING = re.compile(r"[\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_NEEDS_QUOTES = re.compile(r'[",\r\n]')


@dataclass(frozen=True)
class Rows:
    """The JSON document of rows; each row is an object of values by column.

    `after` is where the next page begins, for --after.
    """

    database: str
    schema: str
    table: str
    columns: tuple[Head, ...]
    rows: tuple[dict[str, Any], ...]
    total: int | None
    more: bool
    after: str | None


@dataclass(frozen=True)
class OneRecord:
    """The JSON document of one record; `record` is an object of values by column."""

    database: str
    schema: str
    table: str
    key: str
    record: dict[str, Any]
    relations: tuple[Relation, ...]


def csv(stream: Stream, *, for_terminal: bool) -> Iterator[str]:
    """Yield CSV: NULL is nothing, an empty text is "".  On a terminal nothing in it acts."""
    yield _csv_line([head.name for head in stream.columns], for_terminal)
    for row in stream:
        yield _csv_line(row, for_terminal)


def jsonl(stream: Stream) -> Iterator[str]:
    """Yield an object a line."""
    for row in stream:
        yield f"{_object(stream.columns, row)}\n"


def rows_document(stream: Stream) -> Iterator[str]:
    """Yield the document `Rows`, one row a line."""
    yield "{\n"
    yield _member("database", stream.database)
    yield _member("schema", stream.schema)
    yield _member("table", stream.table)
    yield _member("columns", stream.columns)
    yield '  "rows": ['
    separator = "\n"
    for row in stream:
        yield f"{separator}    {_object(stream.columns, row)}"
        separator = ",\n"
    yield "\n  ],\n" if separator != "\n" else "],\n"
    yield _member("total", stream.total)
    yield _member("more", stream.more)
    yield _member("after", stream.after).rstrip(",\n") + "\n}\n"


def record_document(record: Record) -> Iterator[str]:
    """Yield the document `OneRecord`."""
    yield "{\n"
    for name in ("database", "schema", "table", "key"):
        yield _member(name, getattr(record, name))
    values = [f"    {_text(field.name)}: {_safe(field.value or 'null')}" for field in record.fields]
    yield '  "record": {\n' + ",\n".join(values) + "\n  },\n"
    yield _member("relations", record.relations).rstrip(",\n") + "\n}\n"


def _csv_line(values: Iterable[str | None], for_terminal: bool) -> str:
    return ",".join(_csv_value(value, for_terminal) for value in values) + "\n"


def _csv_value(value: str | None, for_terminal: bool) -> str:
    if value is None:
        return ""
    text = plain(value) if for_terminal else value
    if not text or _NEEDS_QUOTES.search(text):
        doubled = text.replace('"', '""')
        return f'"{doubled}"'
    return text


def _object(columns: Iterable[Head], row: Row) -> str:
    members = (
        f"{_text(head.name)}: {_safe(value or 'null')}"
        for head, value in zip(columns, row, strict=True)
    )
    return "{" + ", ".join(members) + "}"


def _member(name: str, value: Any) -> str:
    document = json.dumps(to_jsonable(value), ensure_ascii=False)
    return f"  {_text(name)}: {_safe(document)},\n"


def _text(text: str) -> str:
    return _safe(json.dumps(text, ensure_ascii=False))


def _safe(document: str) -> str:
    """Escape what could act on a terminal and JSON allows in a text as it is."""
    return _ACTING.sub(lambda found: f"\\u{ord(found[0]):04x}", document)
