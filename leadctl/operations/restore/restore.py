"""Restoring a backup into a new database, which takes the place of the old one when it is good."""

import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime

from leadctl.db import state
from leadctl.db.connect import Connection, connect
from leadctl.db.journal import journaled
from leadctl.db.lock import schema_lock
from leadctl.db.queries import beside
from leadctl.db.target import Target
from leadctl.errors import (
    BackupDamaged,
    DatabaseExists,
    MissingExtension,
    MissingRole,
    RestoreFailed,
    UnknownDatabase,
)
from leadctl.operations.backup.folder import reading
from leadctl.operations.backup.verify import VerifyCheck, check_bytes
from leadctl.operations.guard import Consent, permit, protection
from leadctl.operations.progress import Progress
from leadctl.operations.restore.compare import compare
from leadctl.operations.restore.database import (
    configure_database,
    maintenance,
    scratch_database,
)
from leadctl.operations.restore.load import Source, load
from leadctl.operations.restore.swap import restore_lock, swap

_QUERIES = beside(__file__, "restore.sql")

Narrate = Callable[[str], None]


@dataclass(frozen=True)
class RestorePlan:
    """What a restore would do."""

    backup: str
    made_at: datetime
    source_database: str
    revision: str | None
    rows: int
    bytes: int
    """Of the database when it was backed up: about what the restored one will take."""
    database: str
    """The database that is made or replaced."""
    replaces: bool
    """Whether there is one of that name, with tables in it."""
    protected: str | None
    """Why that one is protected, where it is."""
    missing_extensions: tuple[str, ...]
    missing_roles: tuple[str, ...]


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


def plan(target: Target, source: Source) -> RestorePlan:
    """Say what a restore over the target's database would do; changes nothing.

    Raises BackupDamaged, and what connecting raises.
    """
    manifest = source.backup.manifest
    with maintenance(target) as connection:
        protected, replaces = _existing(target)
        return RestorePlan(
            backup=manifest.id,
            made_at=manifest.snapshot_at,
            source_database=manifest.database,
            revision=manifest.revision,
            rows=manifest.rows,
            bytes=manifest.database_bytes,
            database=target.database,
            replaces=replaces,
            protected=protected,
            missing_extensions=_missing(
                connection, "missing_extensions", [e.name for e in manifest.extensions]
            ),
            missing_roles=_missing(
                connection, "missing_roles", [manifest.settings.owner, *manifest.roles]
            ),
        )


def restore(
    target: Target,
    source: Source,
    consent: Consent,
    *,
    app: str,
    new: bool,
    owners: bool,
    lock_wait: float,
    narrate: Narrate,
    progress: Progress,
) -> RestoreResult:
    """Restore a backup as the target's database; an existing one is kept under another name.

    It is loaded into a database of its own, compared with the manifest, and takes its place in one
    transaction: until then, whatever happens, the target is as it was.  `new` refuses a database
    that is there.  `owners` restores owners and grants.  Raises Protected or NotConfirmed,
    LockHeld, RestoreFailed, BackupDamaged, MissingExtension, MissingRole, DatabaseInUse, and what
    connecting raises.
    """
    began = time.monotonic()
    manifest = source.backup.manifest
    name = target.database
    with reading(source.backup), maintenance(target) as connection, restore_lock(connection, name):
        exists = _exists(connection, name)
        _preflight(source, plan(target, source), owners=owners)
        if exists and new:
            raise DatabaseExists(
                f"The database {name} is there already.", hint="Choose another name for --into."
            )
        if exists:
            with connect(target, "restore") as existing:
                if _has_tables(existing):
                    permit(existing, target, "restore", consent)
        # One name per target, so that the next restore removes what a killed one left.
        scratch = f"leadctl_restore_{zlib.crc32(name.encode()):08x}"
        with (
            _migrations_held(target, lock_wait, narrate, exists=exists),
            scratch_database(target, scratch, manifest.settings, narrate),
        ):
            loaded = replace(target.on(scratch), schema=manifest.schema)
            load(source, loaded, owners=owners, narrate=narrate, progress=progress)
            checks = _checked(loaded, source)
            _stay_protected(target, loaded, exists=exists)
            if owners:
                configure_database(connection, scratch, manifest.settings, narrate)
        previous = swap(connection, scratch, name, replace=exists)
    result = RestoreResult(
        backup=manifest.id,
        made_at=manifest.snapshot_at,
        database=name,
        previous=previous,
        revision=manifest.revision,
        rows=manifest.rows,
        tables=len(manifest.tables),
        checks=checks,
        duration_ms=round((time.monotonic() - began) * 1000),
    )
    _journal(target, app, result)
    return result


