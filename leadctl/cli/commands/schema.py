"""`leadctl schema`."""

from typing import Annotated

from leadctl.cli.command import Effect, Run, command
from leadctl.cli.group import subtree
from leadctl.cli.options import Text, argument, flag, table_names
from leadctl.render import views

group = subtree("schema", "Schema", "Show, draw, check or dump the schema.")
FromModels = Annotated[bool, flag("--models", "Use the models, not the database.")]


@group.leaf("show")
@command(Effect.READS)
def show(
    run: Run,
    *,
    table: Annotated[Text, argument("TABLE", "One table; default: all.", names=table_names)] = None,
    models: FromModels = False,
) -> None:
    r"""Show tables: columns, types, keys, indexes, comments.

    \b
    leadctl schema show
    leadctl schema show leads
    leadctl schema show --models --app salesagent
    """
    found = run.of_app().model_schema(table) if models else run.database().schema(table)
    run.emit(found, views.schema.schema if table is None else views.schema.table)


@group.leaf("diagram")
@command(Effect.READS, outputs=("mermaid", "json"))
def diagram(run: Run, *, models: FromModels = False) -> None:
    r"""Draw the tables and their foreign keys, as Mermaid.

    \b
    leadctl schema diagram
    leadctl schema diagram --models > diagram.mmd
    """
    found = run.of_app().model_schema() if models else run.database().schema()
    run.emit(found, views.schema.schema, mermaid=views.schema.diagram)


@group.leaf("validate")
@command(Effect.READS)
def validate(
    run: Run,
    *,
    database: Annotated[bool, flag("--database", "Use the live database, not the models.")] = False,
) -> None:
    """Check names, keys, indexes and times of the models.

    Exit 1 for an error.

    Exit 3 if the models cannot be imported; the file and line are named.
    """
    result = run.database().validate_schema() if database else run.of_app().validate_models()
    run.emit(result, views.schema.validation, ok=result.ok)


@group.leaf("dump")
@command(Effect.READS, outputs=("sql", "json"))
def dump(run: Run, *, models: FromModels = False) -> None:
    """Write the schema as SQL, always in the same order.

    For a database pg_dump writes it, for models SQLAlchemy.
    """
    result = run.of_app().dump_models() if models else run.database().dump_schema()
    run.emit(result, views.schema.dump, sql=lambda result: result.sql)
