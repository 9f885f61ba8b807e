"""Moving a tenant that is a database to another server, in the steps of `move.py`.

It is closed by grants and a setting of the database, which a kill leaves in force: nobody but the
role of the run may connect, and what it does may not write.  It is copied by a backup and a
restore, and renamed, so that nobody finds it by its name, before the two are compared.  What did
not end is told by a row of leadctl.tenant_move in the database; its copy has that row, too, which
names the original: so it has arrived as closed as that was, and is not taken for it.
"""

import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from leadctl.errors import (
    DatabaseExists,
    DatabaseInUse,
    LeadctlError,
    MoveFailed,
    UnknownDatabase,
    UnknownTenant,
    UsageError,
)
from leadctl.journal import state
from leadctl.journal.guard import Consent, decide, protection, require_identity
from leadctl.journal.kept_names import kept_since, moved_database, moved_prefix
from leadctl.journal.lock import schema_lock
from leadctl.journal.runs import journal_done, journaled
from leadctl.postgres.connect import Connection, connect, set_session
from leadctl.postgres.queries import version_of
from leadctl.postgres.target import Target
from leadctl.postgres.translate import needs_privileges, told
from leadctl.restore.backups import RestorableBackup
from leadctl.restore.database import (
    drop_database,
    end_sessions,
    maintenance,
    restore_lock,
    set_database_name,
)
from leadctl.restore.preflight import obstacles
from leadctl.restore.restorable import Loading
from leadctl.restore.restore import restore
from leadctl.tenants.citus import refuse_database
from leadctl.tenants.closing import CLOSED, HANDED_OVER, Move, checksums, end_move, read_move
from leadctl.tenants.move import (
    AGAIN,
    MOVE,
    MovedTenant,
    OpenedTenant,
    Window,
    copied,
    may_be_open,
    not_ended,
    refuse_different,
    refuse_older,
    taken_back,
    within,
)
from leadctl.tenants.schemas import MOVES, TenantRun, check_name, find_tenant

_WHOLE = ""
"""The schema of the record of a move: no schema is called so."""
_TRIES = 5
_PAUSE_SECONDS = 0.5


class _Unfinished(NamedTuple):
    """A database that an ended move has left closed: its name now, and the record in it."""

    database: str
    move: Move
    identity: str

    @property
    def is_copy(self) -> bool:
        """Whether it has come from another server."""
        return self.move.other != self.identity


def move_database(
    run: TenantRun, destination: Target, *, window: float, owners: bool
) -> MovedTenant:
    """Move a tenant that is a database, or finish a move of it that was ended.

    `window` is for how many seconds it may be closed at most.  Raises as `move_tenant` does, and
    DatabaseExists, DatabaseInUse, and what backing up and restoring raise.
    """
    check_name(run.name, database=True)
    here, there = (
        run.target.on(run.name),
        replace(destination.on(run.name), schema=run.target.schema),
    )
    with maintenance(here) as server, restore_lock(server, run.name):
        move = _DatabaseMove(server, here, there, run, owners, Window(run.name, window))
        return move.go()


def open_database(run: TenantRun, *, handed_over: bool) -> OpenedTenant:
    """Open a database again that a move had closed, as `open_tenant`.

    Raises TenantMoving, DatabaseExists and DatabaseInUse, too.
    """
    here = run.target.on(run.name)
    with maintenance(here) as server, restore_lock(server, run.name):
        found = _find(server, here, run.name)
        try:
            with connect(
                run.target.on(found.database if found else run.name), "tenants"
            ) as connection:
                _permit(connection, here, f"opening of {run.name}", run.consent)
                if found is None:
                    find_tenant(connection, run.app, here.schema, shared=False)
                    raise UsageError(
                        f"{run.name} is not closed by a move.", hint="See: leadctl history"
                    )
        except UnknownDatabase:
            raise _unknown(run.name) from None
        if (found.is_copy or found.move.phase == HANDED_OVER) and not handed_over:
            raise not_ended(replace(found.move, schema=run.name), copy=found.is_copy, database=True)
        _go_back(server, here, found)
        with journaled(here, "tenants open", run.app.name) as entry:
            entry.note(held_as=found.database, since=f"{found.move.since:%Y-%m-%dT%H:%M:%SZ}")
        run.narrate(f"Closed since {found.move.since:%Y-%m-%d %H:%M:%S} UTC.")
    return OpenedTenant(run.name, run.name, found.move.place)


