"""`leadctl reset`."""

from leadctl.cli.options import Backup, Confirm, Yes
from leadctl.cli.run import LOCK_TIMEOUT, LOCK_WAIT, STATEMENT_TIMEOUT, Run, command


@command(LOCK_WAIT, LOCK_TIMEOUT, STATEMENT_TIMEOUT)
def reset(run: Run, *, yes: Yes = False, confirm: Confirm = None, backup: Backup = False) -> None:
    """Drop what the app has in its schema, then migrate and seed.

    Others in the schema stay. Shows first what goes, and asks; a protected database wants its
    name by --confirm.
    """
    from leadctl.cli.backups import backup_before
    from leadctl.crypto.keyring import keyring_of
    from leadctl.render.views.reset import plan as plan_view
    from leadctl.render.views.reset import reset as view
    from leadctl.reset import plan
    from leadctl.reset import reset as operation

    target = run.target(may_create=True)
    run.show(plan(target, run.app), plan_view)
    result = operation(
        target,
        run.app,
        keyring_of(run.settings),
        run.consent(yes=yes, confirm=confirm),
        timeouts=run.timeouts,
        narrate=run.narrate,
        progress=run.console.progress,
        before=backup_before(run, target, wanted=backup),
    )
    run.emit(result, view)
