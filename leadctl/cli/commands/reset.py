"""`leadctl reset`."""

from leadctl.cli.command import Effect, Run, command
from leadctl.cli.fleet import FleetUse
from leadctl.cli.group import app
from leadctl.cli.options import TIMEOUTS, Backup, Confirm, Yes
from leadctl.render import views


@app.leaf("reset", "Schema")
@command(Effect.DESTROYS, *TIMEOUTS, fleet=FleetUse())
def reset(run: Run, *, yes: Yes = False, confirm: Confirm = None, backup: Backup = False) -> None:
    """Drop the app's objects in its schema, then migrate and seed.

    Objects of others in the schema stay. First shows what would be dropped, then asks; a protected
    database needs --confirm with its name.
    """
    database, consent = run.database(may_create=True), run.consent(yes=yes, confirm=confirm)
    done = database.reset(confirm=consent, backup=backup, show=run.show(views.reset.plan))
    run.emit(done, views.reset.reset)
