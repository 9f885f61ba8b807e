"""`leadctl partition`."""

from typing import Annotated

import typer

from leadctl.cli import complete
from leadctl.cli.run import Run, command


@command()
def partition(
    run: Run,
    *,
    table: Annotated[
        str, typer.Argument(metavar="TABLE", show_default=False, autocompletion=complete.tables)
    ],
    by: Annotated[
        str,
        typer.Option("--by", metavar="PERIOD", help="month, week or day.", show_envvar=False),
    ] = "month",
    column: Annotated[
        str | None,
        typer.Option(
            "--column", metavar="NAME", help="Instead of the retention rule's.", show_envvar=False
        ),
    ] = None,
) -> None:
    """Write the revision that partitions a table by time.

    The table becomes the first partition, so no row is copied; `leadctl cleanup` then drops whole
    partitions and makes the next ones ahead. A table whose keys do not allow it is refused, with
    the reason.
    """
    from leadctl.render.views.partition import partition as view

    run.emit(run.database().partition(table, by=by, column=column), view)
