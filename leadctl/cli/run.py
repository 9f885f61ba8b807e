"""What every command is handed, and the options that every command takes."""

import functools
import inspect
import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from leadctl.cli import complete
from leadctl.cli.console import Console
from leadctl.errors import UsageError
from leadctl.settings import Settings, load_settings

if TYPE_CHECKING:
    from leadctl.api.database import Database
    from leadctl.api.project import Project
    from leadctl.apps.registry import App
    from leadctl.journal.guard import Consent
    from leadctl.postgres.connect import Timeouts
    from leadctl.postgres.target import Target
    from leadctl.render.blocks import Block


def _text(
    flag: str,
    help_text: str,
    metavar: str = "NAME",
    names: Callable[[typer.Context, str], list[str]] | None = None,
) -> Any:
    option = typer.Option(
        *flag.split("/"),
        metavar=metavar,
        help=help_text,
        show_envvar=False,
        autocompletion=names,
    )
    return Annotated[str | None, option]


_COMMON: dict[str, Any] = {
    "app": _text("--app", "The app to work on.", names=complete.apps),
    "env": _text("--env", "An [env.NAME] of leadctl.toml.", names=complete.environments),
    "url": _text("--url", "The database, instead of DATABASE_URL.", "URL"),
    "schema": _text("--schema", "The schema that the app lives in."),
}
"""Options that are settings: their values go where the environment's and the files' go."""

LOCK_WAIT = (
    "lock_wait",
    _text("--lock-wait", "How long to wait for another run's lock, as 60s.", "TIME"),
)
LOCK_TIMEOUT = (
    "lock_timeout",
    _text("--lock-timeout", "How long a statement may wait for a table's lock, as 3s.", "TIME"),
)
STATEMENT_TIMEOUT = (
    "statement_timeout",
    _text("--statement-timeout", "How long a statement may take, as 10min; else no limit.", "TIME"),
)
BACKUP_TO = ("backup_dir", _text("--to", "The folder, instead of BACKUP_DIR.", "FOLDER"))
BACKUP_FROM = ("backup_dir", _text("--from", "The folder, instead of BACKUP_DIR.", "FOLDER"))
BACKUP_RECIPIENTS = (
    "backup_recipients",
    _text("--recipients", "The age or SSH public keys to encrypt to.", "KEYS"),
)
BACKUP_IDENTITY = (
    "backup_identity_file",
    _text("--identity", "The file of the private key that reads it.", "FILE"),
)
BACKUP_KEEPS = (
    ("backup_keep_daily", _text("--keep-daily", "Days that keep their newest backup.", "N")),
    ("backup_keep_weekly", _text("--keep-weekly", "Weeks that keep their newest backup.", "N")),
    ("backup_keep_monthly", _text("--keep-monthly", "Months that keep their newest backup.", "N")),
    ("backup_keep_minimum", _text("--keep-minimum", "The newest that are always kept.", "N")),
)

_LOG_SQL_AT = 2

Quiet = Annotated[
    bool,
    typer.Option("--quiet", "-q", help="Say only the result and errors.", show_envvar=False),
]
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


@dataclass(frozen=True)
class Run:
    """One run of a command: its settings, and its way to speak."""

    settings: Settings
    console: Console
    _databases: "dict[bool, Database]" = field(default_factory=dict, init=False, repr=False)

    @functools.cached_property
    def app(self) -> "App":
        """The app that was named."""
        from leadctl.apps.registry import find_app

        return find_app(self.settings)

    def project(self) -> "Project":
        """The project: its settings and app."""
        return self.database()

    def database(self, *, may_create: bool = False) -> "Database":
        """The database that was named, found once; `may_create` lets an embedded server be made."""
        from leadctl.api.database import Database

        if may_create not in self._databases:
            progress = self.console.progress
            self._databases[may_create] = Database(
                self.settings, self.narrate, progress, may_create
            )
        return self._databases[may_create]

    def target(self, *, may_create: bool = False) -> "Target":
        """The target that was named; `may_create` lets an embedded server be made for it."""
        from leadctl.postgres.target import resolve

        return resolve(
            self.settings, app=self.app.name, may_create=may_create, narrate=self.narrate
        )

    @property
    def timeouts(self) -> "Timeouts":
        """How long it may wait, and its statements."""
        from leadctl.postgres.connect import Timeouts

        settings = self.settings
        return Timeouts(settings.lock_wait, settings.lock_timeout, settings.statement_timeout)

    def narrate(self, message: str) -> None:
        """Say something beside the result."""
        self.console.narrate(message)

    def consent(self, *, yes: bool, confirm: str | None = None) -> "Consent":
        """What the user said beforehand; where somebody is there, a way to ask for the rest."""
        from leadctl.journal.guard import Consent

        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            return Consent(yes, confirm)
        return Consent(
            yes,
            confirm,
            ask=lambda question: typer.confirm(question, err=True),
            ask_name=lambda question: str(typer.prompt(question, err=True, default="")),
        )

    def show(self, plan: Any, view: Callable[[Any], "Sequence[Block]"]) -> None:
        """Show what is going to happen, beside the result: to people only."""
        if not self.console.quiet and not self.console.as_json:
            from leadctl.render.table import write

            write(view(plan), sys.stderr)

    def emit(
        self,
        result: Any,
        view: Callable[[Any], "Sequence[Block]"],
        **writers: Callable[[Any], str],
    ) -> None:
        """Write the result to standard output in the format that was asked for.

        `writers` are the formats that only some commands have.
        """
        self.console.finish()
        if self.settings.output == "json":
            from leadctl.render.json import dumps

            sys.stdout.write(dumps(result) + "\n")
        elif self.settings.output in writers:
            sys.stdout.write(writers[self.settings.output](result) + "\n")
        else:
            from leadctl.render.table import write

            write(view(result), sys.stdout)


