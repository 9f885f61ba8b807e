"""The reports, each a block of SQL, and running them, each read-only and within a time limit.

What cannot run says why.  Results are shown, or written to a folder, for a ticket.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from leadctl.catalog.citus import ask_workers, distributes, of_tables, seen_shards
from leadctl.errors import MissingExtension, UnknownReport
from leadctl.files import write_whole
from leadctl.postgres import exact
from leadctl.postgres.connect import Connection, connect, set_session
from leadctl.postgres.provision import has_schema
from leadctl.postgres.queries import OPEN_END, Queries, Query, queries_of, version_of
from leadctl.postgres.replica import Reading, reading
from leadctl.postgres.target import Target
from leadctl.postgres.translate import told
from leadctl.progress import Narrate
from leadctl.redact import HIDDEN, scrub
from leadctl.text import did_you_mean

_FILES: tuple[tuple[str, Queries], ...] = tuple(
    (group, queries_of(__file__, f"{group}.sql"))
    for group in ("tables", "indexes", "activity", "server")
)

COUNTERS = frozenset({"cache-hit", "index-usage", "indexes", "unused-indexes", "vacuum"})
"""Reports of the counters of a database, which mean little without the counters' age."""
NOT_COUNTED = "the server does not count: track_counts is off"
OF_FILES = COUNTERS | {"tables", "bloat", "bloat-exact"}
"""Reports of what a server has on its disk: each node is asked for what Citus has distributed."""
_EACH_NODE = "each node has counted since a time of its own; a shard has the name of its table"
OF_SESSIONS = frozenset({"blocking", "locks", "long-queries", "idle-in-transaction", "connections"})
"""Reports that show little of other roles' sessions to a role that may not see them."""
OF_NODES = OF_SESSIONS | {"transactions", "prepared-transactions", "progress", "wraparound"}
"""Reports that each node of a Citus cluster is asked for."""
_OF_ORIGINS = frozenset({"long-queries", "idle-in-transaction"})
"""Reports in which a session that Citus opens on another node says less than the one it is for."""
_OF_SCHEMAS = "%(schemas)s"
"""What the SQL of reports has that look into schemas."""
_READS_TABLES = frozenset({"bloat-exact"})
"""Reports that read whole tables: they are asked by name only."""


class Diagnostic(NamedTuple):
    """One report: a named question, and the server's major versions that it is for.

    `needs` is the extension without which there is no answer.
    """

    name: str
    group: str
    """Where it belongs: tables, indexes, activity or server."""
    description: str
    versions: str
    needs: str | None


class ReportList(NamedTuple):
    """Every report that there is."""

    reports: tuple[Diagnostic, ...]


@cache
def reports() -> dict[str, Diagnostic]:
    """Return every report by name, in the order in which they are shown."""
    found: dict[str, Diagnostic] = {}
    for group, queries in _FILES:
        for name in dict.fromkeys(block.name for block in queries.blocks):
            blocks = [block for block in queries.blocks if block.name == name]
            report = Diagnostic(
                name=name.replace("_", "-"),
                group=group,
                description=blocks[0].what,
                versions=", ".join(_versions(block) for block in blocks),
                needs=blocks[0].needs,
            )
            found[report.name] = report
    return found


def listing() -> ReportList:
    """Return every report, to be listed."""
    return ReportList(tuple(reports().values()))


def in_all() -> tuple[Diagnostic, ...]:
    """Return the reports that "all" stands for."""
    return tuple(report for name, report in reports().items() if name not in _READS_TABLES)


def block_of(report: Diagnostic, server_version: int) -> Query:
    """Return a report's SQL for a server; `server_version` is libpq's, such as 180006."""
    return dict(_FILES)[report.group].block(report.name.replace("-", "_"), server_version)


def find(name: str) -> Diagnostic:
    """Return a report by its name.  Raises UnknownReport with what was probably meant."""
    known = reports()
    if name not in known:
        raise UnknownReport(
            f"There is no report {name!r}.", hint=did_you_mean(name, [*known, "all"])
        )
    return known[name]


def _versions(block: Query) -> str:
    return f"{block.since}-" + (str(block.until) if block.until < OPEN_END else "")


_STATEMENT_SECONDS = 30.0
_LOCK_SECONDS = 2.0
_FILE_MODE = 0o600
_QUERIES = queries_of(__file__, "role.sql")


class InspectReport(NamedTuple):
    """A report's rows, each by column name.

    `skipped` says why there are none, where it could not be asked; `note` what must be known to
    read the rows: the age of counters, a privilege that is missing.
    """

    report: str
    description: str
    rows: tuple[dict[str, Any], ...] = ()
    skipped: str | None = None
    note: str | None = None


