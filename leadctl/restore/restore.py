"""Restoring a backup into a new database, which takes the place of the old one when it is good."""

import time
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

import psycopg
from psycopg import sql

from leadctl.backup.contents import label_of
from leadctl.backup.reader import VerifyCheck, problems
from leadctl.errors import DatabaseExists, LeadctlError, RestoreFailed
from leadctl.journal import state
from leadctl.journal.guard import Consent, permit
from leadctl.journal.kept_names import kept_prefix
from leadctl.journal.lock import schema_lock
from leadctl.journal.runs import journal_done
from leadctl.postgres.connect import Connection, connect, set_session
from leadctl.postgres.queries import queries_of
from leadctl.postgres.target import Target
from leadctl.postgres.translate import told
from leadctl.progress import Narrate
from leadctl.redact import scrub
from leadctl.restore.cluster import Cluster, distribute, drop_everywhere
from leadctl.restore.database import (
    all_rows_seen,
    analyze,
    carry_over,
    maintenance,
    restore_lock,
    scratch_database,
    settings_for_loading,
    swap,
)
from leadctl.restore.preflight import (
    RestorePlan,
    cluster_of,
    is_there,
    plan_on,
    preflight,
    without_missing,
)
from leadctl.restore.properties import DatabaseProperties, configure_database, properties_of
from leadctl.restore.restorable import (
    IncompleteTable,
    LeftOutEntry,
    Load,
    LoadComparison,
    Loading,
    Origin,
    Restorable,
)

_QUERIES = queries_of(__file__, "restore.sql")


@dataclass(frozen=True)
class RestoreResult:
    """What a restore did."""

    backup: str
    made_at: datetime
    database: str
    previous: str | None
    """The name under which the replaced database is kept; None where there was none."""
    revision: str | None
    rows: int
    tables: int
    checks: tuple[VerifyCheck, ...]
    duration_ms: int
    complete: bool
    """False where something of the source was left out: see the next two."""
    left_out: tuple[LeftOutEntry, ...]
    incomplete: tuple[IncompleteTable, ...]


def restore(
    target: Target,
    source: Restorable,
    consent: Consent,
    loading: Loading,
    *,
    app: str,
    member: Target | None = None,
    new: bool,
    drop_old: bool,
    lock_wait: float,
    show: Callable[[RestorePlan], object],
) -> RestoreResult:
    """Restore a backup as the target's database; an existing one is kept under another name.

    It is loaded into a database of its own, compared with the manifest, and takes its place in one
    transaction: until then, whatever happens, the target is as it was.  `new` refuses a database
    that exists; `drop_old` drops the one that was replaced, unless no row was restored; `show` is
    told the plan before anybody is asked; `member` is as `plan` has it.  Raises Protected or
    NotConfirmed, LockHeld, DatabaseInUse, NotOnCitus, RestoreFailed, and what `preflight` and
    connecting raise.
    """
    began, name = time.monotonic(), target.database
    with (
        source.held(),
        source.loader(loading) as load,
        maintenance(target) as connection,
        restore_lock(connection, name),
    ):
        origin = source.origin()
        # One name per target, so that the next restore removes what a killed one left.
        scratch = f"leadctl_restore_{zlib.crc32(name.encode()):08x}"
        if cluster := cluster_of(member or target, origin):
            cluster.settle(connection, scratch)
            parts = origin.distribution or ()
            loading = replace(loading, jobs=1, distribute=partial(distribute, parts=parts))
        with ThreadPoolExecutor(1) as ahead:
            read = ahead.submit(source.properties, owners=loading.owners)
            found = plan_on(target, origin, connection)
            show(found)
            preflight(source, found, owners=loading.owners, partly=loading.partly)
            loading = without_missing(loading, found)
            exists = is_there(connection, name)
            if exists:
                consent = _permit_replacing(target, consent, new=new)
            properties = read.result()
            if properties is None and exists:
                properties = properties_of(target, owners=loading.owners)
        made = _Replacement(connection, target, scratch, exists, cluster, consent, lock_wait)
        compared, previous = made.make(
            source, load, loading, found, properties or DatabaseProperties(), origin
        )
        result = _result(origin, name, previous, loading, compared)
        if drop_old and previous is not None:
            whole = result.complete and not origin.left_out
            kept = _drop(target, connection, previous, result.rows, loading.narrate, whole=whole)
            result = replace(result, previous=kept)
    result = replace(result, duration_ms=round((time.monotonic() - began) * 1000))
    _journal(target, app, result, loading.narrate)
    return result


@dataclass(frozen=True)
class _Replacement:
    """The database that a source is loaded into, and whose place it takes."""

    connection: Connection
    target: Target
    scratch: str
    exists: bool
    """Whether the target does, so that it is replaced."""
    cluster: Cluster | None
    consent: Consent
    lock_wait: float

    def make(
        self,
        source: Restorable,
        load: Load,
        loading: Loading,
        found: RestorePlan,
        properties: DatabaseProperties,
        origin: Origin,
    ) -> tuple[LoadComparison, str | None]:
        """Load it, compare it and swap it in; return the name under which the old one is kept."""
        made = (self.scratch, properties, loading.narrate, settings_for_loading(origin))
        loaded = replace(self.target.on(self.scratch), schema=origin.schema or self.target.schema)
        with (
            scratch_database(self.target, self.connection, *made),
            self.cluster.databases(*made) if self.cluster else nullcontext() as configure,
        ):
            # No migrations meanwhile of what is going to be replaced.
            locked = schema_lock(self.target, "restore", self.lock_wait, loading.narrate)
            with locked if self.exists else nullcontext():
                compared = _load(load, loaded, found.server, source, loading)
                if self.exists:
                    _permit_replacing(self.target, self.consent)  # loading may have taken hours
                    self._give_to_owner(properties)
                    carry_over(self.target, loaded)
                configure_database(loaded, self.connection, properties, loading.narrate)
                if configure:
                    configure()
            name = self.target.database
            _say_kept(self.connection, name, loading.narrate)
            elsewhere = self.cluster.renaming if self.cluster else None
            previous = swap(
                self.target,
                self.connection,
                self.scratch,
                replace=self.exists,
                elsewhere=elsewhere,
            )
            if previous is not None:  # whatever ends the run now, it is done
                loading.narrate(f"Replaced {name}. The old database is {previous}.")
            return compared, previous

    def _give_to_owner(self, properties: DatabaseProperties) -> None:
        """Let a superuser trust the journal that was loaded, as of the database's owner.

        What cannot be is said when all properties are set.
        """
        if self.connection.info.parameter_status("is_superuser") == "on":
            for statement in properties.owner(self.scratch):
                with suppress(psycopg.Error):
                    self.connection.execute(statement)


