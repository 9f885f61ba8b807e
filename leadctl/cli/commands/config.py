"""`leadctl config`."""

from leadctl.cli.command import Effect, Run, command
from leadctl.cli.group import app
from leadctl.render import views


@app.leaf("config", "Setup")
@command(Effect.READS)
def config(run: Run) -> None:
    """Show effective settings and their sources, secrets hidden."""
    run.emit(run.project().config(), views.config.config)
