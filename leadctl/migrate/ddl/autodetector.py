"""From two catalogs to the steps that turn one into the other."""

import re
from collections.abc import Iterator
from dataclasses import replace

from leadctl.catalog.definitions import Attributes, Catalog, definition, owner, split_name
from leadctl.errors import OperationFailed
from leadctl.migrate.ddl import objects, online
from leadctl.migrate.ddl.rebuilds import rebuilt, refuse_retyped, replace_type, replaced_types
from leadctl.migrate.ddl.steps import (
    UNCHECKED_BODIES,
    Phase,
    Stage,
    Step,
    in_order,
    mentions,
    plain,
)
from leadctl.migrate.ddl.tables import (
    alter_column,
    alter_table,
    as_serial,
    cast_loses,
    column,
    count_on,
    create_table,
    handed_down,
    is_required,
    must_be_added_anew,
    require_of_new_rows,
    row_security,
    serials,
    within_tables,
)

_DEFINED = {"schema", "enum", "domain", "type", "collation", "sequence", "function"}
"""Kinds that tables rest on."""
_LISTED = 6
"""So many tables have a line each."""
_NEW_LINE = ",\n    "


def changes(before: Catalog, after: Catalog, *, online: bool = False) -> list[Step]:
    """Return the steps that turn one schema into another, in order.

    `online` takes forms that do not block the writers of a big table; they have stages of their
    own.  Raises OperationFailed for what cannot be written.
    """
    found = _Changes(before, after, online=online)
    steps = found.steps()
    if found.unwritten:
        raise found.unwritten[0]
    return steps


def writable_changes(before: Catalog, after: Catalog) -> tuple[list[Step], list[OperationFailed]]:
    """Return the steps that can be written, and why the others cannot."""
    found = _Changes(before, after, online=False)
    return found.steps(), found.unwritten


