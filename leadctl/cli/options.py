"""How commands declare options and arguments, what excludes what, and how names are completed.

Names of apps, environments, revisions, tables, backups, rules, checks and reports are found quickly
and without changing anything; where there are none, completion is silent.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from leadctl.errors import InvalidFlag, UsageError

if TYPE_CHECKING:
    from datetime import datetime

    from leadctl.postgres.connect import Connection
    from leadctl.settings import Settings

_SETTINGS = ("app", "env", "url", "schema", "backup_dir")
_SECONDS = 2
"""How long somebody who pressed a key waits for a database."""


def _completing(
    find: "Callable[[Settings], Sequence[str]] | Callable[[Settings, str], Sequence[str]]",
    *,
    of_table: bool = False,
    listed: bool = False,
) -> Callable[[typer.Context, str], list[str]]:
    """Return what completes the names that `find` finds, where the command line says so far.

    It is told the command's TABLE, if they are `of_table`.  Of names that are `listed` with commas
    it completes the last one, behind its minus.
    """

    def complete(ctx: typer.Context, incomplete: str) -> list[str]:
        from leadctl.settings import load_settings

        # Behind an option that lacks its value, arguments are left as they were typed.
        typed = ctx.params.get("table") or next(iter(ctx.args), "")
        table = [typed] if of_table else []
        before, comma, last = incomplete.rpartition(",") if listed else ("", "", incomplete)
        minus = "-" if listed and last.startswith("-") else ""
        try:
            found = find(load_settings(_given(ctx)), *table)
        except Exception:  # noqa: BLE001 - whatever is wrong, a shell's line is no place to say it
            return []
        names = [f"{before}{comma}{minus}{name}" for name in found]
        return [name for name in names if name.startswith(incomplete)]

    return complete


def _given(ctx: typer.Context) -> dict[str, str | None]:
    """Return the settings that stand before, at the command or at a group above it."""
    given: dict[str, str | None] = {}
    context: typer.Context | None = ctx
    while context is not None:
        for name in _SETTINGS:
            given[name] = given.get(name) or context.params.get(name)
        context = context.parent  # type: ignore[assignment]
    return given


def _apps(settings: "Settings") -> Sequence[str]:
    from leadctl.apps.registry import all_apps

    return sorted(all_apps(settings))


def _revisions(settings: "Settings") -> Sequence[str]:
    """Return the app's revisions, the newest first; none is applied or imported."""
    from leadctl.apps.registry import find_app
    from leadctl.migrate.revisions import read_history

    history = read_history(find_app(settings).versions, complete=False)
    return [revision.id for revision in reversed(history.revisions)]


def _tables(settings: "Settings") -> Sequence[str]:
    """Return the tables and views of the target's schema."""
    from leadctl.catalog.relations import relation_names

    return _asked(settings, relation_names)


def _columns(settings: "Settings", table: str) -> Sequence[str]:
    """Return the columns of a table."""
    from leadctl.catalog.relations import read_table

    def names(connection: "Connection", schema: str) -> Sequence[str]:
        found = read_table(connection, schema, table, "columns")
        return [column.name for column in found.columns] if found else []

    return _asked(settings, names)


def _conditions(settings: "Settings", table: str) -> Sequence[str]:
    """Return the columns of a table with the commonest operator, and relations with a point."""
    return [
        *(f"{column}=" for column in _columns(settings, table)),
        *(f"{relation}." for relation in _relations(settings, table)),
    ]


def _relations(settings: "Settings", table: str) -> Sequence[str]:
    """Return what `--follow` goes to from a row of a table."""
    from leadctl.studio.shape import read_shape

    return _asked(
        settings, lambda connection, schema: read_shape(connection, schema, table).relation_names
    )


def _tenants(settings: "Settings") -> Sequence[str]:
    """Return the names of the app's tenants."""
    from leadctl.apps.registry import find_app
    from leadctl.tenants.schemas import read_tenants

    app = find_app(settings)
    return _asked(settings, lambda connection, _: [t.name for t in read_tenants(connection, app)])


