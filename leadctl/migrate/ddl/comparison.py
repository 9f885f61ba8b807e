"""Two catalogs, and what follows from comparing them."""

from collections.abc import Iterable, Mapping
from functools import cached_property

from leadctl.catalog.definitions import Catalog, owner, split_name
from leadctl.migrate.ddl import objects
from leadctl.migrate.ddl.dependencies import reached, uses_of
from leadctl.migrate.ddl.partition_indexes import PartitionIndexes
from leadctl.migrate.ddl.rebuilds import rebuilt
from leadctl.migrate.ddl.table_copies import Copy, place_of, rows_of
from leadctl.migrate.ddl.tables import parents, serials, within_tables
from leadctl.migrate.ddl.type_replacement import replaced_types


class Comparison:
    """Two catalogs, and what follows from comparing them."""

    def __init__(
        self, before: Catalog, after: Catalog, *, online: bool, copies: Iterable[Copy] = ()
    ) -> None:
        self.before = before
        self.after = after
        self.online = online
        self.copies = {each.table: each for each in copies}
        """The tables that take the rows of those that were set aside."""
        self.replaced = replaced_types(before, after)
        late = {rows_of(each.former): {f"table {each.former}"} for each in self.copies.values()}
        for name in before.names("table"):
            late[place_of(name)] = {f"table {each}" for each in parents(before, name)}
        self.used, self.uses = {**uses_of(before), **late}, uses_of(after)
        """What each object used, and what it uses afterwards."""
        self.partition_indexes = PartitionIndexes(before, after)
        seeds = self.partition_indexes.recreated
        self.rebuilt = rebuilt(before, after, self.replaced, self.used, seeds)
        self.serials = serials(before, after)
        self.unique_keys = objects.unique_keys(after)
        self.within: dict[str, list[str]] = {}
        """The keys of the constraints that come with their tables, by table."""
        for key in within_tables(before, after):
            self.within.setdefault(split_name(key.removeprefix("constraint "))[0], []).append(key)
        self.dropped = {
            name
            for kind in ("table", "view")
            for name in before.names(kind)
            if f"{kind} {name}" not in after.objects or f"{kind} {name}" in self.rebuilt
        }

    def parts(self, whole: str, catalog: Catalog) -> tuple[str, ...]:
        """Return the keys of a table or view, and of all that goes with it."""
        name = whole.partition(" ")[2]
        return (whole, *self._parts[catalog is self.after].get(name, ()))

    @cached_property
    def _parts(self) -> tuple[Mapping[str, list[str]], ...]:
        both: list[dict[str, list[str]]] = []
        for catalog in (self.before, self.after):
            found: dict[str, list[str]] = {}
            for key, attributes in catalog.objects.items():
                name = owner(key, attributes)
                if name is not None:
                    found.setdefault(name, []).append(key)
                    if key.startswith("column ") and "default" in attributes:
                        found[name].append(f"default {key.removeprefix('column ')}")
            both.append(found)
        return tuple(both)

    @cached_property
    def rounds(self) -> Mapping[str, int]:
        """In which statement each table goes: one after what is called by its defaults and rules.

        PostgreSQL drops many at once, but not with a function between them.
        """
        gone = [name for name in self.before.names("table") if name in self.dropped]
        found = dict.fromkeys(gone, 0)
        behind: dict[str, set[str]] = {}
        for name in gone:
            own = self.parts(f"table {name}", self.before)
            used = {each for key in own for each in self.used.get(key, ())}
            called = {each for each in used if each.startswith(("function ", "view ", "domain "))}
            if called:
                seen = reached(called, self.used)
                behind[name] = {each for each in gone if f"table {each}" in seen} - {name}
        for _ in behind:
            for name, others in behind.items():
                for each in others:
                    found[each] = max(found[each], found[name] + 1)
        for name in gone:  # a partition goes with its parent
            whole = name
            while (above := self.before.objects[f"table {whole}"].get("partition_of")) in found:
                whole = str(above)
            found[name] = found[whole]
        return found

    def exists(self, table: str) -> bool:
        """Whether a table was there, is still, and has rows of its own to be careful with."""
        key = f"table {table}"
        return (
            key in self.before.objects
            and key in self.after.objects
            and "partition_key" not in self.after.objects[key]
        )
