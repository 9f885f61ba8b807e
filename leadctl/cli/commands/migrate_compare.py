"""`leadctl migrate check`, `drift` and `diff`: what differs, and from what."""

from typing import TYPE_CHECKING, Annotated

import typer

from leadctl.cli import complete
from leadctl.cli.exit_codes import ExitCode
from leadctl.cli.run import Run, command

if TYPE_CHECKING:
    from leadctl.postgres.target import Target


@command()
def check(run: Run) -> None:
    """Compare models, migrations and database; exit 1 unless they agree.

    While revisions are pending the history is run in a scratch schema, which is rolled back.
    """
    from leadctl.migrate.check import check as operation
    from leadctl.render.views.migrate_compare import check as view

    result = operation(run.target(), run.app, run.narrate)
    run.emit(result, view)
    if not result.ok:
        raise typer.Exit(ExitCode.NO)


@command()
def drift(run: Run) -> None:
    """Show what was changed by hand since the last revision was applied; exit 1 for anything."""
    from leadctl.migrate.drift import drift as operation
    from leadctl.render.views.migrate_compare import drift as view

    result = operation(run.target(), run.app, run.narrate)
    run.emit(result, view)
    if not result.ok:
        raise typer.Exit(ExitCode.NO)


@command(outputs=("table", "json", "sql"))
def diff(
    run: Run,
    *,
    before: Annotated[
        str, typer.Argument(metavar="FROM", show_default=False, autocompletion=complete.revisions)
    ] = "database",
    after: Annotated[
        str, typer.Argument(metavar="TO", show_default=False, autocompletion=complete.revisions)
    ] = "models",
) -> None:
    r"""Show what turns one schema into another; exit 1 where they differ.

    FROM and TO are a revision, base (nothing), models, database, record (the database after its
    last revision), the URL of another database, or an [env.NAME]. Without them: database models.
    -o sql writes what turns FROM into TO, and says what it loses.

    \b
    leadctl migrate diff leadconnector_0001 leadconnector_0002
    leadctl migrate diff --env staging database production
    """
    from leadctl.migrate.diff import as_sql
    from leadctl.migrate.diff import sides as operation
    from leadctl.render.views.migrate_compare import diff as view

    result = operation(run.target(), run.app, before, after, lambda name: _other(run, name))
    run.emit(result.diff, view, sql=lambda _: as_sql(result))
    if not result.diff.ok:
        raise typer.Exit(ExitCode.NO)


def _other(run: Run, name: str) -> "Target":
    """Return the target that a URL or the name of an environment means."""
    from leadctl.postgres.target import resolve
    from leadctl.settings import load_settings

    app = run.app.name
    schema = run.settings.schema if run.settings.is_flag("schema") else None
    settings = load_settings(
        {"app": app, "schema": schema, ("url" if "://" in name else "env"): name}
    )
    return resolve(settings, app=app, narrate=run.narrate)
