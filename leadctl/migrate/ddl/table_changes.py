"""What creates, changes and drops tables."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import chain

from leadctl.catalog.definitions import (
    OWN_NOT_NULL,
    Attributes,
    definition,
    key_reference,
    split_name,
)
from leadctl.migrate.ddl.column_changes import ColumnChanges, set_default
from leadctl.migrate.ddl.comparison import Comparison
from leadctl.migrate.ddl.dependencies import all_used
from leadctl.migrate.ddl.steps import Phase, Step
from leadctl.migrate.ddl.table_copies import all_columns, copied, link_to_parents
from leadctl.migrate.ddl.tables import (
    alter_table,
    column,
    create_table,
    inherited_column,
    is_required,
    is_retyped,
    left_parents,
    new_parents,
    parents,
    require,
    require_of_new_rows,
    row_security,
    without_default,
)
from leadctl.migrate.ddl.type_replacement import is_moved

_LISTED = 6
"""So many tables have a line each."""
_NEW_LINE = ",\n    "


class TableChanges:
    """The changes of tables between two catalogs."""

    def __init__(self, both: Comparison, columns: ColumnChanges) -> None:
        self._both, self._columns = both, columns
        self._before, self._after, self._rebuilt = both.before, both.after, both.rebuilt

    def table(self, name: str, old: Attributes | None, new: Attributes | None) -> Iterator[Step]:
        """Yield what makes a table what it should be, its columns left out."""
        if new is None:
            return
        if old is None or f"table {name}" in self._rebuilt:
            yield from self._create(name, new)
            if name in self._both.copies:
                copy, replaced = self._both.copies[name], self._both.replaced
                yield from copied(copy, self._before, self._after, replaced)
        else:
            yield from self._moved(name, old, new)
            for statement in alter_table(name, old, new):
                unlogged = statement.endswith("SET UNLOGGED")
                why = f"After a crash of the server {name} is empty." if unlogged else ""
                # What refers to another cannot stay while that loses its log, nor come before it.
                kind = unlogged or statement.endswith("SET LOGGED")
                others = self._relatives(name, referring=unlogged) if kind else []
                needs = tuple(f"table {each}" for each in others)
                yield Step(statement, Phase.DEFINE, (f"table {name}",), needs=needs, why=why)
        for statement in row_security(name, old or {}, new):
            yield Step(statement, Phase.DEPENDENT, needs=(f"table {name}",))

    def _moved(self, name: str, old: Attributes, new: Attributes) -> Iterator[Step]:
        """Yield what takes a table from its parents, and gives it to others."""
        link = (link_to_parents(name),)
        is_late = self._changes_places_late(name)
        for parent, statement in left_parents(name, old, new):
            if is_late:
                yield Step(statement, Phase.KEY, link, link, needs=(*self._changing(parent),))
            else:
                yield Step(statement, Phase.DROP_KEY, link, link)
        becomes_partition = new.get("partition_of") != old.get("partition_of")
        yield from self._left_columns(name)
        if becomes_partition and "partition_of" in new:
            yield from self._retyped_columns(name)
        for parent, statement in new_parents(name, old, new):
            if becomes_partition:
                yield from self._missing_columns(name, parent)
            phase = Phase.KEY if self._has_other_columns(parent) else Phase.DEFINE
            first = [] if is_late else list(self._missing_rules(name, parent))
            yield from first
            rules = tuple(key for each in first for key in each.makes)
            needs = (f"table {parent}", *link, *self._missing(name, parent), *rules)
            needs += self._freed_places(parent)
            yield Step(statement, phase, (f"table {name}",), needs=needs)

    def _changes_places_late(self, table: str) -> bool:
        """Whether a partition gets other bounds of a parent that hands down other columns, too.

        It leaves that for a moment once it has them.
        """
        old, new = (each.objects.get(f"table {table}", {}) for each in (self._before, self._after))
        parent = new.get("partition_of")
        return (
            parent is not None
            and parent == old.get("partition_of")
            and old["partition_bound"] != new["partition_bound"]
            and any(self._changing(parent))
        )

    def _freed_places(self, parent: str | None) -> tuple[str, ...]:
        """Return what the partitions of a table are to it that leave it for a moment."""
        names = self._after.names("table") if parent else ()
        return tuple(
            link_to_parents(each)
            for each in names
            if self._after.objects[f"table {each}"].get("partition_of") == parent
            and self._changes_places_late(each)
        )

    def _changing(self, table: str) -> Iterator[str]:
        """Yield the keys of what is done to the columns that a table has and hands down."""
        for name in (table, *parents(self._after, table)):
            then, now = (each.columns(name) for each in (self._before, self._after))
            for own in {**then, **now}:
                was, will = then.get(own), now.get(own)
                is_other = definition(was) != definition(will)
                if is_other or (will and is_moved(will, self._both.replaced)):
                    yield from (f"{each} {name}.{own}" for each in ("column", "default", "no"))

    def _missing_rules(self, name: str, parent: str) -> Iterator[Step]:
        """Yield the checks and the NOT NULLs that a table must have before it has that parent."""
        table = (link_to_parents(name),)
        for own, text in self._both.handed.missing_checks(name).items():
            add = f"ALTER TABLE {name} ADD CONSTRAINT {own} {text}"
            yield Step(add, Phase.DEFINE, (f"rule {own} for {name}",), needs=table)
        had = all_columns(self._before, name)
        for own, each in all_columns(self._after, parent).items():
            listed = f"column {name}.{own}" in self._after.objects
            if own in had and had[own]["nullable"] and is_required(each) and not listed:
                statement = require(name, own, {})
                yield Step(statement, Phase.DEFINE, (f"rule {own} for {name}",), needs=table)

    def _retyped_columns(self, name: str) -> Iterator[Step]:
        """Yield what gives a table the types and NULLs of a parent that it becomes a part of."""
        had = all_columns(self._before, name)
        for own, each in all_columns(self._after, name).items():
            was = had.get(own, each)
            loosened = each["nullable"] and not was["nullable"]
            if own not in self._before.columns(name) and (is_retyped(was, each) or loosened):
                was = {**was, "nullable": each["nullable"] and not loosened}
                for step in self._columns.alter(name, own, was, each):
                    yield replace(step, needs=(link_to_parents(name), *step.needs))

    def _left_columns(self, name: str) -> Iterator[Step]:
        """Yield what drops columns that a parent handed down, and that stay where it is left."""
        has = all_columns(self._after, name)
        for own in all_columns(self._before, name):
            if own not in has and own not in self._before.columns(name):
                still = any(
                    own in all_columns(self._before, each)
                    and f"table {each}" in self._after.objects
                    for each in parents(self._after, name)
                )
                if not still:
                    yield Step(
                        f"ALTER TABLE {name} DROP COLUMN {own}",
                        Phase.DROP,
                        ends=(f"column {name}.{own}", f"default {name}.{own}"),
                        loses=f"the column {own} of {name}",
                    )

    def _missing(self, name: str, parent: str) -> Mapping[str, Attributes]:
        """Return the columns that a table has not and its new parent has, by their keys."""
        had = all_columns(self._before, name)
        return {
            f"column {name}.{own}": each
            for own, each in all_columns(self._after, parent).items()
            if own not in had and f"column {name}.{own}" not in self._after.objects
        }

    def _missing_columns(self, name: str, parent: str) -> Iterator[Step]:
        for key, each in self._missing(name, parent).items():
            own = split_name(key.removeprefix("column "))[1]
            yield Step(f"ALTER TABLE {name} ADD COLUMN {column(own, each)}", Phase.DEFINE, (key,))

    def _has_other_columns(self, parent: str) -> bool:
        """Whether columns of a parent come, go or change: what is done to it is handed down."""
        sides = (catalog.columns(parent) for catalog in (self._before, self._after))
        then, now = ({own: definition(each) for own, each in side.items()} for side in sides)
        return then != now

    def _create(self, name: str, new: Attributes) -> Iterator[Step]:
        keys = self._both.partition_indexes.own_keys(name)
        if keys:
            yield from self._attached_later(name, new, keys)
            return
        within = self._both.within.get(name, ())
        columns, later, made = [], [], [f"table {name}", *within]
        for own, attributes in self._after.columns(name).items():
            key, default = f"column {name}.{own}", f"default {name}.{own}"
            made.append(key)
            if key in self._both.serials:
                made.append(f"sequence {self._both.serials[key]}")
            written = self._columns.as_written(key, attributes)
            if self._is_required_by_parent(name, own):
                written = {**written, "nullable": True}
            if "default" in written and self._reads_what_comes(default):
                later.append(set_default(name, own, written))
                written = without_default(written)
            else:
                made.append(default)
            columns.append((own, written))
            if "unvalidated" in attributes:
                statement = require_of_new_rows(name, own, attributes)
                later.append(Step(statement, Phase.KEY, needs=(key,)))
        for own, attributes in all_columns(self._after, name).items():
            if name in attributes.get("required_by", ()):
                columns.append((own, attributes))
        constraints = [
            (split_name(each.removeprefix("constraint "))[1], self._after.objects[each])
            for each in within
        ]
        statement = create_table(name, new, columns, constraints)
        needs = self._freed_places(new.get("partition_of"))
        yield Step(statement, Phase.DEFINE, tuple(made), needs=needs)
        yield from later

    def _is_required_by_parent(self, table: str, own: str) -> bool:
        """Whether a column has NOT NULL from a parent, and none of its own."""
        parent = inherited_column(self._after, table, own)
        of_its_own = f"property {OWN_NOT_NULL}{table}.{own}" in self._after.objects
        return parent is not None and is_required(parent) and not of_its_own

    def _attached_later(self, name: str, new: Attributes, keys: tuple[str, ...]) -> Iterator[Step]:
        """Yield a partition that is attached once it has the keys that indexes are to rest on.

        PostgreSQL makes indexes of its own for one that is a partition from the beginning.
        """
        parent = str(new["partition_of"])
        parts = self._both.parts(f"table {parent}", self._after)
        needs = [key for key in parts if key.startswith(("table ", "column ", "default "))]
        needs += [
            key
            for key in parts
            if key.startswith("constraint ")
            and self._after.objects[key]["definition"].startswith("CHECK")
        ]
        like = "INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING GENERATED INCLUDING STORAGE"
        tree = f" PARTITION BY {new['partition_key']}" if "partition_key" in new else ""
        statement = f"CREATE TABLE {name} (LIKE {parent} {like}){tree}"
        yield Step(statement, Phase.DEFINE, (f"table {name}",), needs=tuple(needs))
        yield Step(
            f"ALTER TABLE {parent} ATTACH PARTITION {name} {new['partition_bound']}",
            Phase.KEY,
            (link_to_parents(name),),
            needs=(f"table {name}", *keys),
        )

    def _reads_what_comes(self, default: str) -> bool:
        """Whether a default calls what reads, in the end, a table that is created here."""
        called = {
            each for each in self._both.uses.get(default, ()) if not each.startswith("column")
        }
        return any(
            each.startswith("table ") and each not in self._before.objects
            for each in all_used(called, self._both.uses)
        )

    def _relatives(self, table: str, *, referring: bool) -> list[str]:
        """Return the tables that foreign keys of a table lead to, or those that `refer` to it."""
        found = []
        for name in self._after.names("constraint"):
            text = self._after.objects[f"constraint {name}"]["definition"]
            if text.startswith("FOREIGN KEY"):
                child, parent = split_name(name)[0], key_reference(text).table
                if referring and parent == table:
                    found.append(child)
                elif not referring and child == table:
                    found.append(parent)
        return found

    def drop(self) -> Iterator[Step]:
        """Yield what drops the tables that go."""
        gone = [name for name in self._before.names("table") if name in self._both.dropped]
        defined = {name: self._before.objects[f"table {name}"] for name in gone}
        foreign = [name for name in gone if "foreign" in defined[name]]
        named = [
            name
            for name in gone
            if defined[name].get("partition_of") not in gone and name not in foreign
        ]
        for name in named:
            parent = defined[name].get("partition_of")
            if parent is not None and (
                self._is_referred_to(parent) or self._gets_partitions(parent)
            ):
                yield Step(f"ALTER TABLE {parent} DETACH PARTITION {name}", Phase.DROP_KEY)
        for name in foreign:  # their rows are elsewhere, and stay
            phase = Phase.DROP_KEY if f"table {name}" in self._rebuilt else Phase.DROP
            yield Step(f"DROP FOREIGN TABLE {name}", phase, ends=self._with_parts([name]))
        rounds = self._both.rounds
        for number in sorted({rounds[name] for name in named}):
            # One statement: those that refer to each other go together.
            names = [name for name in named if rounds[name] == number]
            ended = [name for name in gone if rounds[name] == number]
            rows = [name for name in ended if not self._is_copied(name)]
            tables = f"the {'table' if len(rows) == 1 else 'tables'} {', '.join(rows)}"
            yield Step(
                f"DROP TABLE {(', ' if len(names) < _LISTED else _NEW_LINE).join(names)}",
                Phase.DROP,
                ends=self._with_parts(ended),
                loses=f"{tables} with all rows" if rows else "",
            )

    def _is_copied(self, table: str | None) -> bool:
        """Whether the rows of a table, or of one that it is a part of, are copied."""
        if table is None:
            return False
        above = self._before.objects[f"table {table}"].get("partition_of")
        return table in {each.former for each in self._both.copies.values()} or self._is_copied(
            above
        )

    def _with_parts(self, tables: Iterable[str]) -> tuple[str, ...]:
        keys = (self._both.parts(f"table {each}", self._before) for each in tables)
        return tuple(chain.from_iterable(keys))

    def _gets_partitions(self, table: str) -> bool:
        """Whether partitions come to a table, which may want the bounds of those that go."""
        facts = ("partition_of", "partition_bound")
        return any(
            each.get("partition_of") == table
            and [each.get(fact) for fact in facts]
            != [self._before.objects.get(key, {}).get(fact) for fact in facts]
            for key, each in self._after.objects.items()
            if key.startswith("table ")
        )

    def _is_referred_to(self, table: str) -> bool:
        return any(
            key_reference(self._before.objects[f"constraint {name}"]["definition"]).table == table
            for name in self._before.names("constraint")
        )