class Inspection(NamedTuple):
    """Reports on one database; `replica_lag_seconds` where a replica was asked instead of it."""

    database: str
    schema: str
    server_version: str
    taken_at: datetime
    replica_lag_seconds: float | None
    reports: tuple[InspectReport, ...]


class ReportFiles(NamedTuple):
    """The files that reports were written to; `skipped` are the reports that could not be asked."""

    folder: Path
    files: tuple[str, ...]
    skipped: tuple[str, ...]


class ServerFacts(NamedTuple):
    """What a server is, and what a role may see of it."""

    role: str
    in_recovery: bool
    sees_sessions: bool
    """Those of other roles, too."""
    untracked: int
    """Sessions of the database of which nothing is told: track_activities is off for them."""
    now: datetime
    counts: bool
    """Whether the server counts what is read and written: else 0 says nothing."""
    counted_since: datetime | None
    """Since when the database's counters count; None where the server does not tell."""
    read_only: bool
    """Whether the database, or the whole server, starts transactions that may not write."""
    extensions: Mapping[str, str]
    """Installed extensions and the schema of each."""

    @property
    def counted_seconds(self) -> float | None:
        """How long counters have counted; None where that is not known."""
        return (
            None if self.counted_since is None else (self.now - self.counted_since).total_seconds()
        )


def server_facts(connection: Connection) -> ServerFacts:
    """Return what the server is, and what the connection's role may see of it."""
    (found,) = _QUERIES.rows(connection, "server_facts", ServerFacts)
    return found


def inspect(
    target: Target, schemas: Sequence[str], wanted: Iterable[Diagnostic], narrate: Narrate
) -> Inspection:
    """Run reports on the target, or on its replica where it has one.  Changes nothing.

    Those about tables look at the target's schema, and at `schemas`, which the app has next to it.

    A report takes 30 s and waits 2 s for a lock at most; one that fails is marked as skipped, and
    the others go on.  Raises ConnectionFailed.
    """
    found: Reading = reading(target, narrate)
    with connect(
        found.target, "inspect", read_only=True, statement_timeout=_STATEMENT_SECONDS
    ) as connection:
        set_session(connection, {"lock_timeout": f"{_LOCK_SECONDS}s"})
        facts = server_facts(connection)
        version = connection.info.parameter_status("server_version") or ""
        searched = [target.schema, *schemas]
        distributed = cache(partial(distributes, connection, tuple(searched)))
        missing = None if has_schema(connection, target.schema) else target.schema
        reports = tuple(
            _run(connection, searched, facts, distributed, report, missing) for report in wanted
        )
        return Inspection(
            database=connection.info.dbname,
            schema=target.schema,
            server_version=version,
            taken_at=facts.now,
            replica_lag_seconds=found.lag_seconds,
            reports=reports,
        )


def ask(
    connection: Connection,
    report: Diagnostic,
    schemas: list[str],
    extensions: Mapping[str, str],
) -> list[dict[str, Any]]:
    """Return a report's rows; what an extension brings is looked for in its schema.

    `extensions` are the installed ones with their schemas.  Raises MissingExtension and
    psycopg.Error.
    """
    text = _text(connection, report, extensions)
    return exact.execute(connection, text, {"schemas": schemas}, dict_row).fetchall()


def _text(connection: Connection, report: Diagnostic, extensions: Mapping[str, str]) -> str:
    """Return a report's SQL, in which what an extension brings is named with its schema."""
    block = block_of(report, version_of(connection))
    if report.needs is None:
        return block.sql
    home = extensions.get(report.needs)
    if home is None:
        raise MissingExtension(
            f"the extension {report.needs} is not installed in this database: "
            f"CREATE EXTENSION {report.needs}"
        )
    path = sql.Identifier(home).as_string(connection).replace("%", "%%")
    return re.sub(rf"\b(?:{'|'.join(block.uses)})\b", lambda name: f"{path}.{name[0]}", block.sql)


def is_of_all_nodes(report: str, facts: ServerFacts, distributed: Callable[[], bool]) -> bool:
    """Whether each node of a Citus cluster is to be asked for a report.

    `distributed` says whether rows of the schemas are on other nodes.
    """
    if "citus" not in facts.extensions:
        return False
    return distributed() if report in OF_FILES else report in OF_NODES


