"""`leadctl studio`."""

import shlex
import sys
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

from leadctl.cli.command import Effect, Run, command
from leadctl.cli.group import app
from leadctl.cli.options import (
    Confirm,
    Number,
    Text,
    Texts,
    argument,
    column_names,
    condition_names,
    exclusive,
    flag,
    only_with,
    option,
    relation_names,
    seconds,
    table_names,
)
from leadctl.errors import UsageError
from leadctl.render import views

if TYPE_CHECKING:
    from leadctl.api.studio import Studio
    from leadctl.render.blocks import Block
    from leadctl.studio.rows import RowSelection, Stream

_ROWS_A_PAGE = 20
_MOST = 1_000_000
_LIMIT = f"How many rows: {_ROWS_A_PAGE} in a table, otherwise all."

Columns = Annotated[
    Text, option("--columns", "A,B", "Show these columns, in this order.", names=column_names)
]
Where = Annotated[
    Texts,
    option(
        "--where",
        "CONDITION",
        "Show rows that meet it (repeat it: all must hold). See docs/studio.md.",
        names=condition_names,
    ),
]
Sort = Annotated[
    Text, option("--sort", "A,-B", "Sort by these columns; - is descending.", names=column_names)
]
Limit = Annotated[Number, option("--limit", "N", _LIMIT, min=1, max=_MOST)]
After = Annotated[
    Text, option("--after", "PLACE", "Continue after this place (printed below each page).")
]
Page = Annotated[int, option("--page", "N", "The Nth page.", min=1, max=_MOST)]
Follow = Annotated[
    Text,
    option(
        "--follow",
        "RELATION",
        "Show rows that it refers to, or that refer to it.",
        names=relation_names,
    ),
]
Reveal = Annotated[
    bool, flag("--reveal", "Show secrets and decrypted values (recorded in history).", consent=True)
]


@app.leaf("studio", "Rows")
@command(Effect.READS, outputs=("table", "json", "csv", "jsonl"))
def studio(
    run: Run,
    *,
    table: Annotated[
        Text, argument("TABLE", "Rows of this table; default: all tables.", names=table_names)
    ] = None,
    row: Annotated[Text, argument("ROW", "One row, by its primary key.")] = None,
    columns: Columns = None,
    where: Where = None,
    sort: Sort = None,
    limit: Limit = None,
    after: After = None,
    page: Page = 1,
    count: Annotated[bool, flag("--count", "Count the rows that meet the conditions.")] = False,
    follow: Follow = None,
    wide: Annotated[
        bool, flag("--wide", "Show all columns, even if wider than the terminal.")
    ] = False,
    reveal: Reveal = False,
    confirm: Confirm = None,
    timeout: Annotated[str, option("--timeout", "TIME", "Time limit of one statement.")] = "30s",
) -> None:
    r"""Look at tables, rows and records, read-only.

    \b
    leadctl studio
    leadctl studio leads --where status=FAILED --sort -created_at
    leadctl studio leads ID --follow page
    leadctl studio leads -o csv --for-spreadsheet > leads.csv
    """
    from leadctl.studio.rows import RowSelection

    if run.settings.output != "table":
        only_with("-o table", wide=wide)
    selection = RowSelection(columns, tuple(where or ()), sort, limit, page, after, count)
    _refuse_what_does_not_go_together(table, row, follow, selection)
    patience, consent = seconds("--timeout", timeout), run.consent(confirm=confirm)
    look = run.database().studio(timeout=patience, reveal=consent if reveal else None)
    words = [*_repeated(run), *(["--wide"] if wide else []), *(["--reveal"] if reveal else [])]
    shown = _Shown(run, look, selection, words, wide)
    if table is None:
        shown.tables()
    elif row is None:
        shown.rows(table)
    else:
        shown.record(table, row, follow)


def _refuse_what_does_not_go_together(
    table: str | None, row: str | None, follow: str | None, selection: "RowSelection"
) -> None:
    from leadctl.studio.rows import RowSelection

    if table is None and selection != RowSelection():
        raise UsageError("These options need a TABLE.", hint="E.g. leadctl studio leads --limit 5")
    if follow is not None and row is None:
        raise UsageError("--follow needs a ROW.", hint="E.g. leadctl studio leads ID --follow page")
    choosing = RowSelection(columns=selection.columns)
    if row is not None and follow is None and selection != choosing:
        raise UsageError(
            "With ROW only --columns, --follow and --reveal can be used.",
            hint="To list rows, leave out ROW.",
        )
    exclusive(after=selection.after, page=selection.page > 1)


