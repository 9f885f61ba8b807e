"""The one guard that every destructive verb calls.

A database is protected by its own identity, by leadctl.toml, or because it says of itself that it
is another environment than the one that was meant.  On a protected one only its name is consent.

Its identity is a row: its environment, and whether it is protected.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple
from uuid import UUID

from leadctl.errors import Declined, NotConfirmed, Protected, UnknownDatabase
from leadctl.journal import state
from leadctl.postgres.connect import Connection, connect
from leadctl.postgres.target import Target


class Consent(NamedTuple):
    """What the user said in advance, and how to ask where somebody is there to answer."""

    yes: bool = False
    confirm: str | None = None
    """The name of the database, typed to confirm."""
    ask: Callable[[str], bool] | None = None
    ask_name: Callable[[str], str] | None = None
    fleet: str | None = None
    """The fleet that the database is one of: its name is typed instead of the database's."""

    @property
    def names_fleet(self) -> bool:
        """Whether the name of the fleet was typed."""
        return self.fleet is not None and self.confirm == self.fleet


def permit(connection: Connection, target: Target, verb: str, consent: Consent) -> Consent:
    """Return where the user consents to `verb` on this database; raise otherwise.

    What is returned is the consent as it was given: where time has passed, ask with it again, and
    nobody is asked twice, but a database that was protected meanwhile is refused.  Raises
    NoIdentity where the database has tables and does not say what it is, Protected where it is
    protected and its name was not given, and NotConfirmed where consent is missing.
    """
    require_identity(connection, verb)
    return decide(connection.info.dbname, protection(connection, target), verb, consent)


def foresee(target: Target, verb: str, consent: Consent) -> None:
    """Raise what `permit` would raise without asking anybody: before anything else is looked at.

    A database without tables, or that does not exist yet, has nothing to lose.
    """
    name = target.database
    willing = Consent(
        consent.yes,
        consent.confirm,
        (lambda _: True) if consent.ask else None,
        (lambda _: name) if consent.ask_name else None,
        consent.fleet,
    )
    try:
        with connect(target, verb, read_only=True) as connection:
            if state.has_tables(connection):
                permit(connection, target, verb, willing)
    except UnknownDatabase:
        return


def require_identity(connection: Connection, verb: str) -> None:
    """Raise NoIdentity where a database has something to lose and cannot say what it is."""
    fault = state.find_fault(connection)
    if fault is not None and (fault.was_there or state.has_tables(connection)):
        raise fault.refusal(connection.info.dbname, verb)


def decide(name: str, protected: str | None, verb: str, consent: Consent) -> Consent:
    """Decide on `verb`: `name` is what must be typed where `protected` says why it is.

    Returns the consent as it was given.  Raises Protected and NotConfirmed.
    """
    if consent.names_fleet:
        return consent
    if consent.confirm is not None and consent.confirm != name:
        raise Protected(
            f"{verb} was confirmed for {consent.confirm!r}, but this is {name!r}. "
            "Nothing was changed.",
            hint="Check the target with: leadctl config",
        )
    if consent.confirm == name:
        return consent
    if protected:
        _by_name(name, protected, verb, consent)
        return Consent(confirm=name)
    if not consent.yes:
        require_yes(name, verb, consent)
    return Consent(yes=True)


def _by_name(name: str, protected: str, verb: str, consent: Consent) -> None:
    if consent.ask_name is not None:
        question = f"{verb} on {name}: {protected}. Type its name to continue"
        if consent.ask_name(question) == name:
            return
    raise Protected(
        f"{verb} is refused on {name}: {protected}. Nothing was changed.",
        hint=f"If this is intended, rerun with --confirm {consent.fleet or name}",
    )


def require_yes(name: str, verb: str, consent: Consent) -> None:
    """Ask whether a verb is to act on something.  Raises NotConfirmed, and Declined for a no."""
    if consent.ask is None:
        raise NotConfirmed(
            f"{verb} on {name} needs confirmation, but there is no terminal.",
            hint="Rerun with --yes.",
        )
    if not consent.ask(f"{verb} on {name}?"):
        raise Declined("Nothing was changed.")


def protection(connection: Connection, target: Target) -> str | None:
    """Say why a database is protected; None where it is not, or says nothing of itself.

    One that has lost its identity counts as protected.
    """
    fault = state.find_fault(connection)
    if fault is not None and fault.was_there:
        return fault.reason
    identity = state.read_identity(connection)
    if identity and identity.protected:
        return f"it is protected (environment {identity.environment or 'unnamed'})"
    if target.protected:
        return f"[env.{target.environment}] is protected"
    meant, found = target.environment, identity.environment if identity else None
    if meant and found and meant != found:
        return f"its recorded environment is {found}, not {meant}"
    return None


class DatabaseIdentity(NamedTuple):
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
                    f"Another run has just changed the environment of {name}. Nothing was changed.",
                    hint="Check it: leadctl db environment. Then try again.",
                )
        return _described(target, state.read_identity(connection))


def _described(target: Target, found: state.Identity | None) -> DatabaseIdentity:
    if found is None:
        return DatabaseIdentity(target.database, None, None, False)
    return DatabaseIdentity(target.database, found.id, found.environment, found.protected)
