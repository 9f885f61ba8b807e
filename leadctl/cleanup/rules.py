"""The rules of a run, and the table of each: whether the rule fits it, and what goes with its rows.

Rules are the app's own and those of leadctl.toml, which overrides both.
"""

import shlex
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import NamedTuple

from psycopg import sql

from leadctl.apps.registry import App, load_rules
from leadctl.apps.retention import Rule
from leadctl.catalog.citus import distributes, has_citus
from leadctl.catalog.facets import Leaf, Reference
from leadctl.catalog.relations import Relation, read_numbered, read_table
from leadctl.cleanup import QUERIES
from leadctl.errors import (
    InvalidRule,
    NoPrimaryKey,
    NotOnCitus,
    UnindexedForeignKey,
    UnknownRule,
    UsageError,
)
from leadctl.postgres.connect import Connection
from leadctl.settings import Settings
from leadctl.settings.durations import INTERVAL, Interval
from leadctl.text import did_you_mean, restore_command

_CASCADE = "c"
_KEEPS = {"a", "r"}
_AGE_TYPES = ("timestamp with time zone", "timestamp without time zone", "date")
_RANGE = "r"
_SHORTEST_MONTH = 28
_DAY = 86_400


def rules_of(
    app: App,
    settings: Settings,
    *,
    only: Sequence[str] = (),
    days: int | None = None,
    archive_all: bool = False,
) -> tuple[Rule, ...]:
    """Return an app's rules in their order, as settings and flags have them.

    `only` names the rules to take; `days` takes the place of their age.  Raises UnknownRule,
    InvalidRule, and UsageError where `days` would make rules equal that differ on purpose.
    """
    declared = [*load_rules(app), *settings.app_rules.get(app.name, ())]
    _refuse_twins(app, declared)
    rules = [rule._replace(**settings.retention.get(rule.name, {})) for rule in declared]
    _refuse_unknown_overrides(app, settings, rules)
    chosen = _chosen(app, [rule for rule in rules if rule.enabled], only)
    if days is not None:
        _refuse_levelling(chosen, only)
        chosen = [rule._replace(older_than=Interval(days=days)) for rule in chosen]
    for rule in chosen:
        _refuse_senseless(rule)
    return tuple(rule._replace(archive=rule.archive or archive_all) for rule in chosen)


def lenient_rules(app: App, settings: Settings, days: int | None) -> frozenset[str]:
    """Return the names of the rules for which `days` may be longer than their own age."""
    if days is None:
        return frozenset()
    return frozenset(
        rule.name
        for rule in rules_of(app, settings)
        if days > rule.age.days + _SHORTEST_MONTH * rule.age.months + rule.age.seconds // _DAY
    )


def _refuse_twins(app: App, rules: Sequence[Rule]) -> None:
    names = [rule.name for rule in rules]
    for name in names:
        if names.count(name) > 1:
            raise InvalidRule(
                f"{app.name} has two retention rules that are named {name}.",
                hint=f"To override the built-in rule use [retention.{name}]; "
                "otherwise choose another name.",
            )


def _refuse_unknown_overrides(app: App, settings: Settings, rules: Sequence[Rule]) -> None:
    """Refuse an override of no rule, where leadctl.toml is about this app alone."""
    if settings.apps and app.name not in settings.apps:
        return
    names = [rule.name for rule in rules]
    for name in settings.retention.keys() - set(names):
        raise InvalidRule(
            f"[retention.{name}] overrides a rule that {app.name} does not have.",
            hint=did_you_mean(name, names),
        )


def _chosen(app: App, rules: list[Rule], only: Sequence[str]) -> list[Rule]:
    names = [rule.name for rule in rules]
    for name in only:
        if name not in names:
            raise UnknownRule(
                f"{app.name} has no retention rule {name!r}.", hint=did_you_mean(name, names)
            )
    return [rule for rule in rules if not only or rule.name in only]


def _refuse_levelling(rules: Sequence[Rule], only: Sequence[str]) -> None:
    ages = {rule.older_than for rule in rules}
    if len(ages) > 1 and not only:
        raise UsageError(
            f"--days needs --rule: the rules have {len(ages)} different ages.",
            hint=f"Run: leadctl cleanup --rule {shlex.quote(rules[0].name)} --days N. "
            "See: leadctl cleanup --list",
        )