def _existing(target: Target) -> tuple[str | None, bool]:
    """Return why the target's database is protected, and whether it has tables."""
    try:
        with connect(target, "restore", read_only=True) as connection:
            return protection(connection, target), _has_tables(connection)
    except UnknownDatabase:
        return None, False


def _preflight(source: Source, found: RestorePlan, *, owners: bool) -> None:
    """Raise for what would stop the restore later: before anything is made."""
    for check in check_bytes(source.backup):
        if not check.ok:
            raise BackupDamaged(
                f"The backup {found.backup} is damaged: {check.what}: {check.message}.",
                hint="Take another: leadctl backup list",
            )
    if found.missing_extensions:
        raise MissingExtension(
            f"The server does not have what the backup needs: extension "
            f"{', '.join(found.missing_extensions)}.",
            hint="Install it on the server, or restore on another one with --url.",
        )
    if owners and found.missing_roles:
        raise MissingRole(
            f"The server does not have the roles that own what is in the backup: "
            f"{', '.join(found.missing_roles)}.",
            hint="Make them (the backup's globals.sql does), or restore with --no-owner.",
        )


def _checked(loaded: Target, source: Source) -> tuple[VerifyCheck, ...]:
    with connect(loaded, "restore") as connection:
        checks = tuple(compare(connection, source.backup.manifest))
        wrong = [f"{check.what}: {check.message}" for check in checks if check.ok is False]
        if wrong:
            raise RestoreFailed(
                f"What was restored is not what was backed up: {'; '.join(wrong)}.",
                hint="The target was not changed. Try: leadctl backup verify ID --restore",
            )
        connection.execute("ANALYZE")
    return checks


def _stay_protected(target: Target, loaded: Target, *, exists: bool) -> None:
    """Protect the restored database where the one that it replaces is protected."""
    if not exists:
        return
    with connect(target, "restore", read_only=True) as connection:
        old = state.read_identity(connection)
    if old is None or not old.protected:
        return
    with connect(loaded, "restore") as connection:
        state.ensure(connection, loaded)
        found = state.read_identity(connection)
        environment = (found.environment if found else None) or old.environment
        state.write_identity(connection, environment, protected=True)


@contextmanager
def _migrations_held(
    target: Target, wait: float, narrate: Narrate, *, exists: bool
) -> Iterator[None]:
    """Keep migrations from the database that is going to be replaced."""
    if not exists:
        yield
        return
    with schema_lock(target, "restore", wait, narrate):
        yield


def _journal(target: Target, app: str, result: RestoreResult) -> None:
    """Journal the restore in the restored database, where leadctl keeps a journal."""
    with connect(target, "restore") as connection:
        if not state.is_there(connection):
            return
    with journaled(target, "restore", app) as entry:
        entry.note(backup=result.backup, rows=result.rows, previous=result.previous)


def _exists(connection: Connection, name: str) -> bool:
    row = connection.execute(_sql(connection, "databases"), {"names": [name]}).fetchone()
    return row is not None


def _has_tables(connection: Connection) -> bool:
    row = connection.execute(_sql(connection, "own_tables")).fetchone()
    return bool(row and row[0])


def _missing(connection: Connection, query: str, names: list[str]) -> tuple[str, ...]:
    rows = connection.execute(_sql(connection, query), {"names": names})
    return tuple(name for (name,) in rows)


def _sql(connection: Connection, name: str) -> str:
    return _QUERIES.get(name, connection.info.server_version)
