"""One rule of a run, from its lock to its result: partitions, fuse, batches."""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import sql

from leadctl.cleanup import QUERIES
from leadctl.cleanup.archive import RowArchive
from leadctl.cleanup.archive_files import archiving, finish_killed_runs
from leadctl.cleanup.batches import Batches
from leadctl.cleanup.context import Backoff, RuleProgress, RunContext
from leadctl.cleanup.partitions import Partition, RulePartitions
from leadctl.cleanup.preview import blown_fuse, measure_due
from leadctl.cleanup.ranges import order_of
from leadctl.cleanup.results import Reason, RuleResult, RuleStatus
from leadctl.cleanup.statements import Statements, warnings
from leadctl.errors import (
    BackupFolderUnusable,
    ConnectionFailed,
    FuseBlown,
    InsufficientPrivilege,
    LeadctlError,
)
from leadctl.postgres import exact
from leadctl.postgres.connect import Connection, set_session
from leadctl.postgres.translate import translate


class RuleRun:
    """One rule at work."""

    def __init__(self, run: RunContext, statements: Statements) -> None:
        self._run = run
        self._connection = run.connection
        self._statements = statements
        self._table = statements.table
        self._done = RuleProgress()
        self._archive: RowArchive | None = None
        self._warnings: tuple[str, ...] = ()
        self.error: LeadctlError | None = None
        """What ended the rule, where it was refused or failed."""

    def execute(self) -> RuleResult:
        """Delete what is due, under the rule's lock; journal and return what happened.

        Raises ConnectionFailed; any other error ends nothing but the rule.
        """
        began = time.monotonic()
        status, message = RuleStatus.DONE, ""
        try:
            with _lock(
                self._connection, f"{self._run.target.schema}.{self._table.rule.name}"
            ) as held:
                if held:
                    self._delete_due()
                else:
                    status, message = RuleStatus.OVERLAP, "another run is working on this rule"
        except (LeadctlError, psycopg.Error) as error:
            status, message = self._ended_by(error)
        if status is RuleStatus.DONE and self._done.stopped is not None:
            status = RuleStatus.STOPPED
        if status in {RuleStatus.DONE, RuleStatus.STOPPED} and self._done.refused:
            status = RuleStatus.PARTLY
        result = self._result(status, message, time.monotonic() - began)
        self._run.note(result.rule, result.noted())
        return result

    @property
    def lost(self) -> Counter[int]:
        """How many rows each table lost, by oid."""
        return Counter({self._table.oid: self._done.rows}) + self._done.cascaded

    def _delete_due(self) -> None:
        run, table, done = self._run, self._table, self._done
        if table.rule.archive:
            with archiving(table):
                finish_killed_runs(run, table)
            self._archive = RowArchive(run, table)
        partitions = RulePartitions(run, self._statements, self._archive, done)
        partitions.finish_killed_runs()
        partitions.make_ahead()
        if run.bounds.reached is not None:
            done.stopped = run.bounds.reached
            return
        expired = partitions.due()
        with exact.own_path(self._connection, wanted=self._statements.exactly):
            self._delete_from(partitions, expired)
        if self._archive is not None:
            try:
                finish_killed_runs(run, table)
            except (OSError, BackupFolderUnusable):
                run.narrate("Files of the archive have temporary names: the next run renames them.")

    def _delete_from(self, partitions: RulePartitions, expired: list[Partition]) -> None:
        """Drop whole partitions, and delete from the other tables that hold rows."""
        run, table, done = self._run, self._table, self._done
        self._warnings = warnings(self._connection, self._statements)
        leaves = self._leaves_without(expired)
        self._check_fuse(expired, leaves)
        if done.due is not None and done.due.exact and not done.due.rows:
            return
        # What is in an archive is to stay deleted, whatever the role's default.  Rows are found by
        # ctid or index; for many of them the planner would read the whole table.
        with _settings(self._connection, synchronous_commit="on", enable_seqscan="off"):
            run.show(table, done)
            partitions.drop(expired)
            backoff = Backoff(run, list(table.tables))
            rows = -1
            while done.stopped is None and rows < done.rows:
                rows = done.rows
                done.forget_refusals()
                for leaf, block in self._from_where_it_stopped(leaves):
                    self._delete_of(leaf, block, backoff)
                if not (done.refused and table.links_tables):
                    break  # else rows of another table may have referred to what was refused

    def _delete_of(self, leaf: Statements, block: int, backoff: Backoff) -> None:
        run, done = self._run, self._done
        if done.stopped is None:
            done.heap = leaf.heap
            by_age = run.bounds.counts_rows
            order = order_of(self._connection, leaf, oldest_first=by_age, first_block=block)
            Batches(run, leaf, order, self._archive, backoff, done).delete()

    def _leaves_without(self, expired: list[Partition]) -> list[Statements]:
        """Return the statements of the tables that hold rows, but not of whole partitions."""
        gone = {partition.oid for partition in expired}
        return [
            leaf
            for leaf in self._statements.per_leaf()
            if leaf.leaf is None or leaf.leaf.oid not in gone
        ]

    def _from_where_it_stopped(self, leaves: list[Statements]) -> Iterator[tuple[Statements, int]]:
        """Yield the tables, and the block to begin at: the one first where the last run stopped."""
        heap, block = self._run.past.stopped_at(self._table.rule.name)
        if self._table.by_age and self._table.links_tables:
            leaves = leaves[::-1]  # what refers is newer than what it refers to
        first = next((i for i, leaf in enumerate(leaves) if leaf.heap == heap), 0)
        for leaf in leaves[first:] + leaves[:first]:
            yield leaf, block if leaf.heap == heap else 0

    def _check_fuse(self, expired: list[Partition], leaves: list[Statements]) -> None:
        """Measure what is due.  Raises FuseBlown where that is too much, and nobody consented."""
        run = self._run
        estimated = sum(partition.rows for partition in expired)
        with run.bounds.cancelling(self._connection):
            due = measure_due(
                self._connection,
                self._table,
                leaves,
                estimated,
                run.past,
                consented=run.consented,
            )
        self._done.due = due
        if due.blown and not run.consented:
            raise blown_fuse(self._table, due, self._connection.info.dbname)

    def _ended_by(self, error: Exception) -> tuple[RuleStatus, str]:
        """Return how an error ended the rule, and its message.  Raises it where the run ends."""
        reached = self._run.bounds.reached
        if reached is not None and isinstance(error, psycopg.errors.QueryCanceled):
            self._done.stopped = reached
            return RuleStatus.STOPPED, ""
        if isinstance(error, psycopg.errors.LockNotAvailable):
            self._done.stopped = Reason.TABLE_LOCKED
            return RuleStatus.STOPPED, ""
        known = self._known(error)
        is_refused = isinstance(known, InsufficientPrivilege)
        if self._connection.closed or (isinstance(known, ConnectionFailed) and not is_refused):
            raise known from None
        self.error = known
        refused = isinstance(known, FuseBlown)
        return RuleStatus.REFUSED if refused else RuleStatus.FAILED, known.message

    def _known(self, error: Exception) -> LeadctlError:
        if isinstance(error, LeadctlError):
            return error
        known = translate(error)
        assert known is not None
        if isinstance(error, psycopg.errors.ForeignKeyViolation):
            known.hint = (
                f"Rows refer to what the rule {self._table.rule.name} would delete; leave such "
                "rows out by a condition: NOT EXISTS (SELECT FROM …)"
            )
        return known

    def _result(self, status: RuleStatus, message: str, seconds: float) -> RuleResult:
        done, tables = self._done, self._table.tables
        is_through = done.stopped is None and status in {RuleStatus.DONE, RuleStatus.PARTLY}
        folder = self._archive.folder if self._archive else None
        return RuleResult(
            rule=self._table.rule.name,
            table=self._table.rule.table,
            status=status,
            cutoff=self._statements.cutoff,
            rows=done.rows,
            cascaded={tables[oid]: rows for oid, rows in sorted(done.cascaded.items()) if rows},
            partitions=tuple(done.partitions),
            batches=done.batches,
            seconds=round(seconds, 3),
            backlog=done.backlog(is_through=is_through),
            reason=done.stopped,
            refused=done.refused,
            refusals=tuple(done.refusals),
            message=message,
            archive=folder.path if folder else None,
            warnings=self._warnings,
            stopped_at=done.stopped_at if done.stopped else {},
        )


@contextmanager
def _lock(connection: Connection, name: str) -> Iterator[bool]:
    """Hold the lock of a rule, as long as the session lives at most; False where another does."""
    held = bool(QUERIES.value(connection, "lock", name=name))
    try:
        yield held
    finally:
        if held and not connection.closed:
            QUERIES.run(connection, "unlock", name=name)


@contextmanager
def _settings(connection: Connection, **values: str) -> Iterator[None]:
    """Change settings of the session for a while."""
    set_session(connection, values)
    try:
        yield
    finally:
        for name in values if not connection.closed else ():
            connection.execute(sql.SQL("RESET {}").format(sql.Identifier(name)))
