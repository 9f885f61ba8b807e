"""`leadctl history`."""

from typing import Annotated

import typer

from leadctl.cli.run import Run, command


@command()
def history(
    run: Run,
    *,
    limit: Annotated[
        int, typer.Option("--limit", min=1, metavar="N", help="How many.", show_envvar=False)
    ] = 20,
) -> None:
    """Show what changed the database: when, by whom, how it ended."""
    from leadctl.history import history as operation
    from leadctl.render.views.history import history as view

    run.emit(operation(run.target(), limit), view)
