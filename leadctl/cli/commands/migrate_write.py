"""`leadctl migrate new` and `dev`: revisions are written."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from leadctl.cli import complete
from leadctl.cli.run import LOCK_TIMEOUT, LOCK_WAIT, STATEMENT_TIMEOUT, Run, command
from leadctl.errors import UnreadableFile, UsageError

if TYPE_CHECKING:
    from leadctl.migrate.new import NewRevisions

Message = Annotated[
    str, typer.Option("-m", "--message", help="What the revision does.", show_envvar=False)
]
Renames = Annotated[
    list[str] | None,
    typer.Option(
        "--rename",
        metavar="OLD:NEW",
        help="A table, table.column, enum or enum.value, and its new name; nothing where it goes.",
        show_envvar=False,
        allow_from_autoenv=False,
    ),
]


@command()
def new(
    run: Run,
    *,
    message: Annotated[
        str | None,
        typer.Option("-m", "--message", help="What the revision does.", show_envvar=False),
    ] = None,
    renames: Renames = None,
    empty: Annotated[
        bool, typer.Option("--empty", help="Write it without operations.", show_envvar=False)
    ] = False,
    sql: Annotated[
        str | None,
        typer.Option(
            "--sql",
            metavar="FILE",
            help="Write it of these statements; - is standard input.",
            show_envvar=False,
        ),
    ] = None,
    revert: Annotated[
        str | None,
        typer.Option(
            "--revert",
            metavar="REV",
            help="Write one that undoes another.",
            show_envvar=False,
            autocompletion=complete.revisions,
        ),
    ] = None,
    merge: Annotated[
        bool,
        typer.Option(
            "--merge", help="Write one that joins the branches of the history.", show_envvar=False
        ),
    ] = False,
) -> None:
    r"""Write the revisions that take the migrations to the models.

    What would block a big table is written in its safe form, in revisions of its own where it
    needs them. What is lost is said. Nothing is applied.

    \b
    leadctl migrate new -m "Phone numbers" --rename users.tel:phone
    leadctl migrate new --revert leadconnector_0002
    leadctl migrate new --merge
    """
    from leadctl.render.views.migrate_write import new as view

    given = (empty, sql is not None, revert is not None, merge)
    if sum(given) > 1:
        raise UsageError(
            "--empty, --sql, --revert and --merge are four things.", hint="Give one of them."
        )
    if renames and any(given):
        raise UsageError(
            "--rename is for what is written from the models.", hint="Leave one of the two out."
        )
    if message is None and revert is None and not merge:
        raise UsageError("The revision has no name.", hint="Say what it does with -m.")
    if merge:
        from leadctl.migrate.new import new_merge

        run.emit(new_merge(run.app, message), view)
        return
    run.emit(_new(run, message, renames or [], empty=empty, sql=sql, revert=revert), view)


def _new(
    run: Run,
    message: str | None,
    renames: list[str],
    *,
    empty: bool,
    sql: str | None,
    revert: str | None,
) -> "NewRevisions":
    from leadctl.migrate import new as operations

    if revert is not None:
        return operations.new_revert(run.target(), run.app, message, revert, run.narrate)
    assert message is not None
    if empty:
        return operations.new_empty(run.app, message)
    if sql is not None:
        return operations.new_sql(run.target(), run.app, message, _read(sql), run.narrate)
    return operations.new(
        run.target(may_create=True),
        run.app,
        message,
        renames=renames,
        ask=run.consent(yes=False).ask,
        narrate=run.narrate,
    )


@command(LOCK_WAIT, LOCK_TIMEOUT, STATEMENT_TIMEOUT)
def dev(run: Run, *, message: Message, renames: Renames = None) -> None:
    r"""Apply what is pending, write what the models say, show and apply that.

    The developer's loop, for a database of one's own: a protected one is refused.

    \b
    leadctl migrate dev -m "Phone numbers"
    """
    from leadctl.migrate.dev import dev as operation
    from leadctl.render.views.migrate_write import dev as view

    result = operation(
        run.target(may_create=True),
        run.app,
        message,
        renames=renames or [],
        ask=run.consent(yes=False).ask,
        timeouts=run.timeouts,
        narrate=run.narrate,
        progress=run.console.progress,
    )
    run.emit(result, view)


def _read(name: str) -> str:
    if name == "-":
        return sys.stdin.read()
    try:
        return Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UnreadableFile(f"Cannot read {name}: {error}", hint="Name a file of SQL.") from None
