"""Reading the schema that an app's models describe, without any database."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.sql.elements import ClauseElement

from leadctl.apps.metadata import keys_in_circles_apart, load_metadata
from leadctl.apps.registry import App
from leadctl.schema.definition import (
    ColumnDefinition,
    ConstraintDefinition,
    Enumeration,
    ForeignKey,
    IndexDefinition,
    Schema,
    Table,
)

Part = TypeVar("Part", ConstraintDefinition, ForeignKey, IndexDefinition)
_DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]


def read_models(app: App, schema: str) -> Schema:
    """Return what the models describe.  Raises ModelsNotImportable."""
    tables = sorted(load_metadata(app).tables.values(), key=lambda table: table.name)
    return Schema(
        source=f"models of {app.name}",
        name=schema,
        tables=tuple(_table(table) for table in tables),
        enums=tuple(_enums(tables)),
    )


def create_statements(app: App) -> list[str]:
    """Return the statements that create what the models describe, in a stable order."""
    statements: list[str] = []

    def record(statement: sa.ExecutableDDLElement, *_: object, **__: object) -> None:
        statements.append(str(statement.compile(dialect=_DIALECT)).strip())

    engine = sa.create_mock_engine("postgresql+psycopg://", record)
    metadata = load_metadata(app)
    with keys_in_circles_apart(metadata):
        metadata.create_all(engine, checkfirst=False)
    return statements


def _table(table: sa.Table) -> Table:
    uniques = [each for each in table.constraints if isinstance(each, sa.UniqueConstraint)]
    checks = [each for each in table.constraints if isinstance(each, sa.CheckConstraint)]
    return Table(
        name=table.name,
        kind="table",
        columns=tuple(_column(column) for column in table.columns),
        primary_key=tuple(column.name for column in table.primary_key.columns),
        uniques=_by_name(
            ConstraintDefinition(_name(each), tuple(c.name for c in each.columns))
            for each in uniques
        ),
        checks=_by_name(
            ConstraintDefinition(_name(each), definition=f"CHECK ({_sql(each.sqltext)})")
            for each in checks
        ),
        foreign_keys=_by_name(_foreign_keys(table)),
        indexes=_by_name(map(_index, table.indexes)),
        comment=table.comment,
    )


def _by_name(parts: Iterable[Part]) -> tuple[Part, ...]:
    return tuple(sorted(parts, key=lambda each: each.name))


def _column(column: sa.Column[object]) -> ColumnDefinition:
    default, generated = column.server_default, None
    if column.identity is not None:
        generated = f"{'always' if column.identity.always else 'by default'} as identity"
    elif column.computed is not None:
        generated = _sql(column.computed.sqltext)
    return ColumnDefinition(
        name=column.name,
        type=column.type.compile(dialect=_DIALECT).lower(),
        nullable=bool(column.nullable),
        default=_sql(default.arg) if isinstance(default, sa.DefaultClause) else None,
        generated=generated,
        comment=column.comment,
    )


def _foreign_keys(table: sa.Table) -> Iterator[ForeignKey]:
    for key in table.foreign_key_constraints:
        yield ForeignKey(
            name=_name(key),
            columns=tuple(key.column_keys),
            table=key.elements[0].target_fullname.rpartition(".")[0],
            referred=tuple(each.target_fullname.rpartition(".")[2] for each in key.elements),
            on_delete=key.ondelete or "",
        )


def _index(index: sa.Index) -> IndexDefinition:
    options = index.dialect_options["postgresql"]
    where = options.get("where")
    return IndexDefinition(
        name=_name(index),
        columns=tuple(
            each.name if isinstance(each, sa.Column) else _sql(each) for each in index.expressions
        ),
        unique=bool(index.unique),
        method=options.get("using") or "btree",
        where=None if where is None else _sql(where),
    )


def _name(thing: sa.Constraint | sa.Index) -> str:
    """Return a name as the naming convention makes it; empty where the server will choose one."""
    formatted = _DIALECT.identifier_preparer
    if thing.name is None:
        return ""
    if isinstance(thing, sa.Index):
        return formatted.format_index(thing).strip('"')
    return (formatted.format_constraint(thing) or "").strip('"')


def _sql(expression: object) -> str:
    if isinstance(expression, ClauseElement):
        compiled = expression.compile(dialect=_DIALECT, compile_kwargs={"literal_binds": True})
        return str(compiled).strip()
    return f"'{expression}'"


def _enums(tables: Iterable[sa.Table]) -> list[Enumeration]:
    found = {
        column.type.name: Enumeration(str(column.type.name), tuple(column.type.enums))
        for table in tables
        for column in table.columns
        if isinstance(column.type, sa.Enum)
    }
    return sorted(found.values(), key=lambda each: each.name)
