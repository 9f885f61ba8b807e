"""What adds, changes and drops the columns of tables that stay."""

from collections.abc import Iterator
from dataclasses import replace

from leadctl.catalog.definitions import Attributes, Catalog, split_name
from leadctl.errors import OperationFailed
from leadctl.migrate.ddl import online
from leadctl.migrate.ddl.comparison import Comparison
from leadctl.migrate.ddl.steps import Phase, Stage, Step
from leadctl.migrate.ddl.table_copies import all_columns
from leadctl.migrate.ddl.tables import (
    alter_column,
    as_serial,
    cast_loses,
    column,
    count_on,
    inherited_column,
    is_required,
    is_retyped,
    must_be_added_again,
    parents,
    require,
    require_of_new_rows,
    required,
    without_default,
)
from leadctl.migrate.ddl.type_replacement import is_moved


class ColumnChanges:
    """The changes of columns between two catalogs."""

    def __init__(self, both: Comparison) -> None:
        self._both = both
        self._before, self._after, self._rebuilt = both.before, both.after, both.rebuilt

    def change(self, name: str, old: Attributes | None, new: Attributes | None) -> Iterator[Step]:
        """Yield what makes a column what it should be."""
        table, own = split_name(name)
        if f"table {table}" not in self._after.objects or table in self._both.dropped:
            return
        if f"table {table}" not in self._before.objects:
            return  # it comes with its table
        # A column that a parent hands down is there as well, without an entry of its own.
        if new is None and "inherits" in self._after.objects[f"table {table}"]:
            self._refuse_to_hand_over(table, own)
        key, default = f"column {name}", f"default {name}"
        ends = (key, default)
        yield from self._taken_over(table, own)
        old = old or inherited_column(self._before, table, own)
        new = new or inherited_column(self._after, table, own)
        if new is None:
            assert old is not None
            loses = "" if "generated" in old else f"the column {own} of {table}"
            only = "ONLY " if self._is_kept_by_a_child(table, own) else ""
            statement = f"ALTER TABLE {only}{table} DROP COLUMN {own}"
            yield Step(statement, Phase.DROP, (f"no {name}",), ends, loses=loses)
        elif old is None:
            yield from self._add_column(table, own, self.as_written(f"column {name}", new))
        elif "generated" in old and "generated" not in new and "virtual" not in old:
            yield Step(
                f"ALTER TABLE {table} ALTER COLUMN {own} DROP EXPRESSION",
                Phase.DROP_DEPENDENT,
                ends=(key,),
            )
            plainly = {each: value for each, value in old.items() if each != "generated"}
            yield from self._changed_column(table, own, plainly, new)
        elif must_be_added_again(old, new) or (key in self._rebuilt and "generated" in old):
            yield Step(
                f"ALTER TABLE {table} DROP COLUMN {own}",
                Phase.DROP_KEY,
                ends=ends,
                loses=""
                if {"generated"} <= old.keys() & new.keys() or "virtual" in old
                else f"the values of {own} of {table}",
                why=f"The expression of a generated column cannot be changed: {table} is "
                f"rewritten.",
            )
            if "generated" not in new:
                yield from self._stored(table, own, old, new)
                return
            statement = f"ALTER TABLE {table} ADD COLUMN {column(own, new)}"
            yield Step(statement, Phase.KEY, makes=(key, default))
        else:
            yield from self._changed_column(table, own, old, new)

    def _taken_over(self, table: str, own: str) -> Iterator[Step]:
        """Yield what makes an inherited column a child's own as well.

        It is when a parent loses it alone: one that the table has for as long, and nothing else of.
        """
        both = (self._before, self._after)
        above = [inherited_column(each, table, own) for each in both]
        if [own in each.columns(table) for each in both] != [False, True] or None in above:
            return
        was = above[0] or {}
        holder = ".".join([*split_name(table)[:-1], "leadctl_parent"])
        bare = {each: was[each] for each in ("type", "collation") if each in was}
        made_of = column(own, {**bare, "nullable": True})
        if "generated" in was:
            above_it = parents(self._before, table)
            parent = next(each for each in above_it if own in all_columns(self._before, each))
            made_of = f"LIKE {parent} INCLUDING GENERATED"
        statements = (
            f"CREATE TABLE {holder} ({made_of})",
            f"ALTER TABLE {holder} ALTER COLUMN {own} DROP NOT NULL",
            f"ALTER TABLE {table} INHERIT {holder}",
            f"ALTER TABLE ONLY {holder} DROP COLUMN {own}",
            f"ALTER TABLE {table} NO INHERIT {holder}",
            f"DROP TABLE {holder}",
        )
        yield Step(";\n".join(statements), Phase.DROP_KEY)

    def _stored(self, table: str, own: str, old: Attributes, new: Attributes) -> Iterator[Step]:
        """Yield what adds a virtual column that becomes plain: with the values that it had."""
        key, default, values = (f"{each} {table}.{own}" for each in ("column", "default", "values"))
        was = {each: value for each, value in old.items() if each != "virtual"}
        statements = (
            f"ALTER TABLE {table} ADD COLUMN {column(own, was)}",
            f"ALTER TABLE {table} ALTER COLUMN {own} DROP EXPRESSION",
        )
        yield Step(";\n".join(statements), Phase.DEFINE, (key, values), ends=(key, default))
        plainly = {each: value for each, value in was.items() if each != "generated"}
        for step in self._changed_column(table, own, plainly, new):
            yield replace(step, needs=(*step.needs, values))

    def _changed_column(
        self, table: str, own: str, old: Attributes, new: Attributes
    ) -> Iterator[Step]:
        """Yield what changes a column that stays, and sets its default when it can be set."""
        default = f"default {table}.{own}"
        if default in self._rebuilt or ("identity" in new and "default" in old):
            # Its default calls what is recreated, or the sequence whose name an identity takes.
            statement = f"ALTER TABLE {table} ALTER COLUMN {own} DROP DEFAULT"
            yield Step(statement, Phase.DROP_DEPENDENT, ends=(default,))
            yield from self.alter(table, own, without_default(old), without_default(new))
            if "default" in new:
                yield set_default(table, own, new)
        elif self._both.default_of_parent_changes(table, own):
            # What is done to the parent is done to all that inherit it.
            yield from self.alter(table, own, without_default(old), without_default(new))
            yield set_default(table, own, new)
        elif not is_retyped(old, new) and is_moved(old, self._both.replaced):
            # What moves it to the type that replaces its own sets the default.
            yield from self.alter(table, own, without_default(old), without_default(new))
        else:
            yield from self.alter(table, own, old, new)

    def _about_rows(self, table: str, old: str, new: str, on: tuple[str, str]) -> Iterator[str]:
        """Yield what a change of type does to the rows, besides what is lost."""
        if {each.partition("(")[0].split(" ")[0] for each in on} <= {"timestamp", "date"} and (
            len({"with time zone" in each for each in on}) > 1
        ):
            yield "Values are converted in the session's time zone (TimeZone)."
        if old != new and self._both.online:
            yield (
                f"Unless both types are stored alike, {table} is rewritten, and locked during "
                "that time."
            )

    def _refuse_to_hand_over(self, table: str, own: str) -> None:
        if inherited_column(self._after, table, own) is not None:
            raise OperationFailed(
                f"The column {own} of {table} is defined in the table itself, and should only be "
                f"inherited: PostgreSQL can only drop it.",
                hint="Write it by hand: leadctl migrate new --empty -m NAME",
            )

    def _is_kept_by_a_child(self, table: str, own: str) -> bool:
        """Whether a column that a table hands down stays in one that inherits it."""
        return any(
            f"column {child}.{own}" in self._after.objects
            for child in self._before.names("table")
            if table in parents(self._before, child)
        )

    def as_written(self, key: str, attributes: Attributes) -> Attributes:
        """Return a column as a statement defines it: one that counts may be a serial."""
        return as_serial(attributes) if key in self._both.serials else attributes

    def _add_column(self, table: str, own: str, new: Attributes) -> Iterator[Step]:
        made = (f"column {table}.{own}", f"default {table}.{own}")
        if self._both.online and self._both.exists(table):
            for step in online.add_column(table, own, new):
                yield replace(step, makes=made if step.phase is Phase.DEFINE else ())
        else:
            yield replace(self._add_at_once(table, own, new), makes=made)
        if "unvalidated" in new:
            yield Step(require_of_new_rows(table, own, new), Phase.KEY)

    def _add_at_once(self, table: str, own: str, new: Attributes) -> Step:
        statement = f"ALTER TABLE {table} ADD COLUMN "
        step = Step(f"{statement}{column(own, new)}", Phase.DEFINE)
        has_value = {"default", "generated", "identity"} & new.keys() or new["type"].endswith(
            "serial"
        )
        if has_value or not is_required(new) or not self._both.exists(table):
            return step
        nullable = f"{statement}{column(own, {**new, 'nullable': True})}"
        return replace(step, requires=(table, own), nullable=nullable)

    def alter(self, table: str, own: str, old: Attributes, new: Attributes) -> Iterator[Step]:
        """Yield what changes the type, the NOT NULL, the default and the identity of a column."""
        key, default = f"column {table}.{own}", f"default {table}.{own}"
        becomes_required = old["nullable"] and is_required(new)
        later = becomes_required and self._both.online and self._both.exists(table)
        for_new_rows = "unvalidated" in new and "unvalidated" not in old
        if becomes_required and not later:
            yield Step(
                require(table, own, new),
                Phase.DEFINE,
                makes=(key, required(f"{table}.{own}")),
                requires=(table, own) if self._both.exists(table) else None,
            )
        if "identity" in old and "identity" not in new:
            yield Step(f"ALTER TABLE {table} ALTER COLUMN {own} DROP IDENTITY", Phase.DROP_KEY)
        on = (_base_type(self._before, old["type"]), _base_type(self._after, new["type"]))
        actions = alter_column(old, new, own, on)
        if not old["nullable"] and (new["nullable"] or for_new_rows):
            actions.append(f"ALTER COLUMN {own} DROP NOT NULL")
        # PostgreSQL wants NOT NULL before an identity.
        counted = [each for each in actions if later and " ADD GENERATED " in each]
        actions = [each for each in actions if each not in counted]
        if actions:
            retyped = old["type"] != new["type"]
            loses = retyped and cast_loses(*on)
            only_default = all(" DEFAULT" in each for each in actions)
            of_default = (default,) if "default" in {*old, *new} else ()
            changed = of_default if only_default else (key, *of_default)
            yield Step(
                f"ALTER TABLE {table} {', '.join(actions)}",
                Phase.DEFINE,
                makes=changed,
                ends=changed,
                loses=f"what {new['type']} cannot hold of {table}.{own}" if loses else "",
                why=" ".join(self._about_rows(table, old["type"], new["type"], on)),
            )
        yield from self._freed_parts(table, own, old, new)
        if "unvalidated" in old and is_required(new):
            yield Step(f"ALTER TABLE {table} VALIDATE CONSTRAINT {old['unvalidated']}", Phase.KEY)
        if for_new_rows:
            yield Step(require_of_new_rows(table, own, new), Phase.KEY)
        if later:
            yield from online.set_not_null(table, own, new)
        stage = Stage.NOT_NULL if later else Stage.MAIN
        for action in counted:
            yield Step(f"ALTER TABLE {table} {action}", Phase.CONSTRAINT, stage=stage)
        if "identity" in new and "identity" not in old:
            yield replace(count_on(table, own, new), stage=stage)

    def _freed_parts(
        self, table: str, own: str, old: Attributes, new: Attributes
    ) -> Iterator[Step]:
        """Yield what takes NOT NULL from the partitions that have one of their own."""
        for part in old.get("required_by", ()) if new["nullable"] else ():
            if "partition_of" in self._after.objects.get(f"table {part}", {}):
                statement = f"ALTER TABLE {part} ALTER COLUMN {own} DROP NOT NULL"
                yield Step(statement, Phase.DEFINE, needs=(f"column {table}.{own}",))


def set_default(table: str, own: str, new: Attributes) -> Step:
    """Return the step that gives a column its default, or takes it."""
    default = f"default {table}.{own}"
    value = f"SET DEFAULT {new['default']}" if "default" in new else "DROP DEFAULT"
    statement = f"ALTER TABLE {table} ALTER COLUMN {own} {value}"
    return Step(statement, Phase.KEY, (default,))


def _base_type(catalog: Catalog, kind: str) -> str:
    """Return a column's type, or the one that its domain is on."""
    while (domain := catalog.objects.get(f"domain {kind}")) is not None:
        kind = str(domain["type"])
    return kind
