"""From two catalogs to the steps that turn one into the other."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property

from leadctl.catalog.definitions import (
    OWN_NOT_NULL,
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
from leadctl.migrate.ddl.renames import implied_renames
from leadctl.migrate.ddl.steps import (
    UNCHECKED_BODIES,
    Phase,
    Stage,
    Step,
    identifier,
    mentions,
    plain,
)
from leadctl.migrate.ddl.table_changes import TableChanges
from leadctl.migrate.ddl.table_copies import Copy
from leadctl.migrate.ddl.tables import (
    ancestors,
    count_on,
    inherited_column,
    is_retyped,
    parents,
    required,
)
from leadctl.migrate.ddl.type_replacement import is_moved, replace_type

_HAD_OTHERWISE = ("default", "expression", "NOT NULL")
"""What a column may have otherwise than the parent's that it comes from."""
_RIGHTS = ("GRANT ", "REVOKE ", "ALTER DEFAULT PRIVILEGES ")
_OWN_CHECK = "inherited and own "
_NOT_HANDED_DOWN = "NO INHERIT of "
_OF_TYPE = "type of "
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
                yield from self._parts.make(part, old, new, self._coming)
            yield from self._parts.left_behind(part)
        elif definition(old) == definition(new) and not (again or along):
            return
        elif kind == "grant":
            yield from self._grant(key, old, new, again=again, along=along)
        elif kind in {"property", "namespace"}:
            yield from self._property(name, old, new)
        else:
            yield from list(self._object(key, old, new))  # whole, or not at all
            if new is not None:
                yield from self._comment(kind, name, None if again else old, new)
            elif kind == "column" and "comment" in (old or {}) and _has(self._after, key):
                yield Step(objects.comment(kind, name, {}), Phase.COMMENT)  # it is inherited now

    def _is_made_again(self, key: str, new: Attributes | None) -> bool:
        """Whether what both schemas have is made or set once more, though it may not differ."""
        kind, _, name = key.partition(" ")
        return (
            not self._rebuilt.isdisjoint((key, *_replica_index(new)))
            or key in self._both.replaced
            or self._parent_changes(key)
            or (kind == "column" and self._default_is_set_again(name))
            or (kind == "property" and _column_of(name) in self._rebuilt)
            or (kind == "property" and self._gets_other_columns(name))
            or self._is_reset(key)
        )

    def _default_is_set_again(self, column: str) -> bool:
        by_parent = self._both.default_of_parent_changes(*split_name(column))
        return by_parent or f"default {column}" in self._rebuilt

    @cached_property
    def _coming(self) -> set[str]:
        """The keys of what is made, or made again."""
        new = self._after.objects.keys() - self._before.objects.keys()
        return new | self._rebuilt

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

    def _property(
        self, name: str, old: Attributes | None, new: Attributes | None
    ) -> Iterator[Step]:
        """Yield what sets a property, or takes it back from what stays."""
        key = f"property {name}"
        is_cast = name.startswith("cast of ")
        # A cast and an identity are made once, as an option of a foreign table's column is added,
        # and what was granted otherwise is not taken back by granting something else.
        first = is_cast or name.startswith(("identity of ", _OF_TYPE))
        does = str((old or {}).get("do", ""))
        first = first or " OPTIONS (ADD " in does or does.startswith(_RIGHTS)
        first = first or (bool(_replica_index(old)) and self._loosens(str((old or {}).get("of"))))
        if old is not None and (new is None or first):
            of = old.get("of")
            stays = of in self._after.objects and of not in self._rebuilt
            # A cast would go with its type, but holds its function until then.
            if (of is None or stays or (is_cast and new is None)) and not self._goes_by_itself(
                name
            ):
                # NOT NULL goes after the key that wants it, all else before what it rests on.
                late = name.startswith("NOT NULL of ")
                yield Step(old["undo"], Phase.DEFINE if late else Phase.DROP_DEPENDENT, ends=(key,))
        yield from self._not_null_named(name, (new or old or {}).get("do", ""))
        if new is not None:
            phase = Phase.DEFINE if is_cast else Phase.COMMENT
            index = _replica_index(new)
            stage = self._stage_of_replica(str(new["of"]), index) if index else Stage.MAIN
            if self._both.online and self._is_held_later(name):
                stage = Stage.VALIDATE
            needs = (*index, required(name.rpartition(" of ")[2]))
            yield Step(new["do"], phase, (key,), needs=needs, stage=stage)
            if name.startswith(_NOT_HANDED_DOWN):
                yield from self._freed_children(name.removeprefix(_NOT_HANDED_DOWN), key)

    def _freed_children(self, column: str, key: str) -> Iterator[Step]:
        """Yield what takes NOT NULL from children that have it of a parent which keeps its own."""
        table, own = split_name(column)
        for child in self._after.names("table"):
            of_its_own = own in self._after.columns(child) or (
                f"property NOT NULL of {child}.{own}" in self._after.objects
            )
            if table in parents(self._after, child) and not of_its_own:
                free = f"ALTER TABLE {child} ALTER COLUMN {own} DROP NOT NULL"
                yield Step(free, Phase.COMMENT, needs=(key,))

    def _is_held_later(self, name: str) -> bool:
        """Whether a child's own CHECK is one that its parent gets, NOT VALID at first."""
        own, _, table = name.removeprefix(_OWN_CHECK).rpartition(" of ")
        return name.startswith(_OWN_CHECK) and any(
            f"constraint {parent}.{own}" in self._coming for parent in parents(self._after, table)
        )

    def _is_reset(self, key: str) -> bool:
        """Whether the server sets back how a column is stored, since it gets another type."""
        if not key.startswith(("property storage of ", "property compression of ")):
            return False
        table, own = split_name(key.partition(" of ")[2])
        both = (
            each.columns(table).get(own) or inherited_column(each, table, own) or {}
            for each in (self._before, self._after)
        )
        old, new = both
        return is_retyped(old, new) or (bool(old) and is_moved(old, self._both.replaced))

    def _gets_other_columns(self, name: str) -> bool:
        """Whether a table of a type gets other columns, which it does as the type's alone."""
        if not name.startswith(_OF_TYPE):
            return False
        table = name.removeprefix(_OF_TYPE)
        both = (each.columns(table) for each in (self._before, self._after))
        shapes = [
            {own: (c["type"], c.get("collation")) for own, c in each.items()} for each in both
        ]
        if shapes[0] == shapes[1]:
            return False
        self._refuse_other_than_of_type(table, name)
        return True

    def _refuse_other_than_of_type(self, table: str, name: str) -> None:
        """Refuse a typed table whose columns are not to be those of its type."""
        statement = self._after.objects.get(f"property {name}", {}).get("do", "")
        of = statement.partition(f"ALTER TABLE {table} OF ")[2]
        known = self._after.objects.get(f"type {of}", {}).get("attributes")
        if known is not None and {objects.attribute(each)[0] for each in known} != set(
            self._after.columns(table)
        ):
            raise OperationFailed(
                f"The table {table} is of the type {of}, so its columns are that type's alone.",
                hint=f"Write it by hand, for the type: ALTER TYPE {of} ADD ATTRIBUTE … CASCADE; "
                "leadctl migrate new --empty -m NAME. Then the models may say it.",
            )

    def _loosens(self, table: str) -> bool:
        """Whether a column of a table is to be NULL at times, which a replica identity's is not."""
        now = self._after.columns(table.removeprefix("table "))
        return any(
            not old["nullable"] and own in now and now[own]["nullable"]
            for own, old in self._before.columns(table.removeprefix("table ")).items()
        )

    def _stage_of_replica(self, table: str, index: Sequence[str]) -> Stage:
        """Return where an index can be a replica identity: built, and NULL refused."""
        name = table.removeprefix("table ")
        if not (self._both.online and self._both.exists(name)):
            return Stage.MAIN
        was = self._before.columns(name)
        tightens = any(
            not new["nullable"] and was.get(own, {"nullable": True})["nullable"]
            for own, new in self._after.columns(name).items()
        )
        return Stage.NOT_NULL if tightens or self._coming & {*index} else Stage.MAIN

    def _not_null_named(self, name: str, does: str) -> Iterator[Step]:
        """Yield what gives the NOT NULL of a column, of which something is or was set, its name."""
        of = _column_of(name)
        both = [catalog.objects.get(of, {}) for catalog in (self._before, self._after)]
        if any(each.get("nullable", True) for each in both):
            return
        table, own = split_name(of.removeprefix("column "))
        usual = identifier(f"{plain(table)}_{plain(own)}_not_null")
        former, named = (each.get("not_null", usual) for each in both)
        if former != named and any(f"CONSTRAINT {each} " in does for each in (former, named)):
            yield Step(
                f"ALTER TABLE {table} RENAME CONSTRAINT {former} TO {named}", Phase.DEPENDENT
            )

    def _parent_changes(self, key: str) -> bool:
        """Whether a column changes that a partition or child has otherwise than its parent.

        What is done to the parent is done to all that inherit it.
        """
        if not key.startswith(tuple(f"property {each} of " for each in _HAD_OTHERWISE)):
            return False
        sides = (_from_parent(catalog, key) for catalog in (self._before, self._after))
        return len({str(definition(each)) for each in sides}) > 1

    def _goes_by_itself(self, name: str) -> bool:
        """Whether the NOT NULL of a column that has a parent needs no statement.

        The parent gets it, or it is there beside the parent's, which goes.
        """
        if name.startswith("NOT NULL of "):
            parent = _from_parent(self._after, name)
            table, own = split_name(name.partition(" of ")[2])
            kept = (
                f"property {_NOT_HANDED_DOWN}{each}.{own}" for each in ancestors(self._after, table)
            )
            return (
                parent is not None
                and not parent["nullable"]
                and not any(each in self._after.objects for each in kept)
            )
        parent = _from_parent(self._after, name) if name.startswith(OWN_NOT_NULL) else {}
        return parent is None or bool(parent.get("nullable"))

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


def _replica_index(replica_identity: Attributes | None) -> tuple[str, ...]:
    """Return the keys that the index may have which a property makes the replica identity."""
    set_by = str((replica_identity or {}).get("do", ""))
    table, found, own = set_by.partition(" REPLICA IDENTITY USING INDEX ")
    if not found:
        return ()
    table = table.removeprefix("ALTER TABLE ")
    schema = table.removesuffix(split_name(table)[-1])
    return (f"index {schema}{own}", f"constraint {table}.{own}")


def _column_of(of_column: str) -> str:
    """Return the key of the column that a property `… of table.column` is one of."""
    return f"column {of_column.rpartition(' of ')[2]}"


def _from_parent(catalog: Catalog, of_column: str) -> Attributes | None:
    """Return the column that a parent hands down, for a property `… of table.column`."""
    table, own = split_name(of_column.partition(" of ")[2])
    return inherited_column(catalog, table, own)
