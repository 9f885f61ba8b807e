"""Reading a schema from where it was asked for."""

from dataclasses import dataclass, replace

from leadctl.apps.registry import App
from leadctl.errors import UnknownTable
from leadctl.postgres.target import Target
from leadctl.schema.database import read_database
from leadctl.schema.definition import Schema
from leadctl.text import did_you_mean


@dataclass(frozen=True)
class Models:
    """The models of an app, as a place to read a schema from."""

    app: App
    schema: str


def read(source: Target | Models) -> Schema:
    """Read a schema from a live database or from models."""
    if isinstance(source, Target):
        return read_database(source)
    from leadctl.schema.models import read_models

    return read_models(source.app, source.schema)


def only(schema: Schema, name: str) -> Schema:
    """Return the schema with one table only.  Raises UnknownTable."""
    table = schema.table(name)
    if table is None:
        names = [each.name for each in schema.tables]
        raise UnknownTable(
            f"There is no table {name!r} in the {schema.source}, schema {schema.name}.",
            hint=did_you_mean(name, names, "See: leadctl schema show"),
        )
    types = {column.type for column in table.columns}
    enums = tuple(each for each in schema.enums if {each.name, f"{each.name}[]"} & types)
    return replace(schema, tables=(table,), enums=enums)
