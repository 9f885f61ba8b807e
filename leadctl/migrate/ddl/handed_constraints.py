"""The constraints that a table has from its parent: where it leaves that, they stay as its own.

https://www.postgresql.org/docs/current/sql-altertable.html, DETACH PARTITION and NO INHERIT
"""

from collections.abc import Iterator
from functools import cached_property

from leadctl.catalog.definitions import Catalog, split_name
from leadctl.migrate.ddl.partition_indexes import PartitionIndexes
from leadctl.migrate.ddl.steps import Phase, Step
from leadctl.migrate.ddl.table_copies import link_to_parents
from leadctl.migrate.ddl.tables import parents


class HandedConstraints:
    """What tables get with a parent, and keep without it, between two catalogs."""

    def __init__(self, before: Catalog, after: Catalog, indexes: PartitionIndexes) -> None:
        self._before, self._after, self._indexes = before, after, indexes

    def stays(self, name: str) -> bool:
        """Whether a constraint that a table is to have is the one that it keeps."""
        table, own = split_name(name)
        wanted = self._after.objects[f"constraint {name}"]
        return self._kept(table).get(own) == str(wanted["definition"])

    def merges(self, name: str) -> bool:
        """Whether a constraint of a table becomes one with its new parent's."""
        table, own = split_name(name)
        if f"table {table}" not in self._after.objects:
            return False
        was = self._before.objects[f"constraint {name}"]
        return self._apart(table, self._after, self._before).get(own) == str(was["definition"])

    def missing_checks(self, table: str) -> dict[str, str]:
        """Return the checks of its new parent that a table must have before it is a part of it."""
        had = self._handed(self._before, table, parents(self._before, table))
        new = self._apart(table, self._after, self._before)
        return {
            own: text
            for own, text in new.items()
            if text.startswith("CHECK") and own not in had and not self._has(table, own, text)
        }

    def _has(self, table: str, own: str, text: str) -> bool:
        return self._before.objects.get(f"constraint {table}.{own}", {}).get("definition") == text

    def left_behind(self) -> Iterator[Step]:
        """Yield what drops the constraints that tables keep from a parent, and should not have."""
        for table in self._before.names("table"):
            for own, text in self._kept(table).items():
                wanted = self._after.objects.get(f"constraint {table}.{own}", {})
                if wanted.get("definition") != text:
                    yield Step(
                        f"ALTER TABLE {table} DROP CONSTRAINT {own}",
                        Phase.DROP_KEY,
                        needs=(link_to_parents(table),),
                    )

    def leavers(self, table: str) -> tuple[str, ...]:
        """Return the places of the tables that leave one, which keep what they have of it."""
        return tuple(self._leavers.get(table, ()))

    @cached_property
    def _leavers(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for table in self._before.names("table"):
            if f"table {table}" in self._after.objects:
                now = parents(self._after, table)
                for parent in parents(self._before, table):
                    if parent not in now:
                        found.setdefault(parent, []).append(link_to_parents(table))
        return found

    def _kept(self, table: str) -> dict[str, str]:
        """Return the constraints of parents that a table leaves, and of none that it gets."""
        if f"table {table}" not in self._after.objects:
            return {}
        kept = self._apart(table, self._before, self._after)
        now = self._handed(self._after, table, parents(self._after, table))
        had = {own for own in kept if f"constraint {table}.{own}" in self._before.objects}
        return {own: text for own, text in kept.items() if own not in had and now.get(own) != text}

    def _apart(self, table: str, here: Catalog, there: Catalog) -> dict[str, str]:
        """Return what comes from the parents that a table has in one catalog alone."""
        others = parents(there, table) if f"table {table}" in there.objects else []
        apart = [each for each in parents(here, table) if each not in others]
        return self._handed(here, table, apart) if apart and others != apart else {}

    def _handed(self, catalog: Catalog, table: str, above: list[str]) -> dict[str, str]:
        is_partition = "partition_of" in catalog.objects.get(f"table {table}", {})
        keys = self._indexes.keys_of(table, catalog) if is_partition and above else {}
        return {**_of_parents(catalog, above, is_partition=is_partition), **keys}


def _of_parents(catalog: Catalog, above: list[str], *, is_partition: bool) -> dict[str, str]:
    """Return the checks of parents and theirs by name, of partitions' the foreign keys, too."""
    found: dict[str, str] = {}
    for parent in above:
        found |= _of_parents(catalog, parents(catalog, parent), is_partition=is_partition)
        for name in catalog.names("constraint"):
            of, own = split_name(name)
            text = str(catalog.objects[f"constraint {name}"]["definition"])
            is_check = text.startswith("CHECK") and " NO INHERIT" not in text
            if of == parent and (is_check or (is_partition and text.startswith("FOREIGN KEY"))):
                found[own] = text
    return found