def command(
    *options: tuple[str, Any], outputs: Sequence[str] = ("table", "json")
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the common options, and hand it a `Run` made of them as first argument.

    `options` are more settings that the command takes as flags, such as `LOCK_WAIT`.
    """
    flags = {**_COMMON, **dict(options), "output": _output(outputs)}

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(function)
        def wrapper(ctx: typer.Context, **values: Any) -> None:
            if ctx.invoked_subcommand is not None:
                return
            given = {name: values.pop(name) for name in flags}
            _refuse_contradiction(ctx, given)
            run = _run(given, outputs, quiet=values.pop("quiet"), verbose=values.pop("verbose"))
            function(run, **values)

        signature = _signature(function, flags)
        # A docstring cannot hold the character by which Click leaves lines as they are.
        wrapper.__doc__ = (function.__doc__ or "").replace("\\b\n", "\b\n")
        wrapper.__signature__ = signature  # type: ignore[attr-defined]
        wrapper.__annotations__ = {
            name: parameter.annotation for name, parameter in signature.parameters.items()
        }
        return wrapper

    return decorate


def _output(outputs: Sequence[str]) -> Any:
    return _text("--output/-o", f"Format of the result: {', '.join(outputs)}.", "FORMAT")


def _signature(function: Callable[..., None], flags: dict[str, Any]) -> inspect.Signature:
    """Return the signature that Typer sees: the command's own parameters, then the common ones."""
    keyword = inspect.Parameter.KEYWORD_ONLY
    own = [
        parameter.replace(kind=keyword)
        for name, parameter in inspect.signature(function).parameters.items()
        if name != "run"
    ]
    common: dict[str, tuple[Any, Any]] = {
        name: (annotation, None) for name, annotation in flags.items()
    }
    common |= {"quiet": (Quiet, False), "verbose": (Verbose, 0)}
    return inspect.Signature(
        [
            inspect.Parameter("ctx", keyword, annotation=typer.Context),
            *own,
            *(
                inspect.Parameter(name, keyword, annotation=annotation, default=default)
                for name, (annotation, default) in common.items()
            ),
        ]
    )


def _run(given: dict[str, Any], outputs: Sequence[str], *, quiet: bool, verbose: int) -> Run:
    if given["url"] and given["env"]:
        raise UsageError("--url and --env name two databases.", hint="Give one of them.")
    settings = load_settings(given | ({"log_sql": "1"} if verbose >= _LOG_SQL_AT else {}))
    if not settings.is_set("output"):
        settings = replace(settings, output=outputs[0])
    if settings.output not in outputs:
        raise UsageError(
            f"This command has no output format {settings.output!r} "
            f"(from {settings.source('output')}).",
            hint=f"It has: {', '.join(outputs)}.",
        )
    if settings.log_sql:
        _log_sql()
    return Run(settings, Console(quiet=quiet, as_json=settings.output == "json"))


def _refuse_contradiction(ctx: typer.Context, given: dict[str, Any]) -> None:
    """Refuse an option that was given differently before and after the subcommand."""
    parent = ctx.parent
    while parent is not None:
        for name, value in given.items():
            early = parent.params.get(name)
            if early is not None and early != value:
                raise UsageError(
                    f"--{name.replace('_', '-')} is given twice: {early} and {value}.",
                    hint="Give it once.",
                )
        parent = parent.parent


def _log_sql() -> None:
    logger = logging.getLogger("leadctl.sql")
    if not logger.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("SQL %(message)s"))
        logger.addHandler(handler)
    logger.setLevel(logging.INFO)
