"""The CSV writer: a header, then a line a row; values as in JSON."""

import csv
import io
from collections.abc import Sequence
from typing import Any

from leadctl.render.json import dumps_line, to_jsonable


def dumps(rows: Sequence[Any]) -> str:
    """Return rows, mappings or dataclasses of one kind, as CSV; nothing where there are none."""
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
