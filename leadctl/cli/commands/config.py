"""`leadctl config`."""

from leadctl.cli.run import Run, command


@command()
def config(run: Run) -> None:
    """Show the effective settings and their sources, secrets hidden."""
    from leadctl.apps.registry import all_apps
    from leadctl.config import effective_config
    from leadctl.render.views.config import config as view

    run.emit(effective_config(run.settings, tuple(all_apps(run.settings))), view)
