"""Columns that begin to count although rows are there: identities, and sequences of their own."""

import re

from leadctl.catalog.definitions import Attributes
from leadctl.migrate.ddl.literals import literal
from leadctl.migrate.ddl.order import plain
from leadctl.migrate.ddl.steps import Phase, Step

_START = re.compile(r"START WITH (-?\d+)")


def behind_rows(table: str, own: str, attributes: Attributes, sequence: str | None = None) -> Step:
    """Return the step that lets a column's sequence go on behind the values that are there.

    `attributes` are those of the sequence, or of the identity column where none is named.
    """
    start = _START.search(attributes.get("identity_options", ""))
    first = attributes.get("start", start[1] if start else 1)
    found = f"pg_get_serial_sequence({literal(table)}, {literal(plain(own))})"
    which = literal(sequence) if sequence else found
    rows = f"{table} HAVING max({own}) >= {first}"
    return Step(
        f"SELECT setval({which}, max({own})) FROM {rows}",  # noqa: S608 - names as the server quotes them
        Phase.DEPENDENT,
        why="New rows count on behind those that are there.",
    )
