"""A run: the rules one after another, each under its own lock, until a bound is reached."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import psycopg
from psycopg import sql

from leadctl.apps.registry import App
from leadctl.cleanup import partitions
from leadctl.cleanup.archive import Archive, ArchivePlace, require_keys, settle
from leadctl.cleanup.backoff import Pressure
from leadctl.cleanup.batches import LOCK_TIMEOUT, Batches, Deleted
from leadctl.cleanup.context import Limits
from leadctl.cleanup.fuse import measure_due, refuse
from leadctl.cleanup.partitions import premake
from leadctl.cleanup.preview import checked, parts_of, server_time, warnings
from leadctl.cleanup.results import CleanupResult, Past, RuleResult, RuleStatus, read_past
from leadctl.cleanup.rule_run import Job
from leadctl.cleanup.rules import RunRule
from leadctl.cleanup.statements import Statements
from leadctl.cleanup.tables import Subject, examine, query
from leadctl.cleanup.vacuum import vacuum
from leadctl.errors import ArchiveFailed, ClockSkew, ConnectionFailed, FuseBlown, LeadctlError
from leadctl.journal.guard import Consent, decide, protection
from leadctl.journal.runs import Entry, journaled
from leadctl.postgres.connect import Connection, connect
from leadctl.postgres.target import Target
from leadctl.postgres.translate import translate
from leadctl.progress import Narrate, Progress

_SKEW_SECONDS = 300.0
_NOTE_EVERY = 5.0
"""Seconds between two notes in the journal, so that a killed run shows what it did."""


@dataclass(frozen=True)
class Voice:
    """How a run speaks while it goes on."""

    narrate: Narrate
    progress: Progress


def cleanup(
    target: Target,
    app: App,
    rules: Sequence[RunRule],
    *,
    limits: Limits,
    consent: Consent,
    archive: ArchivePlace,
    voice: Voice,
) -> CleanupResult:
    """Delete what the rules say is due; return what happened, with the first error of a rule.

    All rules are checked before the first one runs: raises InvalidRule, UnindexedForeignKey,
    NoPrimaryKey and ClockSkew, and Protected where another database's name was given as consent.
    """
    with connect(target, "cleanup") as connection:
        now = server_time(connection)
        _refuse_skew(now)
        if consent.confirm is not None:
            name, why = connection.info.dbname, protection(connection, target)
            decide(name, why, "cleanup past its fuse", consent)
        subjects = [examine(connection, target.schema, rule) for rule in rules]
        plans = [checked(connection, subject, now) for subject in subjects]
        for subject in subjects:
            if subject.rule.archive:
                require_keys(connection, subject)
        with journaled(target, "cleanup", app.name) as entry:
            _prepare(connection)
            run = _Run(connection, target, app, limits, consent, archive, voice, entry)
            for plan in plans:
                run.rule(plan)
            run.vacuum()
        return run.result()


class _Run:
    def __init__(
        self,
        connection: Connection,
        target: Target,
        app: App,
        limits: Limits,
        consent: Consent,
        place: ArchivePlace,
        voice: Voice,
        entry: Entry,
    ) -> None:
        self._connection = connection
        self._target = target
        self._app = app
        self._limits = limits
        self._consent = consent
        self._place = place
        self._voice = voice
        self._entry = entry
        self._past: Past = read_past(connection, app.name, target.schema)
        self._results: list[RuleResult] = []
        self._lost = Counter[int]()
        self._vacuum_seconds = 0.0
        self._error: LeadctlError | None = None

    def rule(self, plan: Statements) -> None:
        """Run a rule; an error of it is kept, and ends nothing but the rule."""
        began, done = time.monotonic(), Deleted()
        job = Job(self._connection, plan, done, self._noting(plan.subject, done))
        status, message = RuleStatus.DONE, ""
        try:
            with _lock(self._connection, f"{self._target.schema}.{plan.subject.rule.name}") as held:
                if held:
                    self._locked(job)
                else:
                    status, message = RuleStatus.OVERLAP, "another run is at this rule"
        except FuseBlown as error:
            status, message = RuleStatus.REFUSED, error.message
            self._error = self._error or error
        except (LeadctlError, psycopg.Error, OSError) as error:
            if self._limits.requested is not None and isinstance(
                error, psycopg.errors.QueryCanceled
            ):
                done.stopped = self._limits.requested
                self._keep(job, RuleStatus.STOPPED, "", began)
                return
            known = _known(error, plan.subject)
            if self._connection.broken or isinstance(known, ConnectionFailed):
                raise known from None
            status, message = RuleStatus.FAILED, known.message
            self._error = self._error or known
        if status is RuleStatus.DONE and done.stopped is not None:
            status = RuleStatus.STOPPED
        self._keep(job, status, message, began)

    @property
    def _is_consented(self) -> bool:
        return self._consent.confirm is not None

    def _keep(self, job: Job, status: RuleStatus, message: str, began: float) -> None:
        """Keep what a rule did, and journal it."""
        plan, done = job.plan, job.done
        self._lost.update({plan.subject.oid: done.rows} | dict(done.cascaded))
        self._results.append(
            RuleResult(
                rule=plan.subject.rule.name,
                table=plan.subject.rule.rule.table,
                status=status,
                cutoff=plan.cutoff,
                rows=done.rows,
                cascaded=_by_name(plan.subject, done.cascaded),
                partitions=tuple(job.partitions),
                batches=done.batches,
                seconds=round(time.monotonic() - began, 3),
                backlog=job.backlog if status is not RuleStatus.OVERLAP else None,
                reason=done.stopped,
                message=message,
                archive=job.archive.folder if job.archive else None,
                warnings=job.warnings,
            )
        )
        self._entry.note(rules={result.rule: result.noted() for result in self._results})

    def vacuum(self) -> None:
        """Vacuum what the rules have left full of dead rows, each table once."""
        began = time.monotonic()
        try:
            vacuum(self._connection, self._lost, self._limits, self._voice.narrate)
        except psycopg.Error as error:
            self._error = self._error or translate(error)
        self._vacuum_seconds = round(time.monotonic() - began, 3)
        self._entry.note(vacuum_seconds=self._vacuum_seconds)

    def result(self) -> CleanupResult:
        """Return what the run did."""
        cascaded = [count for found in self._results for count in (found.cascaded or {}).values()]
        bad = {RuleStatus.REFUSED, RuleStatus.FAILED}
        return CleanupResult(
            app=self._app.name,
            database=self._target.database,
            schema=self._target.schema,
            ok=not any(found.status in bad for found in self._results),
            rows=sum(found.rows for found in self._results),
            cascaded=sum(cascaded),
            seconds=round(time.monotonic() - self._limits.began, 3),
            vacuum_seconds=self._vacuum_seconds,
            stopped=next((found.reason for found in self._results if found.reason), None),
            rules=tuple(self._results),
            error=self._error,
        )

    def _locked(self, job: Job) -> None:
        subject, connection = job.plan.subject, self._connection
        if subject.rule.archive:
            self._settle(subject)
            job.archive = Archive(
                connection, self._app.name, self._target.schema, self._place, subject
            )
        work = job.maintenance(self._target.schema, self._voice.narrate)
        partitions.finish(work)
        premake(work, server_time(connection))
        if self._limits.reached is not None:
            job.done.stopped = self._limits.reached
            return
        job.warnings = warnings(connection, subject, job.plan)
        whole = partitions.due(connection, subject, job.plan.cutoff)
        gone = {partition.oid for partition in whole}
        parts = [
            part
            for part in parts_of(subject, job.plan.cutoff)
            if part.leaf is None or part.leaf.oid not in gone
        ]
        estimated = sum(partition.rows for partition in whole)
        with self._limits.cancelling(connection):
            job.due = measure_due(
                connection, subject, parts, estimated, self._past, consented=self._is_consented
            )
        if job.due.blown and not self._is_consented:
            raise refuse(subject, job.due, connection.info.dbname)
        # What is in an archive is to stay deleted, whatever the role's default.  Rows are found by
        # ctid or index; for many of them the planner would read the whole table.
        with _settings(connection, synchronous_commit="on", enable_seqscan="off"):
            self._delete(job, whole, parts)
        if job.archive is not None:
            self._settle(subject)

    def _delete(self, job: Job, whole: list[partitions.Partition], parts: list[Statements]) -> None:
        subject = job.plan.subject
        job.on_batch(job.done)
        partitions.drop(
            job.maintenance(self._target.schema, self._voice.narrate), whole, self._limits
        )
        pressure = Pressure(
            self._connection, list(subject.tables), self._limits, self._voice.narrate
        )
        for part in parts:
            if job.done.stopped is not None:
                break
            batches = Batches(
                self._connection,
                part,
                self._limits,
                pressure,
                job.archive,
                job.done,
                job.on_batch,
            )
            batches.run(at_most=subject.rule.rule.max_rows, all_are_gone=job.all_are_gone)

    def _settle(self, subject: Subject) -> None:
        settle(self._connection, self._target.schema, self._place, subject, self._voice.narrate)

    def _noting(self, subject: Subject, done: Deleted) -> Callable[[Job], None]:
        """Return what says and journals how far a rule is."""
        noted = time.monotonic()

        def note(job: Job) -> None:
            nonlocal noted
            total = max(job.due.rows, done.rows) if job.due else 0
            self._voice.progress(done.rows, total, f"rows of {subject.name}")
            if time.monotonic() - noted > _NOTE_EVERY:
                noted = time.monotonic()
                rules = {result.rule: result.noted() for result in self._results}
                rules[subject.rule.name] = {"status": "running", "rows": done.rows}
                self._entry.note(rules=rules)

        return note


def _refuse_skew(server: datetime) -> None:
    skew = (server - datetime.now(UTC)).total_seconds()
    if abs(skew) > _SKEW_SECONDS:
        raise ClockSkew(
            f"The server's clock says {server:%Y-%m-%d %H:%M:%S}Z, which is {abs(skew):,.0f} s "
            f"{'ahead of' if skew > 0 else 'behind'} this machine's. Nothing was changed.",
            hint="One of them is wrong, so nobody can say how old a row is: set it by NTP.",
        )


@contextmanager
def _settings(connection: Connection, **values: str) -> Iterator[None]:
    """Change settings of the session for a while."""
    for name, value in values.items():
        connection.execute("SELECT set_config(%s, %s, false)", (name, value))
    try:
        yield
    finally:
        for name in values if not connection.broken else ():
            connection.execute(sql.SQL("RESET {}").format(sql.Identifier(name)))


def _prepare(connection: Connection) -> None:
    """Settle how the session behaves: locks it waits for, and the texts of archived values."""
    for name, value in {
        "lock_timeout": LOCK_TIMEOUT,
        "idle_session_timeout": "0",
        "statement_timeout": "0",
        "jit": "off",
        "DateStyle": "ISO, YMD",
        "IntervalStyle": "postgres",
        "bytea_output": "hex",
        "extra_float_digits": "1",
    }.items():
        connection.execute("SELECT set_config(%s, %s, false)", (name, value))


@contextmanager
def _lock(connection: Connection, name: str) -> Iterator[bool]:
    """Hold the lock of a rule, as long as the session lives at most; False where another does."""
    held = bool(query(connection, "lock", name=name)[0][0])
    try:
        yield held
    finally:
        if held and not connection.broken:
            query(connection, "unlock", name=name)


def _known(error: Exception, subject: Subject) -> LeadctlError:
    if isinstance(error, LeadctlError):
        return error
    if isinstance(error, OSError):
        return ArchiveFailed(
            f"Rows of {subject.name} could not be archived, so they were not deleted: "
            f"{error.filename or ''} {error.strerror or error}.",
            hint="Look at the folder's path, its permissions and the free space.",
        )
    known = translate(error)
    assert known is not None
    if isinstance(error, psycopg.errors.ForeignKeyViolation):
        known.hint = (
            f"Rows refer to what the rule {subject.rule.name} would delete; leave such rows out "
            "by a condition: NOT EXISTS (SELECT FROM …)"
        )
    return known


def _by_name(subject: Subject, cascaded: Counter[int]) -> dict[str, int]:
    return {subject.tables[oid]: count for oid, count in sorted(cascaded.items()) if count}
