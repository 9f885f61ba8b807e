"""The table of a rule as the live catalog has it, and whether the rule fits it."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime

from psycopg import sql

from leadctl.apps.retention import Rule
from leadctl.errors import InvalidRule, NoPrimaryKey, UnindexedForeignKey
from leadctl.postgres.connect import Connection
from leadctl.postgres.queries import beside

QUERIES = beside(__file__, "cleanup.sql")
_CASCADE = "c"
_KEEPS = {"a", "r"}
_AGE_TYPES = ("timestamp with time zone", "timestamp without time zone", "date")
_RANGE = "r"


@dataclass(frozen=True)
class ReferringKey:
    """A foreign key that refers to a table; `action` is what a delete does to its rows."""

    name: str
    child: int
    parent: int
    child_name: str
    parent_name: str
    action: str
    """As pg_constraint has it."""
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
class _Relation:
    oid: int
    name: str
    kind: str
    strategy: str | None
    partition_key: list[str] | None


@dataclass(frozen=True)
class RuleTable:
    """The table of a rule, with all that goes or changes when its rows go."""

    rule: Rule
    oid: int
    name: str
    """As `Leaf.name`."""
    age_type: str
    leaves: tuple[Leaf, ...]
    referring: tuple[ReferringKey, ...]
    """To the table and to the tables that a cascade reaches."""
    by_age: bool
    """Whether the table is range-partitioned by its age column alone."""
    partitioned: bool
    estimate: int
    """Rows that the table may have."""
    pages: int

    @property
    def cascades(self) -> tuple[ReferringKey, ...]:
        """The foreign keys along which rows go, too."""
        return tuple(found for found in self.referring if found.action == _CASCADE)

    @property
    def keeps(self) -> tuple[ReferringKey, ...]:
        """The foreign keys that do not let a row go to which a row refers."""
        return tuple(found for found in self.referring if found.action in _KEEPS)

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


def rule_table(connection: Connection, schema: str, rule: Rule) -> RuleTable:
    """Return the table of a rule.

    Raises InvalidRule where table, column or type do not fit, and UnindexedForeignKey.
    """
    name = sql.Identifier(schema, rule.table).as_string(connection)
    relation = QUERIES.one(connection, "relation", _Relation, table=name)
    if relation is None or relation.kind not in {"r", "p"}:
        what = "does not exist" if relation is None else "is not a table"
        raise InvalidRule(
            f"The rule {rule.name} is for {schema}.{rule.table}, which {what}.",
            hint="Apply the migrations with: leadctl migrate, or correct the rule's table.",
        )
    ((estimate, pages),) = QUERIES.rows(connection, "rows", oid=relation.oid)
    table = RuleTable(
        rule=rule,
        oid=relation.oid,
        name=relation.name,
        age_type=_age_type(connection, relation.oid, rule),
        leaves=tuple(QUERIES.rows(connection, "leaves", Leaf, oid=relation.oid)),
        referring=tuple(_referring_keys(connection, relation.oid)),
        by_age=relation.strategy == _RANGE and relation.partition_key == [rule.age_column],
        partitioned=relation.kind == "p",
        estimate=estimate,
        pages=pages,
    )
    _refuse_unindexed(table)
    return table


def require_keys(connection: Connection, table: RuleTable) -> None:
    """Refuse to archive rows that could not be told apart when they are put back.

    Raises NoPrimaryKey.
    """
    for oid, name in table.tables.items():
        if not QUERIES.column(connection, "primary_key", oid=oid):
            raise NoPrimaryKey(
                f"The rule {table.rule.name} cannot archive {name}, which has no primary key.",
                hint="Add one, or let the rule delete without an archive.",
            )


def server_time(connection: Connection) -> datetime:
    """Return what time it is for the server."""
    now: datetime = QUERIES.value(connection, "clock")
    return now


def _age_type(connection: Connection, oid: int, rule: Rule) -> str:
    found = QUERIES.value(connection, "column_type", oid=oid, column=rule.age_column)
    if found is None:
        raise InvalidRule(
            f"The rule {rule.name} goes by {rule.table}.{rule.age_column}, which does not exist.",
            hint="Correct the rule's age_column.",
        )
    if found not in _AGE_TYPES:
        raise InvalidRule(
            f"The rule {rule.name} goes by {rule.table}.{rule.age_column}, which is of type "
            f"{found}.",
            hint=f"An age column is of one of the types: {', '.join(_AGE_TYPES)}.",
        )
    return str(found)


def _referring_keys(connection: Connection, oid: int) -> Iterator[ReferringKey]:
    """Follow the foreign keys that refer to a table, and on from where a delete cascades to."""
    waiting, seen = [oid], {oid}
    while waiting:
        for found in QUERIES.rows(connection, "references", ReferringKey, oid=waiting.pop(0)):
            yield found
            if found.action == _CASCADE and found.child not in seen:
                seen.add(found.child)
                waiting.append(found.child)


def _refuse_unindexed(table: RuleTable) -> None:
    for found in table.referring:
        if not found.indexed:
            columns = ", ".join(found.columns)
            raise UnindexedForeignKey(
                f"The rule {table.rule.name} takes rows of {table.name}, to which the foreign "
                f"key {found.name} of {found.child_name} ({columns}) refers without an index: "
                f"every row would cost a scan of {found.child_name}. Nothing was changed.",
                hint=f"CREATE INDEX CONCURRENTLY ON {found.child_name} ({columns})",
            )
