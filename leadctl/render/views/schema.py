"""Views of schemas: all tables, one table, what validation found, and a Mermaid diagram.

https://mermaid.js.org/syntax/entityRelationshipDiagram.html
"""

import re
from collections.abc import Iterator

from leadctl.render.blocks import Block, Cell, Column, Grid, Line, numbers, one_line, short_type
from leadctl.schema.definition import (
    ColumnDefinition,
    ForeignKey,
    IndexDefinition,
    Schema,
    Table,
    Validation,
)
from leadctl.schema.read import SchemaDump
from leadctl.text import counted, listed

_RELATED = 6
"""So many tables that a table refers to are named in the list."""


def schema(result: Schema) -> Iterator[Block]:
    """Each table with the number of its parts."""
    if not result.tables:
        yield Line(f"The {result.source}, schema {result.name} has no tables.")
        return
    commented = any(table.comment for table in result.tables)
    rows = [
        (
            one_line(table.name),
            len(table.columns),
            ", ".join(table.primary_key),
            listed(list(dict.fromkeys(key.table for key in table.foreign_keys)), _RELATED),
            _indexes(table),
            *([table.comment] if commented else []),
        )
        for table in result.tables
    ]
    yield Line(f"The {result.source}, schema {result.name}", "strong")
    yield Grid(
        [
            "Table",
            *numbers("Columns"),
            "Key",
            "Refers to",
            Column("Indexes", numbers=True, optional=True),
            *(["Comment"] if commented else []),
        ],
        rows,
    )
    yield from _enums(result)


def table(result: Schema) -> Iterator[Block]:
    """One table, part by part."""
    found = result.tables[0]
    yield Line(f"{found.kind} {found.name}, {result.source}, schema {result.name}", "strong")
    if found.comment:
        yield Line(found.comment)
    yield _columns(found)
    if found.foreign_keys:
        rows = [
            (
                ", ".join(key.columns),
                f"{key.table} ({', '.join(key.referred)})",
                key.on_delete,
                key.name,
            )
            for key in found.foreign_keys
        ]
        name = Column("Name", optional=True)
        yield Grid(["Foreign key", "Refers to", "On delete", name], rows)
    if found.uniques or found.indexes:
        indexes = [(each.name, ", ".join(each.columns), "unique") for each in found.uniques]
        indexes += [(each.name, ", ".join(each.columns), _kind(each)) for each in found.indexes]
        yield Grid(["Index", "Columns", "Kind"], indexes)
    if found.checks:
        yield Grid(["Check", "Must hold"], [(each.name, each.definition) for each in found.checks])
    yield from _enums(result)


def _enums(result: Schema) -> Iterator[Block]:
    if result.enums:
        enums = [(each.name, ", ".join(each.values)) for each in result.enums]
        yield Grid(["Enum", "Values"], enums)


def validation(result: Validation) -> Iterator[Block]:
    """What was found, then the verdict."""
    errors = sum(finding.severity == "error" for finding in result.findings)
    warnings = len(result.findings) - errors
    if result.findings:
        rows = [
            (
                Cell(each.severity, "bad" if each.severity == "error" else "warn"),
                each.rule,
                each.object,
                each.message,
            )
            for each in result.findings
        ]
        yield Grid(["", "Rule", "Where", "What"], rows)
    checked = f"{counted(result.tables, 'table')} in the {result.source}"
    if not result.findings:
        yield Line(f"{checked}: nothing found.", "good")
    else:
        counts = f"{counted(errors, 'error')}, {counted(warnings, 'warning')}"
        yield Line(f"{checked}: {counts}.", "bad" if errors else "warn")


def dump(result: SchemaDump) -> list[Block]:
    """The SQL."""
    return [Line(result.sql)]


def _columns(found: Table) -> Grid:
    commented = any(column.comment for column in found.columns)
    return Grid(
        [
            "Column",
            "Type",
            "",
            *(["Default"] if any(map(_default, found.columns)) else []),
            *(["Comment"] if commented else []),
        ],
        [
            (
                one_line(column.name),
                short_type(column.type),
                _role(found, column),
                *([_default(column)] if any(map(_default, found.columns)) else []),
                *([column.comment] if commented else []),
            )
            for column in found.columns
        ],
    )


def _role(found: Table, column: ColumnDefinition) -> Cell:
    if column.name in found.primary_key:
        return Cell("key", "strong")
    return Cell("null" if column.nullable else "", "dim")


def _default(column: ColumnDefinition) -> str:
    if column.generated:
        return f"generated {column.generated}"
    return column.default or ""


def _kind(index: IndexDefinition) -> str:
    words = ["unique"] if index.unique else []
    words += [index.method] if index.method != "btree" else []
    words += [f"where {index.where}"] if index.where else []
    return " ".join(words)


def _indexes(found: Table) -> int:
    return len(found.indexes) + len(found.uniques) + bool(found.primary_key)


_NOT_A_WORD = re.compile(r"[^A-Za-z0-9_]+")
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


def diagram(schema: Schema) -> str:
    """Return a schema as Mermaid source; views have no relations and are left out."""
    tables = {table.name: f"t{i}" for i, table in enumerate(schema.tables) if table.kind != "view"}
    identifiers = {name: name if _WORD.match(name) else alias for name, alias in tables.items()}
    lines = ["erDiagram"]
    for table in schema.tables:
        if table.name in identifiers:
            lines += _entity(table, identifiers[table.name])
    for table in schema.tables:
        for key in table.foreign_keys:
            if key.table in identifiers:
                lines.append(_relation(table, key, identifiers))
    return "\n".join(lines)


def _entity(table: Table, identifier: str) -> Iterator[str]:
    shown = identifier if identifier == table.name else f"{identifier}[{_quoted(table.name)}]"
    yield f"    {shown} {{"
    for column in table.columns:
        yield f"        {_attribute(table, column)}"
    yield "    }"


def _attribute(table: Table, column: ColumnDefinition) -> str:
    name = column.name if _WORD.match(column.name) else _word(column.name)
    marks = [
        mark
        for mark, names in (
            ("PK", table.primary_key),
            ("FK", [each for key in table.foreign_keys for each in key.columns]),
            ("UK", [each.columns[0] for each in table.uniques if len(each.columns) == 1]),
        )
        if column.name in names
    ]
    comment = "" if name == column.name else f" {_quoted(column.name)}"
    return f"{_word(column.type)} {name}{' ' if marks else ''}{', '.join(marks)}{comment}"


def _relation(table: Table, key: ForeignKey, identifiers: dict[str, str]) -> str:
    """Return who refers to whom: many to one, or one to one where the key is unique."""
    optional = any(column.nullable for column in table.columns if column.name in key.columns)
    alone = any(set(each) == set(key.columns) for each in _unique_columns(table))
    there = "|o" if optional else "||"
    here = "o|" if alone else "o{"
    label = _quoted(", ".join(key.columns))
    return f"    {identifiers[key.table]} {there}--{here} {identifiers[table.name]} : {label}"


def _unique_columns(table: Table) -> Iterator[tuple[str, ...]]:
    yield table.primary_key
    yield from (each.columns for each in table.uniques)
    yield from (each.columns for each in table.indexes if each.unique and each.where is None)


def _word(text: str) -> str:
    word = _NOT_A_WORD.sub("_", text).strip("_")
    return word if word and not word[0].isdigit() else f"_{word}"


def _quoted(text: str) -> str:
    """Return a text in double quotes; Mermaid has no escape for one within."""
    return '"' + re.sub(r"[\"\x00-\x1f\x7f]", "'", text) + '"'
