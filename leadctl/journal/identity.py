"""The identity of a database: its environment, and whether it is protected."""

from dataclasses import dataclass, replace
from uuid import UUID

from leadctl.journal import state
from leadctl.journal.guard import Consent, permit
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

    Changing what a protected database says of itself is guarded: raises Protected.
    """
    with connect(target, "environment") as connection:
        found = state.read_identity(connection)
        if found and found.protected:
            # The database's own word counts here, not which environment was meant to be reached.
            permit(connection, replace(target, environment=None), "changing the identity", consent)
        state.ensure(connection, target)
        found = state.read_identity(connection)
        assert found is not None
        state.write_identity(
            connection,
            found.environment if environment is None else environment,
            protected=found.protected if protected is None else protected,
        )
        return _described(target, state.read_identity(connection))


def _described(target: Target, found: state.Identity | None) -> DatabaseIdentity:
    if found is None:
        return DatabaseIdentity(target.database, None, None, False)
    return DatabaseIdentity(target.database, found.id, found.environment, found.protected)
