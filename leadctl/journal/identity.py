"""The identity of a database: its environment, and whether it is protected."""

from dataclasses import dataclass, replace
from uuid import UUID

from leadctl.errors import Protected
from leadctl.journal import state
from leadctl.journal.guard import Consent, decide, permit
from leadctl.postgres.connect import connect
from leadctl.postgres.target import Target


@dataclass(frozen=True)
class DatabaseIdentity:
    """What a database says about itself; `id` is None where leadctl never wrote to it."""

    database: str
    id: UUID | None
    environment: str | None
    protected: bool


def show(target: Target) -> DatabaseIdentity:
    """Read the identity; changes nothing."""
    with connect(target, "environment", read_only=True) as connection:
        return _described(target, state.read_identity(connection))


def change(
    target: Target, environment: str | None, *, protected: bool | None, consent: Consent
) -> DatabaseIdentity:
    """Set the environment, the protection, or both; what is None stays.

    Where there is no identity, or none that can be read, one is written; a database that has tables
    is protected by it, unless `protected` says otherwise.  Changing what a protected database says
    of itself is guarded, and so is what has lost its identity: raises Protected.
    """
    # The database's own word counts here, not which environment was meant to be reached.
    itself = replace(target, environment=None)
    with connect(target, "environment") as connection:
        name, found = connection.info.dbname, state.read_identity(connection)
        if found is None:
            fault = state.find_fault(connection)
            if state.has_journal(connection) or (fault and fault.was_there):
                reason = fault.reason if fault else None
                decide(name, reason, "changing the identity", consent)
            wary = target.protected or state.has_tables(connection)
            state.repair(
                connection,
                target.environment if environment is None else environment,
                protected=wary if protected is None else protected,
            )
        else:
            if found.protected:
                permit(connection, itself, "changing the identity", consent)
            written = state.write_identity(
                connection,
                found,
                found.environment if environment is None else environment,
                protected=found.protected if protected is None else protected,
            )
            if not written:
                raise Protected(
                    f"Another run has just changed what {name} says it is. Nothing was changed.",
                    hint="Look with leadctl db environment, then try again.",
                )
        return _described(target, state.read_identity(connection))


def _described(target: Target, found: state.Identity | None) -> DatabaseIdentity:
    if found is None:
        return DatabaseIdentity(target.database, None, None, False)
    return DatabaseIdentity(target.database, found.id, found.environment, found.protected)
