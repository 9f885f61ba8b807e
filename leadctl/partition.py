"""Writing the revision that partitions a table by time.

The table that exists becomes the first partition, so no row is copied.  Where that one ends is
decided when the revision is applied: after every row that exists, and after now.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, LiteralString

from psycopg import sql

from leadctl.apps.registry import App
from leadctl.apps.retention import Rule
from leadctl.catalog.facets import Constraint
from leadctl.catalog.relations import Relation, read_table
from leadctl.cleanup.partitions import Period
from leadctl.errors import CannotPartition
from leadctl.migrate.new import new_empty
from leadctl.postgres.connect import Connection, connect
from leadctl.postgres.queries import queries_of, written_by_server
from leadctl.postgres.target import Target

_QUERIES = queries_of(__file__, "partition.sql")
_TYPES = ("timestamp with time zone", "timestamp without time zone", "date")
_BODY = "    pass"


@dataclass(frozen=True)
class PartitionResult:
    """The revision that was written."""

    app: str
    table: str
    column: str
    by: str
    revision: str
    path: Path
    primary_key: tuple[str, ...]
    """The columns of the new primary key, which the model must have, too."""


@dataclass(frozen=True)
class PartitionableTable:
    """A table that can be partitioned, as it is."""

    relation: Relation
    column: str
    indexes: Mapping[str, str]
    """Those that are not of constraints: definitions by name."""

    @property
    def name(self) -> str:
        """Its name."""
        return self.relation.name

    @property
    def key(self) -> Constraint | None:
        """The primary key."""
        return next((each for each in self.relation.constraints if each.kind == "p"), None)


def partition(
    target: Target,
    app: App,
    table: str,
    period: Period,
    column: str | None,
    rules: Sequence[Rule],
) -> PartitionResult:
    """Write the revision that partitions a table by a period of `column`.

    Without a column it is the one that the table's retention rule goes by.  Raises CannotPartition
    with the reason, and what writing a revision raises.
    """
    with connect(target, "partition", read_only=True) as connection:
        age_column = column or _column_of_rule(table, rules)
        found = _read_partitionable(connection, target.schema, table, age_column)
    (written,) = new_empty(target, app, f"partition {table} by {period.unit}").revisions
    text = written.path.read_text(encoding="utf-8")
    text = text.replace(_BODY, _calls(_upgrade(found, period)), 1)
    text = text.replace(_BODY, _calls(_downgrade(found)), 1)
    written.path.write_text(text, encoding="utf-8")
    key = _key(found)
    return PartitionResult(
        app.name, table, found.column, period.unit, written.revision, written.path, tuple(key)
    )


def _read_partitionable(
    connection: Connection, schema: str, table: str, column: str | None
) -> PartitionableTable:
    """Read a table that can be partitioned by a column.

    Raises CannotPartition with every reason why it cannot; that nobody knows the column is one.
    """
    relation = read_table(
        connection, schema, table, "columns", "indexes", "constraints", "references", "expressions"
    )
    if relation is None:
        raise _refusal(table, "it does not exist")
    reasons = [
        *_reasons_of_table(connection, relation),
        *_reasons_of_column(relation, column),
        *_reasons_of_keys(relation, column or "the time"),
    ]
    if reasons or column is None:
        raise _refusal(table, "; ".join(reasons))
    indexes = dict(_QUERIES.rows(connection, "indexes", oid=relation.oid))
    return PartitionableTable(relation, column, indexes)


def _reasons_of_table(connection: Connection, relation: Relation) -> Iterator[str]:
    if relation.kind == "p" or relation.is_partition:
        yield "it is partitioned already"
    elif relation.kind != "r" or relation.parents or relation.descendants:
        yield "it is not a plain table"
    if relation.row_security:
        yield "it has row security, whose policies would have to be recreated"
    for why, names in {
        "its triggers would have to be recreated": [each.name for each in relation.triggers],
        "its sequence would be dropped with its oldest partition": relation.owned_sequences,
        "views would keep reading its oldest partition": _QUERIES.column(
            connection, "views", oid=relation.oid
        ),
    }.items():
        if names:
            yield f"{why}: {', '.join(names)}"


def _reasons_of_column(relation: Relation, name: str | None) -> Iterator[str]:
    if name is None:
        yield "the column of a row's age is not known (name it with --column)"
        return
    column = relation.column(name)
    if column is None:
        yield f"it has no column {name}"
    elif column.domain or column.base not in _TYPES:
        kind = column.type if column.domain else column.base
        yield f"{name} is of type {kind}, which is not a time"
    elif not column.not_null:
        yield f"{name} may be NULL, and a row without a time belongs to no partition"


def _reasons_of_keys(relation: Relation, column: str) -> Iterator[str]:
    """Say which keys would have to hold the time, since PostgreSQL keeps them per partition."""
    if relation.referrers:
        names = [f"{key.child_quoted}.{key.name}" for key in relation.referrers]
        yield (
            f"its primary key would have to hold {column}, and with it every foreign key that "
            f"refers to it: {', '.join(names)}"
        )
    for found in relation.constraints:
        if found.kind == "u" and column not in found.columns:
            yield f"{found.name} would have to hold {column}, and would not be unique without it"
        if found.kind == "x":
            yield f"the exclusion {found.name} cannot reach across partitions"
    for index in relation.indexes:
        if index.unique and index.constraint is None:
            yield f"the unique index {index.name} would have to hold {column}"


def _refusal(table: str, reasons: str) -> CannotPartition:
    return CannotPartition(
        f"{table} cannot be partitioned: {reasons}.",
        hint="Without partitions, a retention rule can delete old rows: leadctl cleanup --list",
    )


def _column_of_rule(table: str, rules: Sequence[Rule]) -> str | None:
    columns = {rule.age_column for rule in rules if rule.table == table}
    return columns.pop() if len(columns) == 1 else None


def _key(table: PartitionableTable) -> list[str]:
    if table.key is None:
        return []
    return list(dict.fromkeys((*table.key.columns, table.column)))


def _upgrade(table: PartitionableTable, period: Period) -> list[str]:
    names = _names(table)
    statements = [_sql("ALTER TABLE {table} RENAME TO {first}", **names)]
    statements += [
        _sql("ALTER INDEX {} RENAME TO {}", sql.Identifier(name), sql.Identifier(f"{name}_first"))
        for name in table.indexes
    ]
    if table.key is not None:
        statements += [
            _sql("ALTER TABLE {first} DROP CONSTRAINT {key}", **names),
            _sql("ALTER TABLE {first} ADD CONSTRAINT {key_first} PRIMARY KEY ({columns})", **names),
        ]
    statements.append(
        _sql(
            "CREATE TABLE {table} (LIKE {first} INCLUDING ALL EXCLUDING INDEXES)"
            " PARTITION BY RANGE ({column})",
            **names,
        )
    )
    if table.key is not None:
        statements.append(
            _sql("ALTER TABLE {table} ADD CONSTRAINT {key} PRIMARY KEY ({columns})", **names)
        )
    statements += [*table.indexes.values(), *_foreign_keys(table)]
    statements.append(_sql(_GRANTS, old=f"{table.name}_first", new=table.name))
    statements.append(_sql(_PARTITIONS, **names, **_period(table, period)))
    return statements


def _downgrade(table: PartitionableTable) -> list[str]:
    names = {**_names(table), "parts": sql.Identifier(f"{table.name}_partitioned")}
    names["all"] = _list([column.name for column in table.relation.columns if column.written])
    statements = [
        _sql("ALTER TABLE {table} RENAME TO {parts}", **names),
        _sql("CREATE TABLE {table} (LIKE {parts} INCLUDING ALL EXCLUDING INDEXES)", **names),
        _sql("INSERT INTO {table} ({all}) SELECT {all} FROM {parts}", **names),
        _sql(_GRANTS, old=f"{table.name}_partitioned", new=table.name),
        _sql("DROP TABLE {parts}", **names),
    ]
    if table.key is not None:
        statements.append(_constraint(table, table.key))
    return [*statements, *table.indexes.values(), *_foreign_keys(table)]


def _names(table: PartitionableTable) -> dict[str, sql.Composable]:
    key = table.key.name if table.key else ""
    return {
        "table": sql.Identifier(table.name),
        "first": sql.Identifier(f"{table.name}_first"),
        "column": sql.Identifier(table.column),
        "key": sql.Identifier(key),
        "key_first": sql.Identifier(f"{key}_first"),
        "columns": _list(_key(table)),
    }


def _period(table: PartitionableTable, period: Period) -> dict[str, str]:
    return {
        "table_name": table.name,
        "first_name": f"{table.name}_first",
        "unit": period.unit,
        "step": f"1 {period.unit}",
        "pattern": f"_{period.pattern}",
        "ahead": str(period.ahead),
    }


def _foreign_keys(table: PartitionableTable) -> list[str]:
    return [_constraint(table, each) for each in table.relation.constraints if each.kind == "f"]


def _constraint(table: PartitionableTable, found: Constraint) -> str:
    return _sql(
        "ALTER TABLE {} ADD CONSTRAINT {} {}",
        sql.Identifier(table.name),
        sql.Identifier(found.name),
        written_by_server(table.relation.definition(found)),
    )


_GRANTS = """DO $$
DECLARE
    held record;
