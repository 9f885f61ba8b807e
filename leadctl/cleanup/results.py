"""What a run of cleanup did, rule by rule; and what earlier runs did, as the journal has it.

A row may be refused: by a reference, a trigger, a deferred constraint or row security.  What the
server's own state refuses (locks, space, memory, a lost connection) has nothing to do with it.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import psycopg
from psycopg import sql

from leadctl.catalog.relations import read_numbered
from leadctl.cleanup import QUERIES
from leadctl.errors import LeadctlError
from leadctl.journal import state
from leadctl.postgres import exact
from leadctl.postgres.connect import Connection, connect
from leadctl.postgres.queries import escaped
from leadctl.postgres.target import Target
from leadctl.postgres.translate import told

if TYPE_CHECKING:
    from leadctl.cleanup.statements import Statements


class Reason(Enum):
    """Why a run, or a rule in it, stopped early; the next run continues."""

    MAX_SECONDS = "max_seconds"
    MAX_ROWS = "max_rows"
    INTERRUPTED = "interrupted"
    TERMINATED = "terminated"
    REPLICA_LAG = "replica_lag"
    WAL_ARCHIVING = "wal_archiving"
    VACUUM = "vacuum"
    TABLE_LOCKED = "table_locked"
    ROWS_LOCKED = "rows_locked"
    ROWS_REFUSED = "rows_refused"


class RuleStatus(Enum):
    """How a rule ended."""

    DONE = "done"
    """Everything that was due is gone."""
    STOPPED = "stopped"
    """A bound was reached or it gave way; the next run goes on."""
    PARTLY = "partly"
    """Rows may not go, and are named; what may is gone, or a bound was reached as well."""
    OVERLAP = "overlap"
    """Another run is at this rule."""
    REFUSED = "refused"
    """The fuse has blown."""
    FAILED = "failed"


class Refusal(NamedTuple):
    """A row that cannot be deleted: a reference, a trigger, a constraint or a policy refuses it."""

    key: str
    """Its primary key, as column=value; its ctid where it has none."""
    reason: str
    """What the server says."""


@dataclass(frozen=True)
class RuleResult:
    """What a rule did."""

    rule: str
    table: str
    status: RuleStatus
    cutoff: datetime
    rows: int = 0
    """Rows of the rule's table that went."""
    cascaded: Mapping[str, int] | None = None
    """Rows that went along, by table."""
    partitions: tuple[str, ...] = ()
    """Partitions that went as a whole; their rows are estimates."""
    batches: int = 0
    seconds: float = 0.0
    backlog: int | None = None
    """Rows that are still due, of a large table an estimate; None where nobody looked."""
    reason: Reason | None = None
    refused: int = 0
    """Rows that are due and may not go."""
    refusals: tuple[Refusal, ...] = ()
    """The first of these."""
    message: str = ""
    archive: Path | None = None
    warnings: tuple[str, ...] = ()
    stopped_at: Mapping[str, int] = field(default_factory=dict, metadata={"json": False})
    """Where the next run goes on, where this one stopped."""

    def noted(self) -> dict[str, Any]:
        """Return what the journal keeps of it."""
        facts = {
            "status": self.status.value,
            "rows": self.rows,
            "cascaded": sum((self.cascaded or {}).values()) or None,
            "backlog": self.backlog,
            "refused": self.refused or None,
            "reason": self.reason.value if self.reason else None,
            "archive": str(self.archive) if self.archive else None,
        }
        return {name: fact for name, fact in facts.items() if fact is not None} | dict(
            self.stopped_at
        )


@dataclass(frozen=True)
class CleanupResult:
    """What a run did."""

    app: str
    database: str
    schema: str
    ok: bool
    """Whether no rule was refused, failed or was done in part."""
    rows: int
    cascaded: int
    seconds: float
    vacuum_seconds: float
    """How many of these VACUUM took, after the rules."""
    stopped: Reason | None
    rules: tuple[RuleResult, ...]
    error: LeadctlError | None = field(default=None, compare=False, metadata={"json": False})
    """The first error of a rule, where one was refused or failed; the others ran all the same."""


_RUNS = 50
_ENOUGH = 3
"""Runs from which on one can refer to a usual one."""
SUCCESS = frozenset({"done", "stopped", "partly"})
"""How a rule ends that did what it could; what is stopped by a bound goes on next time."""


class PastRun(NamedTuple):
    """One run of a rule: when it ended, and what it noted."""

    at: datetime
    noted: Mapping[str, Any]

    @property
    def succeeded(self) -> bool:
        """Whether it ended as it should, and got on: what stops at once may stop every time."""
        status, rows = self.noted.get("status"), self.noted.get("rows")
        return status in SUCCESS and not (status == "stopped" and not rows)