def _asked(
    settings: "Settings", ask: "Callable[[Connection, str], Sequence[str]]"
) -> Sequence[str]:
    """Return what is asked of the target's schema: of a server that runs, and without a command."""
    from dataclasses import replace

    from leadctl.postgres.connect import connect
    from leadctl.postgres.embedded import server
    from leadctl.postgres.embedded.home import Home
    from leadctl.postgres.target import resolve

    environment = settings.environment
    if environment is not None and environment.url_command:
        return []
    home = Home.of(settings.project)
    if not (settings.url or environment) and home.exists and not server.status(home).running:
        return []
    target = replace(resolve(settings, app=settings.app), connect_timeout=_SECONDS)
    with connect(target, "complete", read_only=True, statement_timeout=_SECONDS) as connection:
        return ask(connection, target.schema)


def _backups(settings: "Settings") -> Sequence[str]:
    """Return the ids of the backups in the configured folder, the newest first."""
    from leadctl.api.project import Project

    folder = Project(settings).known_backup_folder
    found = [backup.id for backup in folder.backups()] if folder else []
    return ["latest", *found] if found else []


def _rules(settings: "Settings") -> Sequence[str]:
    """Return the names of the app's retention rules."""
    from leadctl.apps.registry import find_app
    from leadctl.cleanup.rules import rules_of

    return [rule.name for rule in rules_of(find_app(settings), settings)]


def _checks(settings: "Settings") -> Sequence[str]:
    from leadctl.health.run import select

    return [check.name for check in select(settings)]


def _diagnostics(_settings: "Settings") -> Sequence[str]:
    from leadctl.inspect.run import reports

    return [*reports(), "all"]


def _reports(settings: "Settings") -> Sequence[str]:
    """Return the names of the app's reports."""
    from leadctl.apps.registry import find_app, load_reports

    return [report.name for report in load_reports(find_app(settings)).reports]


app_names = _completing(_apps)
environment_names = _completing(lambda settings: sorted(settings.environments))
fleet_names = _completing(lambda settings: sorted(settings.fleets))
revision_names = _completing(_revisions)
table_names = _completing(_tables)
backup_ids = _completing(_backups)
rule_names = _completing(_rules)
check_names = _completing(_checks)
diagnostic_names = _completing(_diagnostics)
report_names = _completing(_reports)
column_names = _completing(_columns, of_table=True, listed=True)
condition_names = _completing(_conditions, of_table=True)
tenant_names = _completing(_tenants)
relation_names = _completing(_relations, of_table=True)


Text = str | None
Texts = list[str] | None
Number = int | None
Names = Callable[[typer.Context, str], list[str]]