def _result(
    origin: Origin, name: str, previous: str | None, loading: Loading, compared: LoadComparison
) -> RestoreResult:
    return RestoreResult(
        backup=origin.name,
        made_at=origin.made_at,
        database=name,
        previous=previous,
        revision=compared.revision,
        rows=compared.rows,
        tables=compared.tables,
        checks=compared.checks,
        duration_ms=0,
        complete=not (loading.left_out or compared.incomplete),
        left_out=tuple(loading.left_out),
        incomplete=compared.incomplete,
    )


def _load(
    load: Load, loaded: Target, server: int, source: Restorable, loading: Loading
) -> LoadComparison:
    """Load a source into its empty database, and compare the two."""
    wait_for_all = load(loaded, server, loading)
    with connect(loaded, "restore", like_pg_dump=True) as connection:
        compared = _checked(connection, source, loading)
        wait_for_all()
        analyze(connection, loaded, loading.jobs, loading.narrate)
    return compared


def _say_kept(connection: Connection, name: str, narrate: Narrate) -> None:
    if kept := _QUERIES.column(connection, "kept", prefix=kept_prefix(name)):
        narrate(f"Earlier restores kept {', '.join(kept)}: drop them when no longer needed.")


def _drop(
    target: Target,
    connection: Connection,
    previous: str,
    rows: int,
    narrate: Narrate,
    *,
    whole: bool,
) -> str | None:
    """Drop the replaced database, unless the new one lacks something; return what is kept."""
    if not (whole and rows):
        lacks = "has no row" if whole else "is not all of the database"
        narrate(f"Kept {previous}: what was restored {lacks}.")
        return previous
    try:
        drop_everywhere(target, connection, previous)
    except (LeadctlError, psycopg.Error) as error:  # the restore itself is done
        why = error.message if isinstance(error, LeadctlError) else told(error)
        narrate(f"Kept {previous}, which cannot be dropped: {why}")
        return previous
    narrate(f"Dropped {previous}, the old database.")
    return None


def _permit_replacing(target: Target, consent: Consent, *, new: bool = False) -> Consent:
    """Ask the guard of an existing database, if it has tables; return the consent.

    Raises DatabaseExists where a new one was asked for.
    """
    if new:
        raise DatabaseExists(
            f"The database {target.database} exists already.",
            hint="Choose another name for --into.",
        )
    with connect(target, "restore", like_pg_dump=True) as existing:
        if _QUERIES.value(existing, "own_tables"):
            return permit(existing, target, "restore", consent)
    return consent


def _checked(connection: Connection, source: Restorable, loading: Loading) -> LoadComparison:
    with all_rows_seen(connection):
        compared = source.compare(connection, rows=loading.rows)
    wrong = problems(compared.checks)
    if wrong and loading.keep_going and compared.tables:
        checks = [check for check in compared.checks if check.ok is False]
        loading.left_out.extend(LeftOutEntry(check.what, check.message) for check in checks)
    elif wrong and not _was_skipped(compared, loading):
        raise RestoreFailed(
            f"Verification failed: restored data differ from the backup: {'; '.join(wrong)}.",
            hint="The target was not changed. Try: leadctl backup verify ID --restore",
        )
    for name in _QUERIES.column(connection, "subscriptions"):
        loading.narrate(
            f"The subscription {name} is made disabled. When nothing else reads its slot, "
            f"connect and run: ALTER SUBSCRIPTION {sql.Identifier(name).as_string()} ENABLE"
        )
    return compared


def _was_skipped(compared: LoadComparison, loading: Loading) -> bool:
    """Whether all that differs is rows of tables that were to be skipped."""
    labels = {left.entry for left in loading.left_out}
    for each in compared.incomplete:
        leaves = compared.leaves[each.table].items()
        skipped = [rows for parts, rows in leaves if label_of("TABLE DATA", *parts) in labels]
        if not skipped or each.rows - each.restored != sum(skipped):
            return False
    return [check.what for check in compared.checks if check.ok is False] == ["rows"]


def _journal(target: Target, app: str, result: RestoreResult, narrate: Narrate) -> None:
    """Journal the restore in the restored database, where leadctl keeps a journal.

    Its own limits and settings came back, and may not let this role in: that undoes nothing of what
    was done.
    """
    try:
        with connect(target, "restore", like_pg_dump=True) as connection:
            if state.is_there(connection):
                set_session(connection, {"default_transaction_read_only": "off"})
                facts = {"backup": result.backup, "rows": result.rows, "previous": result.previous}
                journal_done(connection, target, "restore", app, **facts)
    except (LeadctlError, psycopg.Error) as error:
        narrate(f"The restore is done, but is not in the journal: {scrub(str(error))}")
