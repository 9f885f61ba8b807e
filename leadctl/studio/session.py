"""A look at a database: a read-only transaction, consent and journal where secrets are shown.

The tables of a schema at a glance are one: rows as estimated, and who refers to whom.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property

import psycopg

from leadctl.apps.registry import App
from leadctl.catalog.relations import Relation, read_schema
from leadctl.crypto import Keyring
from leadctl.errors import StatementFailed
from leadctl.journal.guard import Consent, decide, protection
from leadctl.journal.records import VERSION_TABLE
from leadctl.journal.runs import journaled
from leadctl.postgres.connect import Connection, connect, set_session
from leadctl.postgres.provision import require_schema
from leadctl.postgres.replica import reading
from leadctl.postgres.target import Target
from leadctl.progress import Narrate
from leadctl.studio.projection import Secrets, masking_of, recorded_contexts
from leadctl.studio.shape import QUERIES, TableShape, build, name, read_shape

_DEFAULT_TIMEOUT = 30.0
"""Seconds that a statement may take."""
_REVEAL = "studio --reveal"
_COUNTED_BYTES = 128 * 1024
"""A table up to this size is counted: that takes less than a millisecond."""
_COUNTED_TABLES = 500
_LOCK_SECONDS = 2
_SHORT_LOCK_MS = 50
"""For a table that somebody holds, where what is asked of it can be left out."""
_SHOWN = 3
_ORDER_OF_DATES = {"DateStyle": "ISO, YMD"}
"""No setting of a role or database changes how a date is read that somebody typed."""


@dataclass(frozen=True)
class Access:
    """How a database is looked at; `consent` is there where secrets are to be revealed."""

    target: Target
    app: App
    keyring: Keyring
    timeout: float = _DEFAULT_TIMEOUT
    consent: Consent | None = None
    narrate: Narrate = lambda _: None


@dataclass(frozen=True)
class Session:
    """An open look at a database."""

    connection: Connection
    access: Access

    def shape(self, table: str, schema: str | None = None) -> TableShape:
        """Read the shape of a table.  Raises UnknownTable."""
        return read_shape(self.connection, schema or self.access.target.schema, table)

    def secrets(self, shape: TableShape) -> Secrets:
        """Say how a table's secrets are read."""
        access = self.access
        masking = masking_of(access.app, shape, access.keyring, self._encrypted)
        return Secrets(masking, access.keyring, revealed=access.consent is not None)

    @cached_property
    def _encrypted(self) -> Mapping[str, str] | None:
        return recorded_contexts(self.connection, self.access.app, self.access.target.schema)

    @contextmanager
    def hurried(self) -> Iterator[None]:
        """Let no statement of the block wait for a table that somebody holds."""
        set_session(self.connection, {"lock_timeout": f"{_SHORT_LOCK_MS}ms"}, transaction=True)
        yield
        set_session(self.connection, {"lock_timeout": f"{_LOCK_SECONDS}s"}, transaction=True)


@contextmanager
def read_session(access: Access, **facts: object) -> Iterator[Session]:
    """Open a read-only transaction with one snapshot and a statement timeout.

    It reads from the target's replica where it has one; a journal is the primary's.

    Where secrets are revealed it is journaled first, with `facts`.  Raises Protected where that
    needs consent, and StatementFailed where a statement takes too long.
    """
    with ExitStack() as stack:
        if access.consent is not None:
            stack.enter_context(_revealing(access, access.consent, facts))
        found = reading(access.target, access.narrate)
        connection = stack.enter_context(
            connect(
                found.target,
                "studio",
                rows=True,
                read_only=True,
                statement_timeout=access.timeout,
            )
        )
        set_session(connection, {"lock_timeout": f"{_LOCK_SECONDS}s"})
        stack.enter_context(_patience(connection, access.timeout))
        stack.enter_context(connection.transaction())
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        set_session(connection, _ORDER_OF_DATES, transaction=True)
        yield Session(connection, access)


@contextmanager
def _revealing(access: Access, consent: Consent, facts: dict[str, object]) -> Iterator[None]:
    with connect(access.target, "studio") as connection:
        protected = protection(connection, access.target)
        if protected or consent.confirm is not None:
            decide(connection.info.dbname, protected, _REVEAL, consent)
    with journaled(access.target, _REVEAL, access.app.name) as entry:
        entry.note(**facts)
        yield


@contextmanager
def _patience(connection: Connection, timeout: float) -> Iterator[None]:
    try:
        yield
    except psycopg.errors.LockNotAvailable:
        found = QUERIES.rows(connection, "held")
        named = [f"{table} (pid {pid})" for table, pid in found[:_SHOWN]]
        held = ", ".join(named) or "a table"
        raise StatementFailed(
            f"Another session holds {held}, and did not release it within {_LOCK_SECONDS} s.",
            hint="See what it does: leadctl inspect locks",
        ) from None
    except psycopg.errors.QueryCanceled:
        raise StatementFailed(
            f"It took longer than {timeout:g} s and was stopped.",
            hint="Filter or sort by a column that has an index, or allow more with --timeout.",
        ) from None


@dataclass(frozen=True)
class TableEntry:
    """A table or view; `rows` is None where nothing is known of it.

    `exact` says that rows were counted and not estimated; `bytes` is without indexes.
    """

    name: str
    kind: str
    rows: int | None
    exact: bool
    bytes: int | None
    refers_to: tuple[str, ...]
    referred_by: tuple[str, ...]
    comment: str | None


@dataclass(frozen=True)
class TableList:
    """The tables and views of a schema."""

    database: str
    schema: str
    tables: tuple[TableEntry, ...]


def list_tables(access: Access) -> TableList:
    """List the tables and views of the target's schema, in one query but for small tables."""
    schema = access.target.schema
    with read_session(access) as session:
        connection = session.connection
        found = read_schema(connection, schema, "references", "sizes")
        if not found:
            require_schema(connection, schema)
        own = [each for each in found if not each.of_extension and each.name != VERSION_TABLE]
        entries = [_entry(each) for each in own]
        if len(entries) <= _COUNTED_TABLES:
            with session.hurried():
                entries = [_counted(connection, *each) for each in zip(own, entries, strict=True)]
        return TableList(connection.info.dbname, schema, tuple(entries))


def _entry(relation: Relation) -> TableEntry:
    return TableEntry(
        name=relation.name,
        kind=relation.label,
        rows=relation.size.rows,
        exact=False,
        bytes=None if relation.kind == "v" or relation.size.partly else relation.size.heap_bytes,
        refers_to=tuple(sorted({key.parent_table for key in relation.references})),
        referred_by=tuple(sorted({key.child_table for key in relation.referrers})),
        comment=relation.comment,
    )


def _counted(connection: Connection, relation: Relation, entry: TableEntry) -> TableEntry:
    """Count a small table, whose estimate is often missing; not where this role may not."""
    small = entry.bytes is not None and entry.bytes <= _COUNTED_BYTES
    if not small or entry.kind == "foreign table":
        return entry
    try:
        with connection.transaction():
            query = build("SELECT pg_catalog.count(*) FROM {}", name(relation.schema, entry.name))
            row = query.run(connection, relation.touched_as).fetchone()
    except (
        psycopg.errors.InsufficientPrivilege,
        psycopg.errors.ObjectNotInPrerequisiteState,
        psycopg.errors.LockNotAvailable,
    ):
        return entry
    return replace(entry, rows=int(row[0]) if row else None, exact=True)
