"""Deleting by one statement, and counting what cascades and triggers take along."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from psycopg import Cursor, sql

from leadctl.cleanup.tables import QUERIES, Subject, query
from leadctl.postgres.connect import Connection


@dataclass(frozen=True)
class Gone:
    """What a batch took: of the rule's table, and by cascades per table's oid."""

    rows: int = 0
    cascaded: Mapping[int, int] = field(default_factory=dict)
    seconds: float = 0.0
    """How long the work took; the way to the server and the commit are not in it."""
    transaction: int | None = None
    """Its id, where the transaction has written and the id was asked for."""


@dataclass(frozen=True)
class Deletion:
    """A statement that was sent, between two looks at what the session has deleted."""

    before: Cursor[Any]
    own: Cursor[Any]
    after: Cursor[Any]
    subject: Subject
    table_of: Mapping[int, int]

    def result(self) -> Gone:
        """Return what it took; the pipeline that it was sent through has ended."""
        before, after = self.before.fetchall(), self.after.fetchall()
        cascaded = Counter[int]()
        for holder, rows, _, _ in after:
            cascaded[self.table_of[holder]] += rows
        for holder, rows, _, _ in before:
            cascaded[self.table_of[holder]] -= rows
        cascaded[self.subject.oid] -= self.own.rowcount
        seconds = (after[0][2] - before[0][2]).total_seconds()
        return Gone(self.own.rowcount, +cascaded, seconds, after[0][3])


class Deleter:
    """Deletes rows of a rule's table.

    The server counts what a transaction deletes, and what cascades and triggers delete in it.
    """

    def __init__(self, connection: Connection, subject: Subject) -> None:
        self._connection = connection
        self._subject = subject
        self._table_of = dict(query(connection, "holders", oids=list(subject.tables)))
        self._deleted = QUERIES.get("deleted", connection.info.server_version)

    def send(self, statement: sql.Composed | str, values: Mapping[str, Any]) -> Deletion:
        """Send a DELETE through the connection's pipeline, in the pipeline's transaction."""
        oids = {"oids": list(self._table_of)}
        return Deletion(
            self._connection.execute(self._deleted, oids),
            self._connection.execute(statement, values),
            self._connection.execute(self._deleted, oids),
            self._subject,
            self._table_of,
        )
