"""`leadctl pitr`."""

from leadctl.cli.command import Effect, Run, command
from leadctl.cli.group import subtree
from leadctl.cli.options import Confirm, Yes, setting
from leadctl.render import views

PITR_DIR = setting("pitr_dir", "--dir", "FOLDER", "Use this archive folder instead of PITR_DIR.")
KEEP_DAYS = setting("pitr_keep_days", "--keep-days", "N", "How many days back the archive reaches.")

group = subtree("pitr", "Backups", "Point-in-time recovery: the archive for restore --at.")


@group.leaf("setup")
@command(Effect.ADDS, PITR_DIR, KEEP_DAYS, of_app=False)
def setup(run: Run) -> None:
    r"""Write Barman's configuration, and create a slot.

    From then on the server keeps WAL until the receiver has it. Run the printed commands at once:
    they start the receiver.

    \b
    leadctl pitr setup
    leadctl schedule systemd pitr
    leadctl pitr backup
    """
    run.emit(run.database().pitr_setup(), views.pitr.set_up)


@group.leaf("backup")
@command(Effect.ADDS, PITR_DIR, of_app=False)
def backup(run: Run) -> None:
    """Make a base backup: a copy of the server's files."""
    result = run.project().pitr_backup()
    run.emit(result, views.pitr.backed_up, ok=result.whole)


@group.leaf("status")
@command(Effect.READS, PITR_DIR)
def status(run: Run) -> None:
    """Show what can be restored, and how far the archive is.

    Exit 1 if the receiver, the slot or the server has a problem.
    """
    result = run.project().pitr_status()
    run.emit(result, views.pitr.status, ok=result.problem is None and result.begins_at is not None)


@group.leaf("check")
@command(Effect.READS, PITR_DIR)
def check(run: Run) -> None:
    """Check the archive, the server and the receiver by Barman.

    Exit 1 if anything is wrong.
    """
    result = run.project().pitr_check()
    run.emit(result, views.pitr.checks, ok=result.ok)


@group.leaf("rehearse")
@command(Effect.ADDS, PITR_DIR, of_app=False)
def rehearse(run: Run) -> None:
    """Test a recovery of the newest moment, and read all rows.

    The recovered server is temporary, and the real one is not touched.

    Exit 1 if the newest commit is missing in it.
    """
    result = run.database().pitr_rehearse()
    run.emit(result, views.pitr.rehearsal, ok=result.ok)


@group.leaf("off")
@command(Effect.DESTROYS, PITR_DIR, of_app=False)
def off(run: Run, *, yes: Yes = False, confirm: Confirm = None) -> None:
    """Stop the receiver and drop the slot; keep the archive."""
    run.emit(run.database().pitr_off(run.consent(yes=yes, confirm=confirm)), views.pitr.off)