@dataclass(frozen=True)
class _Shown:
    """What is shown, and the options that show it again."""

    run: Run
    look: "Studio"
    selection: "RowSelection"
    words: list[str]
    wide: bool

    @property
    def output(self) -> str:
        return self.run.settings.output

    @property
    def by_page(self) -> "RowSelection":
        return replace(self.selection, limit=self.selection.limit or _ROWS_A_PAGE)

    def tables(self) -> None:

        if self.output in {"csv", "jsonl"}:
            raise UsageError(
                f"The list of tables has no format {self.output}.", hint="It has: table, json."
            )
        if self.output == "json":
            self.run.emit(self.look.tables(), views.studio.tables)
        else:
            self._emit(self.look.tables(), views.studio.tables)

    def rows(self, table: str) -> None:

        if self.output == "table":
            again = self._typed(table, *_options(self.by_page))
            view = partial(views.studio.page, command=again, selection=self.selection)
            self._emit(self.look.page(table, self.by_page), view)
            return
        selection = self.by_page if self.selection.page > 1 else self.selection
        as_json = self.output != "csv"
        with self.look.stream(table, selection, as_json_text=as_json) as stream:
            sys.stdout.writelines(self._lines(stream))

    def record(self, table: str, row: str, follow: str | None) -> None:
        from leadctl.render.json import record_document

        if self.output == "table":
            self._readable(table, row, follow)
            return
        with self.look.find(table, row, follow=follow, selection=self.selection) as found:
            if self.output == "json" and found.key is not None:
                sys.stdout.writelines(record_document(found.record(as_json_text=True)))
            else:
                with closing(found.stream(as_json_text=self.output != "csv")) as stream:
                    sys.stdout.writelines(self._lines(stream))

    def _readable(self, table: str, row: str, follow: str | None) -> None:
        """Show a record, or what a relation leads to; the look has ended before somebody reads."""
        with self.look.find(table, row, follow=follow, selection=self.by_page) as found:
            if found.key is None:
                rows = found.page()
            else:
                record = found.record(as_json_text=False)
        if found.key is None:
            again = self._typed(table, row, "--follow", follow or "", *_options(self.by_page))
            self._emit(rows, partial(views.studio.page, command=again, selection=self.by_page))
        else:
            again = self._typed(record.table, record.key)
            self._emit(record, partial(views.studio.record, command=again))

    def _emit(self, result: Any, view: "Callable[[Any], Iterable[Block]]") -> None:
        """Write a table within the terminal, or as wide as it is."""
        from leadctl.render import pager, table

        self.run.console.finish()
        blocks = list(view(result))
        text = table.dumps(blocks) if self.wide else table.text(blocks, sys.stdout)
        pager.show(text, wide=self.wide)

    def _lines(self, stream: "Stream") -> Iterable[str]:
        from leadctl.render import csv, json

        if self.output == "csv":
            return csv.lines(
                stream,
                for_terminal=sys.stdout.isatty(),
                for_spreadsheet=self.run.for_spreadsheet,
            )
        return json.lines(stream) if self.output == "jsonl" else json.rows_document(stream)

    def _typed(self, *words: str) -> str:
        """Return a command of the studio as one would type it."""
        return shlex.join(["leadctl", "studio", *words, *self.words])


def _repeated(run: Run) -> list[str]:
    """Return the options that lead to the same database again; a URL is not repeated."""
    return [
        word
        for name in ("app", "env", "schema")
        if run.settings.is_flag(name)
        for word in (f"--{name}", str(getattr(run.settings, name)))
    ]


def _options(selection: "RowSelection") -> list[str]:
    """Return the options of a selection but its place."""
    words = [word for condition in selection.where for word in ("--where", condition)]
    for name in ("columns", "sort"):
        given = getattr(selection, name)
        words += [f"--{name}={given}"] if given else []
    return words + (["--limit", str(selection.limit)] if selection.limit != _ROWS_A_PAGE else [])