@dataclass
class _DatabaseMove:
    """One move: a session of the source's server holds its lock."""

    server: Connection
    here: Target
    there: Target
    run: TenantRun
    owners: bool
    window: Window
    ours: str = field(init=False, default="")
    """What tells the source from every other database, under each name of it."""
    rows: dict[str, tuple[int, str]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.name = self.run.name

    def go(self) -> MovedTenant:
        """Move, or finish what an ended run has begun."""
        found = _find(self.server, self.here, self.name)
        place = self.here.on(found.database) if found else self.here
        try:
            with connect(place, "tenants") as old:
                _permit(old, self.here, f"{MOVE} {self.name}", self.run.consent)
                _writable(old)
                state.ensure(old, place)
                self.ours = _identity(old)
        except UnknownDatabase:
            raise self._unknown() from None
        if found and found.is_copy:
            raise not_ended(replace(found.move, schema=self.name), copy=True, database=True)
        if found and found.move.phase == HANDED_OVER:
            self.run.narrate(f"An interrupted run handed over {self.name}. Finishing it.")
            self._open_there(found)
            return self._result(found.database)
        if found:
            self.run.narrate(f"An interrupted run closed {self.name}. Starting again.")
            if found.move.place != self.there.describe():
                self.run.narrate(f"If it left a copy in {found.move.place}, drop that there.")
            _go_back(self.server, self.here, found)
        self._foresee()
        try:
            found = self._move()
            self._open(found)
            return self._result(found.database)
        except BaseException:
            # The journal says how it ended, where the tenant is still here.
            with (
                suppress(LeadctlError, psycopg.Error),
                journaled(self.here, MOVE, self.run.app.name),
            ):
                raise
            raise

    def _unknown(self) -> UnknownTenant:
        with suppress(LeadctlError), connect(self.there, "tenants", read_only=True):
            return UnknownTenant(
                f"{self.name} is not on this server; {self.there.describe()} has it.",
                hint="If it was moved, nothing is left to do.",
            )
        return _unknown(self.name)

    def _foresee(self) -> None:
        """Look for what would stop the move, while the tenant is open; drop the copy of a run."""
        with connect(self.here, "tenants", read_only=True) as old:
            find_tenant(old, self.run.app, self.here.schema, shared=False)
            refuse_database(old)
            version = version_of(old)
        if found := obstacles(self.server, self.name):
            raise DatabaseInUse(
                f"{self.name} cannot be moved: {'; '.join(each.obstacle for each in found)}.",
                hint=f"{found[0].remedy[:1].upper()}{found[0].remedy[1:]}.",
            )
        with maintenance(self.there) as other:
            refuse_older(self.there, self.name, version_of(other), version)
            self._drop_copy(other)

    def _drop_copy(self, other: Connection) -> None:
        """Drop a copy of ours that was never open.  Raises DatabaseExists for another database."""
        try:
            with connect(self.there, "tenants", read_only=True) as new:
                found = _record(new)
                same = _identity(new) == self.ours
        except UnknownDatabase:
            return
        if same:
            raise UsageError(
                f"{self.there.describe()} has {self.name} already: it is the same server.",
                hint="Name another one with --to.",
            )
        if found is None or found.other != self.ours:
            raise DatabaseExists(
                f"There is a database {self.name} already: {self.there.describe()}.",
                hint="Rename or drop it there first.",
            )
        drop_database(self.there, other, self.name)

    def _move(self) -> _Unfinished:
        """Close, copy, rename, compare; return what is handed over, and not open there yet."""
        self.window.begin()
        try:
            self._close()
            with schema_lock(self.here, MOVE, self.run.timeouts.lock_wait, self.run.narrate):
                self._copy()
            kept = self._rename()
            return self._compare(kept)
        except BaseException:
            self._undo()
            raise

    def _close(self) -> None:
        lock = schema_lock(self.here, MOVE, self.run.timeouts.lock_wait, self.run.narrate)
        hint = "Connect as its owner, or as a superuser. Nothing was changed."
        with (
            lock,
            connect(self.here, "tenants") as old,
            needs_privileges(f"{self.name} cannot be closed", hint),
        ):
            _close(old, self.here, self.ours, self.there.describe())
        self.run.narrate(
            f"{self.name} is closed. {AGAIN}; leadctl tenants open {self.name} --database undoes "
            "it."
        )
        self._end_sessions()

    def _end_sessions(self) -> None:
        try:
            ended = end_sessions(self.server, self.name)
        except psycopg.errors.InsufficientPrivilege as error:
            raise DatabaseInUse(
                f"{self.name} has sessions that this role may not end: {told(error)}.",
                hint="End them, or connect as a superuser.",
            ) from None
        if ended:
            self.run.narrate(f"Ended {ended} sessions in it.")

    def _copy(self) -> None:
        with copied(self.here, self.run, self.window) as backup:
            loading = Loading(self.run.narrate, self.window.tick, self.owners)
            restore(
                self.there, RestorableBackup(*backup), Consent(yes=True), loading,
                app=self.run.app.name, new=True, drop_old=False,
                lock_wait=self.run.timeouts.lock_wait, show=lambda _: None,
            )  # fmt: skip

    def _rename(self) -> str:
        """Give the database the name that it is kept by; return it."""
        for _ in range(_TRIES):
            kept = moved_database(self.name)
            self.window.left()
            with suppress(psycopg.errors.ObjectInUse, psycopg.errors.DuplicateDatabase):
                with self.server.transaction():
                    self._end_sessions()
                    set_database_name(self.server, self.name, kept)
                return kept
            time.sleep(_PAUSE_SECONDS)
        raise DatabaseInUse(
            f"The database {self.name} has sessions that do not end.",
            hint="End them, or stop what keeps connecting, and move again.",
        )

    def _compare(self, kept: str) -> _Unfinished:
        """Hand over the copy if it is equal to what is kept, where nobody writes."""
        self.run.narrate("Comparing counts and checksums.")
        place = self.here.on(kept)
        with (
            connect(place, "tenants", like_pg_dump=True) as old,
            connect(self.there, "tenants", like_pg_dump=True) as new,
            within(old, self.window.left()),
            within(new, self.window.left()),
        ):
            self.rows = checksums(old, None)
            refuse_different(self.name, self.rows, checksums(new, None))
            self.window.left()
            _writable(old)
            MOVES.run(old, "hand_over", name=_WHOLE, held_as=place.schema)
            move = _record(old)
        assert move is not None
        return _Unfinished(kept, move, self.ours)

    def _open_there(self, found: _Unfinished) -> None:
        """Open the copy; end the move here."""
        lost = MoveFailed(
            f"The copy of {self.name} is not in {self.there.describe()}; here it is kept as "
            f"{found.database}, closed.",
            hint=f"Take it back: leadctl tenants open {self.name} --database --handed-over",
        )
        facts = {"from": self.here.describe(), "to": self.there.describe(), "kept": found.database}
        try:
            with connect(self.there, "tenants") as new:
                _writable(new)
                copy = _record(new)
                if _identity(new).split()[0] != self.ours.split()[0] or (
                    copy and copy.other != self.ours
                ):
                    raise lost
                if copy:
                    _open(new, self.name, copy.grants if self.owners else None)
                    journal_done(new, self.there, MOVE, self.run.app.name, **facts)
        except UnknownDatabase:
            raise lost from None
        with connect(self.here.on(found.database), "tenants") as old:
            _writable(old)
            journal_done(old, self.here, MOVE, self.run.app.name, **facts)
            end_move(old, _WHOLE)

    def _open(self, found: _Unfinished) -> None:
        """Open the copy; where that certainly failed, open the source again."""
        try:
            self._open_there(found)
        except (LeadctlError, psycopg.Error) as error:
            self._take_back(found, error)

    def _take_back(self, found: _Unfinished, error: Exception) -> None:
        try:
            with connect(self.there, "tenants", read_only=True) as new:
                was_opened = _record(new) is None
            if was_opened:
                self._open_there(found)  # only the answer was lost
                return
            with maintenance(self.there) as other:
                self._drop_copy(other)
            with maintenance(self.here) as server:
                _go_back(server, self.here, found)
        except (LeadctlError, psycopg.Error):
            raise may_be_open(self.name, found.database, error, database=True) from None
        raise taken_back(self.name, error) from None

    def _undo(self) -> None:
        """Open the source again after a failure before the handover; drop the copy."""
        try:
            with maintenance(self.here) as server:
                found = _find(server, self.here, self.name)
                if found is None or found.move.phase != CLOSED:
                    return  # it was not closed; or the handover's answer was lost on the way
                with suppress(LeadctlError, psycopg.Error), maintenance(self.there) as other:
                    self._drop_copy(other)
                _go_back(server, self.here, found)
                self.run.narrate(f"{self.name} is open again.")
        except (LeadctlError, psycopg.Error):
            self.run.narrate(
                f"{self.name} IS STILL CLOSED: its server does not answer. Open it with: leadctl "
                f"tenants open {self.name} --database"
            )

    def _result(self, kept: str) -> MovedTenant:
        return MovedTenant.of(self.here, self.there, self.name, kept, self.rows, self.window)


def _unknown(name: str) -> UnknownTenant:
    return UnknownTenant(
        f"There is no database {name} on this server.",
        hint="To list the tenants: leadctl tenants list --fleet NAME",
    )


def _permit(connection: Connection, target: Target, verb: str, consent: Consent) -> Consent:
    """Ask the guard of a database by the tenant's name, under whichever name it is now."""
    require_identity(connection, verb)
    return decide(target.database, protection(connection, target), verb, consent)


def _find(server: Connection, here: Target, name: str) -> _Unfinished | None:
    """Return what an ended move has left of a database, under its name or as it is kept."""
    found = MOVES.column(server, "databases_of", name=name, prefix=moved_prefix(name))
    for each in [name] if name in found else filter(kept_since, found):
        with connect(here.on(each), "tenants", read_only=True) as connection:
            if move := _record(connection):
                return _Unfinished(each, move, _identity(connection))
    return None


def _record(connection: Connection) -> Move | None:
    return read_move(connection, _WHOLE) if state.is_there(connection) else None


def _identity(connection: Connection) -> str:
    """Return which database this is, under any name."""
    (found,) = MOVES.rows(connection, "database_identity")
    uuid, number, _, system = found
    return f"{uuid} {system} {number}"


def _close(connection: Connection, here: Target, other: str, place: str) -> None:
    """Let nobody but this role connect, and nothing write; record how it is opened again."""
    database = sql.Identifier(here.database)
    with connection.transaction():
        MOVES.run(connection, "create_moves")
        found: list[dict[str, Any]] = MOVES.rows(connection, "connecting", dict[str, Any])
        values = {"phase": CLOSED, "other": other, "place": place, "held_as": here.schema}
        MOVES.run(connection, "begin_move", name=_WHOLE, grants=Jsonb(found), **values)
        _revoke(connection, database)
        connection.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO SESSION_USER").format(database))
        connection.execute(
            sql.SQL("ALTER DATABASE {} SET default_transaction_read_only TO on").format(database)
        )


def _revoke(connection: Connection, database: sql.Identifier) -> None:
    for grant in MOVES.rows(connection, "connecting", dict[str, Any]):
        if grant["read_only"] is None:
            revoke = sql.SQL("REVOKE CONNECT ON DATABASE {} FROM {} CASCADE")
            connection.execute(revoke.format(database, _role(grant["grantee"])))


def _role(name: str | None) -> sql.Composable:
    return sql.SQL("PUBLIC") if name is None else sql.Identifier(name)


def _open(connection: Connection, name: str, grants: list[dict[str, Any]] | None) -> None:
    """Give a database back what closing took; without `grants` who may connect stays as it is."""
    database = sql.Identifier(name)
    with connection.transaction():
        alter = sql.SQL("ALTER DATABASE {} RESET default_transaction_read_only")
        connection.execute(alter.format(database))
        if grants is not None:
            _revoke(connection, database)
        for grant in grants or ():
            if grant["read_only"] is not None:
                alter = sql.SQL("ALTER DATABASE {} SET default_transaction_read_only TO {}")
                connection.execute(alter.format(database, sql.Literal(grant["read_only"])))
                continue
            again = sql.SQL(" WITH GRANT OPTION" if grant["again"] else "")
            give = sql.SQL("GRANT CONNECT ON DATABASE {} TO {}{}")
            connection.execute(give.format(database, _role(grant["grantee"]), again))
        end_move(connection, _WHOLE)


def _go_back(server: Connection, here: Target, found: _Unfinished) -> None:
    """Open a closed database again, under its own name."""
    if found.database != here.database:
        set_database_name(server, found.database, here.database)
    with connect(here, "tenants") as connection:
        _writable(connection)
        _open(connection, here.database, found.move.grants)


def _writable(connection: Connection) -> None:
    set_session(connection, {"default_transaction_read_only": "off"})
