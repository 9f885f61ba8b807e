"""What every command is handed: its settings, what they name, and its way to speak."""

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import typer

from leadctl.cli.console import Console
from leadctl.cli.exit_codes import ExitCode
from leadctl.hints import repeated

if TYPE_CHECKING:
    from leadctl.api.database import Database
    from leadctl.api.project import Project
    from leadctl.journal.guard import Consent
    from leadctl.render.blocks import Block
    from leadctl.settings import Settings


@dataclass(frozen=True, eq=False, repr=False)
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
        """The same, for commands that need an app. Raises NoProject if no app is named."""
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
        return partial(typer.confirm, err=True) if self.interactive else None

    @property
    def ask_text(self) -> Callable[[str], str] | None:
        """A way to ask a question that is answered by a text, where somebody is there."""
        return _typed if self.interactive else None

    def consent(self, *, yes: bool = False, confirm: str | None = None) -> "Consent":
        """What the user said in advance; where somebody is there, a way to ask for the rest."""
        from leadctl.journal.guard import Consent

        return Consent(yes, confirm, self.ask, _typed if self.interactive else None)

    def show(self, view: Callable[[Any], "Iterable[Block]"]) -> Callable[[Any], None]:
        """Return a function that shows people what is going to happen, besides the result."""

        def shown(plan: Any) -> None:
            if not self.console.quiet and not self.console.as_json:
                from leadctl.render.table import write

                write(_repeating(view(plan)), sys.stderr)

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

            write(_repeating(view(result)), sys.stdout)
        if not ok:
            raise typer.Exit(ExitCode.NO)


def _repeating(view: "Iterable[Block]") -> "Iterable[Block]":
    """Repeat in the commands that a view names what was given to this one; data stays as it is."""
    if not Console.given:
        return view
    return map(_with_given, view)


def _with_given(block: "Block") -> "Block":
    from leadctl.render.blocks import Cell, Grid, Line, Pairs

    def told(value: Any) -> Any:
        if isinstance(value, Cell | Line):
            return value._replace(text=repeated(value.text, Console.given))
        return value

    if isinstance(block, Grid):
        return block._replace(rows=[[told(each) for each in row] for row in block.rows])
    if isinstance(block, Pairs):
        return Pairs([(name, told(value)) for name, value in block.pairs])
    line: Block = told(block)
    return line


def _typed(question: str) -> str:
    return str(typer.prompt(question, err=True, default="", show_default=False))
