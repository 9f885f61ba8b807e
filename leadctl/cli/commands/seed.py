"""`leadctl seed`."""

from leadctl.cli.run import Run, command


@command()
def seed(run: Run) -> None:
    """Insert the app's fixtures where they are missing; rows that are there are left alone."""
    from leadctl.crypto.keyring import from_settings
    from leadctl.operations.seed import seed as operation
    from leadctl.render.views.seed import seed as view

    target = run.target(may_create=True)
    run.emit(operation(target, run.app, from_settings(run.settings), run.narrate), view)
