"""The CSV writer: a header, then a line a row."""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from leadctl.render.json import dumps_line, to_jsonable
from leadctl.text import plain

if TYPE_CHECKING:
    from leadctl.studio.rows import Stream

_NEEDS_QUOTES = re.compile(r'[",\r\n]')


def dumps(rows: Sequence[Any]) -> str:
    """Return rows, mappings or dataclasses of one kind, as CSV; nothing where there are none.

    Values are as in JSON.
    """
    found = [to_jsonable(row) for row in rows]
    if not found:
        return ""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(found[0])
    writer.writerows([_field(value) for value in row.values()] for row in found)
    return buffer.getvalue().removesuffix("\n")


def _field(value: Any) -> Any:
    return dumps_line(value) if isinstance(value, bool | dict | list) else value


def lines(stream: "Stream", *, for_terminal: bool) -> Iterator[str]:
    """Yield a line for each row of a stream: NULL is nothing, an empty text is "".

    On a terminal nothing in it acts.
    """
    yield _line([head.name for head in stream.columns], for_terminal)
    for row in stream:
        yield _line(row, for_terminal)


def _line(values: Iterable[str | None], for_terminal: bool) -> str:
    return ",".join(_quoted(value, for_terminal) for value in values) + "\n"


def _quoted(value: str | None, for_terminal: bool) -> str:
    if value is None:
        return ""
    text = plain(value) if for_terminal else value
    if not text or _NEEDS_QUOTES.search(text):
        doubled = text.replace('"', '""')
        return f'"{doubled}"'
    return text