def _refuse_senseless(rule: Rule) -> None:
    try:
        age = rule.age
    except ValueError:
        raise InvalidRule(
            f"The rule {rule.name} has older_than = {rule.older_than!r}.",
            hint=f"Allowed is {INTERVAL}.",
        ) from None
    if age.is_zero and not rule.expiry:
        raise InvalidRule(
            f"The rule {rule.name} has older_than = {rule.older_than!r}: every row of "
            f"{rule.table} would be due. Nothing was changed.",
            hint="Give an age. If the age column says when a row expires, add expiry = true.",
        )
    if not 0 < rule.fuse_share <= 1 or rule.fuse_rows < 0 or (rule.max_rows or 1) < 1:
        raise InvalidRule(
            f"The limits of the rule {rule.name} are not valid.",
            hint="fuse_share is above 0 and at most 1, fuse_rows at least 0, max_rows at least 1.",
        )


class RuleTable(NamedTuple):
    """The table of a rule, with the tables that lose or change rows when its rows are deleted."""

    rule: Rule
    oid: int
    name: str
    """Quoted, and qualified where it is not in the target's schema."""
    schema: str
    age_type: str
    leaves: tuple[Leaf, ...]
    referring: tuple[Reference, ...]
    """To the table and to the tables that a cascade reaches."""
    by_age: bool
    """Whether the table is range-partitioned by its age column alone."""
    partitioned: bool
    estimate: int
    """Rows that the table may have."""
    pages: int
    roles: Mapping[int, str | None]
    """The roles to touch rows as, by the oids of the tables that have or may lose them."""

    @property
    def cascades(self) -> tuple[Reference, ...]:
        """The foreign keys along which rows go, too."""
        return tuple(found for found in self.referring if found.on_delete == _CASCADE)

    @property
    def keeps(self) -> tuple[Reference, ...]:
        """The foreign keys that do not let a row go to which a row refers."""
        return tuple(found for found in self.referring if found.on_delete in _KEEPS)

    @property
    def links(self) -> tuple[Reference, ...]:
        """Those of the tables that lose rows, so that what refers may go, too."""
        return tuple(found for found in self.keeps if found.child in self.tables)

    @property
    def links_tables(self) -> bool:
        """Whether what refers may be a row of another table, or of another partition."""
        return any(self.partitioned or found.child != self.oid for found in self.links)

    @property
    def tables(self) -> dict[int, str]:
        """The tables that lose rows by oid, the rule's own first."""
        return {self.oid: self.name} | {found.child: found.child_quoted for found in self.cascades}

    def cutoff_value(self, cutoff: datetime) -> datetime | date:
        """Return a moment as the age column's type has it; without a time zone it is UTC's."""
        moment = cutoff.astimezone(UTC)
        if self.age_type == "date":
            return moment.date()
        return moment if self.age_type == _AGE_TYPES[0] else moment.replace(tzinfo=None)


def rule_table(connection: Connection, schema: str, rule: Rule) -> RuleTable:
    """Return the table of a rule.

    Raises InvalidRule where table, column or type do not fit, UnindexedForeignKey and NotOnCitus.
    """
    relation = read_table(connection, schema, rule.table, "columns", "references", "sizes")
    if relation is None or not relation.is_table:
        what = "does not exist" if relation is None else "is not a table"
        raise InvalidRule(
            f"The rule {rule.name} is for {schema}.{rule.table}, which {what}.",
            hint=f"Apply the migrations with: leadctl migrate, or correct the rule's table. A "
            f"dropped table can be restored with: {restore_command([rule.table])}",
        )
    referring, touched = _read_referring(connection, relation, rule)
    _refuse_partitions_on_citus(connection, schema, rule, referring)
    partitions = {leaf.oid for leaf in relation.leaves} - {relation.oid}
    touched |= read_numbered(connection, partitions)
    return RuleTable(
        rule=rule,
        oid=relation.oid,
        name=relation.quoted,
        schema=relation.schema,
        age_type=_age_type(relation, rule),
        leaves=relation.leaves,
        referring=tuple(referring),
        by_age=relation.strategy == _RANGE and relation.partition_key == (rule.age_column,),
        partitioned=relation.kind == "p",
        estimate=relation.size.dense_rows,
        pages=relation.size.pages,
        roles={oid: each.touched_as for oid, each in touched.items()},
    )


