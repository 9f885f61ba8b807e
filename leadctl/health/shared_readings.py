"""What the checks of many schemas of one database share.

What is about the database, or its server, is asked once for all of them; what is about a schema is
asked for many at once, since planning such statements costs far more than what they find.
"""

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import psycopg

from leadctl.catalog.definitions import Catalog, catalog_of, each_of
from leadctl.inspect.run import block_of, reports
from leadctl.postgres import exact
from leadctl.postgres.connect import Connection
from leadctl.postgres.queries import Queries, version_of

T = TypeVar("T")
Row = dict[str, Any]

_FRESH_SECONDS = 5.0
_READ_SECONDS = 30.0
"""How old may be what is known of the database, and what was read of a schema: a check of many
takes as long, and each answer is younger than the run.
"""
_AT_ONCE = 20
"""Schemas that are asked about in one statement."""
_MOST_FAILURES = 3
"""After so many, schemas are asked about one by one."""
_APART = 4
"""Schemas lie so far apart that are asked about at once: those that are checked at the same time
are then read at the same time, too.
"""
_OF_SCHEMA = ("schema", "tables", "relations", "indexes", "largest")
"""The blocks of health.sql that are about one schema."""


@dataclass
class SchemaReadings:
    """What was read of a schema: the rows of reports and of blocks, and its definitions."""

    reports: Mapping[str, list[Row]] = field(default_factory=dict)
    blocks: Mapping[str, list[tuple[Any, ...]]] = field(default_factory=dict)
    definitions: Catalog | None = None

    def update(self, other: "SchemaReadings") -> None:
        """Become the other."""
        self.reports, self.blocks, self.definitions = (
            other.reports, other.blocks, other.definitions
        )  # fmt: skip


class _Together:
    """Schemas that are read together, when the first of them is asked for."""

    def __init__(self, schemas: Sequence[str]) -> None:
        self.schemas = schemas
        self.guard = threading.Lock()
        self.read_at: float | None = None
        self.found: dict[str, SchemaReadings] = {}


class SharedReadings:
    """What is known of a database and of some of its schemas; it is read again when it is old."""

    def __init__(self, schemas: Sequence[str] = ()) -> None:
        self._guard = threading.Lock()
        self._known: dict[str, tuple[float, Any]] = {}
        self._together: dict[str, _Together] = {}
        self._failures = 0
        span = _AT_ONCE * _APART
        for start in range(0, len(schemas), span):
            for offset in range(min(_APART, len(schemas) - start)):
                chosen = schemas[start + offset : start + span : _APART]
                self._together |= dict.fromkeys(chosen, _Together(chosen))

    def once(self, what: str, read: Callable[[], T]) -> T:
        """Return what is the same for all schemas of the database, read again where it is old."""
        known: tuple[float, T] | None = self._known.get(what)
        if known is None or time.monotonic() - known[0] >= _FRESH_SECONDS:
            known = self._known[what] = (time.monotonic(), read())
        return known[1]

    def fresh(self, names: Iterable[str]) -> dict[str, list[Row]]:
        """Return those of some reports that are fresh enough."""
        now = time.monotonic()
        known = {name: self._known[name] for name in names if name in self._known}
        return {name: rows for name, (at, rows) in known.items() if now - at < _FRESH_SECONDS}

    def keep(self, version: int, rows: Mapping[str, list[Row]]) -> None:
        """Keep the rows of reports that name no schema."""
        now = time.monotonic()
        for name, found in rows.items():
            if not _is_of_schema(name, version):
                self._known[name] = (now, found)

    def of_schema(
        self,
        connection: Connection,
        schema: str,
        names: Iterable[str],
        queries: Queries,
        version_table: str | None,
    ) -> SchemaReadings:
        """Return what is read of a schema together with others, once; else nothing.

        `version_table` is left out of the definitions; with None they are not read.
        """
        with self._guard:
            together = self._together.pop(schema, None)
        if together is None:
            return SchemaReadings()
        with together.guard:
            if together.read_at is None:
                together.read_at = time.monotonic()
                try:
                    together.found = _read(
                        connection, together.schemas, names, queries, version_table
                    )
                except psycopg.Error:  # each says for itself what is wrong
                    with self._guard:
                        self._failures += 1
                        if self._failures >= _MOST_FAILURES:
                            self._together.clear()
        if time.monotonic() - together.read_at >= _READ_SECONDS:
            return SchemaReadings()
        return together.found.pop(schema, SchemaReadings())


def _is_of_schema(report: str, version: int) -> bool:
    return "%(schemas)s" in block_of(reports()[report], version).sql


def _read(
    connection: Connection,
    schemas: Sequence[str],
    names: Iterable[str],
    queries: Queries,
    version_table: str | None,
) -> dict[str, SchemaReadings]:
    version = version_of(connection)
    wanted = [name for name in names if _is_of_schema(name, version)]
    texts = [block_of(reports()[name], version).sql for name in wanted]
    texts += [queries.get(name, version) for name in _OF_SCHEMA]
    values: Mapping[str, Any] = {}
    if version_table is not None:
        definitions, values = each_of(connection, [version_table])
        texts.append(definitions)
    parts = {"schemas": "ARRAY[leadctl_of.name]", "schema": "leadctl_of.name"}
    for placeholder, part in parts.items():
        texts = [text.replace(f"%({placeholder})s", part) for text in texts]
    found = {}
    for schema, rows in exact.fetch_each(connection, texts, schemas, values).items():
        blocks = rows[len(wanted) :]
        found[schema] = SchemaReadings(
            dict(zip(wanted, rows, strict=False)),
            {
                name: [tuple(row.values()) for row in each]
                for name, each in zip(_OF_SCHEMA, blocks, strict=False)
            },
            catalog_of(rows[-1]) if version_table is not None else None,
        )
    return found
