"""The CSV writer: a header, then a line a row."""

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from leadctl.render.json import dumps_line, to_jsonable
from leadctl.text import inert, plain

if TYPE_CHECKING:
    from leadctl.studio.rows import Stream

_NEEDS_QUOTES = re.compile(r'[",\r\n]')


def dumps(rows: Sequence[Any], *, for_spreadsheet: bool = False) -> str:
    """Return rows, mappings or dataclasses of one kind, as CSV; nothing where there are none.

    Values are as in JSON.  `for_spreadsheet` leaves no cell that is a formula.
    """
    found = [to_jsonable(row) for row in rows]
    if not found:
        return ""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    lines = [list(found[0]), *([_field(value) for value in row.values()] for row in found)]
    for line in lines:
        writer.writerow(
            [inert(value) if isinstance(value, str) else value for value in line]
            if for_spreadsheet
            else line
        )
    return buffer.getvalue().removesuffix("\n")


def _field(value: Any) -> Any:
    return dumps_line(value) if isinstance(value, bool | dict | list) else value


def lines(stream: "Stream", *, for_terminal: bool, for_spreadsheet: bool) -> Iterator[str]:
    """Yield a line for each row of a stream: NULL is nothing, an empty text is "".

    On a terminal nothing in it acts, and in a spreadsheet no cell is a formula.
    """
    ways = [way for way, wanted in ((plain, for_terminal), (inert, for_spreadsheet)) if wanted]
    yield _line([head.name for head in stream.columns], ways)
    for row in stream:
        yield _line(row, ways)


def _line(values: Iterable[str | None], ways: Sequence[Callable[[str], str]]) -> str:
    return ",".join(_quoted(value, ways) for value in values) + "\n"


def _quoted(value: str | None, ways: Sequence[Callable[[str], str]]) -> str:
    if value is None:
        return ""
    text = value
    for way in ways:
        text = way(text)
    if not text or _NEEDS_QUOTES.search(text):
        doubled = text.replace('"', '""')
        return f'"{doubled}"'
    return text
