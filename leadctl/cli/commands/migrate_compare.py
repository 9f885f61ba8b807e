"""`leadctl migrate check`, `drift` and `diff`: what differs, and from what."""

from typing import Annotated

from leadctl.cli import complete
from leadctl.cli.commands.migrate import group
from leadctl.cli.options import argument
from leadctl.cli.run import Effect, Run, command

Before = Annotated[str, argument("FROM", "Default: database.", names=complete.revisions)]
After = Annotated[str, argument("TO", "Default: models.", names=complete.revisions)]


@group.leaf("check")
@command(Effect.READS)
def check(run: Run) -> None:
    """Compare models, migrations and database; exit 1 unless they agree.

    While revisions are pending the history is run in a scratch schema, which is rolled back.
    """
    from leadctl.render.views.migrate_compare import check as view

    result = run.database().check()
    run.emit(result, view, ok=result.ok)


@group.leaf("drift")
@command(Effect.READS)
def drift(run: Run) -> None:
    """Show what was changed by hand since the last revision (exit 1 if any)."""
    from leadctl.render.views.migrate_compare import drift as view

    result = run.database().drift()
    run.emit(result, view, ok=result.ok)


@group.leaf("diff")
@command(Effect.READS, outputs=("table", "json", "sql"))
def diff(
    run: Run,
    *,
    before: Before = "database",
    after: After = "models",
) -> None:
    r"""Show what turns one schema into another; exit 1 if they differ.

    FROM and TO are a revision, base (nothing), models, database, record (the database after its
    last revision), the URL of another database, or an [env.NAME]. Without them: database models.
    -o sql writes what turns FROM into TO, and says what it loses.

    \b
    leadctl migrate diff leadconnector_0001 leadconnector_0002
    leadctl migrate diff --env staging database production
    """
    from leadctl.render.views.migrate_compare import diff as view

    sides = run.database().diff(before, after)
    run.emit(sides.diff, view, ok=sides.diff.ok, sql=lambda _: sides.sql)