class _Changes:
    def __init__(self, before: Catalog, after: Catalog, *, online: bool) -> None:
        self._before = before
        self._after = after
        self._online = online
        self.unwritten: list[OperationFailed] = []
        self._replaced = replaced_types(before, after)
        self._rebuilt = rebuilt(before, after, self._replaced)
        self._serials = serials(before, after)
        self._within = within_tables(before, after)
        self._dropped = {
            name
            for kind in ("table", "view")
            for name in before.names(kind)
            if f"{kind} {name}" not in after.objects or f"{kind} {name}" in self._rebuilt
        }

    def steps(self) -> list[Step]:
        found: list[Step] = []
        for key in sorted(self._before.objects.keys() | self._after.objects.keys()):
            kind, _, name = key.partition(" ")
            old, new = self._before.objects.get(key), self._after.objects.get(key)
            if kind == "sequence" and name in self._serials.values():
                continue  # it comes with its column
            anew = key in self._rebuilt or key in self._replaced
            if definition(old) == definition(new) and not anew:
                continue
            if kind == "grant":
                found += self._grant(old, new, anew=anew)
                continue
            if kind == "other" and self._comes_with_its_whole(old or new or {}):
                continue
            if kind in {"property", "namespace"}:
                found += self._property(old, new)
                continue
            try:
                found += self._object(key, old, new)
            except OperationFailed as error:
                self.unwritten.append(error)
                continue
            if new is not None:
                found += self._comment(kind, name, None if anew else old, new)
        found += self._drop_tables()
        if any(self._reads_what_comes(name) for name in self._after.names("function")):
            found.append(Step(UNCHECKED_BODIES, Phase.RENAME))
        return in_order(found)

    def _comes_with_its_whole(self, part: Attributes) -> bool:
        """Whether an index of a partition is made, or goes, together with its parent's."""
        if "part_of" not in part:
            return False
        own = split_name(part["part_of"])[-1]
        wholes = [
            key
            for key in self._before.objects.keys() | self._after.objects.keys()
            if key.startswith(("index ", "constraint "))
            and split_name(key.partition(" ")[2])[-1] == own
        ]
        both = self._before.objects.keys() & self._after.objects.keys()
        return any(key not in both or key in self._rebuilt for key in wholes)

    def _reads_what_comes(self, function: str) -> bool:
        """Whether an SQL function's text, which is checked when it is made, reads what is new."""
        key = f"function {function}"
        text = str(self._after.objects[key].get("definition", ""))
        if "LANGUAGE sql" not in text or text == (self._before.objects.get(key) or {}).get(
            "definition"
        ):
            return False
        words = set(re.findall(r"\w+", text))
        return any(
            plain(each.partition(" ")[2]) in words
            for each in self._after.objects.keys() - self._before.objects.keys() - {key}
            if each.startswith(("table ", "view ", "function ", "sequence "))
        )

    def _object(self, key: str, old: Attributes | None, new: Attributes | None) -> Iterator[Step]:
        kind, _, name = key.partition(" ")
        if kind in {"table", "column"}:
            yield from (self._table if kind == "table" else self._column)(name, old, new)
        elif key in self._replaced:
            yield from replace_type(key, self._replaced, self._before, self._after)
        elif old is None or new is None or key in self._rebuilt:
            if old is not None:
                yield from self._drop(kind, name, old)
            if new is not None:
                yield from self._create(kind, name, new)
        else:
            yield from self._alter(kind, name, old, new)

    def _exists(self, table: str) -> bool:
        """Whether a table was there, is still, and has rows of its own to be careful with."""
        key = f"table {table}"
        return (
            key in self._before.objects
            and key in self._after.objects
            and "partition_key" not in self._after.objects[key]
        )

    # --- What stands for itself, and the parts of tables ------------------------------------

    def _drop(self, kind: str, name: str, old: Attributes) -> Iterator[Step]:
        if self._goes_with_its_table(kind, name, old):
            return
        if self._online and kind == "index" and self._may_go_later(name, old):
            yield online.drop_index(name)
            return
        own = split_name(name)[1] if kind in {"constraint", "trigger", "policy"} else name
        yield Step(
            objects.drop(kind, name, old),
            self._drop_phase(kind, name, old),
            plain(own),
            about=objects.create(kind, name, old),
        )

    def _goes_with_its_table(self, kind: str, name: str, old: Attributes) -> bool:
        if kind == "sequence" and "owned_by" in old:
            return f"column {old['owned_by']}" not in self._after.objects
        if owner(f"{kind} {name}", old) not in self._dropped or kind == "statistics":
            return False
        words = mentions(str(old.get("definition", "")).partition("REFERENCES")[2])
        # A foreign key to a table that stays would hold the key there.
        return not words or bool(words & {plain(each) for each in self._dropped})

    def _may_go_later(self, index: str, old: Attributes) -> bool:
        """Whether nothing that goes in the main stage needs the index to be gone."""
        going = {
            plain(key.partition(" ")[2])
            for key in self._before.objects
            if key.partition(" ")[0] in _DEFINED
            and (key not in self._after.objects or key in self._rebuilt or key in self._replaced)
        }
        return (
            self._exists(str(old["table"]))
            and f"index {index}" not in self._rebuilt
            and not mentions(old["definition"]) & (going - {plain(index)})
        )

    def _is_overloaded(self, function: str) -> bool:
        """Whether another of its name comes: calls may mean both, as long as both are there."""
        comes = self._after.objects.keys() - self._before.objects.keys()
        names = {plain(key.partition(" ")[2]) for key in comes if key.startswith("function ")}
        return plain(function) in names

    def _drop_phase(self, kind: str, name: str, old: Attributes) -> Phase:
        if kind == "function":
            words = mentions(objects.create(kind, name, old))
            if words & {plain(each) for each in self._before.names("view")}:
                return Phase.DROP_DEPENDENT
            anew = f"function {name}" in self._after.objects or self._is_overloaded(name)
            rests_on_dropped = words & {plain(each) for each in self._dropped}
            return Phase.DROP_KEY if anew or rests_on_dropped else Phase.DROP_DEFINITION
        if kind in _DEFINED:
            anew = f"{kind} {name}" in self._rebuilt
            return Phase.DROP_KEY if anew else Phase.DROP_DEFINITION
        is_key = kind == "index" or (kind == "constraint" and "REFERENCES" not in old["definition"])
        return Phase.DROP_KEY if is_key else Phase.DROP_DEPENDENT

    def _create(self, kind: str, name: str, new: Attributes) -> Iterator[Step]:
        statement = objects.create(kind, name, new)
        table = owner(f"{kind} {name}", new)
        if kind == "index":
            if self._online and self._exists(str(table)):
                yield online.create_index(statement)
            else:
                of_view = f"view {table}" in self._after.objects
                yield Step(statement, Phase.DEPENDENT if of_view else Phase.INDEX)
        elif kind == "constraint":
            if f"constraint {name}" not in self._within:  # else it comes with its table
                yield from self._constraint(name, new, statement)
        elif kind in _DEFINED:
            views = {plain(each) for each in self._after.names("view")}
            on_view = kind == "function" and bool(mentions(statement) & views)
            phase = Phase.DEPENDENT if on_view else Phase.DEFINE
            too = plain(str(new.get("multirange", "")))
            yield Step(statement, phase, plain(name), provides_too=(too,))
            if "owned_by" in new:
                yield Step(objects.owned_by(name, new), Phase.DEPENDENT)
                if f"column {new['owned_by']}" in self._before.objects:
                    of_table, column_name = split_name(new["owned_by"])
                    yield count_on(of_table, column_name, new, name)
        else:
            provides = plain(name) if kind == "view" else ""
            yield Step(statement, Phase.DEPENDENT, provides)
            if "enabled" in new:
                yield Step(objects.enabled(kind, name, new), Phase.COMMENT)

    def _constraint(self, name: str, new: Attributes, statement: str) -> Iterator[Step]:
        table = split_name(name)[0]
        is_key = new["definition"].startswith(("PRIMARY KEY", "UNIQUE"))
        if self._online and self._exists(table):
            if is_key and "WITHOUT OVERLAPS" not in new["definition"]:
                yield from online.add_key(name, new["definition"])
                return
            if new["definition"].startswith(("CHECK", "FOREIGN KEY")):
                yield from online.add_constraint(name, statement, self._stage(new))
                return
        is_key = is_key or new["definition"].startswith("EXCLUDE")
        yield Step(statement, Phase.KEY if is_key else Phase.CONSTRAINT, stage=self._stage(new))

    def _stage(self, constraint: Attributes) -> Stage:
        """Return where a foreign key can stand: behind the key that it refers to."""
        if not self._online or "REFERENCES" not in constraint["definition"]:
            return Stage.MAIN
        words = mentions(constraint["definition"].partition("REFERENCES")[2])
        late = any(
            plain(owner(key, each) or "") in words and self._exists(str(owner(key, each)))
            for key, each in objects.unique_keys(self._after)
            if definition(each) != definition(self._before.objects.get(key)) or key in self._rebuilt
        )
        return Stage.CONSTRAINT if late else Stage.MAIN

    def _alter(self, kind: str, name: str, old: Attributes, new: Attributes) -> Iterator[Step]:
        phase = Phase.DEFINE if kind in _DEFINED else Phase.DEPENDENT
        phase = Phase.CONSTRAINT if kind == "constraint" else phase
        stage = Stage.VALIDATE if self._online and kind == "constraint" else Stage.MAIN
        provides = plain(name) if kind in _DEFINED else ""
        if kind == "type":
            refuse_retyped(name, old, new, self._before)
        for statement in objects.alter(kind, name, old, new) or ():
            dropped = kind == "type" and "DROP ATTRIBUTE" in statement
            loses = f"what rows have in attributes of {name}" if dropped else ""
            yield Step(statement, phase, provides, stage=stage, loses=loses)
        if kind == "sequence" and old.get("owned_by") != new.get("owned_by"):
            if "owned_by" in old:  # else it would go with its owner, and its number
                yield Step(objects.owned_by(name, {}), Phase.DROP_DEPENDENT)
            if "owned_by" in new:
                yield Step(objects.owned_by(name, new), Phase.DEPENDENT)

    def _grant(
        self, old: Attributes | None, new: Attributes | None, *, anew: bool
    ) -> Iterator[Step]:
        """Yield what changes privileges; those on what is dropped go with it."""
        if new is None:
            assert old is not None
            if old["of"] not in self._after.objects or old["of"] in self._rebuilt:
                return
        goes = anew or (old is not None and old["of"] not in self._before.objects)
        for statement in objects.privileges({} if goes else old or {}, new or {}):
            yield Step(statement, Phase.COMMENT)

    def _property(self, old: Attributes | None, new: Attributes | None) -> Iterator[Step]:
        """Yield what sets a property, or takes it back from what stays."""
        if new is not None:
            yield Step(new["do"], Phase.COMMENT)
        elif old is not None:
            of = old.get("of")
            stays = of in self._after.objects and of not in self._rebuilt
            if of is None or stays:
                yield Step(old["undo"], Phase.DROP_DEPENDENT)

    def _comment(
        self, kind: str, name: str, old: Attributes | None, new: Attributes
    ) -> Iterator[Step]:
        if (old or {}).get("comment") != new.get("comment"):
            late = self._online and old is None and kind in {"index", "constraint"}
            late = late and self._exists(str(owner(f"{kind} {name}", new)))
            stage = Stage.CONSTRAINT if late else Stage.MAIN
            yield Step(objects.comment(kind, name, new), Phase.COMMENT, stage=stage)
        for statement in objects.column_comments(name, old or {}, new):
            yield Step(statement, Phase.COMMENT)

    # --- Tables and columns -----------------------------------------------------------------

    def _table(self, name: str, old: Attributes | None, new: Attributes | None) -> Iterator[Step]:
        if new is None:
            return
        if old is None:
            columns = [
                (own, self._as_written(f"column {name}.{own}", attributes))
                for own, attributes in self._after.columns(name).items()
            ]
            constraints = [
                (split_name(key.removeprefix("constraint "))[1], self._after.objects[key])
                for key in self._within
                if owner(key, {}) == name
            ]
            statement = create_table(name, new, columns, constraints)
            counted = (self._serials.get(f"column {name}.{own}", "") for own, _ in columns)
            yield Step(
                statement, Phase.DEFINE, plain(name), provides_too=tuple(map(plain, counted))
            )
            for own, attributes in columns:
                if "unvalidated" in attributes:
                    yield Step(require_of_new_rows(name, own, attributes), Phase.KEY)
        else:
            for statement in alter_table(name, old, new):
                unlogged = statement.endswith("SET UNLOGGED")
                why = f"After a crash of the server {name} is empty." if unlogged else ""
                yield Step(statement, Phase.DEFINE, why=why)
        for statement in row_security(name, old or {}, new):
            yield Step(statement, Phase.DEPENDENT)

    def _drop_tables(self) -> Iterator[Step]:
        gone = [name for name in self._before.names("table") if name in self._dropped]
        defined = {name: self._before.objects[f"table {name}"] for name in gone}
        foreign = [name for name in gone if "foreign" in defined[name]]
        whole = [
            name
            for name in gone
            if defined[name].get("partition_of") not in gone and name not in foreign
        ]
        if foreign:  # their rows are elsewhere, and stay
            yield Step(f"DROP FOREIGN TABLE {', '.join(foreign)}", Phase.DROP)
        if whole:  # one statement: those that refer to each other go together
            yield Step(
                f"DROP TABLE {(', ' if len(whole) < _LISTED else _NEW_LINE).join(whole)}",
                Phase.DROP,
                loses=f"the {'table' if len(gone) == 1 else 'tables'} {', '.join(gone)} "
                "with all rows",
            )

    def _column(self, name: str, old: Attributes | None, new: Attributes | None) -> Iterator[Step]:
        table, own = split_name(name)
        if f"table {table}" not in self._after.objects or table in self._dropped:
            return
        if f"table {table}" not in self._before.objects:
            return  # it comes with its table
        # A column that a parent hands down is there as well, without an entry of its own.
        if new is None and "inherits" in self._after.objects[f"table {table}"]:
            self._refuse_to_hand_over(table, own)
        old = old or handed_down(self._before, table, own)
        new = new or handed_down(self._after, table, own)
        if new is None:
            assert old is not None
            loses = "" if "generated" in old else f"the column {own} of {table}"
            kept = any(handed_down(self._before, each, own) for each in self._keepers(own))
            only = "ONLY " if kept else ""
            yield Step(f"ALTER TABLE {only}{table} DROP COLUMN {own}", Phase.DROP, loses=loses)
        elif old is None:
            yield from self._add_column(table, own, self._as_written(f"column {name}", new))
        elif must_be_added_anew(old, new) or (
            f"column {name}" in self._rebuilt and "generated" in old
        ):
            yield Step(
                f"ALTER TABLE {table} DROP COLUMN {own}",
                Phase.DROP_KEY,
                plain(own),
                about=f"{table}.{own} {old.get('generated', '')}",
                loses="" if "generated" in old else f"the values of {own} of {table}",
                why=f"The rule of a generated column cannot be changed: {table} is written anew.",
            )
            yield Step(f"ALTER TABLE {table} ADD COLUMN {column(own, new)}", Phase.KEY)
        elif f"column {name}" in self._rebuilt:  # its default calls what is made anew
            yield Step(f"ALTER TABLE {table} ALTER COLUMN {own} DROP DEFAULT", Phase.DROP_DEPENDENT)
            yield from self._alter_column(table, own, _plainly(old), _plainly(new))
            if "default" in new:
                yield Step(
                    f"ALTER TABLE {table} ALTER COLUMN {own} SET DEFAULT {new['default']}",
                    Phase.KEY,
                )
        else:
            yield from self._alter_column(table, own, old, new)

    def _refuse_to_hand_over(self, table: str, own: str) -> None:
        if handed_down(self._after, table, own) is not None:
            raise OperationFailed(
                f"The column {own} of {table} is its own now, and should be its parent's alone: "
                "PostgreSQL can only drop it.",
                hint="Write it by hand: leadctl migrate new --empty -m NAME",
            )

    def _keepers(self, column_name: str) -> Iterator[str]:
        """Yield the tables that have a column of their own afterwards."""
        for table in self._after.names("table"):
            if f"column {table}.{column_name}" in self._after.objects:
                yield table

    def _as_written(self, key: str, attributes: Attributes) -> Attributes:
        return as_serial(attributes) if key in self._serials else attributes

    def _add_column(self, table: str, own: str, new: Attributes) -> Iterator[Step]:
        if self._online and self._exists(table):
            yield from online.add_column(table, own, new)
        else:
            yield Step(f"ALTER TABLE {table} ADD COLUMN {column(own, new)}", Phase.DEFINE)
        if "unvalidated" in new:
            yield Step(require_of_new_rows(table, own, new), Phase.KEY)

    def _alter_column(
        self, table: str, own: str, old: Attributes, new: Attributes
    ) -> Iterator[Step]:
        becomes_required = old["nullable"] and is_required(new)
        later = becomes_required and self._online and self._exists(table)
        for_new_rows = "unvalidated" in new and "unvalidated" not in old
        if becomes_required and not later:
            yield Step(f"ALTER TABLE {table} ALTER COLUMN {own} SET NOT NULL", Phase.DEFINE)
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
            yield Step(
                f"ALTER TABLE {table} {', '.join(actions)}",
                Phase.DEFINE,
                loses=f"what {new['type']} cannot hold of {table}.{own}" if loses else "",
                why=f"Unless the types are alike on disk, {table} is written anew, and locked "
                "meanwhile."
                if retyped and self._online
                else "",
            )
        if "unvalidated" in old and is_required(new):
            yield Step(f"ALTER TABLE {table} VALIDATE CONSTRAINT {old['unvalidated']}", Phase.KEY)
        if for_new_rows:
            yield Step(require_of_new_rows(table, own, new), Phase.KEY)
        if later:
            yield from online.set_not_null(table, own)
        stage = Stage.NOT_NULL if later else Stage.MAIN
        for action in counted:
            yield Step(f"ALTER TABLE {table} {action}", Phase.CONSTRAINT, stage=stage)
        if "identity" in new and "identity" not in old:
            yield replace(count_on(table, own, new), stage=stage)


def _plainly(column: Attributes) -> Attributes:
    """Return a column without its default."""
    return {key: value for key, value in column.items() if key != "default"}


def _base_type(catalog: Catalog, kind: str) -> str:
    """Return a column's type, or the one that its domain is on."""
    while (domain := catalog.objects.get(f"domain {kind}")) is not None:
        kind = str(domain["type"])
    return kind
