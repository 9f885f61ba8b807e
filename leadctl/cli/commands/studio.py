"""`leadctl studio`."""

import shlex
import sys
from collections.abc import Iterable
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from leadctl.cli import complete
from leadctl.cli.options import Confirm
from leadctl.cli.run import Run, command
from leadctl.errors import InvalidFlag, UsageError

if TYPE_CHECKING:
    from leadctl.journal.guard import Consent
    from leadctl.studio.rows import Selection, Stream
    from leadctl.studio.session import Access

_ROWS_A_PAGE = 20
_MOST = 1_000_000


def _option(flag: str, metavar: str, text: str) -> typer.models.OptionInfo:
    option: typer.models.OptionInfo = typer.Option(
        flag, metavar=metavar, help=text, show_default=False, show_envvar=False
    )
    return option


@command(outputs=("table", "json", "csv", "jsonl"))
def studio(
    run: Run,
    *,
    table: Annotated[
        str | None,
        typer.Argument(metavar="TABLE", show_default=False, autocompletion=complete.tables),
    ] = None,
    row: Annotated[str | None, typer.Argument(metavar="ROW", show_default=False)] = None,
    columns: Annotated[
        str | None, _option("--columns", "A,B", "The columns to show, in this order.")
    ] = None,
    where: Annotated[
        list[str] | None,
        _option("--where", "CONDITION", "Which rows; several must all hold. See docs/studio.md."),
    ] = None,
    sort: Annotated[
        str | None, _option("--sort", "A,-B", "The order of rows; - is descending.")
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit",
            min=1,
            max=_MOST,
            metavar="N",
            help=f"How many rows: {_ROWS_A_PAGE} in a table, else all.",
            show_default=False,
            show_envvar=False,
        ),
    ] = None,
    after: Annotated[
        str | None, _option("--after", "PLACE", "Go on where a page ended; it says how.")
    ] = None,
    page: Annotated[
        int,
        typer.Option(
            "--page", min=1, max=_MOST, metavar="N", help="The Nth page.", show_envvar=False
        ),
    ] = 1,
    count: Annotated[
        bool, typer.Option("--count", help="Count the rows that fit.", show_envvar=False)
    ] = False,
    follow: Annotated[
        str | None, _option("--follow", "RELATION", "What the row refers to, or is referred by.")
    ] = None,
    reveal: Annotated[
        bool,
        typer.Option(
            "--reveal",
            help="Show secrets, and decrypt. It is journaled.",
            show_envvar=False,
            allow_from_autoenv=False,
        ),
    ] = False,
    confirm: Confirm = None,
    timeout: Annotated[
        str, typer.Option("--timeout", metavar="TIME", help="How long a statement may take.")
    ] = "30s",
) -> None:
    r"""Look at tables, rows and records, read-only.

    \b
    leadctl studio
    leadctl studio leads --where status=FAILED --sort -created_at
    leadctl studio leads ID --follow page
    leadctl studio leads -o csv > leads.csv
    """
    from leadctl.studio.rows import Selection

    selection = Selection(columns, tuple(where or ()), sort, limit, page, after, count)
    _refuse_what_does_not_go_together(table, row, follow, selection)
    access = _access(run, timeout, run.consent(yes=False, confirm=confirm) if reveal else None)
    words = [*_repeated(run), *(["--reveal"] if reveal else [])]
    if table is None:
        _tables(run, access)
    elif row is None:
        _rows(run, access, table, selection, words)
    else:
        _record(run, access, table, row, follow, selection, words)


def _refuse_what_does_not_go_together(
    table: str | None, row: str | None, follow: str | None, selection: "Selection"
) -> None:
    from leadctl.studio.rows import Selection

    if table is None and selection != Selection():
        raise UsageError("These options want a table.", hint="As: leadctl studio leads --limit 5")
    if follow is not None and row is None:
        raise UsageError(
            "--follow wants a record.", hint="As: leadctl studio leads ID --follow page"
        )
    choosing = Selection(columns=selection.columns)
    if row is not None and follow is None and selection != choosing:
        raise UsageError(
            "A record is one row: it takes --columns, --follow and --reveal.",
            hint="Leave out the record's id to choose rows.",
        )
    if selection.after is not None and selection.page > 1:
        raise UsageError("--after and --page are two places.", hint="Give one of them.")


