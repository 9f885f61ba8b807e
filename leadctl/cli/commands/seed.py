"""`leadctl seed`."""

from leadctl.cli.run import Run, command


@command()
def seed(run: Run) -> None:
    """Insert the app's fixtures where they are missing.

    A row that is there stays as it is, whatever was changed in it.
    """
    from leadctl.crypto.sources import keyring_of
    from leadctl.operations.seed import journaled_seed as operation
    from leadctl.render.views.seed import seed as view

    target = run.target(may_create=True)
    run.emit(operation(target, run.app, keyring_of(run.settings), run.narrate), view)