class PastRuns(NamedTuple):
    """The last runs of each rule of an app's cleanup in a schema, the newest first."""

    rules: Mapping[str, tuple[PastRun, ...]]

    def usual_rows(self, rule: str) -> float | None:
        """Return how many rows are due usually: the median; None where too few runs say.

        What a run that was stopped left was due, too.
        """
        runs = [run.noted for run in self.rules.get(rule, ())]
        past = [noted for noted in runs if noted.get("status") in SUCCESS]
        rows = [int(noted["rows"]) + int(noted.get("backlog", 0)) for noted in past]
        from statistics import median

        return median(rows) if len(rows) >= _ENOUGH else None

    def last_success(self, rule: str) -> datetime | None:
        """Return when a rule last ended as it should."""
        return next((run.at for run in self.rules.get(rule, ()) if run.succeeded), None)

    def last(self, rule: str) -> Mapping[str, Any]:
        """Return what the last run of a rule noted: `backlog`, `heap`; nothing without one."""
        return next((run.noted for run in self.rules.get(rule, ())), {})

    def refused(self, rule: str) -> int:
        """Return how many rows the last run that went through a rule could not delete."""
        through = (
            run.noted
            for run in self.rules.get(rule, ())
            if run.noted.get("status") in {"done", "partly"}
        )
        return int(next(through, {}).get("refused", 0))

    def stopped_at(self, rule: str) -> tuple[int | None, int]:
        """Return where the last run of a rule stopped: at which table, by oid, and which block."""
        noted = self.last(rule)
        return noted.get("heap"), noted.get("block", 0)


def past_runs(target: Target, app: str, rules: Iterable[str]) -> PastRuns:
    """Connect, and read the last runs of an app's rules."""
    with connect(target, "cleanup", read_only=True) as connection:
        return read_past_runs(connection, app, target.schema, rules)


def read_past_runs(connection: Connection, app: str, schema: str, rules: Iterable[str]) -> PastRuns:
    """Read the last runs of rules by their names; none where leadctl never wrote here."""
    if not state.is_there(connection):
        return PastRuns({})
    return runs_in_journal(connection, app, schema, rules)


def runs_in_journal(
    connection: Connection, app: str, schema: str, rules: Iterable[str]
) -> PastRuns:
    """Read the last runs of rules, where it is known whose the journal is."""
    found: dict[str, list[PastRun]] = {}
    values = {"rules": list(rules), "limit": _RUNS, "success": sorted(SUCCESS)}
    for rule, at, noted in QUERIES.rows(connection, "runs", app=app, schema=schema, **values):
        found.setdefault(rule, []).append(PastRun(at, noted))
    return PastRuns({rule: tuple(runs) for rule, runs in found.items()})


_CONSTRAINT = "23"
_SERVER_STATE = ("08", "25", "40", "53", "54", "55", "57", "58", "F0", "XX")
"""Classes of SQLSTATE. https://www.postgresql.org/docs/current/errcodes-appendix.html"""
_LENGTH = 200


class RowsKept(Exception):
    """Rows that are due stayed though nothing failed: a trigger, a rule or a policy kept them."""

    def __str__(self) -> str:
        return (
            "a trigger, a rule or a policy keeps it or a row deleted with it, or the "
            "condition changes"
        )


def is_refusal(error: Exception) -> bool:
    """Whether a row was refused: a constraint is violated, or a function of a trigger failed."""
    if isinstance(error, RowsKept):
        return True
    if not isinstance(error, psycopg.Error) or error.sqlstate is None:
        return False
    if error.sqlstate.startswith(_CONSTRAINT):
        return True
    return error.diag.context is not None and not error.sqlstate.startswith(_SERVER_STATE)


def is_refusal_of_key(error: Exception) -> bool:
    """Whether a foreign key refused a row."""
    return isinstance(error, psycopg.errors.ForeignKeyViolation | psycopg.errors.RestrictViolation)


def tids_of(rows: str) -> list[str]:
    """Return the ctids of an array, as the server writes it."""
    return re.findall(r"\(\d+,\d+\)", rows)


def halves(tids: list[str]) -> list[list[str]]:
    """Return the two halves of a batch, the second one first."""
    middle = len(tids) // 2
    return [tids[middle:], tids[:middle]]


class RefusedRows:
    """Names the rows of a table that are refused."""

    def __init__(self, connection: Connection, statements: "Statements") -> None:
        self._connection = connection
        (relation,) = read_numbered(connection, [statements.table.oid], "indexes").values()
        self._columns = relation.primary_key
        columns = sql.SQL(", ").join(
            sql.SQL("pg_catalog.left({}::pg_catalog.text, {})").format(escaped(column), _LENGTH)
            for column in self._columns or ("ctid",)
        )
        select = sql.SQL(
            "SELECT {} FROM {} WHERE ctid OPERATOR(pg_catalog.=) %(tid)s::pg_catalog.tid"
        )
        self._role = statements.reads_as
        self._select = select.format(columns, statements.source)

    def refusal(self, tid: str, error: Exception | str) -> Refusal | None:
        """Return a row's name and why it stays; None where it is gone meanwhile."""
        values: Mapping[str, Any] = {"tid": tid}
        with self._connection.transaction(), exact.as_owner(self._connection, self._role):
            exact.take_app_path(self._connection)
            found = self._connection.execute(self._select, values).fetchone()
        if found is None:
            return None
        names = self._columns or ("ctid",)
        key = ", ".join(f"{name}={value}" for name, value in zip(names, found, strict=True))
        said = told(error) if isinstance(error, psycopg.Error) else None
        return Refusal(key, (said or str(error)).partition("\n")[0])
