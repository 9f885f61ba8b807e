"""What every command is handed, and the decorator that hands it over."""

import functools
import inspect
import logging
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from leadctl.cli.console import Console, let_write
from leadctl.cli.exit_codes import ExitCode
from leadctl.cli.options import (
    COMMON,
    ForSpreadsheet,
    Quiet,
    Text,
    Verbose,
    exclusive,
    only_with,
    option,
)
from leadctl.errors import UsageError

if TYPE_CHECKING:
    from leadctl.api.database import Database
    from leadctl.api.project import Project
    from leadctl.journal.guard import Consent
    from leadctl.render.blocks import Block
    from leadctl.settings import Settings

_LOG_SQL_AT = 2


class Effect(Enum):
    """What a command does to data: tests hold each kind to what it promises."""

    READS = "reads"
    """It changes nothing."""
    ADDS = "adds"
    """It changes something, and loses nothing."""
    BY_RULE = "by rule"
    """It loses only what a rule allows."""
    LOCAL = "local"
    """It is for a developer's own database: a protected one is refused, whoever consents."""
    DESTROYS = "destroys"
    """It can lose something: the guard comes first."""


@dataclass(frozen=True)
class Run:
    """One run of a command: its settings, what they name, and its way to speak."""

    settings: "Settings"
    console: Console
    for_spreadsheet: bool = False
    """Whether no cell of a CSV may be a formula."""
    _databases: "dict[bool, Database]" = field(default_factory=dict, init=False, repr=False)

    def project(self) -> "Project":
        """The project: its settings and app."""
        return self.database()

    def database(self, *, may_create: bool = False) -> "Database":
        """The database that was named, found once; `may_create` lets an embedded server be made."""
        from leadctl.api.database import Database

        if may_create not in self._databases:
            made = Database(self.settings, self.narrate, self.console.progress, may_create)
            self._databases[may_create] = made
        return self._databases[may_create]

    def of_app(self) -> "Database":
        """The same, for what is an app's.  Raises NoProject where nobody said which."""
        self.project().require_named_app()
        return self.database()

    def narrate(self, message: str) -> None:
        """Say something besides the result."""
        self.console.narrate(message)

    @property
    def interactive(self) -> bool:
        """Whether somebody is there to be asked."""
        return sys.stdin.isatty() and sys.stderr.isatty()

    @property
    def ask(self) -> Callable[[str], bool] | None:
        """A way to ask a question that is answered by yes or no, where somebody is there."""
        return _confirmed if self.interactive else None

    @property
    def ask_text(self) -> Callable[[str], str] | None:
        """A way to ask a question that is answered by a text, where somebody is there."""
        return _typed if self.interactive else None

    def consent(self, *, yes: bool = False, confirm: str | None = None) -> "Consent":
        """What the user said in advance; where somebody is there, a way to ask for the rest."""
        from leadctl.journal.guard import Consent

        return Consent(yes, confirm, self.ask, _typed if self.interactive else None)

    def show(self, view: Callable[[Any], "Iterable[Block]"]) -> Callable[[Any], None]:
        """Return what shows what is going to happen, besides the result: to people only."""

        def shown(plan: Any) -> None:
            if not self.console.quiet and not self.console.as_json:
                from leadctl.render.table import write

                write(view(plan), sys.stderr)

        return shown

    def csv(self, rows: Sequence[Any]) -> str:
        """Write rows as CSV, for a spreadsheet where that was asked for."""
        from leadctl.render.csv import dumps

        return dumps(rows, for_spreadsheet=self.for_spreadsheet)

    def emit(
        self,
        result: Any,
        view: Callable[[Any], "Iterable[Block]"],
        *,
        ok: bool = True,
        **writers: Callable[[Any], str],
    ) -> None:
        """Write the result to standard output in the format that was asked for.

        `writers` are the formats that only some commands have.  Exits with 1 unless it is `ok`.
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
        if not ok:
            raise typer.Exit(ExitCode.NO)


def command(
    effect: Effect,
    *options: tuple[str, Any],
    outputs: Sequence[str] = ("table", "json"),
    of_app: bool | None = None,
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the common options, and hand it a `Run` made of them as first argument.

    `options` are more settings that the command takes as flags, such as `LOCK_WAIT`.  What is
    `of_app` wants to know which app is meant: what writes, unless it says otherwise.
    """
    formats = f"Format of the result: {', '.join(outputs)}."
    output = Annotated[Text, option("--output -o", "FORMAT", formats)]
    flags = {**dict(COMMON), **dict(options), "output": output}

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(function)
        def wrapper(ctx: typer.Context, **values: Any) -> None:
            if ctx.invoked_subcommand is not None:
                return
            given = {name: values.pop(name) for name in flags}
            _refuse_contradiction(ctx, given)
            run = _run(given, outputs, quiet=values.pop("quiet"), verbose=values.pop("verbose"))
            if of_app if of_app is not None else effect is not Effect.READS:
                run.of_app()
            if "csv" in outputs:
                run = replace(run, for_spreadsheet=values.pop("for_spreadsheet"))
                if run.settings.output != "csv":
                    only_with("-o csv", for_spreadsheet=run.for_spreadsheet)
            function(run, **values)

        signature = _signature(function, flags, with_csv="csv" in outputs)
        # A docstring cannot hold the character by which Click leaves lines as they are.
        wrapper.__doc__ = (function.__doc__ or "").replace("\\b\n", "\b\n")
        wrapper.__signature__ = signature  # type: ignore[attr-defined]
        wrapper.__annotations__ = {
            name: parameter.annotation for name, parameter in signature.parameters.items()
        }
        wrapper.effect = effect  # type: ignore[attr-defined]
        return wrapper

    return decorate


def _signature(
    function: Callable[..., None], flags: dict[str, Any], *, with_csv: bool
) -> inspect.Signature:
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
    if with_csv:
        common["for_spreadsheet"] = (ForSpreadsheet, False)
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
    from leadctl.settings import load_settings

    exclusive(url=given["url"], env=given["env"])
    settings = load_settings(given | ({"log_sql": "1"} if verbose >= _LOG_SQL_AT else {}))
    if not settings.is_set("output"):
        settings = replace(settings, output=outputs[0])
    if settings.output not in outputs:
        raise UsageError(
            f"This command has no output format {settings.output!r} "
            f"(from {settings.source('output')}).",
            hint=f"It has: {', '.join(outputs)}.",
        )
    let_write(settings.output)
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


def _confirmed(question: str) -> bool:
    return typer.confirm(question, err=True)


def _typed(question: str) -> str:
    return str(typer.prompt(question, err=True, default=""))


class _StandardError(logging.Handler):
    """Writes to what is standard error at that moment: a program may have put another one there."""

    def emit(self, record: logging.LogRecord) -> None:
        sys.stderr.write(f"{self.format(record)}\n")


def _log_sql() -> None:
    logger = logging.getLogger("leadctl.sql")
    if not logger.handlers:
        handler = _StandardError()
        handler.setFormatter(logging.Formatter("SQL %(message)s"))
        logger.addHandler(handler)
    logger.setLevel(logging.INFO)