def _refuse_partitions_on_citus(
    connection: Connection, schema: str, rule: Rule, referring: Iterable[Reference]
) -> None:
    """Refuse a rule where nobody here knows in which partition a row of another node is."""
    for key in referring:
        if not (key.child_partitioned or key.parent_partitioned) or not has_citus(connection):
            continue
        if distributes(connection, [schema]):
            raise NotOnCitus(
                f"The rule {rule.name} would delete rows of {key.parent_quoted}, to which "
                f"{key.child_quoted} refers, and one of the two is partitioned and distributed.",
                hint="Drop old partitions instead: see leadctl partition --help",
            )


def require_keys(connection: Connection, table: RuleTable) -> None:
    """Refuse to archive rows that could not be told apart when they are put back.

    Raises NoPrimaryKey.
    """
    for relation in read_numbered(connection, table.tables, "indexes").values():
        if not relation.primary_key:
            raise NoPrimaryKey(
                f"The rule {table.rule.name} cannot archive {relation.quoted}, which has no "
                "primary key.",
                hint="Add one, or remove the archive from the rule.",
            )


def server_time(connection: Connection) -> datetime:
    """Return what time it is for the server."""
    now: datetime = QUERIES.value(connection, "clock")
    return now


def _age_type(relation: Relation, rule: Rule) -> str:
    column = relation.column(rule.age_column)
    if column is None:
        raise InvalidRule(
            f"The rule {rule.name} uses the age column {rule.table}.{rule.age_column}, which "
            f"does not exist.",
            hint="Correct the rule's age_column.",
        )
    if column.base not in _AGE_TYPES:
        raise InvalidRule(
            f"The rule {rule.name} uses the age column {rule.table}.{rule.age_column}, which is "
            f"of type "
            f"{column.base}.",
            hint=f"An age column is of one of the types: {', '.join(_AGE_TYPES)}.",
        )
    return column.base


def _read_referring(
    connection: Connection, table: Relation, rule: Rule
) -> tuple[list[Reference], dict[int, Relation]]:
    """Follow the foreign keys that refer to a table, and on from where a delete cascades to.

    Returns them, and the table with those that lose rows along with it, by oid.
    """
    waiting, found, touched = [table], list[Reference](), {table.oid: table}
    while waiting:
        keys = [key for each in waiting for key in each.referrers if key.enforced]
        children = read_numbered(connection, {key.child for key in keys}, "indexes", "references")
        for key in keys:
            if not children[key.child].is_served(key.columns):
                raise _unindexed(table, key, rule)
        found += keys
        reached = {key.child for key in keys if key.on_delete == _CASCADE} - touched.keys()
        waiting = [each for oid, each in children.items() if oid in reached]
        touched |= {each.oid: each for each in waiting}
    return found, touched


def _unindexed(table: Relation, key: Reference, rule: Rule) -> UnindexedForeignKey:
    columns = ", ".join(key.columns)
    statement = index_statement(key.child_quoted, key.columns, partitioned=key.child_partitioned)
    return UnindexedForeignKey(
        f"The rule {rule.name} takes rows of {table.quoted}, to which the foreign "
        f"key {key.name} of {key.child_quoted} ({columns}) refers without an index: "
        f"every row would cost a scan of {key.child_quoted}. Nothing was changed.",
        hint=statement,
    )


def index_statement(table: str, columns: Iterable[str], *, partitioned: bool) -> str:
    """Return what makes an index: the server makes one of a partitioned table only at once."""
    how = "INDEX" if partitioned else "INDEX CONCURRENTLY"
    quoted = ", ".join(sql.Identifier(column).as_string() for column in columns)
    return f"CREATE {how} ON {table} ({quoted})"
