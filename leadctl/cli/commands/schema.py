"""`leadctl schema`."""

from typing import TYPE_CHECKING, Annotated

import typer

from leadctl.cli import complete
from leadctl.cli.exit_codes import ExitCode
from leadctl.cli.fast_typer import Tree
from leadctl.cli.group import LeadctlGroup
from leadctl.cli.run import Run, command

if TYPE_CHECKING:
    from leadctl.postgres.target import Target
    from leadctl.schema.read import Models

group = Tree(
    name="schema",
    cls=LeadctlGroup,
    no_args_is_help=True,
    help="What the tables consist of, in the models or in a live database.",
)

FromModels = Annotated[
    bool,
    typer.Option("--models", help="Of the models, not of the database.", show_envvar=False),
]
OneTable = Annotated[
    str | None, typer.Argument(metavar="TABLE", show_default=False, autocompletion=complete.tables)
]


@group.leaf("show")
@command()
def show(run: Run, *, table: OneTable = None, models: FromModels = False) -> None:
    r"""Show tables: columns, types, keys, indexes, comments.

    \b
    leadctl schema show
    leadctl schema show leads
    leadctl schema show --models --app salesagent
    """
    from leadctl.render.views import schema as views
    from leadctl.schema.read import only, read

    found = read(_source(run, models=models))
    if table is None:
        run.emit(found, views.schema)
    else:
        run.emit(only(found, table), views.table)


@group.leaf("diagram")
@command(outputs=("mermaid", "json"))
def diagram(run: Run, *, models: FromModels = False) -> None:
    r"""Draw the tables and their foreign keys, as Mermaid.

    \b
    leadctl schema diagram
    leadctl schema diagram --models > diagram.mmd
    """
    from leadctl.render import mermaid
    from leadctl.render.views import schema as views
    from leadctl.schema.read import read

    found = read(_source(run, models=models))
    run.emit(found, views.schema, mermaid=mermaid.diagram)


@group.leaf("validate")
@command()
def validate(
    run: Run,
    *,
    database: Annotated[
        bool,
        typer.Option("--database", help="The live database, not the models.", show_envvar=False),
    ] = False,
) -> None:
    """Check the models: names, keys, indexes of foreign keys, times; exit 1 for an error.

    Models that cannot be imported are exit 3, with the file and line.
    """
    from leadctl.render.views.schema import validation as view
    from leadctl.schema.definition import validate as operation
    from leadctl.schema.read import read

    result = operation(read(_source(run, models=not database)))
    run.emit(result, view)
    if not result.ok:
        raise typer.Exit(ExitCode.NO)


@group.leaf("dump")
@command(outputs=("sql", "json"))
def dump(run: Run, *, models: FromModels = False) -> None:
    """Write the schema as SQL, in an order that is always the same.

    Of a database it is made by pg_dump, of models by SQLAlchemy.
    """
    from leadctl.render.views.schema import dump as view
    from leadctl.schema.read import dump as operation

    run.emit(operation(_source(run, models=models)), view, sql=lambda result: result.sql)


def _source(run: Run, *, models: bool) -> "Target | Models":
    if not models:
        return run.target()
    from leadctl.postgres.target import schema_of
    from leadctl.schema.read import Models

    return Models(run.app, schema_of(run.settings, run.app.name, None))
