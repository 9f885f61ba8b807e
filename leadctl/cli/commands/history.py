"""`leadctl history`."""

from typing import Annotated

from leadctl.cli.command import Effect, Run, command
from leadctl.cli.fleet import FleetUse
from leadctl.cli.group import app
from leadctl.cli.options import option


@app.leaf("history", "State")
@command(Effect.READS, fleet=FleetUse(by_database=True))
def history(
    run: Run, *, limit: Annotated[int, option("--limit", "N", "How many.", min=1)] = 20
) -> None:
    """Show what changed the database: when, by whom, how it ended."""
    from leadctl.render.views.history import history as view

    run.emit(run.database().history(limit), view)
