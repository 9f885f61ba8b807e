"""`leadctl history`."""

from typing import Annotated

from leadctl.cli.command import Effect, Run, command
from leadctl.cli.fleet import FleetUse
from leadctl.cli.group import app
from leadctl.cli.options import option
from leadctl.render import views


@app.leaf("history", "State")
@command(Effect.READS, fleet=FleetUse(by_database=True))
def history(
    run: Run, *, limit: Annotated[int, option("--limit", "N", "How many.", min=1)] = 20
) -> None:
    """Show what changed the database: when, by whom, how it ended."""
    run.emit(run.database().history(limit), views.history.history)
