"""Closing a tenant to writes, and opening it: by grants, which stay when a run is killed.

What was taken is kept in leadctl.tenant_move, in the same transaction, so that the next run knows
how to give it back.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from psycopg import sql
from psycopg.types.json import Jsonb

from leadctl.errors import LockHeld, MoveFailed
from leadctl.journal.kept_names import record_kept
from leadctl.postgres.connect import Connection
from leadctl.postgres.queries import identifier
from leadctl.tenants.schemas import MOVES as QUERIES
from leadctl.tenants.schemas import QUERIES as TENANTS
from leadctl.tenants.schemas import kept_name, move_records

CLOSED, HANDED_OVER, ARRIVED = "closed", "handed over", "arrived"
_GRACE_SECONDS = 3.0
"""For transactions that write, to end by themselves."""
_PAUSE_SECONDS = 0.1
_RENAME = sql.SQL("ALTER SCHEMA {} RENAME TO {}")


@dataclass(frozen=True)
class Grant:
    """A privilege by which somebody may write in a relation of a tenant's schema."""

    privilege: str
    is_sequence: bool
    relation: str
    column: str | None
    grantee: str | None
    """None for everybody."""
    again: bool
    """Whether they may grant it to others."""

    def statement(self, schema: str, verb: str, ending: str) -> sql.Composed:
        """Return what grants or revokes it.  Raises KeyError for what is no such privilege."""
        words = sql.SQL("{} {}{} ON {} {} {} {}{}")
        column = (
            sql.SQL(" ({})").format(sql.Identifier(self.column)) if self.column else sql.SQL("")
        )
        return words.format(
            _WORDS[verb],
            _WORDS[self.privilege],
            column,
            _WORDS["SEQUENCE" if self.is_sequence else "TABLE"],
            sql.Identifier(schema, self.relation),
            _WORDS["TO" if verb == "GRANT" else "FROM"],
            sql.Identifier(self.grantee) if self.grantee is not None else _WORDS["PUBLIC"],
            _WORDS[ending],
        )

    def give(self, schema: str) -> sql.Composed:
        """Return what grants it on a relation of a schema."""
        return self.statement(schema, "GRANT", " WITH GRANT OPTION" if self.again else "")

    def take(self, schema: str) -> sql.Composed:
        """Return what revokes it, with what was granted by it."""
        return self.statement(schema, "REVOKE", " CASCADE")


_WORDS = {
    word.as_string(): word
    for word in (
        sql.SQL("GRANT"), sql.SQL("REVOKE"), sql.SQL("INSERT"), sql.SQL("UPDATE"),
        sql.SQL("DELETE"), sql.SQL("TRUNCATE"), sql.SQL("USAGE"), sql.SQL("TABLE"),
        sql.SQL("SEQUENCE"),
        sql.SQL("TO"),
        sql.SQL("FROM"), sql.SQL("PUBLIC"), sql.SQL(""), sql.SQL(" CASCADE"),
        sql.SQL(" WITH GRANT OPTION"),
    )
}  # fmt: skip
"""What a grant consists of, besides names: what is kept of one is never SQL."""


@dataclass(frozen=True)
class Move:
    """The record of a move that has begun, in one of its two databases."""

    schema: str
    phase: str
    """ "closed": nobody writes here; "handed over": the other copy is the tenant; "arrived": this
    copy is whole, and not open yet."""
    other: str
    """The identity of the other database."""
    place: str
    """Where that is, for people."""
    held_as: str
    """The schema's name meanwhile."""
    grants: list[dict[str, Any]]
    """What opens it: what was granted before."""
    since: datetime


def read_move(connection: Connection, name: str) -> Move | None:
    """Return the record of a tenant's unfinished move here; None if there is none."""
    if not QUERIES.value(connection, "has_moves"):
        return None
    return QUERIES.one(connection, "move", Move, name=name)


def close(connection: Connection, name: str, other: str, place: str) -> None:
    """Close a tenant's schema to writes, and record in the same transaction how to open it again.

    Raises MoveFailed where that cannot be.
    """
    with connection.transaction():
        QUERIES.run(connection, "create_moves")
        found = QUERIES.rows(connection, "writing_grants", Grant, name=name)
        grants = Jsonb([asdict(grant) for grant in found])
        values = {"phase": CLOSED, "other": other, "place": place, "held_as": name}
        QUERIES.run(connection, "begin_move", name=name, grants=grants, **values)
        for grant in found:
            connection.execute(grant.take(name))
        if left := QUERIES.rows(connection, "writing_grants", Grant, name=name):
            raise MoveFailed(
                f"{name} cannot be closed: {left[0].grantee or 'everybody'} may still "
                f"{left[0].privilege} {left[0].relation}.",
                hint="Connect as the owner of its tables, or as a superuser. Nothing was changed.",
            )