def ask_all_nodes(
    connection: Connection,
    report: Diagnostic,
    schemas: list[str],
    extensions: Mapping[str, str],
) -> tuple[list[dict[str, Any]], list[str]]:
    """Return a report's rows on each node of a Citus cluster, and which nodes did not answer.

    Raises as `ask`.
    """
    with seen_shards(connection):
        found = ask(connection, report, schemas, extensions)
        text = _text(connection, report, extensions)
        others, silent = ask_workers(connection, text, {"schemas": schemas})
        if report.name in _OF_ORIGINS:
            others = [row for row in others if "gpid=" not in (row["application"] or "")]
        rows = [{"node": "coordinator", **row} for row in found] + others
        if report.name in OF_FILES:
            rows = of_tables(connection, schemas, rows)
    return rows, silent


def _why_not(error: psycopg.Error) -> str:
    """Say in a few words why a report could not be asked."""
    if isinstance(error, psycopg.errors.LockNotAvailable):
        return f"no lock could be taken within {_LOCK_SECONDS:g} s; see: leadctl inspect blocking"
    if isinstance(error, psycopg.errors.QueryCanceled):
        return f"it took longer than {_STATEMENT_SECONDS:g} s"
    return told(error).partition("\n")[0]


def _run(
    connection: Connection,
    schemas: list[str],
    facts: ServerFacts,
    distributed: Callable[[], bool],
    report: Diagnostic,
    missing: str | None,
) -> InspectReport:
    """Run a report; `missing` is the schema that it should look into, where there is none."""
    if connection.closed or connection.broken:
        return InspectReport(report.name, report.description, skipped="the connection was lost")
    block = block_of(report, version_of(connection))
    if missing is not None and _OF_SCHEMAS in block.sql:
        return InspectReport(report.name, block.what, skipped=f"there is no schema {missing}")
    if report.name in COUNTERS and not facts.counts:
        return InspectReport(report.name, block.what, skipped=NOT_COUNTED)
    try:
        clustered = is_of_all_nodes(report.name, facts, distributed)
        if clustered:
            found, silent = ask_all_nodes(connection, report, schemas, facts.extensions)
        else:
            found, silent = ask(connection, report, schemas, facts.extensions), []
    except MissingExtension as error:
        skipped = error.message
    except psycopg.Error as error:
        skipped = _why_not(error)
    else:
        rows = tuple(_clean(row) for row in found)
        note = _EACH_NODE if clustered and report.name in COUNTERS else _note(report, facts)
        if silent:
            note = f"no answer from {', '.join(silent)}"
        return InspectReport(report.name, block.what, rows, note=note)
    return InspectReport(report.name, block.what, skipped=skipped)


def _note(report: Diagnostic, facts: ServerFacts) -> str | None:
    if report.name in OF_SESSIONS and not facts.sees_sessions:
        return "most details of other roles' sessions are hidden; ask for: GRANT pg_read_all_stats"
    if report.name in COUNTERS:
        since = facts.counted_since
        return (
            f"counted since {since:%Y-%m-%d %H:%M}Z"
            if since
            else "counted since the server last reset its counters; it does not say when"
        )
    return None


def _clean(row: dict[str, Any]) -> dict[str, Any]:
    return {
        name: scrub(_without_constants(value))
        if name in {"query", "last_query"} and value
        else value
        for name, value in row.items()
    }


def _without_constants(query: str) -> str:
    """Return a query on one line, with its constants hidden, which are values of rows or passwords.

    So pg_stat_statements has it.  The server may have cut the query in the middle of a text.
    """
    from leadctl.sql.lexer import Kind, tokens  # health-check shows no query

    parts, end = list[str](), 0
    for token in tokens(query):
        between = " " if parts and token.start > end else ""
        is_parameter = query[token.start - 1 : token.start] == "$"
        is_constant = token.kind in {Kind.STRING, Kind.NUMBER} and not is_parameter
        cut_off = token.text == "'" or (is_constant and token.text.endswith("\\'"))
        parts.append(between + (HIDDEN if is_constant or cut_off else token.text))
        end = token.end
        if cut_off:  # or its quote is escaped, as older servers' settings allow
            break
    return "".join(parts)


def write(
    inspection: Inspection, folder: Path, suffix: str, text_of: Callable[[InspectReport], str]
) -> ReportFiles:
    """Write each report to a file of its own that only its owner may read: queries hold data.

    Replaces files of an earlier run.  Raises OSError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for report in inspection.reports:
        name = f"{report.report}.{suffix}"
        write_whole(folder / name, text_of(report), _FILE_MODE)
        files.append(name)
    return ReportFiles(
        folder=folder,
        files=tuple(files),
        skipped=tuple(report.report for report in inspection.reports if report.skipped),
    )