def option(
    flags: str,
    metavar: str,
    about: str,
    *,
    names: Names | Callable[[str], list[str]] | None = None,
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


def one_of(words: Sequence[str]) -> Callable[[str], list[str]]:
    """Return what completes one of some words that are always the same."""

    def complete(incomplete: str) -> list[str]:
        return [word for word in words if word.startswith(incomplete)]

    return complete


def flag(flags: str, about: str, *, consent: bool = False) -> Any:
    """Declare an option without a value."""
    return typer.Option(
        *flags.split(), help=about, show_envvar=False, allow_from_autoenv=not consent
    )


def argument(metavar: str, about: str, *, names: Names | None = None) -> Any:
    """Declare an argument; `names` completes it."""
    return typer.Argument(metavar=metavar, help=about, show_default=False, autocompletion=names)


def setting(
    name: str, flags: str, metavar: str, about: str, *, names: Names | None = None
) -> tuple[str, Any]:
    """Declare an option that is a setting: it goes where the environment and the files go."""
    return name, Annotated[Text, option(flags, metavar, about, names=names)]


COMMON = (
    setting("app", "--app", "NAME", "Work on this app.", names=app_names),
    setting("env", "--env", "NAME", "Use [env.NAME] of leadctl.toml.", names=environment_names),
    setting("url", "--url", "URL", "Use this database instead of DATABASE_URL."),
    setting("schema", "--schema", "NAME", "The schema that holds the app's tables."),
)
"""Every command takes these."""
LOCK_WAIT = setting(
    "lock_wait", "--lock-wait", "TIME", "Wait this long for another run to finish, e.g. 60s."
)
LOCK_TIMEOUT = setting(
    "lock_timeout", "--lock-timeout", "TIME", "Wait this long for the lock on a table, e.g. 3s."
)
STATEMENT_TIMEOUT = setting(
    "statement_timeout", "--statement-timeout", "TIME", "Time limit of one statement, e.g. 10m."
)
TIMEOUTS = (LOCK_WAIT, LOCK_TIMEOUT, STATEMENT_TIMEOUT)
_FOLDER = "Use this folder instead of BACKUP_DIR."
BACKUP_TO = setting("backup_dir", "--to", "FOLDER", _FOLDER)
BACKUP_FROM = setting("backup_dir", "--from", "FOLDER", _FOLDER)
BACKUP_RECIPIENTS = setting(
    "backup_recipients", "--recipients", "KEYS", "Encrypt to these age or SSH public keys."
)
BACKUP_IDENTITY = setting(
    "backup_identity_file", "--identity", "FILE", "The private key file that decrypts the backup."
)
BACKUP_KEEPS = tuple(
    setting(f"backup_keep_{kept}", f"--keep-{kept}", "N", f"Number of {what} kept.")
    for kept, what in (
        ("daily", "days whose newest backup is"),
        ("weekly", "weeks whose newest backup is"),
        ("monthly", "months whose newest backup is"),
        ("minimum", "newest backups that are always"),
    )
)

Quiet = Annotated[bool, flag("--quiet -q", "Print only the result and errors.")]
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
ForSpreadsheet = Annotated[
    bool, flag("--for-spreadsheet", "Escape CSV cells that a spreadsheet runs as formulas.")
]
Yes = Annotated[bool, flag("--yes -y", "Do not ask for confirmation.", consent=True)]
Confirm = Annotated[
    Text,
    option(
        "--confirm",
        "DATABASE",
        "Confirm by typing the database name. Required if it is protected.",
        consent=True,
    ),
]
Backup = Annotated[bool, flag("--backup", "Make a backup before anything changes.")]
Tenant = Annotated[
    Text,
    option("--tenant", "NAME", "Work on this tenant's schema and its backups.", names=tenant_names),
]
Message = Annotated[Text, option("--message -m", "TEXT", "What the revision does.")]
Revision = Annotated[Text, argument("REV", "The revision to stop at.", names=revision_names)]


def exclusive(**given: object) -> None:
    """Refuse options that exclude each other; a name in capitals is an argument's."""
    named = _named(given)
    if len(named) > 1:
        raise UsageError(f"{_listed(named)} exclude each other.", hint="Give one of them.")


def only_with(what: str, **given: object) -> None:
    """Refuse options that mean nothing without another one, instead of dropping them."""
    for name in _named(given):
        raise UsageError(
            f"{name} can only be used with {what}.", hint=f"Add {what}, or leave {name} out."
        )


def not_with(what: str, **given: object) -> None:
    """Refuse options that mean nothing with another one, instead of dropping them."""
    for name in _named(given):
        raise UsageError(f"{name} cannot be used with {what}.", hint=f"Leave out {name} or {what}.")


def seconds(flag: str, text: str) -> float:
    """Return the duration that an option gives, in seconds.  Raises InvalidFlag."""
    from leadctl.settings.durations import DURATION, parse_seconds

    try:
        return parse_seconds(text)
    except ValueError:
        raise InvalidFlag(f"{flag} is {text!r}.", hint=f"It is {DURATION}.") from None


def moment(flag: str, text: str) -> "datetime":
    """Return the moment that an option gives.  Raises InvalidFlag."""
    from leadctl.settings.durations import MOMENT, parse_moment

    try:
        return parse_moment(text)
    except ValueError as error:
        why = f": {error}" if "zone" in str(error) or "clocks" in str(error) else ""
        raise InvalidFlag(f"{flag} is {text!r}{why}.", hint=f"It is {MOMENT}.") from None


def _named(given: dict[str, object]) -> list[str]:
    """Return the options that were given, as they are typed."""
    flags = {name: name if name.isupper() else f"--{name.replace('_', '-')}" for name in given}
    return [flags[name] for name, value in given.items() if value not in (None, False, [], ())]


def _listed(named: list[str]) -> str:
    return f"{', '.join(named[:-1])} and {named[-1]}"
