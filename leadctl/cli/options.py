"""How commands declare options and arguments, those that several share, and what excludes what."""

from collections.abc import Callable
from typing import Annotated, Any

import typer

from leadctl.cli import complete
from leadctl.errors import InvalidFlag, UsageError
from leadctl.settings.durations import DURATION, parse_seconds

Text = str | None
Texts = list[str] | None
Number = int | None
Names = Callable[[typer.Context, str], list[str]]


def option(
    flags: str,
    metavar: str,
    about: str,
    *,
    names: Names | None = None,
    consent: bool = False,
    **limits: int,
) -> Any:
    """Declare an option that has a value; `names` completes it, `limits` are `min` and `max`.

    What is a `consent` is given by somebody, now: no variable that stays set can give it.
    """
    return typer.Option(
        *flags.split(),
        metavar=metavar,
        help=about,
        show_envvar=False,
        allow_from_autoenv=not consent,
        autocompletion=names,
        **limits,  # type: ignore[arg-type]
    )


def flag(flags: str, about: str, *, consent: bool = False) -> Any:
    """Declare an option without a value."""
    return typer.Option(
        *flags.split(), help=about, show_envvar=False, allow_from_autoenv=not consent
    )


def argument(metavar: str, about: str = "", *, names: Names | None = None) -> Any:
    """Declare an argument; `names` completes it."""
    return typer.Argument(
        metavar=metavar, help=about or None, show_default=False, autocompletion=names
    )


def setting(
    name: str, flags: str, metavar: str, about: str, *, names: Names | None = None
) -> tuple[str, Any]:
    """Declare an option that is a setting: it goes where the environment and the files go."""
    return name, Annotated[Text, option(flags, metavar, about, names=names)]


COMMON = (
    setting("app", "--app", "NAME", "The app to work on.", names=complete.apps),
    setting("env", "--env", "NAME", "An [env.NAME] of leadctl.toml.", names=complete.environments),
    setting("url", "--url", "URL", "The database, instead of DATABASE_URL."),
    setting("schema", "--schema", "NAME", "The schema that the app lives in."),
)
"""Every command takes these."""
LOCK_WAIT = setting(
    "lock_wait", "--lock-wait", "TIME", "How long to wait for another run's lock, e.g. 60s."
)
LOCK_TIMEOUT = setting(
    "lock_timeout", "--lock-timeout", "TIME", "How long to wait for a table's lock, e.g. 3s."
)
STATEMENT_TIMEOUT = setting(
    "statement_timeout", "--statement-timeout", "TIME", "How long a statement may take, e.g. 10min."
)
TIMEOUTS = (LOCK_WAIT, LOCK_TIMEOUT, STATEMENT_TIMEOUT)
_FOLDER = "The folder, instead of BACKUP_DIR."
BACKUP_TO = setting("backup_dir", "--to", "FOLDER", _FOLDER)
BACKUP_FROM = setting("backup_dir", "--from", "FOLDER", _FOLDER)
BACKUP_RECIPIENTS = setting(
    "backup_recipients", "--recipients", "KEYS", "The age or SSH public keys to encrypt to."
)
BACKUP_IDENTITY = setting(
    "backup_identity_file", "--identity", "FILE", "The file of the private key that reads it."
)
BACKUP_KEEPS = (
    setting("backup_keep_daily", "--keep-daily", "N", "Days that keep their newest backup."),
    setting("backup_keep_weekly", "--keep-weekly", "N", "Weeks that keep their newest backup."),
    setting("backup_keep_monthly", "--keep-monthly", "N", "Months that keep their newest backup."),
    setting("backup_keep_minimum", "--keep-minimum", "N", "The newest that are always kept."),
)

Quiet = Annotated[bool, flag("--quiet -q", "Say only the result and errors.")]
Verbose = Annotated[
    int,
    typer.Option(
        "--verbose",
        "-v",
        count=True,
        metavar="",
        help="-vv logs every SQL statement.",
        show_default=False,
        show_envvar=False,
    ),
]
Yes = Annotated[bool, flag("--yes -y", "Do not ask.", consent=True)]
Confirm = Annotated[
    Text,
    option(
        "--confirm",
        "DATABASE",
        "Confirm by typing the database name (required if it is protected).",
        consent=True,
    ),
]
Backup = Annotated[bool, flag("--backup", "Make a backup before anything changes.")]
Message = Annotated[Text, option("--message -m", "TEXT", "What the revision does.")]
Revision = Annotated[Text, argument("REV", names=complete.revisions)]


def exclusive(**given: object) -> None:
    """Refuse options that exclude each other; a name in capitals is an argument's."""
    named = _named(given)
    if len(named) > 1:
        raise UsageError(f"{_listed(named)} exclude each other.", hint="Give one of them.")


def only_with(what: str, **given: object) -> None:
    """Refuse options that mean nothing without another one, instead of dropping them."""
    for name in _named(given):
        raise UsageError(f"{name} goes with {what} only.", hint=f"Add {what}, or leave {name} out.")


def not_with(what: str, **given: object) -> None:
    """Refuse options that mean nothing with another one, instead of dropping them."""
    for name in _named(given):
        raise UsageError(f"{name} does not go with {what}.", hint=f"Leave out {name} or {what}.")


def seconds(flag: str, text: str) -> float:
    """Return the duration that an option gives, in seconds.  Raises InvalidFlag."""
    try:
        return parse_seconds(text)
    except ValueError:
        raise InvalidFlag(f"{flag} is {text!r}.", hint=f"It is {DURATION}.") from None


def _named(given: dict[str, object]) -> list[str]:
    """Return the options that were given, as they are typed."""
    flags = {name: name if name.isupper() else f"--{name.replace('_', '-')}" for name in given}
    return [flags[name] for name, value in given.items() if value not in (None, False, [], ())]


def _listed(named: list[str]) -> str:
    return f"{', '.join(named[:-1])} and {named[-1]}"
