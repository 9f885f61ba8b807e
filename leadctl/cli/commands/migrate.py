"""`leadctl migrate`, and its subcommands that apply, undo, show, compare and correct."""

from typing import Annotated

import typer

from leadctl.cli.command import Effect, Run, command
from leadctl.cli.exit_codes import ExitCode
from leadctl.cli.fleet import FleetUse
from leadctl.cli.group import subtree
from leadctl.cli.options import (
    LOCK_WAIT,
    TIMEOUTS,
    Backup,
    Confirm,
    Message,
    Number,
    Revision,
    Text,
    Texts,
    Yes,
    argument,
    exclusive,
    flag,
    option,
    revision_names,
)
from leadctl.errors import UsageError
from leadctl.render import views

Steps = Annotated[Number, option("--steps", "N", "Apply at most N revisions.", min=1)]
ShowPlan = Annotated[bool, flag("--plan", "Show locks, cost, loss and lint; change nothing.")]
ReadPlan = Annotated[
    bool, flag("--plan-read", "Like --plan, but without a trial run (also --plan=read).")
]
ShowSql = Annotated[bool, flag("--sql", "Write the SQL for psql; change nothing.")]
# What is allowed is decided by somebody, for this run.
Allow = Annotated[
    Texts, option("--allow", "RULE", "Ignore findings of this rule (repeatable).", consent=True)
]

Renames = Annotated[
    Texts,
    option(
        "--rename",
        "OLD:NEW",
        "Treat OLD as renamed to NEW (repeatable). OLD is a table, table.column, enum or "
        "enum.value; leave NEW empty to drop it.",
        consent=True,
    ),
]

group = subtree("migrate", "Schema")


@group.callback()
@command(Effect.ADDS, *TIMEOUTS, fleet=FleetUse(refuses=("sql",)))
def migrate(
    run: Run,
    *,
    steps: Steps = None,
    plan: ShowPlan = False,
    plan_read: ReadPlan = False,
    sql: ShowSql = False,
    allow: Allow = None,
    confirm: Confirm = None,
    backup: Backup = False,
) -> None:
    r"""Apply pending revisions; see also the subcommands.

    A missing database or schema is created. On a protected database, a plan with findings needs
    --allow or --confirm.

    \b
    leadctl migrate                      the default app, on the embedded database
    leadctl migrate --plan --env production
    DATABASE_URL=postgresql://… leadctl migrate -o json
    """
    planned = "read" if plan_read else "tried" if plan else None
    _up(run, None, steps, planned, sql=sql, allow=allow or [], confirm=confirm, backup=backup)


@group.leaf("up")
@command(Effect.ADDS, *TIMEOUTS, fleet=FleetUse(refuses=("sql",)))
def up(
    run: Run,
    *,
    revision: Revision = None,
    steps: Steps = None,
    plan: ShowPlan = False,
    plan_read: ReadPlan = False,
    sql: ShowSql = False,
    allow: Allow = None,
    confirm: Confirm = None,
    backup: Backup = False,
) -> None:
    """Apply pending revisions: all, or up to REV."""
    planned = "read" if plan_read else "tried" if plan else None
    _up(run, revision, steps, planned, sql=sql, allow=allow or [], confirm=confirm, backup=backup)


def _up(
    run: Run,
    to: str | None,
    steps: int | None,
    plan: str | None,
    *,
    sql: bool,
    allow: list[str],
    confirm: str | None,
    backup: bool,
) -> None:
    exclusive(plan=plan, sql=sql, backup=backup)
    if plan:
        planned = run.database().plan(to, steps=steps, allow=allow, tried=plan == "tried")
        run.emit(planned, views.migrate_plan.plan, ok=planned.ok)
    elif sql:
        script = run.database().script(to, steps=steps)
        run.emit(script, lambda _: [], table=lambda script: script.sql.rstrip())
    else:
        consent, database = run.consent(confirm=confirm), run.database(may_create=True)
        result = database.migrate(to, steps=steps, allow=allow, confirm=consent, backup=backup)
        run.emit(result, views.migrate.migrate)


@group.leaf("status")
@command(Effect.READS, of_app=True, fleet=FleetUse())
def status(run: Run) -> None:
    """Show the state of each revision.

    A revision is applied, pending, edited, missing or unknown. Exit 1 unless all are applied.
    """
    result = run.database().status()
    run.emit(result, views.migrate.status, ok=result.ok)


@group.leaf("history")
@command(Effect.READS)
def history(run: Run) -> None:
    """Show what was applied: when, by whom, how long it took."""
    run.emit(run.database().migration_history(), views.migrate.history)


@group.leaf("lint")
@command(Effect.READS, outputs=("table", "json", "sarif", "github"), of_app=True)
def lint(
    run: Run,
    *,
    revisions: Annotated[
        Texts, argument("REV", "Read only these revisions.", names=revision_names)
    ] = None,
    everything: Annotated[bool, flag("--all", "Read every revision of the folder.")] = False,
    allow: Allow = None,
) -> None:
    """Report dangerous statements in pending revisions.

    Exit 1 if there are any.

    REV or --all checks other revisions, each as if it were the next to apply. No database is
    needed; if there is one, the sizes of its tables are used.
    """
    from leadctl.render.sarif_github import github, sarif

    result = run.database().lint(revisions or (), everything=everything, allow=allow or ())
    run.emit(result, views.migrate_plan.lint, ok=result.ok, sarif=sarif, github=github)


