"""`leadctl config`."""

from leadctl.cli.group import app
from leadctl.cli.run import Effect, Run, command


@app.leaf("config", "Setup")
@command(Effect.READS)
def config(run: Run) -> None:
    """Show the effective settings and their sources, secrets hidden."""
    from leadctl.render.views.config import config as view

    run.emit(run.project().config(), view)
