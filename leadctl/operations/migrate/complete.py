"""What autogenerate leaves out of a revision, and the first revision of most models needs.

Tables that refer to each other, enums that several tables share, and schemas.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal

from alembic.operations import ops
from sqlalchemy import ARRAY, Connection, Enum, ForeignKeyConstraint, MetaData, inspect
from sqlalchemy.dialects.postgresql.base import PGDialect, PGInspector
from sqlalchemy.types import TypeDecorator, TypeEngine

from leadctl.operations.init.histories import HISTORY_TABLES

_NAME_MAX = 63
"""Bytes of an identifier; PostgreSQL cuts the rest."""
_quote = PGDialect().identifier_preparer.quote  # type: ignore[no-untyped-call]

RenderItem = Callable[[str, Any, Any], str | Literal[False]]


def names_to_compare(metadata: MetaData) -> Mapping[str, Any]:
    """Return what makes autogenerate compare the schemas that models name, and no others.

    The history of another tool, whose table no model describes, is none of its business.
    """
    schemas = _schemas(metadata)
    foreign = HISTORY_TABLES - metadata.tables.keys()

    def include_name(name: str | None, kind: str, _parents: Any) -> bool:
        if kind == "schema":
            return name is None or name in schemas
        return not (kind == "table" and name in foreign)

    return {"include_schemas": bool(schemas), "include_name": include_name}


def complete(script: ops.MigrationScript, metadata: MetaData, connection: Connection) -> None:
    """Add to a revision what autogenerate left out; `connection` says what is there already."""
    upgrade, downgrade = script.upgrade_ops, script.downgrade_ops
    assert upgrade is not None
    assert downgrade is not None
    _cycles(upgrade, downgrade)
    first: list[ops.MigrateOperation] = []
    inspector = inspect(connection)
    assert isinstance(inspector, PGInspector)
    for schema in sorted(_schemas(metadata) - set(inspector.get_schema_names())):
        first.append(ops.ExecuteSQLOp(f"CREATE SCHEMA IF NOT EXISTS {_quote(schema)}"))
    there = {
        (each["schema"], each["name"])
        for schema in (None, *_schemas(metadata))
        if schema is None or inspector.has_schema(schema)
        for each in inspector.get_enums(schema)
    }
    default = inspector.default_schema_name
    for enum in _new_enums(upgrade):
        if (enum.schema or default, enum.name) in there:
            continue
        name = ".".join(_quote(part) for part in (enum.schema, enum.name) if part)
        values = ", ".join("'" + value.replace("'", "''") + "'" for value in enum.enums)
        first.append(ops.ExecuteSQLOp(f"CREATE TYPE {name} AS ENUM ({values})"))
        downgrade.ops.append(ops.ExecuteSQLOp(f"DROP TYPE {name}"))
    upgrade.ops[:0] = first


def rendering(other: RenderItem) -> RenderItem:
    """Return a `render_item` that writes enums as types which the revision makes by itself."""

    def render(kind: str, item: Any, context: Any) -> str | Literal[False]:
        if kind != "type" or not isinstance(item, Enum) or not _is_native(item):
            return other(kind, item, context)
        context.imports.add("from sqlalchemy.dialects import postgresql")
        arguments = [repr(value) for value in item.enums] + [f"name={item.name!r}"]
        arguments += [f"schema={item.schema!r}"] if item.schema else []
        return f"postgresql.ENUM({', '.join(arguments)}, create_type=False)"

    return render


def _schemas(metadata: MetaData) -> set[str]:
    return {table.schema for table in metadata.tables.values() if table.schema}


def _cycles(upgrade: ops.UpgradeOps, downgrade: ops.DowngradeOps) -> None:
    """Make foreign keys that a table cannot be created with after all tables."""
    coming = {(op.schema, op.table_name) for op in _creates(upgrade)}
    for op in _creates(upgrade):
        coming.discard((op.schema, op.table_name))
        for constraint in [each for each in op.columns if isinstance(each, ForeignKeyConstraint)]:
            referred = constraint.elements[0].column.table
            if not constraint.use_alter and (referred.schema, referred.name) not in coming:
                continue
            later = ops.CreateForeignKeyOp.from_constraint(constraint)
            assert isinstance(later, ops.CreateForeignKeyOp)
            later.kw.pop("use_alter", None)
            # As PostgreSQL names it.
            default = "_".join([op.table_name, *constraint.column_keys, "fkey"])[:_NAME_MAX]
            later.constraint_name = later.constraint_name or default
            op.columns = [each for each in op.columns if each is not constraint]
            upgrade.ops.append(later)
            drop = ops.DropConstraintOp(
                later.constraint_name, op.table_name, type_="foreignkey", schema=op.schema
            )
            downgrade.ops.insert(0, drop)


def _creates(upgrade: ops.UpgradeOps) -> list[ops.CreateTableOp]:
    return [op for op in upgrade.ops if isinstance(op, ops.CreateTableOp)]


def _new_enums(upgrade: ops.OpContainer) -> list[Enum]:
    """Return the enums that new tables and columns need, each once."""
    found = {
        (enum.schema, enum.name): enum for type_ in _types(upgrade.ops) for enum in _enums_of(type_)
    }
    return list(found.values())


def _types(operations: Iterable[Any]) -> Iterator[TypeEngine[Any]]:
    for op in operations:
        if isinstance(op, ops.OpContainer):
            yield from _types(op.ops)
        elif isinstance(op, ops.CreateTableOp):
            yield from (each.type for each in op.columns if hasattr(each, "type"))
        elif isinstance(op, ops.AddColumnOp):
            yield op.column.type
        elif isinstance(op, ops.AlterColumnOp) and isinstance(op.modify_type, TypeEngine):
            yield op.modify_type


def _enums_of(type_: Any) -> Iterator[Enum]:
    if isinstance(type_, TypeDecorator):
        yield from _enums_of(type_.impl)
    elif isinstance(type_, ARRAY):
        yield from _enums_of(type_.item_type)
    elif isinstance(type_, Enum) and _is_native(type_):
        yield type_


def _is_native(enum: Enum) -> bool:
    return bool(enum.native_enum and enum.name)
