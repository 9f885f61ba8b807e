"""What must be dropped and made again although it stays as it is: it rests on what changes."""

from collections.abc import Mapping

from leadctl.db.catalog import Attributes, Catalog, definition, owner, split_name
from leadctl.operations.migrate.writer import values
from leadctl.operations.migrate.writer.definitions import alter, create
from leadctl.operations.migrate.writer.order import mentions, plain
from leadctl.operations.migrate.writer.tables import must_be_added_anew

_RESTING = {"view", "policy", "trigger", "index", "constraint", "statistics", "function"}


def rebuilt(before: Catalog, after: Catalog) -> set[str]:
    """Return the keys of objects that both have, and that must be made anew."""
    return _Rebuilt(before, after).find()


class _Rebuilt:
    def __init__(self, before: Catalog, after: Catalog) -> None:
        self._before = before
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
        return {key for key in self._found if not key.startswith("enum ")}

    def _changes_as_a_whole(self, key: str) -> bool:
        kind, _, name = key.partition(" ")
        old, new = self._both[key], self._after[key]
        if definition(old) == definition(new):
            return False
        if kind == "enum":
            return values.added(name, old["values"], new["values"]) is None
        if kind == "column":
            return must_be_added_anew(old, new)
        return kind != "table" and alter(kind, name, old, new) is None

    def _touched_columns(self) -> Mapping[str, set[str]]:
        touched: dict[str, set[str]] = {}
        for key, old in self._both.items():
            if not key.startswith("column "):
                continue
            new = self._after[key]
            if old["type"] != new["type"] or key in self._found or _of_enum(old, self._found):
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
        if kind in {"view", "policy", "trigger", "statistics"}:
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
        """Whether a foreign key refers to a table of which a key is dropped or made anew."""
        words = mentions(attributes["definition"].partition("REFERENCES")[2])
        for key, each in self._before.objects.items():
            is_key = key.startswith("constraint ") and each["definition"].startswith(
                ("PRIMARY", "UNIQUE")
            )
            is_key = is_key or (
                key.startswith("index ") and each["definition"].startswith("CREATE UNIQUE")
            )
            if is_key and plain(owner(key, each) or "") in words:
                gone = definition(each) != definition(self._after.get(key))
                if gone or key in self._found:
                    return True
        return False


def _of_enum(column: Attributes, found: set[str]) -> bool:
    return f"enum {column['type'].removesuffix('[]')}" in found


def _is_named(key: str) -> bool:
    return key.startswith(("view ", "function ", "enum "))


def _words(key: str, attributes: Attributes) -> set[str]:
    """Return what a definition names."""
    kind, _, name = key.partition(" ")
    if kind == "column":
        return mentions(attributes["generated"])
    return mentions(create(kind, name, attributes))
