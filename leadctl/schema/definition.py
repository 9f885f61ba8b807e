"""What a schema consists of, wherever it was read from, and the rules that keep it workable.

A finding is an error where PostgreSQL will do something wrong or slowly, a warning where somebody
may have meant it.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from leadctl.postgres import LONGEST_NAME

_PLAIN = re.compile(r"[a-z_][a-z0-9_]*\Z")


@dataclass(frozen=True)
class ColumnDefinition:
    """A column; type, default and generation expression as PostgreSQL writes them."""

    name: str
    type: str
    nullable: bool
    default: str | None = None
    generated: str | None = None
    """The expression of a generated column, or how an identity column is generated."""
    comment: str | None = None


@dataclass(frozen=True)
class ForeignKey:
    """A foreign key; `on_delete` is empty for NO ACTION.

    `table` is qualified where it is in another schema.
    """

    name: str
    columns: tuple[str, ...]
    table: str
    referred: tuple[str, ...]
    on_delete: str = ""


@dataclass(frozen=True)
class IndexDefinition:
    """An index besides those of constraints; `columns` are names, or expressions as SQL."""

    name: str
    columns: tuple[str, ...]
    unique: bool = False
    method: str = "btree"
    where: str | None = None


@dataclass(frozen=True)
class ConstraintDefinition:
    """A unique constraint (`columns`), or a check or exclusion (`definition`)."""

    name: str
    columns: tuple[str, ...] = ()
    definition: str | None = None


@dataclass(frozen=True)
class Table:
    """A table or view."""

    name: str
    kind: str
    columns: tuple[ColumnDefinition, ...]
    primary_key: tuple[str, ...] = ()
    uniques: tuple[ConstraintDefinition, ...] = ()
    checks: tuple[ConstraintDefinition, ...] = ()
    foreign_keys: tuple[ForeignKey, ...] = ()
    indexes: tuple[IndexDefinition, ...] = ()
    comment: str | None = None

    def column(self, name: str) -> ColumnDefinition | None:
        """Find a column."""
        return next((column for column in self.columns if column.name == name), None)


@dataclass(frozen=True)
class Enumeration:
    """An enum type with its values in order."""

    name: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class Schema:
    """A schema; `source` says what it was read from."""

    source: str
    name: str
    tables: tuple[Table, ...]
    enums: tuple[Enumeration, ...]

    def table(self, name: str) -> Table | None:
        """Find a table."""
        return next((table for table in self.tables if table.name == name), None)


@dataclass(frozen=True)
class Finding:
    """A rule that is broken somewhere."""

    severity: str
    """`error` or `warning`."""
    rule: str
    object: str
    message: str


@dataclass(frozen=True)
class Validation:
    """What was found; `ok` is whether there are no errors."""

    source: str
    schema: str
    tables: int
    ok: bool
    findings: tuple[Finding, ...]


def validate(schema: Schema) -> Validation:
    """Check a schema against every rule."""
    tables = [table for table in schema.tables if table.kind == "table"]
    found = [finding for table in tables for finding in _check(schema, table)]
    found.sort(key=lambda finding: (finding.severity, finding.rule, finding.object))
    ok = all(finding.severity != "error" for finding in found)
    return Validation(schema.source, schema.name, len(tables), ok, tuple(found))


def _check(schema: Schema, table: Table) -> Iterator[Finding]:
    yield from _keys(table)
    yield from _names(table)
    yield from _foreign_keys(schema, table)
    yield from _types(table)
    yield from _duplicates(table)


def _keys(table: Table) -> Iterator[Finding]:
    if not table.primary_key:
        yield Finding(
            "error", "primary-key", table.name, "It has none, so two rows can be identical."
        )


def _names(table: Table) -> Iterator[Finding]:
    parts = [(table.name, "table"), *((column.name, "column") for column in table.columns)]
    for name, what in parts:
        subject = table.name if what == "table" else f"{table.name}.{name}"
        if not _PLAIN.match(name):
            yield Finding(
                "warning", "names", subject, "It must be quoted in every query; use snake_case."
            )
    names = [each.name for each in (*table.uniques, *table.checks)]
    names += [key.name for key in table.foreign_keys]
    names += [index.name for index in table.indexes]
    for name in [*names, *(name for name, _ in parts)]:
        if len(name.encode()) > LONGEST_NAME:
            yield Finding(
                "error",
                "names",
                f"{table.name}.{name}",
                f"PostgreSQL cuts it to {LONGEST_NAME} bytes.",
            )


def _foreign_keys(schema: Schema, table: Table) -> Iterator[Finding]:
    for key in table.foreign_keys:
        subject = f"{table.name}.{', '.join(key.columns)}"
        if not any(
            set(prefix[: len(key.columns)]) == set(key.columns) for prefix in _prefixes(table)
        ):
            yield Finding(
                "error",
                "fk-index",
                subject,
                f"No index begins with it: a delete in {key.table} reads all of {table.name}.",
            )
        other = schema.table(key.table)
        for name, referred in zip(key.columns, key.referred, strict=False):
            here, there = table.column(name), other.column(referred) if other else None
            if here and there and here.type != there.type:
                yield Finding(
                    "error",
                    "fk-type",
                    subject,
                    f"It is {here.type}, and {key.table}.{referred} is {there.type}.",
                )


def _types(table: Table) -> Iterator[Finding]:
    for column in table.columns:
        subject = f"{table.name}.{column.name}"
        if re.match(r"timestamp(?!.*with time zone)", column.type):
            yield Finding(
                "error", "time-zone", subject, "It has no time zone; use timestamp with time zone."
            )
        elif column.type == "json":
            yield Finding(
                "warning", "json", subject, "jsonb can be compared and indexed; json not."
            )
        elif re.match(r"(char|character|bpchar)(?!.*varying)(\(|\Z)", column.type):
            yield Finding("warning", "char", subject, "It is padded with blanks; use text.")


def _duplicates(table: Table) -> Iterator[Finding]:
    """Find indexes that another one serves for: it begins with the same columns."""
    for index in table.indexes:
        if index.unique or index.where or index.method != "btree":
            continue
        others = [
            (other.name, other.columns)
            for other in table.indexes
            if other != index and _may_replace(index, other)
        ]
        others += [
            (each.name or f"Unique ({', '.join(each.columns)})", each.columns)
            for each in table.uniques
        ]
        others += [("the primary key", table.primary_key)]
        for name, columns in others:
            if columns[: len(index.columns)] == index.columns:
                yield Finding(
                    "warning",
                    "duplicate-index",
                    f"{table.name}.{index.name}",
                    f"{name} begins with the same columns.",
                )
                break


def _may_replace(index: IndexDefinition, other: IndexDefinition) -> bool:
    if other.where or other.method != "btree":
        return False
    return other.columns != index.columns or other.unique or other.name < index.name


def _prefixes(table: Table) -> Iterator[tuple[str, ...]]:
    yield table.primary_key
    yield from (each.columns for each in table.uniques)
    yield from (each.columns for each in table.indexes if each.where is None)
