"""`leadctl migrate` and its subcommands."""

from typing import Annotated

import typer

from leadctl.cli import complete
from leadctl.cli.exit_codes import ExitCode
from leadctl.cli.fast_typer import Tree
from leadctl.cli.group import LeadctlGroup
from leadctl.cli.options import Backup, Confirm
from leadctl.cli.run import LOCK_TIMEOUT, LOCK_WAIT, STATEMENT_TIMEOUT, Run, command
from leadctl.errors import NoTarget, UsageError

Steps = Annotated[
    int | None,
    typer.Option("--steps", min=1, metavar="N", help="Apply at most N.", show_envvar=False),
]
ShowPlan = Annotated[
    bool,
    typer.Option(
        "--plan",
        help="Show each statement's locks, cost, loss and lint; change nothing.",
        show_envvar=False,
    ),
]
ShowSql = Annotated[
    bool,
    typer.Option("--sql", help="Write the SQL for psql; change nothing.", show_envvar=False),
]
# What is allowed is decided by somebody, for this run.
Allow = Annotated[
    list[str] | None,
    typer.Option(
        "--allow",
        metavar="RULE",
        help="Let what this rule finds pass; may be given several times.",
        show_envvar=False,
        allow_from_autoenv=False,
    ),
]

group = Tree(name="migrate", cls=LeadctlGroup, invoke_without_command=True)


@group.callback()
@command(LOCK_WAIT, LOCK_TIMEOUT, STATEMENT_TIMEOUT)
def migrate(
    run: Run,
    *,
    steps: Steps = None,
    plan: ShowPlan = False,
    sql: ShowSql = False,
    allow: Allow = None,
    confirm: Confirm = None,
    backup: Backup = False,
) -> None:
    r"""Apply what is pending; the subcommands show and write revisions.

    Database and schema are made where they are missing. With nothing to do it says so and is
    quick about it. On a protected database a plan with findings wants --allow or --confirm.

    \b
    leadctl migrate                      the default app, on the embedded database
    leadctl migrate --plan --env production
    DATABASE_URL=postgresql://… leadctl migrate -o json
    """
    _up(run, None, steps, plan=plan, sql=sql, allow=allow or [], confirm=confirm, backup=backup)


@group.leaf("up")
@command(LOCK_WAIT, LOCK_TIMEOUT, STATEMENT_TIMEOUT)
def up(
    run: Run,
    *,
    revision: Annotated[
        str | None,
        typer.Argument(metavar="REV", show_default=False, autocompletion=complete.revisions),
    ] = None,
    steps: Steps = None,
    plan: ShowPlan = False,
    sql: ShowSql = False,
    allow: Allow = None,
    confirm: Confirm = None,
    backup: Backup = False,
) -> None:
    """Apply what is pending, up to a revision where one is given."""
    _up(run, revision, steps, plan=plan, sql=sql, allow=allow or [], confirm=confirm, backup=backup)


@group.leaf("status")
@command()
def status(run: Run) -> None:
    """Show the state of each revision.

    It is applied, pending, edited, missing or unknown; exit 1 unless all are applied.
    """
    from leadctl.migrate.status import status as operation
    from leadctl.render.views.migrate import status as view

    result = operation(run.target(), run.app)
    run.emit(result, view)
    if not result.ok:
        raise typer.Exit(ExitCode.NO)


@group.leaf("history")
@command()
def history(run: Run) -> None:
    """Show what was applied: when, by whom, how long it took."""
    from leadctl.migrate.history import history as operation
    from leadctl.render.views.migrate import history as view

    run.emit(operation(run.target(), run.app), view)


@group.leaf("lint")
@command()
def lint(
    run: Run,
    *,
    revisions: Annotated[
        list[str] | None,
        typer.Argument(metavar="REV", show_default=False, autocompletion=complete.revisions),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Every revision of the folder.", show_envvar=False)
    ] = False,
    allow: Allow = None,
) -> None:
    """Say what is dangerous in what is pending; exit 1 where something is.

    With revisions or --all it reads those, as if the database had not been migrated further. No
    database is needed; where there is one, its tables' sizes count.
    """
    from leadctl.migrate.lint.lint import lint as operation
    from leadctl.render.views.migrate_plan import lint as view

    try:
        target = run.target()
    except NoTarget:
        target = None
    result = operation(
        target,
        run.app,
        revisions or [],
        everything=everything,
        allow=allow or [],
        narrate=run.narrate,
    )
    run.emit(result, view)
    if not result.ok:
        raise typer.Exit(ExitCode.NO)


