"""From two catalogs to the steps that turn one into the other."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property

from leadctl.catalog.definitions import (
    Attributes,
    Catalog,
    definition,
    owner,
    split_name,
)
from leadctl.errors import OperationFailed
from leadctl.migrate.ddl import objects, online
from leadctl.migrate.ddl.column_changes import ColumnChanges
from leadctl.migrate.ddl.comparison import Comparison
from leadctl.migrate.ddl.dependencies import in_order
from leadctl.migrate.ddl.property_changes import PropertyChanges
from leadctl.migrate.ddl.renames import implied_renames
from leadctl.migrate.ddl.steps import (
    UNCHECKED_BODIES,
    Phase,
    Stage,
    Step,
    mentions,
    plain,
)
from leadctl.migrate.ddl.table_changes import TableChanges
from leadctl.migrate.ddl.table_copies import Copy
from leadctl.migrate.ddl.tables import (
    count_on,
    inherited_column,
    is_retyped,
)
from leadctl.migrate.ddl.type_replacement import replace_type

_DEFINED = {"schema", "enum", "domain", "type", "collation", "sequence", "function", "other"}
"""Kinds that tables rest on."""


def changes(
    before: Catalog, after: Catalog, *, online: bool = False, copies: Sequence[Copy] = ()
) -> list[Step]:
    """Return the steps that turn one schema into another, in order.

    `online` takes forms that do not block the writers of a big table; they have stages of their
    own.  `copies` are the tables that were set aside.  Raises OperationFailed for what cannot be
    written.
    """
    found = _Changes(Comparison(before, after, online=online, copies=copies))
    steps = found.steps()
    if found.unwritten:
        raise found.unwritten[0]
    return steps


def writable_changes(
    before: Catalog, after: Catalog, *, online: bool = False, copies: Sequence[Copy] = ()
) -> tuple[list[Step], list[OperationFailed]]:
    """Return the steps that can be written, and why the others cannot; the rest as in `changes`."""
    renames, renamed = implied_renames(before, after)
    found = _Changes(Comparison(renamed, after, online=online, copies=copies))
    return [*renames, *found.steps()], found.unwritten


class _Changes:
    def __init__(self, both: Comparison) -> None:
        self._both = both
        self._before, self._after, self._rebuilt = both.before, both.after, both.rebuilt
        self._columns = ColumnChanges(both)
        self._tables = TableChanges(both, self._columns)
        self._properties = PropertyChanges(both)
        self._parts = both.partition_indexes
        self._handed = both.handed
        self.unwritten: list[OperationFailed] = []
        self._dropped_names = {plain(each) for each in both.dropped}
        self._new = [
            key.partition(" ") for key in both.after.objects if key not in both.before.objects
        ]

    def steps(self) -> list[Step]:
        found: list[Step] = []
        for key in sorted(self._before.objects.keys() | self._after.objects.keys()):
            try:
                found += self._of(key)
            except OperationFailed as error:
                self.unwritten.append(error)
        found += self._tables.drop()
        found += self._handed.left_behind()
        if any(self._reads_what_comes(name) for name in self._after.names("function")):
            found.append(Step(UNCHECKED_BODIES, Phase.RENAME))
        return in_order(found, self._both.used, self._both.uses)

    def _of(self, key: str) -> Iterator[Step]:
        kind, _, name = key.partition(" ")
        old, new = self._before.objects.get(key), self._after.objects.get(key)
        if kind == "sequence" and name in self._both.serials.values():
            return  # it comes with its column
        again = self._is_made_again(key, new)
        along = kind == "grant" and self._is_taken_along(key, new)
        if key.startswith("other index "):
            part = name.removeprefix("index ")
            if new is not None:
                yield from self._parts.make(part, old, new, self._both.coming)
            yield from self._parts.left_behind(part)
        elif definition(old) == definition(new) and not (again or along):
            return
        elif kind == "grant":
            yield from self._grant(key, old, new, again=again, along=along)
        elif kind in {"property", "namespace"}:
            yield from self._properties.change(name, old, new)
        else:
            yield from list(self._object(key, old, new))  # whole, or not at all
            if new is not None:
                yield from self._comment(kind, name, None if again else old, new)
            elif kind == "column" and "comment" in (old or {}) and _has(self._after, key):
                yield Step(objects.comment(kind, name, {}), Phase.COMMENT)  # it is inherited now

    def _is_made_again(self, key: str, new: Attributes | None) -> bool:
        """Whether what both schemas have is made or set once more, though it may not differ."""
        kind, _, name = key.partition(" ")
        if key in self._rebuilt or key in self._both.replaced:
            return True
        if kind == "property":
            return self._properties.is_set_again(name, new)
        return kind == "column" and self._default_is_set_again(name)

    def _default_is_set_again(self, column: str) -> bool:
        by_parent = self._both.default_of_parent_changes(*split_name(column))
        return by_parent or f"default {column}" in self._rebuilt

    def _reads_what_comes(self, function: str) -> bool:
        """Whether an SQL function's text, which is checked when it is made, reads what is new.

        One in another schema may name what is there without it, as its callers' path has it.
        """
        key = f"function {function}"
        text = str(self._after.objects[key].get("definition", ""))
        old = (self._before.objects.get(key) or {}).get("definition")
        if "LANGUAGE sql" not in text or (text == old and key not in self._rebuilt):
            return False
        if function.startswith(tuple(f"{each}." for each in self._after.names("schema"))):
            return True
        kinds = ("table", "view", "function", "sequence")
        new = {plain(name) for kind, _, name in self._new if kind in kinds and name != function}
        return bool(new & set(re.findall(r"\w+", text)))

    def _object(self, key: str, old: Attributes | None, new: Attributes | None) -> Iterator[Step]:
        kind, _, name = key.partition(" ")
        if kind == "table":
            yield from self._tables.table(name, old, new)
        elif kind == "column":
            yield from self._columns.change(name, old, new)
        elif key in self._both.replaced:
            yield from replace_type(
                key, self._both.replaced, self._before, self._after, self._rebuilt
            )
        elif kind == "domain" and old and new and key in self._rebuilt:
            bare = {name: each for name, each in old.items() if name not in {"checks", "default"}}
            for statement in objects.alter(kind, name, old, bare) or ():
                yield Step(statement, Phase.DROP_DEPENDENT, ends=(key,))
            for statement in objects.alter(kind, name, bare, new) or ():
                yield Step(statement, Phase.KEY, (key,))
        elif old is None or new is None or key in self._rebuilt:
            if old is not None:
                yield from self._drop(kind, name, old)
            if new is not None and (old is not None or not self._is_kept(kind, name)):
                yield from self._create(kind, name, new)
        else:
            yield from self._alter(kind, name, old, new)

    # --- What stands for itself, and the parts of tables ------------------------------------

    def _drop(self, kind: str, name: str, old: Attributes) -> Iterator[Step]:
        if self._goes_with_its_table(kind, name, old):
            return
        if kind == "index" and self._parts.becomes_a_part(name):
            return
        if kind == "constraint" and self._handed.merges(name):
            return
        if kind in {"index", "constraint"}:
            yield from self._parts.free(f"{kind} {name}")
        if self._both.online and kind == "index" and self._may_go_later(name, old):
            yield online.drop_index(name)
            return
        if kind == "schema" and "extensions" in old:
            listed = ", ".join(old["extensions"])
            raise OperationFailed(
                f"The schema {name} cannot be dropped: it contains {listed}, and leadctl does "
                f"not drop extensions.",
                hint=f"Run by hand, before this: DROP EXTENSION {listed}; after it: DROP SCHEMA "
                f"{name}",
            )
        key = f"{kind} {name}"
        ends = self._both.parts(key, self._before) if kind == "view" else (key,)
        phase = self._drop_phase(kind, name, old)
        needs = (
            self._handed.leavers(owner(key, old) or "") if kind in {"index", "constraint"} else ()
        )
        yield Step(objects.drop(kind, name, old), phase, ends=ends, needs=needs)

    def _is_kept(self, kind: str, name: str) -> bool:
        """Whether a table keeps as its own what the parent that it leaves handed down."""
        if kind == "constraint":
            return self._handed.stays(name)
        return kind == "index" and self._parts.stays_as_its_own(name)

    def _goes_with_its_table(self, kind: str, name: str, old: Attributes) -> bool:
        if kind == "sequence" and "owned_by" in old:
            column_name = str(old["owned_by"])
            inherited = inherited_column(self._after, *split_name(column_name))
            return f"column {column_name}" not in self._after.objects and inherited is None
        if owner(f"{kind} {name}", old) not in self._both.dropped or kind == "statistics":
            return False
        if len({*self._both.rounds.values()}) > 1 and "REFERENCES" in old.get("definition", ""):
            return False
        words = mentions(str(old.get("definition", "")).partition("REFERENCES")[2])
        # A foreign key to a table that stays would hold the key there, and one of or to a
        # partitioned table the partitions that stay.
        held = (words | {plain(split_name(name)[0])}) & self._left_by_partitions
        return not words or bool(words & self._dropped_names and not held)

    @cached_property
    def _left_by_partitions(self) -> set[str]:
        """The own names of tables that go while partitions of theirs stay."""
        stay = [key for key in self._before.objects if key in self._after.objects]
        parents = (self._before.objects[key].get("partition_of") for key in stay)
        return {plain(each) for each in parents if each} & self._dropped_names

    def _may_go_later(self, index: str, old: Attributes) -> bool:
        """Whether nothing that goes in the main stage needs the index to be gone."""
        used = self._both.used[f"index {index}"]
        return (
            self._both.exists(str(old["table"]))
            and f"index {index}" not in self._rebuilt
            and f"other index {index}" not in self._after.objects  # its name is taken
            and not any(self._goes(each) for each in used if each.partition(" ")[0] in _DEFINED)
            and not any(self._is_retyped(each) for each in used)
        )

    def _is_retyped(self, key: str) -> bool:
        """Whether a column gets another type: its indexes are built again, as they are written."""
        if not key.startswith("column "):
            return False
        old, new = (each.objects.get(key, {}) for each in (self._before, self._after))
        return bool(new) and is_retyped(old, new)

    def _goes(self, key: str) -> bool:
        return key in self._before.objects and (
            key not in self._after.objects or key in self._rebuilt or key in self._both.replaced
        )

    def _is_overloaded(self, function: str) -> bool:
        """Whether another of its name comes: calls may mean both, as long as both are there."""
        return any(
            kind == "function" and plain(name) == plain(function) for kind, _, name in self._new
        )

    def _drop_phase(self, kind: str, name: str, old: Attributes) -> Phase:
        if kind == "function":
            again = f"function {name}" in self._after.objects or self._is_overloaded(name)
            return Phase.DROP_KEY if again else Phase.DROP_DEFINITION
        if kind in _DEFINED:
            feeds = self._after.objects.get(f"column {old.get('owned_by')}", {})
            again = f"{kind} {name}" in self._rebuilt or "identity" in feeds
            return Phase.DROP_KEY if again else Phase.DROP_DEFINITION
        is_key = kind == "index" or (kind == "constraint" and "REFERENCES" not in old["definition"])
        return Phase.DROP_KEY if is_key else Phase.DROP_DEPENDENT

    def _create(self, kind: str, name: str, new: Attributes) -> Iterator[Step]:
        key, statement = f"{kind} {name}", objects.create(kind, name, new)
        table = owner(key, new)
        if kind == "index":
            yield self._index(name, str(table), statement)
        elif kind == "other":
            yield from (Step(each, Phase.DEFINE, (key,)) for each in objects.others(name, new))
        elif kind == "constraint":
            if key not in self._both.within.get(split_name(name)[0], ()):
                for step in self._constraint(name, new, statement):
                    yield replace(step, makes=(key,), needs=self._parts.of(key))
        elif kind in _DEFINED:
            yield Step(statement, Phase.DEFINE, (key,))
            late = objects.unvalidated_checks(name, new) if kind == "domain" else ()
            yield from (Step(each, Phase.CONSTRAINT) for each in late)
            if "owned_by" in new:
                yield self._owned_by(name, new)
                if f"column {new['owned_by']}" in self._before.objects:
                    of_table, column_name = split_name(new["owned_by"])
                    yield count_on(of_table, column_name, new, name)
        else:
            yield Step(statement, Phase.DEPENDENT, (key,))
            if "enabled" in new:
                yield Step(objects.enabled(kind, name, new), Phase.COMMENT, needs=(key,))

    def _index(self, name: str, table: str, statement: str) -> Step:
        key = f"index {name}"
        if self._both.online and self._both.exists(table):
            return replace(online.create_index(statement), makes=(key,))
        of_view = f"view {table}" in self._after.objects
        needs = (*self._parts.of(key), *self._parts.before_parent(name, table))
        return Step(statement, Phase.DEPENDENT if of_view else Phase.INDEX, (key,), needs=needs)

    def _owned_by(self, name: str, new: Attributes) -> Step:
        needs = (f"column {new['owned_by']}",)
        return Step(objects.owned_by(name, new), Phase.DEPENDENT, needs=needs)

    def _constraint(self, name: str, new: Attributes, statement: str) -> Iterator[Step]:
        table = split_name(name)[0]
        is_key = new["definition"].startswith(("PRIMARY KEY", "UNIQUE"))
        if self._both.online and self._both.exists(table):
            if is_key and "WITHOUT OVERLAPS" not in new["definition"]:
                yield from online.add_key(name, new["definition"])
                return
            if new["definition"].startswith(("CHECK", "FOREIGN KEY")):
                yield from online.add_constraint(name, statement, self._stage(name, new))
                return
        is_key = is_key or new["definition"].startswith("EXCLUDE")
        yield Step(
            statement, Phase.KEY if is_key else Phase.CONSTRAINT, stage=self._stage(name, new)
        )

    def _stage(self, name: str, constraint: Attributes) -> Stage:
        """Return where a foreign key can stand: behind the key that it refers to."""
        if not self._both.online or "REFERENCES" not in constraint["definition"]:
            return Stage.MAIN
        used = self._both.uses[f"constraint {name}"]
        late = any(
            definition(self._after.objects.get(key)) != definition(self._before.objects.get(key))
            or key in self._rebuilt
            for key in used
            if key.startswith(("constraint ", "index "))
            and self._both.exists(str(owner(key, self._after.objects.get(key, {}))))
        )
        return Stage.CONSTRAINT if late else Stage.MAIN

    def _alter(self, kind: str, name: str, old: Attributes, new: Attributes) -> Iterator[Step]:
        phase = Phase.DEFINE if kind in _DEFINED else Phase.DEPENDENT
        phase = Phase.CONSTRAINT if kind == "constraint" else phase
        stage = Stage.VALIDATE if self._both.online and kind == "constraint" else Stage.MAIN
        key = (f"{kind} {name}",)
        for statement in objects.alter(kind, name, old, new) or ():
            dropped = kind == "type" and "DROP ATTRIBUTE" in statement
            loses = f"what rows have in attributes of {name}" if dropped else ""
            ends = () if kind == "enum" else key  # what uses it need not go for a new value
            yield Step(statement, phase, key, ends, stage=stage, loses=loses)
        if kind == "sequence" and old.get("owned_by") != new.get("owned_by"):
            if "owned_by" in old:  # else it would go with its owner, and its number
                yield Step(objects.owned_by(name, {}), Phase.DROP_DEPENDENT)
            if "owned_by" in new:
                yield self._owned_by(name, new)

    def _grant(
        self, key: str, old: Attributes | None, new: Attributes | None, *, again: bool, along: bool
    ) -> Iterator[Step]:
        """Yield what changes privileges; those on what is dropped go with it.

        What is taken of a table is taken of its columns `along` with it, and given them again.
        """
        if new is None:
            assert old is not None
            if not _has(self._after, old["of"]) or old["of"] in self._rebuilt:
                return
        goes = again or (old is not None and not _has(self._before, old["of"]))
        statements = [*objects.privileges({} if goes else old or {}, new or {})]
        statements += objects.privileges({}, new or {}) if along else ()
        known = new or old or {}
        for statement in statements:
            takes = statement.startswith("REVOKE ")
            needs = (known["of"], *(() if takes else _grants_of_whole(key, known)))
            yield Step(statement, Phase.COMMENT, (key,) if takes else (), needs=needs)

    def _is_taken_along(self, key: str, of_column: Attributes | None) -> bool:
        """Whether what a role may do with a column is taken from it with what it may with all."""
        for whole in _grants_of_whole(key, of_column or {}):
            old, new = (each.objects.get(whole) for each in (self._before, self._after))
            if old and {*old["privileges"]} - {*(new or {}).get("privileges", ())}:
                return True
        return False

    def _comment(
        self, kind: str, name: str, old: Attributes | None, new: Attributes
    ) -> Iterator[Step]:
        needs = (f"{kind} {name}",)
        if (old or {}).get("comment") != new.get("comment"):
            yield Step(objects.comment(kind, name, new), Phase.COMMENT, needs=needs)
        for statement in objects.column_comments(name, old or {}, new):
            yield Step(statement, Phase.COMMENT, needs=needs)


def _has(catalog: Catalog, key: str) -> bool:
    """Whether a catalog has an object, or a table a column that a parent hands down."""
    name = key.removeprefix("column ")
    handed = None if name == key else inherited_column(catalog, *split_name(name))
    return key in catalog.objects or handed is not None


def _grants_of_whole(key: str, grant: Attributes) -> Sequence[str]:
    """Return the keys of what a role may do with all of what a grant is on a column of."""
    if not key.startswith("grant column ") or not grant:
        return ()
    name = str(grant["on"]).removeprefix("TABLE ")
    return tuple(f"grant {kind} {name} to {grant['to']}" for kind in ("table", "view"))
