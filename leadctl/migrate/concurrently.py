"""What is built CONCURRENTLY: no timeout, nothing INVALID before it, and a look at it afterwards.

A build that stops leaves an index that nobody uses and every writer pays for, and CREATE … IF NOT
EXISTS takes it for the real one.
"""

import re
import threading
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Self

import psycopg
from psycopg import sql
from psycopg.pq import TransactionStatus

from leadctl.errors import IndexInvalid, LeadctlError
from leadctl.migrate.live_tables import QUERIES
from leadctl.postgres.connect import Connection, connect
from leadctl.postgres.queries import identifier
from leadctl.postgres.target import Target
from leadctl.progress import Progress
from leadctl.sql.lexer import Reader, parts_of_name

_POLL_SECONDS = 0.2
_REPORT_SECONDS = 1.0


def is_concurrent(statement: str) -> bool:
    """Whether a statement says CONCURRENTLY, as a word of its own."""
    return Reader(statement).has("CONCURRENTLY")


class ConcurrentBuild:
    """One statement that builds an index CONCURRENTLY, or does something else that way."""

    def __init__(self, connection: Connection, statement: str) -> None:
        self._connection = connection
        self._invalid: set[str] = set()
        self._named, self._table, self._leftovers = _about(statement)
        self._on = None if self._named is None else _table_of(statement)

    def prepare(self, statement: str) -> str:
        """Remove what a stopped build of the same left, and return what is to be executed.

        One that is being built now, by a run that was killed or by somebody else, is waited for.
        A partition whose detaching was begun can only be detached to the end.
        """
        begun = _detached(statement)
        if begun and QUERIES.value(self._connection, "detach_pending", name=begun):
            return re.sub(r"\bCONCURRENTLY\b", "FINALIZE", statement, flags=re.IGNORECASE)
        while (found := list(self._left_behind())) != []:
            for index, being_built in found:
                if being_built:
                    time.sleep(_POLL_SECONDS)
                else:
                    self._drop(index)
        self._invalid = self._all_invalid()
        return statement

    def check(self) -> None:
        """Raise IndexInvalid where the index that was asked for cannot be used."""
        if self._named and QUERIES.one(self._connection, "invalid_index", name=self._named):
            raise IndexInvalid(
                f"The index {self._named} is INVALID: its build was stopped, and no query uses it.",
                hint="Run leadctl migrate again: it drops the index first, and builds it again.",
            )

    def clean_up(self) -> None:
        """Remove what the statement left when it failed, where the connection still serves."""
        if self._connection.closed or self._connection.info.transaction_status not in {
            TransactionStatus.IDLE
        }:
            return  # within a transaction nothing was built
        for index in sorted(self._all_invalid() - self._invalid):
            self._drop(index)

    def _left_behind(self) -> Iterator[tuple[str, bool]]:
        if self._named:
            yield from QUERIES.rows(self._connection, "invalid_index", name=self._named)
        elif self._table:
            yield from QUERIES.rows(
                self._connection, "invalid_on_table", name=self._table, pattern=self._leftovers
            )

    def _all_invalid(self) -> set[str]:
        """Return what is invalid of the table that it is about; without one, of the database."""
        if table := self._on or self._table:
            rows = QUERIES.rows(self._connection, "invalid_on_table", name=table, pattern="")
            return {index for index, being_built in rows if not being_built}
        return set(QUERIES.column(self._connection, "invalid_indexes"))

    def _drop(self, index: str) -> None:
        drop = sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS {}").format(identifier(index))
        self._connection.execute(drop)


def _about(statement: str) -> tuple[str | None, str | None, str]:
    """Return the index that a statement names, else the table, and what leftovers are called."""
    reader = Reader(statement)
    if reader.accept("REINDEX"):
        reader.parenthesised()
        reader.take()
        reader.accept("CONCURRENTLY")
        return None, _quoted(reader.name()), r"_cc(new|old)\d*$"
    if not reader.accept("CREATE"):
        return None, None, ""
    reader.accept("UNIQUE")
    if not reader.accept("INDEX", "CONCURRENTLY"):
        return None, None, ""
    reader.skip_if_exists()
    if not reader.accept("ON"):
        name = reader.name()
        reader.accept("ON")
        *schema, _ = parts_of_name(reader.table()) or ("",)
        return _quoted(name, *schema), None, ""
    return None, _quoted(reader.table()), r"_(idx|key)\d*$"


def _detached(statement: str) -> str | None:
    """Return the partition that a statement detaches."""
    reader = Reader(statement)
    if not (reader.accept("ALTER", "TABLE") and reader.skip_to("DETACH")):
        return None
    return _quoted(reader.name()) if reader.accept("PARTITION") else None


def _table_of(statement: str) -> str:
    """Return the table of a CREATE INDEX CONCURRENTLY that names its index."""
    reader = Reader(statement)
    reader.skip_to("ON")
    return _quoted(reader.table())


def _quoted(name: str, *schema: str) -> str:
    return sql.Identifier(*schema, *parts_of_name(name)).as_string()


class IndexBuilds:
    """While it is entered, reports what a session's index builds have done, every second."""

    def __init__(self, target: Target, session: int, progress: Progress) -> None:
        self._target = target
        self._session = session
        self._progress = progress
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end.set()
        self._thread.join()

    def _watch(self) -> None:
        if self._end.wait(_REPORT_SECONDS):
            return  # most runs are over by then, and need no second session
        try:
            with connect(self._target, "progress", statement_timeout=_REPORT_SECONDS) as connection:
                self._report(connection)
                while not self._end.wait(_REPORT_SECONDS):
                    self._report(connection)
        except (LeadctlError, psycopg.Error):
            return  # no connection is left for it; the build itself goes on

    def _report(self, connection: Connection) -> None:
        row = QUERIES.one(connection, "index_build", session=self._session)
        if row:
            self._progress(*row)
