"""What must be dropped and made again although it stays as it is: it rests on what changes."""

from collections.abc import Mapping

from leadctl.catalog.definitions import Attributes, Catalog, definition, owner, split_name
from leadctl.migrate.ddl.objects import alter, create
from leadctl.migrate.ddl.order import mentions, plain
from leadctl.migrate.ddl.replaced import KINDS, of_replaced
from leadctl.migrate.ddl.tables import must_be_added_anew

_RESTING = {"view", "policy", "trigger", "rule", "index", "constraint", "statistics", "function"}


def rebuilt(before: Catalog, after: Catalog, replaced: list[str]) -> set[str]:
    """Return the keys of objects that both have, and that must be made anew.

    `replaced` are types that are, too, in a way of their own: they are not returned.
    """
    return _Rebuilt(before, after, replaced).find()


class _Rebuilt:
    def __init__(self, before: Catalog, after: Catalog, replaced: list[str]) -> None:
        self._before = before
        self._replaced = replaced
        self._both = {
            key: attributes for key, attributes in before.objects.items() if key in after.objects
        }
        self._after = after.objects
        self._words = {
            key: _words(key, attributes)
            for key, attributes in self._both.items()
            if key.partition(" ")[0] in _RESTING or "generated" in attributes
        }
        self._found: set[str] = set()

    def find(self) -> set[str]:
        self._found = {key for key in self._both if self._changes_as_a_whole(key)}
        self._found |= set(self._replaced)
        names = {plain(key.partition(" ")[2]) for key in self._found if _is_named(key)}
        columns = self._touched_columns()
        unseen = True
        while unseen:
            resting = {
                key
                for key in self._words.keys() - self._found
                if self._rests_on(key, names, columns)
            }
            unseen = bool(resting)
            self._found |= resting
            names |= {plain(key.partition(" ")[2]) for key in resting if _is_named(key)}
            columns = self._touched_columns()
        granted = {
            key
            for key, each in self._both.items()
            if key.startswith("grant ") and each["of"] in self._found
        }
        return (self._found | granted) - set(self._replaced)

    def _changes_as_a_whole(self, key: str) -> bool:
        kind, _, name = key.partition(" ")
        old, new = self._both[key], self._after[key]
        if definition(old) == definition(new) or kind in {"enum", "table"}:
            return False
        if kind == "column":
            return must_be_added_anew(old, new)
        return alter(kind, name, old, new) is None

    def _touched_columns(self) -> Mapping[str, set[str]]:
        touched: dict[str, set[str]] = {}
        for key, old in self._both.items():
            if not key.startswith("column "):
                continue
            new = self._after[key]
            of_replaced_type = of_replaced(old["type"], self._replaced)
            if old["type"] != new["type"] or key in self._found or of_replaced_type:
                table, column = split_name(key.removeprefix("column "))
                touched.setdefault(plain(table), set()).add(plain(column))
        return touched

    def _rests_on(self, key: str, names: set[str], columns: Mapping[str, set[str]]) -> bool:
        kind, _, name = key.partition(" ")
        attributes, words = self._both[key], self._words[key]
        if kind == "function":
            return bool(words & names - {plain(name)})
        if kind == "column":
            parent, column = split_name(name)
            return bool(words & columns.get(plain(parent), set()) - {plain(column)})
        if kind == "constraint" and "FOREIGN KEY" in attributes["definition"]:
            return self._rests_on_key(attributes)
        table = owner(key, attributes)
        if kind in {"view", "policy", "trigger", "rule", "statistics"}:
            tables = words if kind == "view" else {plain(table or "")}
            if any(words & columns[each] for each in tables if each in columns):
                return True
        elif f"view {table}" in self._found or words & self._anew_columns(table or ""):
            return True  # it goes with what it is on
        own = {plain(name)} | ({plain(table)} if table else set())
        return bool(words & (names - own))

    def _anew_columns(self, table: str) -> set[str]:
        return {
            plain(split_name(key.removeprefix("column "))[1])
            for key in self._found
            if key.startswith("column ") and owner(key, {}) == table
        }

    def _rests_on_key(self, attributes: Attributes) -> bool:
        """Whether a foreign key rests on a key that is dropped or made anew."""
        table, columns = _referenced(attributes["definition"])
        for key, each in self._before.objects.items():
            is_key = key.startswith(("constraint ", "index ")) and each["definition"].startswith(
                ("PRIMARY", "UNIQUE", "CREATE UNIQUE")
            )
            if is_key and plain(owner(key, each) or "") == table:
                gone = definition(each) != definition(self._after.get(key)) or key in self._found
                if gone and columns <= mentions(each["definition"]):
                    return True
        return False


def _referenced(foreign_key: str) -> tuple[str, set[str]]:
    """Return the table and the columns that a foreign key refers to."""
    name, _, rest = foreign_key.partition("REFERENCES ")[2].partition("(")
    return plain(name.strip()), mentions(rest.partition(")")[0])


def _is_named(key: str) -> bool:
    return key.partition(" ")[0] in {"view", "function", *KINDS}


def _words(key: str, attributes: Attributes) -> set[str]:
    """Return what a definition names."""
    kind, _, name = key.partition(" ")
    if kind == "column":
        return mentions(attributes["generated"])
    return mentions(create(kind, name, attributes))