BEGIN
    FOR held IN
        SELECT acl.privilege_type AS privilege, acl.is_grantable AS grantable,
               CASE WHEN acl.grantee = 0 THEN 'PUBLIC' ELSE acl.grantee::regrole::text END AS role
        FROM pg_class, aclexplode(relacl) AS acl
        WHERE pg_class.oid = quote_ident({old})::regclass AND acl.grantee <> relowner
    LOOP
        EXECUTE format('GRANT %s ON %I TO %s', held.privilege, {new}, held.role)
            || CASE WHEN held.grantable THEN ' WITH GRANT OPTION' ELSE '' END;
    END LOOP;
END $$"""
"""Gives the new table the privileges that the old one has."""

_PARTITIONS = """DO $$
DECLARE
    begins timestamptz := date_trunc({unit}, greatest(now(), (
        SELECT max({column}) FROM {first})), 'UTC') + interval {step};
    ends timestamptz;
BEGIN
    EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (MINVALUE) TO (%L)',
        {table_name}, {first_name}, begins);
    FOR n IN 1..{ahead}::int LOOP
        ends := begins + interval {step};
        EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L)',
            {table_name} || to_char(begins AT TIME ZONE 'UTC', {pattern}),
            {table_name}, begins, ends);
        begins := ends;
    END LOOP;
END $$"""
"""Makes the old table the first partition, and the next ones behind it."""


def _sql(template: LiteralString, *parts: Any, **named: Any) -> str:
    return sql.SQL(template).format(*parts, **named).as_string()


def _list(names: Sequence[str]) -> sql.Composed:
    return sql.SQL(", ").join(sql.Identifier(name) for name in names)


def _calls(statements: Sequence[str]) -> str:
    return "\n".join(f"    op.execute({_python(statement)})" for statement in statements)


def _python(statement: str) -> str:
    """Return a statement as Python writes it."""
    if "\n" in statement and '"""' not in statement:
        return f'"""\n{statement}\n"""'
    return repr(statement)