def end_writers(connection: Connection, name: str, seconds: float) -> int:
    """Wait for transactions that have written, a moment, then end their sessions; return how many.

    All that takes `seconds` at most.

    Raises LockHeld for what cannot be ended, such as a prepared transaction.
    """
    deadline = time.monotonic() + seconds
    patience, ended = min(time.monotonic() + _GRACE_SECONDS, deadline), set[int]()
    while writers := QUERIES.rows(connection, "writers", name=name):
        if prepared := [gid for _, _, gid in writers if gid]:
            raise LockHeld(
                f"The prepared transaction {prepared[0]!r} has written in {name}.",
                hint="Commit it or roll it back, then try again.",
            )
        if time.monotonic() > deadline:
            raise LockHeld(
                f"Sessions that write in {name} do not end: process {writers[0][0]}.",
                hint="End them, then try again.",
            )
        if time.monotonic() > patience:
            for pid, _, _ in writers:
                QUERIES.run(connection, "end_session", pid=pid)
                ended.add(pid)
        time.sleep(_PAUSE_SECONDS)
    return len(ended)


def reopen(connection: Connection, move: Move) -> None:
    """Open a tenant again here, under its own name, in one transaction."""
    with connection.transaction():
        if move.held_as != move.schema:
            _rename(connection, move.held_as, move.schema)
            move_records(connection, move.held_as, move.schema)
        _open(connection, move.schema, move.grants)


def open_arrived(connection: Connection, move: Move, grants: Sequence[dict[str, Any]]) -> None:
    """Open the copy that has arrived, under the tenant's name, in one transaction."""
    with connection.transaction():
        _rename(connection, move.held_as, move.schema)
        move_records(connection, move.held_as, move.schema)
        _open(connection, move.schema, grants)


def hand_over(connection: Connection, name: str) -> str:
    """Keep the closed schema under another name, in the caller's transaction; return that."""
    kept = kept_name(connection, name, "moved")
    _rename(connection, name, kept)
    move_records(connection, name, kept)
    record_kept(connection, kept, name)
    QUERIES.run(connection, "hand_over", name=name, held_as=kept)
    return kept


def arrive(connection: Connection, name: str, arriving: str, other: str, place: str) -> None:
    """Put a schema that was loaded aside until it is opened, in the caller's transaction."""
    QUERIES.run(connection, "create_moves")
    _rename(connection, name, arriving)
    move_records(connection, name, arriving)
    record_kept(connection, arriving, name)
    values = {"phase": ARRIVED, "other": other, "place": place, "held_as": arriving}
    QUERIES.run(connection, "begin_move", name=name, grants=Jsonb([]), **values)


def end_move(connection: Connection, name: str) -> None:
    """Forget a move that has ended."""
    QUERIES.run(connection, "end_move", name=name)


def lock(connection: Connection, name: str) -> None:
    """Block all writes to a schema's tables, also by superusers, for the caller's transaction.

    Only who may write may lock: an owner gets that back for the statement, which nobody else sees.
    """
    tables = TENANTS.column(connection, "tables_of", name=name)
    if not tables:
        return
    listed = sql.SQL(", ").join(map(identifier, tables))
    is_owner = connection.info.parameter_status("is_superuser") != "on"
    if is_owner:
        connection.execute(sql.SQL("GRANT UPDATE ON TABLE {} TO CURRENT_USER").format(listed))
    connection.execute(sql.SQL("LOCK TABLE {} IN SHARE MODE").format(listed))
    if is_owner:
        connection.execute(sql.SQL("REVOKE UPDATE ON TABLE {} FROM CURRENT_USER").format(listed))


def checksums(connection: Connection, name: str | None) -> dict[str, tuple[int, str]]:
    """Return of each table how many rows it has and a sum over them; of each sequence its place.

    Those of a schema, or of the whole database but for leadctl's own.

    Equal rows in any order have equal sums.
    """
    query = sql.SQL(
        "SELECT pg_catalog.count(*), coalesce(pg_catalog.sum(pg_catalog.hashtextextended("
        "ROW(t.*)::pg_catalog.text, 0)::pg_catalog.numeric), 0)::pg_catalog.text || ' '"
        " || coalesce(pg_catalog.sum(pg_catalog.hashtextextended(ROW(t.*)::pg_catalog.text,"
        " 1)::pg_catalog.numeric), 0)::pg_catalog.text FROM {} AS t"
    )
    found = {}
    for table in TENANTS.column(connection, "tables_of", name=name):
        ((rows, total),) = connection.execute(query.format(identifier(table)))
        found[table] = (int(rows), str(total))
    position = sql.SQL("SELECT last_value, is_called::pg_catalog.text FROM {}")
    for sequence in QUERIES.column(connection, "sequences_of", name=name):
        ((last, called),) = connection.execute(position.format(identifier(sequence)))
        found[f"sequence {sequence}"] = (int(last), str(called))
    return found


def _rename(connection: Connection, name: str, new: str) -> None:
    connection.execute(_RENAME.format(sql.Identifier(name), sql.Identifier(new)))


def _open(connection: Connection, name: str, grants: Sequence[dict[str, Any]]) -> None:
    for grant in grants:
        connection.execute(Grant(**grant).give(name))
    end_move(connection, name)