def _access(run: Run, timeout: str, consent: "Consent | None") -> "Access":
    from leadctl.crypto.keyring import keyring_of
    from leadctl.settings.durations import DURATION, parse_seconds
    from leadctl.studio.session import Access

    try:
        seconds = parse_seconds(timeout)
    except ValueError:
        raise InvalidFlag(f"--timeout is {timeout!r}.", hint=f"It is {DURATION}.") from None
    target = run.target(may_create=True)
    return Access(target, run.app, keyring_of(run.settings), seconds, consent, run.narrate)


def _tables(run: Run, access: "Access") -> None:
    from leadctl.render.views.studio import tables as view
    from leadctl.studio.session import list_tables

    if run.settings.output in {"csv", "jsonl"}:
        raise UsageError(
            f"The list of tables has no format {run.settings.output}.", hint="It has: table, json."
        )
    run.emit(list_tables(access), view)


def _rows(run: Run, access: "Access", table: str, selection: "Selection", words: list[str]) -> None:
    from leadctl.render.views.studio import page as view
    from leadctl.studio.rows import read_page, streamed

    if run.settings.output == "table":
        selection = _by_the_page(selection)
        again = _typed("leadctl", "studio", table, *_options(selection), *words)
        run.emit(read_page(access, table, selection), partial(view, command=again))
        return
    if selection.page > 1:
        selection = _by_the_page(selection)
    with streamed(access, table, selection, as_json_text=run.settings.output != "csv") as stream:
        _write(_lines(run, stream))


def _record(
    run: Run,
    access: "Access",
    table: str,
    row: str,
    follow: str | None,
    selection: "Selection",
    words: list[str],
) -> None:
    from leadctl.render.json import record_document
    from leadctl.render.views import studio as views
    from leadctl.studio.record import finding

    output = run.settings.output
    selection = _by_the_page(selection) if output == "table" else selection
    with finding(access, table, row, follow, selection) as found:
        if output == "table" and found.key is None:
            followed = ["--follow", follow or "", *_options(selection)]
            again = _typed("leadctl", "studio", table, row, *followed, *words)
            run.emit(found.page(), partial(views.page, command=again))
        elif output == "table":
            record = found.record(as_json_text=False)
            again = _typed("leadctl", "studio", record.table, record.key, *words)
            run.emit(record, partial(views.record, command=again))
        elif output == "json" and found.key is not None:
            _write(record_document(found.record(as_json_text=True)))
        else:
            with closing(found.stream(as_json_text=output != "csv")) as stream:
                _write(_lines(run, stream))


def _by_the_page(selection: "Selection") -> "Selection":
    return replace(selection, limit=selection.limit or _ROWS_A_PAGE)


def _lines(run: Run, stream: "Stream") -> Iterable[str]:
    from leadctl.render import csv, json

    if run.settings.output == "csv":
        return csv.lines(stream, for_terminal=sys.stdout.isatty())
    return json.lines(stream) if run.settings.output == "jsonl" else json.rows_document(stream)


def _write(lines: Iterable[str]) -> None:
    sys.stdout.writelines(lines)


def _typed(*words: str) -> str:
    """Return words as one would type them."""
    return shlex.join(words)


def _repeated(run: Run) -> list[str]:
    """Return the options that lead to the same database again; a URL is not repeated."""
    return [
        word
        for name in ("app", "env", "schema")
        if run.settings.is_flag(name)
        for word in (f"--{name}", str(getattr(run.settings, name)))
    ]


def _options(selection: "Selection") -> list[str]:
    """Return the options of a selection but its place."""
    words = [word for condition in selection.where for word in ("--where", condition)]
    for name in ("columns", "sort"):
        given = getattr(selection, name)
        words += [f"--{name}={given}"] if given else []
    return words + (["--limit", str(selection.limit)] if selection.limit != _ROWS_A_PAGE else [])
