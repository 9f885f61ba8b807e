"""`leadctl config`."""

from leadctl.cli.run import Run, command


@command()
def config(run: Run) -> None:
    """Show the effective settings and their sources, secrets hidden."""
    from leadctl.render.views.config import config as view

    run.emit(run.project().config(), view)
