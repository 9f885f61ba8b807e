"""The JSON writers: a document whose keys are the result's field names, and rows one by one.

The rows of a stream hold each value as JSON already, as the server wrote it.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from leadctl.studio.record import Record
    from leadctl.studio.rows import ColumnHead, Row, Stream

_ACTING = re.compile(r"[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def to_jsonable(value: Any) -> Any:
    """Return a result as JSON has it: fields as keys, times in UTC, what JSON lacks as text."""
    if is_dataclass(value) and not isinstance(value, type):
        shown = (field.name for field in fields(value) if field.metadata.get("json", True))
        return {name: to_jsonable(getattr(value, name)) for name in shown}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, Mapping):
        return {str(key): to_jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple | Set):
        return [to_jsonable(item) for item in value]
    return _scalar(value)


def _scalar(value: Any) -> Any:
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, bytes):
        return f"\\x{value.hex()}"
    return str(value)


def dumps(value: Any) -> str:
    """Return a result as an indented JSON document."""
    return _safe(json.dumps(to_jsonable(value), indent=2, ensure_ascii=False))


def dumps_line(value: Any) -> str:
    """Return a value as JSON on one line."""
    return _safe(json.dumps(to_jsonable(value), ensure_ascii=False))


def lines(stream: "Stream") -> Iterator[str]:
    """Yield an object a line."""
    for row in stream:
        yield f"{_object(stream.columns, row)}\n"


def rows_document(stream: "Stream") -> Iterator[str]:
    """Yield the document of rows, one row a line."""
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


def record_document(record: "Record") -> Iterator[str]:
    """Yield the document of one record."""
    yield "{\n"
    for name in ("database", "schema", "table", "key"):
        yield _member(name, getattr(record, name))
    values = [f"    {_text(field.name)}: {_safe(field.value or 'null')}" for field in record.fields]
    yield '  "record": {\n' + ",\n".join(values) + "\n  },\n"
    yield _member("relations", record.relations).rstrip(",\n") + "\n}\n"


def _object(columns: Iterable["ColumnHead"], row: "Row") -> str:
    members = (
        f"{_text(head.name)}: {_safe(value or 'null')}"
        for head, value in zip(columns, row, strict=True)
    )
    return "{" + ", ".join(members) + "}"


def _member(name: str, value: Any) -> str:
    return f"  {_text(name)}: {dumps_line(value)},\n"


def _text(text: str) -> str:
    return _safe(json.dumps(text, ensure_ascii=False))


def _safe(document: str) -> str:
    """Escape what could act on a terminal and JSON allows in a text as it is."""
    return _ACTING.sub(lambda found: f"\\u{ord(found[0]):04x}", document)
