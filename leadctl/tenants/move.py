"""Moving a tenant to another database: closed, copied, compared, handed over, opened.

It is closed to writes by grants, which a kill leaves in force; copied by a backup that only this
process can read; compared by counts and checksums while the source is locked against everybody,
superusers too; and handed over: the source's schema gets another name before the copy gets the
tenant's.  So at no moment are there two that are open.  What did not end is told by a row of
leadctl.tenant_move in both databases: the next run finishes it, or opens the source again.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

import psycopg
from psycopg import sql

from leadctl.backup.create import BackupOptions, create
from leadctl.backup.reader import BackupReader
from leadctl.backup.snapshot import tenant_roles
from leadctl.backup.storage import BackupFolder, StoredBackup
from leadctl.backup.stream import new_identity
from leadctl.errors import (
    LeadctlError,
    MissingRole,
    MoveFailed,
    OlderServer,
    SchemaExists,
    TenantMoving,
    UnknownTenant,
    UsageError,
)
from leadctl.files import temporary_folder
from leadctl.journal import state
from leadctl.journal.guard import permit
from leadctl.journal.lock import schema_lock
from leadctl.journal.runs import Entry, journaled
from leadctl.postgres.connect import Connection, connect, set_session
from leadctl.postgres.provision import has_schema
from leadctl.postgres.queries import version_of
from leadctl.postgres.target import Target
from leadctl.restore.dropped import as_pg_restore
from leadctl.restore.foreign_keys import ForeignKeys
from leadctl.restore.in_place import drop_own, own_objects
from leadctl.tenants import closing
from leadctl.tenants.closing import ARRIVED, CLOSED, HANDED_OVER, Move, read_move
from leadctl.tenants.restore import TenantLoading
from leadctl.tenants.schemas import (
    MOVES,
    TenantRun,
    check_name,
    find_tenant,
    forget_records,
    kept_name,
)

MOVE = "tenants move"
"""What the guard and the journal call it."""
AGAIN = "If this run was killed, the same command finishes it"


@dataclass(frozen=True)
class MovedTenant:
    """A tenant that is in another database now."""

    name: str
    database: str
    destination: str
    """Where it is, without a password."""
    rows: int
    tables: int
    """That were compared by counts and checksums; none where a run that was ended had done that."""
    kept_as: str
    """The schema in the old database, closed; of a whole database its name on the old server."""
    closed_seconds: float | None
    """How long nobody could write; None where a run that was ended had closed it."""

    @classmethod
    def of(
        cls,
        here: Target,
        there: Target,
        name: str,
        kept: str,
        sums: Mapping[str, tuple[int, str]],
        window: "Window",
    ) -> "MovedTenant":
        """Return what is told of a move, by the sums that were compared."""
        tables = [rows for what, (rows, _) in sums.items() if not what.startswith("sequence ")]
        closed = window.closed_for()
        return cls(
            name=name,
            database=here.database,
            destination=there.describe(),
            rows=sum(tables),
            tables=len(tables),
            kept_as=kept,
            closed_seconds=closed and round(closed, 1),
        )


@dataclass(frozen=True)
class OpenedTenant:
    """A tenant that is open again where it was."""

    name: str
    database: str
    place: str
    """Where it was to be moved to."""


def move_tenant(run: TenantRun, destination: Target, *, window: float, owners: bool) -> MovedTenant:
    """Move a tenant, or finish a move of it to the same place that was ended.

    `window` is for how many seconds it may be closed at most.  Raises Protected and NotConfirmed,
    UnknownTenant, SchemaExists, LockHeld, MoveFailed, and what connecting raises: then the tenant
    is open where it was, unless the message says otherwise.
    """
    check_name(run.name)
    here, there = replace(run.target, schema=run.name), replace(destination, schema=run.name)
    with connect(here, "tenants", like_pg_dump=True) as old:
        consent = permit(old, here, f"{MOVE} {run.name}", run.consent)
        with connect(there, "tenants") as new:
            state.ensure(old, here)
            state.ensure(new, there)
            _refuse_same(old, new, there)
        with (
            connect(there, "tenants") as new,
            schema_lock(here, MOVE, run.timeouts.lock_wait, run.narrate),
            schema_lock(there, MOVE, run.timeouts.lock_wait, run.narrate),
        ):
            mover = _SchemaMove(old, new, here, there, run, owners, Window(run.name, window))
            with journaled(here, MOVE, run.app.name) as entry:
                permit(old, here, f"{MOVE} {run.name}", consent)
                return mover.go(entry)


def open_tenant(run: TenantRun, *, handed_over: bool) -> OpenedTenant:
    """Open a tenant again that a move had closed, and that was not handed over yet.

    One that was `handed_over` is taken back, too: its copy must be gone for that, which nobody can
    look at from here.  Raises Protected, NotConfirmed, UnknownTenant, and TenantMoving where the
    copy may be the tenant by now.
    """
    here = replace(run.target, schema=run.name)
    with (
        connect(here, "tenants") as connection,
        schema_lock(here, MOVE, run.timeouts.lock_wait, run.narrate),
    ):
        permit(connection, here, f"opening of {run.name}", run.consent)
        move = read_move(connection, run.name) if state.is_there(connection) else None
        if move is None:
            find_tenant(connection, run.app, run.name)
            raise UsageError(
                f"{run.name} is not closed by a move.", hint="See: leadctl tenants list"
            )
        if move.phase != CLOSED and not (handed_over and move.phase == HANDED_OVER):
            raise not_ended(move)
        with journaled(here, "tenants open", run.app.name) as entry:
            entry.note(held_as=move.held_as, since=f"{move.since:%Y-%m-%dT%H:%M:%SZ}")
            closing.reopen(connection, move)
    return OpenedTenant(run.name, run.target.database, move.place)


def not_ended(move: Move, *, copy: bool = False, database: bool = False) -> TenantMoving:
    """Return the refusal of a tenant, or of its `copy`, that a move has left closed."""
    what = "has come" if copy or move.phase == ARRIVED else "was handed over"
    more = " --database" if database else ""
    return TenantMoving(
        f"The tenant {move.schema} {what} by a move that did not finish; the other database is "
        f"{move.place}.",
        hint="Finish it from the database that it leaves: leadctl tenants move "
        f"{move.schema}{more} --to PLACE",
    )


@dataclass
class Window:
    """For how long a tenant may be closed."""

    name: str
    seconds: float
    _closed_at: float | None = None

    def begin(self) -> None:
        """Let the time run: it is closed now."""
        self._closed_at = time.monotonic()

    def closed_for(self) -> float | None:
        """Return for how many seconds it is closed; None if this run did not close it."""
        return None if self._closed_at is None else time.monotonic() - self._closed_at

    def left(self) -> float:
        """Return the seconds that are left.  Raises MoveFailed for none."""
        left = self.seconds - (self.closed_for() or 0.0)
        if left <= 0:
            raise MoveFailed(
                f"{self.name} was not moved within {self.seconds:g} s. It is open again.",
                hint="Allow it to be closed for longer: --window TIME",
            )
        return left

    def tick(self, done: int, total: int, unit: str) -> None:  # noqa: ARG002 - only time counts
        """Be told of progress.  Raises MoveFailed where no time is left."""
        self.left()


@dataclass
class _SchemaMove:
    """One move: both databases, each with a connection, the locks held."""

    old: Connection
    new: Connection
    here: Target
    there: Target
    run: TenantRun
    owners: bool
    window: Window

    def __post_init__(self) -> None:
        self.name = self.run.name

    def go(self, entry: Entry) -> MovedTenant:
        """Move, or finish what an ended run has begun."""
        ours, theirs = _identity(self.old), _identity(self.new)
        move, arrived = read_move(self.old, self.name), read_move(self.new, self.name)
        if move and move.other != theirs:
            raise not_ended(move)
        if arrived and arrived.phase == ARRIVED and arrived.other != ours:
            raise not_ended(arrived)
        if move and move.phase == HANDED_OVER:
            self.run.narrate(f"An interrupted run handed over {self.name}. Finishing it.")
            self._open_there(move)
            return self._result(move.held_as, {})
        if move:
            self.run.narrate(f"An interrupted run closed {self.name}. Starting again.")
            closing.reopen(self.old, move)
        self._drop_arrived(arrived)
        self._foresee()
        entry.note(to=self.there.describe())
        return self._move(theirs, ours)

    def _foresee(self) -> None:
        """Look for what would stop the move, while the tenant is open."""
        if has_schema(self.new, self.name) and not has_schema(self.old, self.name):
            raise UnknownTenant(
                f"{self.name} is not in {self.old.info.dbname}; {self.there.describe()} has it.",
                hint="If it was moved, nothing is left to do: look there.",
            )
        find_tenant(self.old, self.run.app, self.name)
        if has_schema(self.new, self.name):
            raise SchemaExists(
                f"In {self.new.info.dbname} there is a schema {self.name} already.",
                hint="Rename or drop it there first.",
            )
        refuse_older(self.there, self.name, version_of(self.new), version_of(self.old))
        if self.owners:
            roles = list(tenant_roles(self.old, self.name))
            if missing := MOVES.column(self.new, "missing_roles", names=roles):
                raise MissingRole(
                    f"{self.there.describe()} does not have the roles of {self.name}: "
                    f"{', '.join(missing)}.",
                    hint="Make them there, or move without owners and grants: --no-owner",
                )

    def _move(self, theirs: str, ours: str) -> MovedTenant:
        self.window.begin()
        closing.close(self.old, self.name, theirs, self.there.describe())
        self.run.narrate(
            f"{self.name} is closed to writes. {AGAIN}; leadctl tenants open undoes it."
        )
        try:
            ended = closing.end_writers(self.old, self.name, self.window.left())
            if ended:
                self.run.narrate(f"Ended {ended} sessions that were writing in it.")
            sums = self._copy(ours)
            kept = self._hand_over(sums)
        except BaseException:
            self._undo()
            raise
        move = read_move(self.old, self.name)
        assert move is not None
        try:
            self._open_there(move)
        except (LeadctlError, psycopg.Error) as error:
            self._take_back(move, error)
        return self._result(kept, sums)

    def _copy(self, ours: str) -> dict[str, tuple[int, str]]:
        """Copy the tenant, and put the copy aside; return its checksums."""
        with copied(self.here, self.run, self.window, tenant=self.name) as backup:
            return self._load(BackupReader(*backup), ours)

    def _load(self, reader: BackupReader, ours: str) -> dict[str, tuple[int, str]]:
        """Load the copy in one transaction, and put it aside; return its checksums."""
        with connect(self.there, "tenants", like_pg_dump=True) as connection:
            as_pg_restore(connection, self.run.timeouts.lock_timeout)
            with within(connection, self.window.left()):
                loading = TenantLoading(connection, reader, self.name, owners=self.owners)
                with connection.transaction():
                    _, keys, _ = loading.load(self.run.timeouts.lock_wait, self.run.narrate)
                    _validate(keys, self.name)
                    if keys.orphans or keys.left_out:
                        first = (*keys.left_out, *keys.orphans)[0]
                        raise MoveFailed(
                            f"{self.name} does not fit {self.there.describe()}: {first}.",
                            hint="First copy to it what the tenant shares with other schemas.",
                        )
                    sums = closing.checksums(connection, self.name)
                    arriving = kept_name(connection, self.name, "arriving")
                    closing.arrive(connection, self.name, arriving, ours, self.here.describe())
        return sums

    def _hand_over(self, sums: dict[str, tuple[int, str]]) -> str:
        """Compare the two while nobody can write here, and let the copy be the tenant."""
        self.run.narrate("Comparing counts and checksums.")
        with within(self.old, self.window.left()), self.old.transaction():
            closing.lock(self.old, self.name)
            found = closing.checksums(self.old, self.name)
            refuse_different(self.name, found, sums)
            self.window.left()
            return closing.hand_over(self.old, self.name)

    def _open_there(self, move: Move) -> None:
        """Open the copy; end the move here."""
        arrived = read_move(self.new, self.name)
        if arrived is not None:
            grants = move.grants if self.owners else []
            closing.open_arrived(self.new, arrived, grants)
        elif not has_schema(self.new, self.name):
            raise MoveFailed(
                f"The copy of {self.name} is no longer in {self.there.describe()}; here it is kept "
                f"as {move.held_as}, closed.",
                hint=f"Take it back: leadctl tenants open {self.name} --handed-over",
            )
        closing.end_move(self.old, self.name)

    def _undo(self) -> None:
        """Open the source again after a failure before the handover; drop the copy."""
        try:
            with connect(self.here, "tenants") as old:
                move = read_move(old, self.name)
                if move is None or move.phase != CLOSED:
                    return  # the commit of the handover may have been lost on the way
                with suppress(LeadctlError, psycopg.Error), connect(self.there, "tenants") as new:
                    self._drop_arrived(read_move(new, self.name), new)
                closing.reopen(old, move)
                self.run.narrate(f"{self.name} is open again.")
        except (LeadctlError, psycopg.Error):
            self.run.narrate(
                f"{self.name} IS STILL CLOSED: its database does not answer. Open it with: leadctl "
                f"tenants open {self.name}"
            )

    def _take_back(self, move: Move, error: Exception) -> None:
        """Open the source again where the copy cannot be opened, and certainly was not."""
        try:
            with connect(self.there, "tenants") as new:
                arrived = read_move(new, self.name)
                if arrived is None:
                    self._open_there(move)  # it was opened, and only the answer was lost
                    return
                self._drop_arrived(arrived, new)
            with connect(self.here, "tenants") as old:
                closing.reopen(old, move)
        except (LeadctlError, psycopg.Error):
            raise may_be_open(self.name, move.held_as, error) from None
        raise taken_back(self.name, error) from None

    def _drop_arrived(self, arrived: Move | None, connection: Connection | None = None) -> None:
        """Drop a copy that was never open."""
        if arrived is None or arrived.phase != ARRIVED:
            return
        new = connection or self.new
        with new.transaction():
            if has_schema(new, arrived.held_as):
                drop_own(new, own_objects(new, [arrived.held_as]))
                new.execute(sql.SQL("DROP SCHEMA {}").format(sql.Identifier(arrived.held_as)))
            forget_records(new, arrived.held_as)
            closing.end_move(new, self.name)

    def _result(self, kept: str, sums: Mapping[str, tuple[int, str]]) -> MovedTenant:
        return MovedTenant.of(self.here, self.there, self.name, kept, sums, self.window)


def refuse_older(place: Target, name: str, there: int, here: int) -> None:
    """Refuse to move a tenant to a server of an older major version.  Raises OlderServer."""
    if there // 10000 < here // 10000:
        raise OlderServer(
            f"{place.describe()} is PostgreSQL {there // 10000}, and {name} is on {here // 10000}.",
            hint=f"Move it to PostgreSQL {here // 10000} or newer.",
        )


@contextmanager
def copied(
    place: Target,
    run: TenantRun,
    window: Window,
    *,
    tenant: str | None = None,
) -> Iterator[tuple[StoredBackup, list[Any]]]:
    """Yield a backup that this process alone can read, and what it reads it by."""
    recipient, identity = new_identity()
    with temporary_folder("leadctl-move-") as folder:
        backups = BackupFolder(folder / "backup")
        waits, versions = run.timeouts.lock_wait, run.app.version_table
        options = BackupOptions([recipient], waits, versions, tenant=tenant)
        run.narrate("Copying it.")
        made = create(place, backups, options, run.narrate, window.tick)
        yield backups.find(made.id), [identity]


def may_be_open(name: str, kept: str, error: Exception, *, database: bool = False) -> MoveFailed:
    """Return the error of a move whose copy may be open by now, or not."""
    both, more = ("servers", " --database") if database else ("databases", "")
    return MoveFailed(
        f"{name} was handed over, and it is not known whether its copy is open: {error}. Here it "
        f"is kept as {kept}, closed.",
        hint=f"When both {both} answer: leadctl tenants move {name}{more} --to PLACE",
    )


def taken_back(name: str, error: Exception) -> MoveFailed:
    """Return the error of a move whose copy could not be opened, so that the source is again."""
    return MoveFailed(
        f"The copy of {name} cannot be opened: {error}. It is open here again.",
        hint="Look at the destination, then move again.",
    )


def refuse_different(
    name: str, found: Mapping[str, tuple[int, str]], copied: Mapping[str, tuple[int, str]]
) -> None:
    """Raise MoveFailed where the sums of the copy are not those of the original."""
    different = sorted(k for k in found.keys() | copied.keys() if found.get(k) != copied.get(k))
    if different:
        raise MoveFailed(
            f"The copy of {', '.join(different)} differs from the original. {name} is open again.",
            hint="Was a superuser writing? Stop it, and move again.",
        )


def _validate(keys: ForeignKeys, name: str) -> None:
    """Validate foreign keys within the transaction that has loaded the rows."""
    try:
        keys.validate()
    except psycopg.errors.InFailedSqlTransaction:
        raise MoveFailed(
            f"Rows of {name} refer to rows that the destination does not have.",
            hint="First copy to it what the tenant shares with other schemas.",
        ) from None


@contextmanager
def within(connection: Connection, seconds: float) -> Iterator[None]:
    """Let no statement of the block take longer than what is left of the window."""
    limit = max(1, round(seconds * 1000))
    set_session(connection, {"statement_timeout": f"{limit}ms"})
    try:
        yield
    except psycopg.errors.QueryCanceled:
        raise MoveFailed(
            "The tenant was not moved within the window.",
            hint="Allow it to be closed for longer: --window TIME",
        ) from None
    finally:
        with suppress(psycopg.Error):
            set_session(connection, {"statement_timeout": "0"})


def _refuse_same(old: Connection, new: Connection, there: Target) -> None:
    if _identity(old) == _identity(new):
        raise UsageError(
            f"{there.describe()} has {there.schema} already: it is the same database.",
            hint="Name another one with --to.",
        )


def _identity(connection: Connection) -> str:
    """Return which database this is: a copy of one has its identity, and another number."""
    (found,) = MOVES.rows(connection, "database_identity")
    return " ".join(map(str, found))
