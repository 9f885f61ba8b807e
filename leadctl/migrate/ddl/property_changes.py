"""What sets the properties of tables, columns and types, and takes them back."""

from collections.abc import Iterator, Sequence

from leadctl.catalog.definitions import (
    OWN_NOT_NULL,
    Attributes,
    Catalog,
    definition,
    split_name,
)
from leadctl.errors import OperationFailed
from leadctl.migrate.ddl import objects
from leadctl.migrate.ddl.comparison import Comparison
from leadctl.migrate.ddl.steps import Phase, Stage, Step, identifier, plain
from leadctl.migrate.ddl.tables import ancestors, inherited_column, is_retyped, parents, required
from leadctl.migrate.ddl.type_replacement import is_moved

_HAD_OTHERWISE = ("default", "expression", "NOT NULL")
"""What a column may have otherwise than the parent's that it comes from."""
_RIGHTS = ("GRANT ", "REVOKE ", "ALTER DEFAULT PRIVILEGES ")
_OWN_CHECK = "inherited and own "
_NOT_HANDED_DOWN = "NO INHERIT of "
_OF_TYPE = "type of "


class PropertyChanges:
    """The changes of properties between two catalogs."""

    def __init__(self, both: Comparison) -> None:
        self._both = both
        self._before, self._after, self._rebuilt = both.before, both.after, both.rebuilt

    def is_set_again(self, name: str, new: Attributes | None) -> bool:
        """Whether a property that both schemas have is set once more, though it may not differ."""
        return (
            not self._rebuilt.isdisjoint((_column_of(name), *_replica_index(new)))
            or self._parent_changes(name)
            or self._gets_other_columns(name)
            or self._is_reset(name)
        )

    def change(self, name: str, old: Attributes | None, new: Attributes | None) -> Iterator[Step]:
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
            f"constraint {parent}.{own}" in self._both.coming
            for parent in parents(self._after, table)
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
        return Stage.NOT_NULL if tightens or self._both.coming & {*index} else Stage.MAIN

    def _is_reset(self, name: str) -> bool:
        """Whether the server sets back how a column is stored, since it gets another type."""
        if not name.startswith(("storage of ", "compression of ")):
            return False
        table, own = split_name(name.partition(" of ")[2])
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

    def _parent_changes(self, name: str) -> bool:
        """Whether a column changes that a partition or child has otherwise than its parent.

        What is done to the parent is done to all that inherit it.
        """
        if not name.startswith(tuple(f"{each} of " for each in _HAD_OTHERWISE)):
            return False
        sides = (_from_parent(catalog, name) for catalog in (self._before, self._after))
        return len({str(definition(each)) for each in sides}) > 1


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
