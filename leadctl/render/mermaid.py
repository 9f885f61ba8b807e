"""The Mermaid writer: an entity relationship diagram.

https://mermaid.js.org/syntax/entityRelationshipDiagram.html
"""

import re
from collections.abc import Iterator

from leadctl.schema.definition import Column, ForeignKey, Schema, Table

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


def _attribute(table: Table, column: Column) -> str:
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
