"""Views of schemas: all tables, one table, what validation found."""

from leadctl.render.blocks import Block, Cell, Column, Grid, Line, one_line, short_type
from leadctl.schema.definition import Column as Definition
from leadctl.schema.definition import Index, Schema, Table, Validation
from leadctl.schema.read import SchemaDump
from leadctl.text import counted


def schema(result: Schema) -> list[Block]:
    """Each table with the number of its parts."""
    if not result.tables:
        return [Line(f"The {result.source}, schema {result.name} has no tables.")]
    commented = any(table.comment for table in result.tables)
    rows = [
        (
            one_line(table.name),
            len(table.columns),
            ", ".join(table.primary_key),
            ", ".join(dict.fromkeys(key.table for key in table.foreign_keys)),
            _indexes(table),
            *([table.comment] if commented else []),
        )
        for table in result.tables
    ]
    blocks: list[Block] = [
        Line(f"The {result.source}, schema {result.name}", "strong"),
        Grid(
            [
                "Table",
                Column("Columns", numbers=True),
                "Key",
                "Refers to",
                Column("Indexes", numbers=True, optional=True),
                *(["Comment"] if commented else []),
            ],
            rows,
        ),
    ]
    if result.enums:
        blocks.append(
            Grid(["Enum", "Values"], [(e.name, ", ".join(e.values)) for e in result.enums])
        )
    return blocks


def table(result: Schema) -> list[Block]:
    """One table, part by part."""
    found = result.tables[0]
    title = f"{found.kind} {found.name}, {result.source}, schema {result.name}"
    blocks: list[Block] = [Line(title, "strong")]
    if found.comment:
        blocks.append(Line(found.comment))
    blocks.append(_columns(found))
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
        blocks.append(Grid(["Foreign key", "Refers to", "On delete", name], rows))
    if found.uniques or found.indexes:
        indexes = [(each.name, ", ".join(each.columns), "unique") for each in found.uniques]
        indexes += [(each.name, ", ".join(each.columns), _kind(each)) for each in found.indexes]
        blocks.append(Grid(["Index", "Columns", "Kind"], indexes))
    if found.checks:
        checks = [(each.name, each.definition) for each in found.checks]
        blocks.append(Grid(["Check", "Must hold"], checks))
    if result.enums:
        enums = [(each.name, ", ".join(each.values)) for each in result.enums]
        blocks.append(Grid(["Enum", "Values"], enums))
    return blocks


def validation(result: Validation) -> list[Block]:
    """What was found, then the verdict."""
    errors = sum(finding.severity == "error" for finding in result.findings)
    warnings = len(result.findings) - errors
    blocks: list[Block] = []
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
        blocks.append(Grid(["", "Rule", "Where", "What"], rows))
    checked = f"{counted(result.tables, 'table')} in the {result.source}"
    if not result.findings:
        blocks.append(Line(f"{checked}: nothing found.", "good"))
    else:
        counts = f"{counted(errors, 'error')}, {counted(warnings, 'warning')}"
        blocks.append(Line(f"{checked}: {counts}.", "bad" if errors else "warn"))
    return blocks


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


def _role(found: Table, column: Definition) -> Cell:
    if column.name in found.primary_key:
        return Cell("key", "strong")
    return Cell("null" if column.nullable else "", "dim")


def _default(column: Definition) -> str:
    if column.generated:
        return f"generated {column.generated}"
    return column.default or ""


def _kind(index: Index) -> str:
    words = ["unique"] if index.unique else []
    words += [index.method] if index.method != "btree" else []
    words += [f"where {index.where}"] if index.where else []
    return " ".join(words)


def _indexes(found: Table) -> int:
    return len(found.indexes) + len(found.uniques) + bool(found.primary_key)
