"""What a schema consists of, wherever it was read from."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
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
class Index:
    """An index beside those of constraints; `columns` are names, or expressions as SQL."""

    name: str
    columns: tuple[str, ...]
    unique: bool = False
    method: str = "btree"
    where: str | None = None


@dataclass(frozen=True)
class Constraint:
    """A unique constraint (`columns`), or a check or exclusion (`definition`)."""

    name: str
    columns: tuple[str, ...] = ()
    definition: str | None = None


@dataclass(frozen=True)
class Table:
    """A table or view."""

    name: str
    kind: str
    columns: tuple[Column, ...]
    primary_key: tuple[str, ...] = ()
    uniques: tuple[Constraint, ...] = ()
    checks: tuple[Constraint, ...] = ()
    foreign_keys: tuple[ForeignKey, ...] = ()
    indexes: tuple[Index, ...] = ()
    comment: str | None = None

    def column(self, name: str) -> Column | None:
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
