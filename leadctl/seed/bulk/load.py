"""Bulk seed: synthetic rows for an app's tables, in one transaction."""

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property

import psycopg
from psycopg import sql

from leadctl.apps.registry import App
from leadctl.apps.synthetic.chunk import CHUNK_ROWS, TablePlan
from leadctl.crypto import Keyring
from leadctl.errors import SeedFailed
from leadctl.journal.guard import Consent, permit, protection
from leadctl.journal.lock import schema_lock
from leadctl.journal.runs import Entry, journaled
from leadctl.postgres import exact
from leadctl.postgres.connect import Connection, Timeouts, connect, set_session, set_timeouts
from leadctl.postgres.queries import queries_of
from leadctl.postgres.target import Target
from leadctl.postgres.translate import told
from leadctl.progress import Narrate, Progress
from leadctl.seed.bulk.index_suspension import IndexSuspension, has_rows, suspendable
from leadctl.seed.bulk.plan import BulkOptions, BulkPlan, make_plan, reserve_numbers
from leadctl.seed.bulk.workers import Blocks, synthetic_rows

_QUERIES = queries_of(__file__, "bulk.sql")
_FEW = 1000
"""Rows of a table that are fixtures, and not somebody's data."""


@dataclass(frozen=True)
class FilledTable:
    """One table: rows that were added, and how long that took with its indexes."""

    table: str
    rows: int
    seconds: float


@dataclass(frozen=True)
class BulkResult:
    """What a bulk seed added."""

    app: str
    database: str
    schema: str
    rows: int
    random_seed: int
    series: int
    """How many runs filled these tables before; the same seed makes other rows in each."""
    seconds: float
    rows_per_second: int
    tables: tuple[FilledTable, ...]


def bulk_seed(
    target: Target,
    app: App,
    keyring: Keyring,
    options: BulkOptions,
    consent: Consent,
    *,
    timeouts: Timeouts,
    narrate: Narrate,
    progress: Progress,
) -> BulkResult:
    """Add synthetic rows to an app's tables; all of them, or none where it ends early.

    Raises Protected or NotConfirmed, LockHeld, MissingKey, CannotInfer, InvalidFlag, and SeedFailed
    where the server refuses a row, or row security restricts the role.
    """
    began = time.monotonic()
    with (
        schema_lock(target, "seed --bulk", timeouts.lock_wait, narrate),
        connect(target, "seed --bulk", rows=True) as connection,
    ):
        set_timeouts(connection, timeouts)
        # What is added loses nothing, so only a protected database needs more than the command.
        protected = protection(connection, target)
        given = consent if protected or consent.confirm else _YES
        granted = permit(connection, target, "bulk seed", given)
        with journaled(target, "seed --bulk", app.name) as entry:
            plan = make_plan(connection, app, target.schema, options)
            _refuse_policies(connection, plan)
            if not protected:
                _ask(connection, target, plan, consent)
            key = keyring.primary if plan.encrypted else None
            entry.note(rows=options.rows, random_seed=options.seed)
            with synthetic_rows(plan.world, key, options.rows_a_process) as blocks, _explained(app):
                load = _Load(connection, target, plan, blocks, narrate, progress)
                tables = load.run(entry, granted)
            narrate("Gathering the planner's statistics")
            for relation in plan.relations.values():
                connection.execute(sql.SQL("ANALYZE {}").format(relation.identifier))
    seconds, rows = time.monotonic() - began, sum(table.rows for table in tables)
    return BulkResult(
        app=app.name,
        database=target.database,
        schema=target.schema,
        rows=rows,
        random_seed=options.seed,
        series=plan.world.series,
        seconds=round(seconds, 3),
        rows_per_second=round(rows / seconds),
        tables=tuple(tables),
    )


_YES = Consent(yes=True)


def _refuse_policies(connection: Connection, plan: BulkPlan) -> None:
    """Refuse tables into which this role may not COPY, and whose rows it may not all see."""
    oids = [relation.oid for relation in plan.relations.values()]
    secured = _QUERIES.column(connection, "secured", oids=oids)
    if secured:
        raise SeedFailed(
            f"Row security restricts this role on {', '.join(secured)}; nothing was added.",
            hint="Connect as a superuser, a role with BYPASSRLS, or the tables' owner where row "
            "security is not forced.",
        )