AcceptEdit = Annotated[
    Text, option("--accept-edit", "REV", "Accept the edited revision file.", names=revision_names)
]
Applied = Annotated[
    Text,
    option("--applied", "REV", "Record it as applied without running it.", names=revision_names),
]
RolledBack = Annotated[
    Text,
    option(
        "--rolled-back", "REV", "Record it as rolled back (pending again).", names=revision_names
    ),
]


@group.leaf("resolve")
@command(Effect.ADDS, LOCK_WAIT)
def resolve(
    run: Run,
    *,
    accept_edit: AcceptEdit = None,
    applied: Applied = None,
    rolled_back: RolledBack = None,
    adopt_drift: Annotated[
        bool, flag("--adopt-drift", "Write a revision with the changes made by hand (needs -m).")
    ] = False,
    message: Message = None,
) -> None:
    """Correct the record of applied revisions; change no object."""
    given = {"accept_edit": accept_edit, "applied": applied, "rolled_back": rolled_back}
    exclusive(**given, adopt_drift=adopt_drift)
    if adopt_drift:
        run.emit(run.database().adopt_drift(named(run, message)), views.migrate.adopt)
        return
    for resolution, revision in given.items():
        if revision:
            run.emit(run.database().resolve(resolution, revision), views.migrate_plan.resolve)
            return
    raise UsageError(
        "It is not said which record to correct.",
        hint="Give one of --accept-edit, --applied and --rolled-back, with a revision, or "
        "--adopt-drift.",
    )


def named(run: Run, message: str | None) -> str:
    """Return the name of a revision, which is asked for.  Raises UsageError where there is none."""
    if message is None and run.ask_text is not None:
        message = run.ask_text("What does the revision do?")
    if not message or not message.strip():
        raise UsageError(
            "The revision has no message.", hint="Say what it does, e.g. with -m 'Phone numbers'."
        )
    return message


DownSteps = Annotated[
    Number,
    option("--steps", "N", "Revisions to undo, a chain as one (default 1).", min=1),
]


@group.leaf("down")
@command(Effect.DESTROYS, *TIMEOUTS, fleet=FleetUse())
def down(
    run: Run,
    *,
    revision: Revision = None,
    steps: DownSteps = None,
    rehearse: Annotated[
        bool, flag("--rehearse", "Try up, down and up in a scratch schema; change nothing.")
    ] = False,
    yes: Yes = False,
    confirm: Confirm = None,
) -> None:
    r"""Undo the last revision, the last N, or all after REV.

    First shows what would be lost, then asks; a protected database needs --confirm with its name. A
    revision that cannot be undone is refused. --rehearse tests each revision; exit 1 if one cannot
    be undone.

    \b
    leadctl migrate down --rehearse
    leadctl migrate down leadconnector_0001 --yes
    """
    exclusive(REV=revision, steps=steps)
    database, count = run.database(), steps or 1
    if rehearse:
        rehearsal = database.rehearse_down(revision, steps=count)
        run.emit(rehearsal, views.migrate.rehearse, ok=rehearsal.ok)
        return
    consent, show = run.consent(yes=yes, confirm=confirm), run.show(views.migrate.plan)
    run.emit(database.down(revision, steps=count, confirm=consent, show=show), views.migrate.down)


Before = Annotated[str, argument("FROM", "Default: database.", names=revision_names)]
After = Annotated[str, argument("TO", "Default: models.", names=revision_names)]


@group.leaf("check")
@command(Effect.READS, of_app=True, fleet=FleetUse())
def check(run: Run) -> None:
    """Compare models, migrations and database.

    Exit 1 unless they agree.

    If revisions are pending, the history is run in a scratch schema, which is then rolled back.
    """
    result = run.database().check()
    run.emit(result, views.migrate.check, ok=result.ok)


@group.leaf("drift")
@command(Effect.READS, of_app=True, fleet=FleetUse())
def drift(run: Run) -> None:
    """Show what was changed by hand since the last revision.

    Exit 1 if anything was.
    """
    result = run.database().drift()
    run.emit(result, views.migrate.drift, ok=result.ok)


@group.leaf("diff")
@command(Effect.READS, of_app=True, outputs=("table", "json", "sql"))
def diff(
    run: Run,
    *,
    before: Before = "database",
    after: After = "models",
    renames: Renames = None,
    safe: Annotated[bool, flag("--safe", "With -o sql: the forms that block no writers.")] = False,
) -> None:
    r"""Show the differences between two schemas.

    Exit 1 if they differ.

    FROM and TO are a revision, base (nothing), models, database, record (the database after its
    last revision), the URL of another database, or an [env.NAME]. -o sql writes the SQL that turns
    FROM into TO, tests it in a scratch schema, and says what it loses. Exit 7 if leadctl cannot
    write a part of it; that part is named.

    \b
    leadctl migrate diff leadconnector_0001 leadconnector_0002
    leadctl migrate diff --env staging database production
    """
    writes = run.settings.output == "sql"
    if (renames or safe) and not writes:
        raise UsageError("--rename and --safe are used by -o sql only.", hint="Add: -o sql")
    sides = run.database().diff(before, after, written=writes)
    if not writes:
        run.emit(sides.diff, views.migrate.diff, ok=sides.diff.ok)
        return
    script = sides.script(renames or (), safe=safe)
    ok = sides.diff.ok or bool(script.unwritten)
    run.emit(sides.diff, views.migrate.diff, ok=ok, sql=lambda _: script.sql)
    if script.unwritten:
        raise typer.Exit(ExitCode.PARTLY)
