"""The one guard that every destructive verb calls.

A database is protected by its own identity, by leadctl.toml, or because it says of itself that it
is another environment than the one that was meant.  On a protected one only its name is consent.
"""

from collections.abc import Callable
from dataclasses import dataclass

from leadctl.errors import NotConfirmed, Protected
from leadctl.journal import state
from leadctl.postgres.connect import Connection
from leadctl.postgres.target import Target


@dataclass(frozen=True)
class Consent:
    """What the user said beforehand, and how to ask where somebody is there to answer."""

    yes: bool = False
    confirm: str | None = None
    """The name of the database, typed as proof that it is meant."""
    ask: Callable[[str], bool] | None = None
    ask_name: Callable[[str], str] | None = None


def permit(connection: Connection, target: Target, verb: str, consent: Consent) -> None:
    """Return where the user consents to `verb` on this database; raise otherwise.

    Raises Protected where the database is protected and its name was not given, and NotConfirmed
    where consent is missing.
    """
    decide(connection.info.dbname, protection(connection, target), verb, consent)


def decide(name: str, protected: str | None, verb: str, consent: Consent) -> None:
    """Decide on `verb`: `name` is what must be typed where `protected` says why it is.

    Raises as `permit` does.
    """
    if consent.confirm is not None and consent.confirm != name:
        raise Protected(
            f"{verb} was confirmed for {consent.confirm!r}, but this is {name!r}. "
            "Nothing was changed.",
            hint="Check the target with: leadctl config",
        )
    if consent.confirm == name:
        return
    if protected:
        _by_name(name, protected, verb, consent)
    elif not consent.yes:
        _by_answer(name, verb, consent)


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
    """Say why a database is protected; None where it is not."""
    identity = state.read_identity(connection)
    if identity and identity.protected:
        return f"it is protected (environment {identity.environment or 'unnamed'})"
    if target.protected:
        return f"[env.{target.environment}] is protected"
    meant, found = target.environment, identity.environment if identity else None
    if meant and found and meant != found:
        return f"it says that it is {found}, not {meant}"
    return None
