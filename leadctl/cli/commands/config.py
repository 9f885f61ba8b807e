"""`leadctl config`."""

from leadctl.cli.command import Effect, Run, command
from leadctl.cli.group import app


@app.leaf("config", "Setup")
@command(Effect.READS)
def config(run: Run) -> None:
    """Show effective settings and their sources, secrets hidden."""
    from leadctl.render.views.config import config as view

    run.emit(run.project().config(), view)