@group.leaf("resolve")
@command(LOCK_WAIT)
def resolve(
    run: Run,
    *,
    accept_edit: Annotated[
        str | None,
        typer.Option(
            "--accept-edit",
            metavar="REV",
            help="Its file was changed since it was applied, and that is right.",
            show_envvar=False,
        ),
    ] = None,
    applied: Annotated[
        str | None,
        typer.Option(
            "--applied",
            metavar="REV",
            help="The database has what it does; it is not run.",
            show_envvar=False,
        ),
    ] = None,
    rolled_back: Annotated[
        str | None,
        typer.Option(
            "--rolled-back",
            metavar="REV",
            help="What it did is not there any more; it is pending again.",
            show_envvar=False,
        ),
    ] = None,
    adopt_drift: Annotated[
        bool,
        typer.Option(
            "--adopt-drift",
            help="Write a revision of what was changed by hand; -m names it.",
            show_envvar=False,
        ),
    ] = False,
    message: Annotated[
        str | None,
        typer.Option("-m", "--message", help="What that revision does.", show_envvar=False),
    ] = None,
) -> None:
    """Correct the record of what is applied; the database's objects stay as they are."""
    if adopt_drift:
        if accept_edit or applied or rolled_back:
            raise UsageError("--adopt-drift stands alone.", hint="Give the others afterwards.")
        _adopt(run, message)
        return
    from leadctl.migrate.resolve import Resolution
    from leadctl.migrate.resolve import resolve as operation
    from leadctl.render.views.migrate_plan import resolve as view

    given = {
        Resolution.ACCEPT_EDIT: accept_edit,
        Resolution.APPLIED: applied,
        Resolution.ROLLED_BACK: rolled_back,
    }
    chosen = [(kind, revision) for kind, revision in given.items() if revision]
    if len(chosen) != 1:
        raise UsageError(
            "Say which record is wrong.",
            hint="Give one of --accept-edit, --applied and --rolled-back, with a revision, or "
            "--adopt-drift.",
        )
    kind, revision = chosen[0]
    result = operation(
        run.target(),
        run.app,
        kind,
        revision,
        lock_wait=run.settings.lock_wait,
        narrate=run.narrate,
    )
    run.emit(result, view)


def _adopt(run: Run, message: str | None) -> None:
    from leadctl.migrate.adopt import adopt as operation
    from leadctl.render.views.migrate_write import adopt as view

    if message is None:
        raise UsageError("The revision has no name.", hint="Say what it does with -m.")
    lock_wait = run.settings.lock_wait
    run.emit(
        operation(run.target(), run.app, message, lock_wait=lock_wait, narrate=run.narrate), view
    )


def _up(
    run: Run,
    to: str | None,
    steps: int | None,
    *,
    plan: bool,
    sql: bool,
    allow: list[str],
    confirm: str | None,
    backup: bool,
) -> None:
    if plan and sql:
        raise UsageError("--plan and --sql show two things.", hint="Give one of them.")
    if backup and (plan or sql):
        raise UsageError("Nothing is changed, so --backup makes no sense.", hint="Leave it out.")
    if plan:
        _plan(run, to, steps, allow)
    elif sql:
        _sql(run, to, steps)
    else:
        from leadctl.cli.backups import backup_before
        from leadctl.migrate.up import up as operation
        from leadctl.render.views.migrate import migrate as view

        target = run.target(may_create=True)
        result = operation(
            target,
            run.app,
            to=to,
            steps=steps,
            allow=allow,
            consent=run.consent(yes=False, confirm=confirm),
            timeouts=run.timeouts,
            narrate=run.narrate,
            progress=run.console.progress,
            before=backup_before(run, target, wanted=backup),
        )
        run.emit(result, view)


def _plan(run: Run, to: str | None, steps: int | None, allow: list[str]) -> None:
    from leadctl.migrate.plan import plan as operation
    from leadctl.render.views.migrate_plan import plan as view

    result = operation(run.target(), run.app, to=to, steps=steps, allow=allow)
    run.emit(result, view)
    if not result.ok:
        raise typer.Exit(ExitCode.NO)


def _sql(run: Run, to: str | None, steps: int | None) -> None:
    from leadctl.migrate.plan import script as operation

    result = operation(run.target(), run.app, to=to, steps=steps, timeouts=run.timeouts)
    run.emit(result, lambda _: [], table=lambda result: result.sql.rstrip())