def _ask(connection: Connection, target: Target, plan: BulkPlan, consent: Consent) -> None:
    """Where somebody is there, ask before synthetic rows are mixed with others."""
    if consent.ask is not None and any(
        has_rows(connection, relation, _FEW) for relation in plan.relations.values()
    ):
        permit(connection, target, "bulk seed into tables that have rows", consent)


@dataclass
class _Load:
    """The transaction of a run."""

    connection: Connection
    target: Target
    plan: BulkPlan
    blocks: Blocks
    narrate: Narrate
    progress: Progress
    done: int = field(default=0, init=False)
    """Rows that were copied."""

    @cached_property
    def total(self) -> int:
        """The rows of all tables."""
        return sum(table.rows for table in self.plan.tables)

    def run(self, entry: Entry, granted: Consent) -> list[FilledTable]:
        """Load all tables and return what was done."""
        connection = self.connection
        with connection.transaction():
            permit(connection, self.target, "bulk seed", granted)  # it may be protected by now
            set_session(connection, _SETTINGS, transaction=True)
            suspended = [self.plan.relations[name] for name in self._suspended()]
            indexes = IndexSuspension(connection, self.target.schema, suspended, self.narrate)
            reserve_numbers(connection, self.plan)
            self.progress(0, self.total, "rows")
            filled = [self._fill(table, indexes) for table in self.plan.tables]
            indexes.finish()
            entry.commit_with(connection, added=self.total)
        return filled

    def _suspended(self) -> list[str]:
        if self.total < self.plan.options.suspend_from:
            return []
        counts = {table.name: table.rows for table in self.plan.tables}
        return suspendable(self.connection, self.plan.relations, counts)

    def _fill(self, table: TablePlan, indexes: IndexSuspension) -> FilledTable:
        began = time.monotonic()
        emptied = indexes.drop(table.name)
        self._copy(table, frozen=emptied)
        indexes.restore(table.name)
        return FilledTable(table.name, table.rows, round(time.monotonic() - began, 3))

    def _copy(self, table: TablePlan, *, frozen: bool) -> None:
        """Copy a table's rows; those of a table that this transaction emptied need no vacuum."""
        relation = self.plan.relations[table.name]
        statement = sql.SQL("COPY {} ({}) FROM STDIN").format(
            relation.identifier,
            sql.SQL(", ").join(sql.Identifier(column.name) for column in table.columns),
        ) + (sql.SQL(" WITH (FREEZE)") if frozen else sql.SQL(""))
        left = table.rows
        with (
            exact.as_owner(self.connection, relation.touched_as),
            self.connection.cursor() as cursor,
            cursor.copy(statement) as copy,
        ):
            for block in self.blocks(table):
                copy.write(block)
                count = min(left, CHUNK_ROWS)
                left -= count
                self.done += count
                self.progress(self.done, self.total, "rows")


_SETTINGS: Mapping[str, str] = {
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "maintenance_work_mem": "256MB",
}


@contextmanager
def _explained(app: App) -> Iterator[None]:
    """Say what the server's refusal of a row means here."""
    try:
        yield
    except psycopg.errors.LockNotAvailable:
        raise SeedFailed(
            f"A table of {app.name} is in use. Nothing was changed.",
            hint="Wait longer with --lock-timeout, or see who holds it: leadctl inspect locks",
        ) from None
    except (psycopg.IntegrityError, psycopg.DataError) as error:
        where = _column(error.diag)
        name = error.diag.constraint_name
        raise SeedFailed(
            f"The server refuses a row of {where}: {told(error)}. Nothing was changed.",
            hint=(
                f"Declare columns in a factory so that they meet {name}."
                if name
                else "Declare the column in a factory."
            ),
        ) from None


def _column(diagnostic: psycopg.errors.Diagnostic) -> str:
    """Return the table, and the column where it is known, that the server refers to."""
    copied = re.match(r"COPY (\w+), line \d+(?:, column (\w+))?", diagnostic.context or "")
    names = copied.groups() if copied else (diagnostic.table_name, diagnostic.column_name)
    return ".".join(filter(None, names)) or "a table"
