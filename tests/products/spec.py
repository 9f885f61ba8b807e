"""What a specification's document says, written by hand from it: the tests' own yardstick."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from leadctl.catalog.definitions import Catalog


@dataclass(frozen=True)
class Table:
    """A table as the document has it; `?` at the end of a type is a column that may be NULL."""

    columns: Mapping[str, str]
    unique: Sequence[str] = ()
    indexes: Sequence[str] = ()
    cascades: Mapping[str, str] = field(default_factory=dict)
    """Column → table, deleted with it."""
    nullifies: Mapping[str, str] = field(default_factory=dict)
    """Column → table, emptied with it."""
    defaults: Mapping[str, str] = field(default_factory=dict)
    primary: str = "id"


def missing(catalog: Catalog, table: str, spec: Table) -> list[str]:
    """Return what the document has and the migrated database lacks, each as a sentence."""
    return [
        f"{table}: {gap}"
        for gap in (
            *_columns(catalog, table, spec),
            *_constraints(catalog, table, spec),
            *_indexes(catalog, table, spec),
        )
    ]


def _columns(catalog: Catalog, table: str, spec: Table) -> Iterator[str]:
    actual = {
        name.partition(".")[2]: catalog.objects[f"column {name}"]
        for name in catalog.names("column")
        if name.startswith(f"{table}.")
    }
    for name, kind in spec.columns.items():
        if name not in actual:
            yield f"{name} is not there"
            continue
        found = f"{actual[name]['type']}{'?' if actual[name]['nullable'] else ''}"
        if found != kind:
            yield f"{name} is {found}"
        default = str(actual[name].get("default", ""))
        if not default.startswith(spec.defaults.get(name, "")):
            yield f"{name} has the default {default}"
    yield from (f"{name} is not in the document" for name in actual.keys() - spec.columns)


def _constraints(catalog: Catalog, table: str, spec: Table) -> Iterator[str]:
    actual = _definitions(catalog, "constraint", table)
    wanted = [f"PRIMARY KEY ({spec.primary})"]
    for action, columns in (("CASCADE", spec.cascades), ("SET NULL", spec.nullifies)):
        wanted += [
            f"FOREIGN KEY ({column}) REFERENCES {parent}(id) ON DELETE {action}"
            for column, parent in columns.items()
        ]
    yield from (f"no {definition}" for definition in wanted if definition not in actual)


def _indexes(catalog: Catalog, table: str, spec: Table) -> Iterator[str]:
    constraints = _definitions(catalog, "constraint", table)
    indexes = _definitions(catalog, "index", table)
    for columns in spec.unique:
        by_index = any("UNIQUE" in index and f"({columns})" in index for index in indexes)
        if f"UNIQUE ({columns})" not in constraints and not by_index:
            yield f"({columns}) is not unique"
    for columns in spec.indexes:
        if not any(f"({columns})" in index for index in indexes):
            yield f"({columns}) has no index"


def _definitions(catalog: Catalog, kind: str, table: str) -> list[str]:
    return [
        str(attributes["definition"])
        for key, attributes in catalog.objects.items()
        if key.startswith((f"{kind} {table}.", f"{kind} "))
        and attributes.get("table", key.removeprefix(f"{kind} ").partition(".")[0]) == table
    ]
