"""What the live catalog says about the table of a rule, and whether the rule fits it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import class_row, dict_row

from leadctl.cleanup.rules import RunRule
from leadctl.errors import InvalidRule, UnindexedForeignKey
from leadctl.postgres.connect import Connection
from leadctl.postgres.queries import beside

QUERIES = beside(__file__, "cleanup.sql")
CASCADE = "c"
_CLEARS = {"n", "d"}
_KEEPS = {"a", "r"}
_AGE_TYPES = ("timestamp with time zone", "timestamp without time zone", "date")
_RANGE = "r"


@dataclass(frozen=True)
class Reference:
    """A foreign key; `action` is what it does on delete, as pg_constraint has it."""

    name: str
    child: int
    parent: int
    child_name: str
    parent_name: str
    action: str
    columns: list[str]
    referred: list[str]
    indexed: bool


@dataclass(frozen=True)
class Leaf:
    """A table that holds rows: the rule's table itself, or a partition of it."""

    oid: int
    name: str
    """Quoted, and qualified where it is not in the target's schema."""


@dataclass(frozen=True)
class Subject:
    """The table of a rule, with all that goes or changes when its rows go."""

    rule: RunRule
    oid: int
    name: str
    """As `Leaf.name`."""
    age_type: str
    key: list[str] | None
    leaves: tuple[Leaf, ...]
    references: tuple[Reference, ...]
    """To the table and to the tables that a cascade reaches."""
    by_age: bool
    """Whether the table is range-partitioned by its age column alone."""
    partitioned: bool
    estimate: int
    """Rows that the table may have."""
    pages: int

    @property
    def cascades(self) -> tuple[Reference, ...]:
        """The foreign keys along which rows go, too."""
        return tuple(found for found in self.references if found.action == CASCADE)

    @property
    def clears(self) -> tuple[Reference, ...]:
        """The foreign keys whose columns are set to NULL or to their default."""
        return tuple(found for found in self.references if found.action in _CLEARS)

    @property
    def keeps(self) -> tuple[Reference, ...]:
        """The foreign keys that do not let a row go to which a row refers."""
        return tuple(found for found in self.references if found.action in _KEEPS)

    @property
    def tables(self) -> dict[int, str]:
        """The tables that lose rows by oid, the rule's own first."""
        return {self.oid: self.name} | {found.child: found.child_name for found in self.cascades}

    def cutoff_value(self, cutoff: datetime) -> datetime | date:
        """Return a moment as the age column's type has it; without a time zone it is UTC's."""
        moment = cutoff.astimezone(UTC)
        if self.age_type == "date":
            return moment.date()
        return moment if self.age_type == _AGE_TYPES[0] else moment.replace(tzinfo=None)


def examine(connection: Connection, schema: str, rule: RunRule) -> Subject:
    """Return what a rule is about.

    Raises InvalidRule where table, column, type or condition do not fit, and UnindexedForeignKey.
    """
    table = sql.Identifier(schema, rule.rule.table).as_string(connection)
    relation = _one(connection, "relation", table=table)
    if relation is None or relation["kind"] not in {"r", "p"}:
        what = "does not exist" if relation is None else "is not a table"
        raise InvalidRule(
            f"The rule {rule.name} is for {schema}.{rule.rule.table}, which {what}.",
            hint="Apply the migrations with: leadctl migrate, or correct the rule's table.",
        )
    oid = relation["oid"]
    leaves = tuple(Leaf(*row) for row in query(connection, "leaves", oid=oid))
    references = tuple(_references(connection, oid))
    ((estimate, pages),) = query(connection, "rows", oid=oid)
    subject = Subject(
        rule=rule,
        oid=oid,
        name=relation["name"],
        age_type=_age_type(connection, oid, rule),
        key=relation["key"],
        leaves=leaves,
        references=references,
        by_age=relation["strategy"] == _RANGE
        and relation["partition_key"] == [rule.rule.age_column],
        partitioned=relation["kind"] == "p",
        estimate=estimate,
        pages=pages,
    )
    _refuse_unindexed(subject)
    return subject


def query(connection: Connection, block: str, **parameters: Any) -> list[Any]:
    """Run a named block of cleanup and return its rows."""
    statement = QUERIES.get(block, connection.info.server_version)
    return connection.execute(statement, parameters).fetchall()


def _one(connection: Connection, name: str, **parameters: Any) -> dict[str, Any] | None:
    block = QUERIES.get(name, connection.info.server_version)
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(block, parameters).fetchone()


def _age_type(connection: Connection, oid: int, rule: RunRule) -> str:
    column = _one(connection, "column", oid=oid, column=rule.rule.age_column)
    if column is None:
        raise InvalidRule(
            f"The rule {rule.name} goes by {rule.rule.table}.{rule.rule.age_column}, which does "
            "not exist.",
            hint="Correct the rule's age_column.",
        )
    if column["type"] not in _AGE_TYPES:
        raise InvalidRule(
            f"The rule {rule.name} goes by {rule.rule.table}.{rule.rule.age_column}, which is of "
            f"type {column['type']}.",
            hint=f"An age column is of one of the types: {', '.join(_AGE_TYPES)}.",
        )
    return str(column["type"])


def _references(connection: Connection, oid: int) -> Iterator[Reference]:
    """Follow the foreign keys that refer to a table, and on from where a delete cascades to."""
    block = QUERIES.get("references", connection.info.server_version)
    waiting, seen = [oid], {oid}
    with connection.cursor(row_factory=class_row(Reference)) as cursor:
        while waiting:
            for found in cursor.execute(block, {"oid": waiting.pop(0)}).fetchall():
                yield found
                if found.action == CASCADE and found.child not in seen:
                    seen.add(found.child)
                    waiting.append(found.child)


def _refuse_unindexed(subject: Subject) -> None:
    for found in subject.references:
        if not found.indexed:
            columns = ", ".join(found.columns)
            raise UnindexedForeignKey(
                f"The rule {subject.rule.name} takes rows of {subject.name}, to which the foreign "
                f"key {found.name} of {found.child_name} ({columns}) refers without an index: "
                f"every row would cost a scan of {found.child_name}. Nothing was changed.",
                hint=f"CREATE INDEX CONCURRENTLY ON {found.child_name} ({columns})",
            )


def check_condition(
    connection: Connection, selects: Sequence[sql.Composable], values: Any, rule: RunRule
) -> None:
    """Let the server read what a rule selects.  Raises InvalidRule with what it says."""
    try:
        for select in selects:
            connection.execute(sql.SQL("EXPLAIN {}").format(select), values)
    except psycopg.errors.InsufficientPrivilege:
        raise
    except (psycopg.ProgrammingError, psycopg.DataError) as error:
        raise InvalidRule(
            f"The condition of the rule {rule.name} does not fit {rule.rule.table}: "
            f"{error.diag.message_primary}.",
            hint=f"It is: {rule.rule.condition}",
        ) from None
