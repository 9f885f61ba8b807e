"""Running reports: each by itself, read-only, within a time limit; what cannot run says why."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from leadctl.inspect.registry import COUNTERS, OF_SESSIONS, Report, block_of
from leadctl.postgres.connect import Connection, connect
from leadctl.postgres.replica import Reading, reading
from leadctl.postgres.target import Target
from leadctl.progress import Narrate
from leadctl.redact import scrub

STATEMENT_SECONDS = 30.0
_LOCK_SECONDS = 2.0


@dataclass(frozen=True)
class InspectReport:
    """A report's rows, each by column name.

    `skipped` says why there are none, where it could not be asked; `note` what must be known to
    read the rows: the age of counters, a privilege that is missing.
    """

    report: str
    description: str
    rows: tuple[dict[str, Any], ...] = ()
    skipped: str | None = None
    note: str | None = None


@dataclass(frozen=True)
class Inspection:
    """Reports on one database; `replica_lag_seconds` where a replica was asked instead of it."""

    database: str
    schema: str
    server_version: str
    taken_at: datetime
    replica_lag_seconds: float | None
    reports: tuple[InspectReport, ...]


@dataclass(frozen=True)
class _Facts:
    """What decides whether a report can be asked, and how its numbers are to be read."""

    taken_at: datetime
    counted_since: datetime | None
    sees_all_sessions: bool
    extensions: dict[str, str]
    """Installed extensions and the schema of each."""


def inspect(target: Target, wanted: Iterable[Report], narrate: Narrate) -> Inspection:
    """Run reports on the target, or on its replica where it has one.  Changes nothing.

    A report takes 30 s and waits 2 s for a lock at most; one that fails is marked as skipped, and
    the others go on.  Raises ConnectionFailed.
    """
    found: Reading = reading(target, narrate)
    with connect(
        found.target, "inspect", read_only=True, statement_timeout=STATEMENT_SECONDS
    ) as connection:
        connection.execute("SELECT set_config('lock_timeout', %s, false)", (f"{_LOCK_SECONDS}s",))
        facts = _facts(connection)
        reports = tuple(_run(connection, target.schema, facts, report) for report in wanted)
        return Inspection(
            database=connection.info.dbname,
            schema=target.schema,
            server_version=connection.info.parameter_status("server_version") or "",
            taken_at=facts.taken_at,
            replica_lag_seconds=found.lag_seconds,
            reports=reports,
        )


def ask(
    connection: Connection, report: Report, schema: str, extension_schema: str | None
) -> list[dict[str, Any]]:
    """Return a report's rows; what an extension brings is looked for in its schema.

    Raises psycopg.Error.
    """
    block = block_of(report, connection.info.server_version)
    with connection.transaction(), connection.cursor(row_factory=dict_row) as cursor:
        if extension_schema is not None:
            identifiers = [sql.Identifier(schema), sql.Identifier(extension_schema)]
            path = sql.SQL(", ").join(identifiers).as_string(connection)
            cursor.execute("SELECT set_config('search_path', %s, true)", (path,))
        return cursor.execute(block.sql, {"schema": schema}).fetchall()


def missing_extension(name: str, schema: str | None) -> str | None:
    """Say why a report that needs an extension cannot run; None where it is there."""
    if schema is not None:
        return None
    return f"the extension {name} is not installed in this database: CREATE EXTENSION {name}"


def why_not(error: psycopg.Error) -> str:
    """Say in a few words why a report could not be asked."""
    if isinstance(error, psycopg.errors.LockNotAvailable):
        return f"a lock was not to be had within {_LOCK_SECONDS:g} s; see: leadctl inspect blocking"
    if isinstance(error, psycopg.errors.QueryCanceled):
        return f"it took longer than {STATEMENT_SECONDS:g} s"
    return error.diag.message_primary or str(error).partition("\n")[0]


def _facts(connection: Connection) -> _Facts:
    row = connection.execute(
        "SELECT clock_timestamp(),"
        " (SELECT stats_reset FROM pg_stat_database WHERE datname = current_database()),"
        " pg_has_role('pg_read_all_stats', 'USAGE'),"
        " (SELECT coalesce(jsonb_object_agg(e.extname, n.nspname), '{}') FROM pg_extension e"
        "  JOIN pg_namespace n ON n.oid = e.extnamespace)"
    ).fetchone()
    assert row is not None
    return _Facts(*row)


def _run(connection: Connection, schema: str, facts: _Facts, report: Report) -> InspectReport:
    block = block_of(report, connection.info.server_version)
    home = facts.extensions.get(report.needs) if report.needs else None
    skipped = missing_extension(report.needs, home) if report.needs else None
    if skipped is None and (connection.closed or connection.broken):
        skipped = "the connection was lost"
    if skipped is None:
        try:
            found = ask(connection, report, schema, home)
        except psycopg.Error as error:
            skipped = why_not(error)
        else:
            rows = tuple(_clean(row) for row in found)
            return InspectReport(report.name, block.what, rows, note=_note(report, facts))
    return InspectReport(report.name, block.what, skipped=skipped)


def _note(report: Report, facts: _Facts) -> str | None:
    if report.name in OF_SESSIONS and not facts.sees_all_sessions:
        return "of other roles' sessions little is seen; it takes GRANT pg_read_all_stats"
    if report.name in COUNTERS:
        since = facts.counted_since
        return (
            f"counted since {since:%Y-%m-%d %H:%M}Z"
            if since
            else "counted since the server last lost its counters, which it does not tell"
        )
    return None


def _clean(row: dict[str, Any]) -> dict[str, Any]:
    """Take passwords out of queries, and bring them on one line."""
    return {
        name: scrub(" ".join(value.split())) if name in {"query", "last_query"} and value else value
        for name, value in row.items()
    }
