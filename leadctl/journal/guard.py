"""The one guard that every destructive verb calls.

A database is protected by its own identity, by leadctl.toml, or because it says of itself that it
is another environment than the one that was meant.  On a protected one only its name is consent.
"""

from collections.abc import Callable
from dataclasses import dataclass

from leadctl.errors import NotConfirmed, Protected, UnknownDatabase
from leadctl.journal import state
from leadctl.postgres.connect import Connection, connect
from leadctl.postgres.target import Target


@dataclass(frozen=True)
class Consent:
    """What the user said beforehand, and how to ask where somebody is there to answer."""

    yes: bool = False
    confirm: str | None = None
    """The name of the database, typed as proof that it is meant."""
    ask: Callable[[str], bool] | None = None
    ask_name: Callable[[str], str] | None = None


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
        _by_answer(name, verb, consent)
    return Consent(yes=True)


def _by_name(name: str, protected: str, verb: str, consent: Consent) -> None:
    if consent.ask_name is not None:
        question = f"{verb} on {name}: {protected}. Type its name to go on"
        if consent.ask_name(question) == name:
            return
    raise Protected(
        f"{verb} is refused on {name}: {protected}. Nothing was changed.",
        hint=f"Where that is what you want: --confirm {name}",
    )


def _by_answer(name: str, verb: str, consent: Consent) -> None:
    if consent.ask is None:
        raise NotConfirmed(
            f"{verb} on {name} needs consent, and nobody is there to be asked.",
            hint="Say yes beforehand with --yes.",
        )
    if not consent.ask(f"{verb} on {name}?"):
        raise NotConfirmed("Nothing was changed.")


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
        return f"it says that it is {found}, not {meant}"
    return None
