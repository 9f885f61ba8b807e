"""The indexes of partitions that are parts of their parents': names, and which one it is.

PostgreSQL makes them with the parent's index or with the partition, by names of its own, unless
one that matches is there already.  None can be taken out again but with its parent's.
"""

import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from itertools import count

from leadctl.catalog.definitions import Attributes, Catalog, definition, owner, split_name
from leadctl.migrate.ddl.steps import Phase, Step, identifier, plain
from leadctl.migrate.ddl.table_copies import link_to_parents
from leadctl.migrate.ddl.tables import parents
from leadctl.postgres import LONGEST_NAME
from leadctl.sql.lexer import tokens

_COLUMNS = re.compile(r"\((?P<columns>.*?)\)(?: INCLUDE| WITH| WHERE| NULLS|$)")
_INCLUDED = re.compile(r"\) INCLUDE \((?P<columns>.*?)\)(?: WITH| WHERE| NULLS|$)")
_DETACHED = (
    "An index of its parent rests on a key of its own, and goes: it is attached again after that."
)


class PartitionIndexes:
    """The indexes of partitions in two catalogs."""

    def __init__(self, before: Catalog, after: Catalog) -> None:
        self._before, self._after = before.objects, after.objects
        self._catalogs = (before, after)

    @cached_property
    def recreated(self) -> set[str]:
        """The keys of the indexes and keys of parents of which another index is to be a part."""
        then, now = self._parts
        found = set()
        for key in then.keys() & now.keys():
            old, new = then[key], now[key]
            table, parent_index = key
            taken = self._is_own_key(table, old, self._before) or f"index {old}" in self._after
            if old != new and (taken or self._is_own_key(table, new, self._after)):
                found |= {
                    self._root(parent_index, self._before),
                    self._root(parent_index, self._after),
                }
        return found & self._before.keys() & self._after.keys()

    @cached_property
    def _parts(self) -> list[dict[tuple[str, str], str]]:
        """The index of each partition that is a part of each of its parent's, before and after."""
        return [
            {
                (str(each["table"]), str(each["part_of"])): key.removeprefix("other index ")
                for key, each in objects.items()
                if key.startswith("other index ") and "part_of" in each
            }
            for objects in (self._before, self._after)
        ]

    @cached_property
    def _by_parent(self) -> list[dict[str, list[tuple[str, str]]]]:
        """The tables and indexes that are parts, by what they are parts of."""
        both: list[dict[str, list[tuple[str, str]]]] = []
        for parts in self._parts:
            found: dict[str, list[tuple[str, str]]] = {}
            for (table, parent_index), part in parts.items():
                found.setdefault(parent_index, []).append((table, part))
            both.append(found)
        return both

    @cached_property
    def _of_table(self) -> Mapping[str, list[str]]:
        """The keys of the indexes and constraints of each table afterwards."""
        found: dict[str, list[str]] = {}
        for key, each in self._after.items():
            if key.startswith(("index ", "constraint ")):
                found.setdefault(owner(key, each) or "", []).append(key)
        return found

    def of(self, parent_index: str) -> tuple[str, ...]:
        """Return the keys of what are to be parts of an index or key, if made before it."""
        found = []
        for table, part in self._by_parent[1].get(_index_name(parent_index), ()):
            found += [f"other index {part}", f"constraint {table}.{split_name(part)[-1]}"]
        return tuple(found)

    def before_parent(self, name: str, table: str) -> tuple[str, ...]:
        """Return what must be made before an index of a partition, lest it becomes a part of it."""
        if f"other index {name}" in self._after:
            return ()
        found: list[str] = []
        above = parents(self._catalogs[1], table)
        while above:
            found += [key for each in above for key in self._of_table.get(each, ())]
            above = [each for table in above for each in parents(self._catalogs[1], table)]
        return tuple(found)

    def becomes_a_part(self, index: str) -> bool:
        """Whether an index of a table is to be a part of one of its parent's, or was one."""
        was = self._before.get(f"index {index}", {})
        return f"other index {index}" in self._after and self._tail_of_part(index, self._after) in {
            "",
            _tail(was),
        }

    def stays_as_its_own(self, name: str) -> bool:
        """Whether the index of a partition is what it is to have once it is none any more."""
        wanted = self._after.get(f"index {name}")
        if wanted is None or not self._left_by(name):
            return False
        return _tail(wanted) == self._tail_of_part(name, self._before)

    def _tail_of_part(self, name: str, objects: Mapping[str, Attributes]) -> str:
        """Return what an index that is a part is, but for its name and table; "" for a key's."""
        part = objects.get(f"other index {name}", {})
        return _tail(objects.get(self._root(str(part.get("part_of")), objects), {}))

    def left_behind(self, name: str) -> Iterator[Step]:
        """Yield what drops the index of a partition that stays where it leaves, and should not."""
        table = self._left_by(name)
        is_key = not self._tail_of_part(name, self._before)
        if table and not is_key and not self.stays_as_its_own(name):
            yield Step(f"DROP INDEX {name}", Phase.DROP_KEY, needs=(link_to_parents(table),))

    def keys_of(self, table: str, catalog: Catalog) -> dict[str, str]:
        """Return the keys that a partition has with its parent: their names and definitions."""
        objects = catalog.objects
        parts = self._parts[objects is self._after]
        roots = {
            split_name(part)[-1]: self._root(parent_index, objects)
            for (of, parent_index), part in parts.items()
            if of == table
        }
        return {
            own: str(objects[root]["definition"])
            for own, root in roots.items()
            if root.startswith("constraint ")
        }

    def _left_by(self, name: str) -> str:
        """Return the table of a part, where that leaves the tables that the whole is of."""
        part = self._before.get(f"other index {name}", {})
        table = str(part.get("table", ""))
        if "part_of" not in part or f"table {table}" not in self._after:
            return ""
        if f"other index {name}" in self._after:
            return ""
        now = self._after[f"table {table}"].get("partition_of")
        return table if self._before[f"table {table}"].get("partition_of") != now else ""

    def make(
        self, name: str, old: Attributes | None, new: Attributes, coming: set[str]
    ) -> Iterator[Step]:
        """Yield what makes the index of a partition that is a part of another.

        `coming` are the keys of what is made or made again.
        """
        table, parent_index = str(new["table"]), str(new["part_of"])
        root = self._root(parent_index, self._after)
        if definition(old) == definition(new) and root not in coming:
            return
        text = self._after.get(root, {}).get("definition")
        if text is None or self._is_own_key(table, name, self._after):
            return
        key, own = f"other index {name}", split_name(name)[-1]
        stays = self._stays_below(table, root)
        was_plain = self.becomes_a_part(name) and f"index {name}" in self._before
        if self._is_put_together(root, coming):
            if old is None or root in coming:
                yield from self._put_together(name, new, root, was_plain=was_plain)
        elif was_plain:
            if stays and root not in coming:
                yield Step(
                    f"ALTER INDEX {parent_index} ATTACH PARTITION {name}", Phase.INDEX, (key,)
                )
        elif stays and root not in coming:
            yield Step(_of_partition(text, own, table), Phase.INDEX, (key,))
            statement = f"ALTER INDEX {parent_index} ATTACH PARTITION {name}"
            yield Step(statement, Phase.INDEX, needs=(key,))
        elif plain(own) != (usual := _usual_name(table, text)):
            anew = not stays or f"table {self._table(root)}" in coming
            yield _by_its_name(name, table, text, root, usual if anew else None)

    def _put_together(
        self, name: str, new: Attributes, root: str, *, was_plain: bool
    ) -> Iterator[Step]:
        """Yield what makes a part of what is ON ONLY, or takes what is there (`was_plain`)."""
        key, own = f"other index {name}", split_name(name)[-1]
        text = self._after[root]["definition"]
        if not was_plain:
            yield Step(_of_partition(text, own, new["table"]), Phase.INDEX, (key,))
        elif root.startswith("constraint "):
            kind = "PRIMARY KEY" if text.startswith("PRIMARY KEY") else "UNIQUE"
            form = f"ALTER TABLE {new['table']} ADD CONSTRAINT {own} {kind} USING INDEX {own}"
            yield Step(form, Phase.KEY, (key,))
        needs = (key, root, f"other index {new['part_of']}")
        statement = f"ALTER INDEX {new['part_of']} ATTACH PARTITION {name}"
        yield Step(statement, Phase.CONSTRAINT, needs=needs)

    def own_keys(self, table: str) -> tuple[str, ...]:
        """Return the keys of a partition's own that its parents' indexes are to rest on."""
        return tuple(
            f"constraint {table}.{split_name(part)[-1]}"
            for (of, _), part in self._parts[1].items()
            if of == table and self._is_own_key(table, part, self._after)
        )

    def _is_put_together(self, root: str, coming: set[str]) -> bool:
        """Whether an index or key is, or was, ON ONLY, and gets its parts one by one."""
        if root in coming:
            return "invalid" in self._after[root]
        return "invalid" in self._before.get(root, {})

    def free(self, parent_index: str) -> Iterator[Step]:
        """Yield what takes partitions away whose keys an index that goes rests on, and back."""
        for table, part in self._by_parent[0].get(_index_name(parent_index), ()):
            if not self._is_own_key(table, part, self._before):
                continue
            if f"table {table}" not in self._after or not self._is_attached(table):
                continue
            attributes = self._after[f"table {table}"]
            parent = attributes["partition_of"]
            detach = f"ALTER TABLE {parent} DETACH PARTITION {table}"
            yield Step(detach, Phase.DROP_DEPENDENT, why=_DETACHED)
            attach = (
                f"ALTER TABLE {parent} ATTACH PARTITION {table} {attributes['partition_bound']}"
            )
            yield Step(attach, Phase.DEFINE)

    def _stays_below(self, table: str, root: str) -> bool:
        """Whether a partition was already below the table whose index or key is the `root`."""
        while self._is_attached(table):
            table = str(self._after[f"table {table}"]["partition_of"])
            if table == self._table(root):
                return True
        return False

    def _is_attached(self, table: str) -> bool:
        """Whether a table is a partition of the same table before and after."""
        sides = (each.get(f"table {table}", {}) for each in (self._before, self._after))
        then, now = (each.get("partition_of") for each in sides)
        return then is not None and then == now

    def _is_own_key(self, table: str, index: str, objects: Mapping[str, Attributes]) -> bool:
        return f"constraint {table}.{split_name(index)[-1]}" in objects

    def _root(self, parent_index: str, objects: Mapping[str, Attributes]) -> str:
        """Return the key of the index or constraint that an index is in the end a part of."""
        while (above := objects.get(f"other index {parent_index}")) is not None:
            parent_index = str(above["part_of"])
        if f"index {parent_index}" in objects:
            return f"index {parent_index}"
        return self._by_name[objects is self._after].get(parent_index, "")

    @cached_property
    def _by_name(self) -> list[dict[str, str]]:
        """The key of each index, or of the key that has it, by its name: before and afterwards."""
        sides = (self._before, self._after)
        return [{_index_name(key): key for key in reversed(list(each))} for each in sides]

    def _table(self, root: str) -> str:
        each = self._after[root]
        return str(each.get("table") or split_name(root.partition(" ")[2])[0])


def _by_its_name(name: str, table: str, text: str, root: str, usual: str | None) -> Step:
    """Return what gives a part its name: made before its parent's, or renamed from the `usual`."""
    key, own = f"other index {name}", split_name(name)[-1]
    if usual is None:
        phase = Phase.KEY if root.startswith("constraint ") else Phase.INDEX
        return Step(_of_partition(text, own, table), phase, (key,))
    statement = f"ALTER INDEX {name.removesuffix(own)}{identifier(usual)} RENAME TO {own}"
    return Step(statement, Phase.DEPENDENT, (key,), needs=(f"table {table}", root))


def _index_name(key: str) -> str:
    """Return the name of an index, or of the one that a key has; else nothing."""
    kind, _, name = key.partition(" ")
    if kind == "constraint":
        table, own = split_name(name)
        return f"{table.removesuffix(split_name(table)[-1])}{own}"
    return name if kind == "index" else ""


def _tail(index: Attributes) -> str:
    """Return what the text of an index says besides its name and its table; "" of a key's."""
    text = str(index.get("definition", ""))
    head, using, rest = text.partition(" USING ")
    return f"{'UNIQUE' in head.partition(' INDEX ')[0]}{using}{rest}" if using else ""


def _of_partition(text: str, own: str, table: str) -> str:
    """Return what makes for a partition what its parent's index or key is."""
    if text.startswith("CREATE "):
        head, _, rest = text.partition(" ON ")
        unique = "UNIQUE " if head.startswith("CREATE UNIQUE") else ""
        using = rest[rest.index(" USING ") :].replace(" USING btree ", " ", 1)
        return f"CREATE {unique}INDEX {own} ON {table}{using}"
    return f"ALTER TABLE {table} ADD CONSTRAINT {own} {text}"


def _items(text: str) -> list[str]:
    """Return the items of a list with commas, where no bracket or quote is open."""
    items, depth, begun = [], 0, 0
    for token in tokens(text):
        depth += token.text.count("(") - token.text.count(")") if token.text in {"(", ")"} else 0
        if token.text == "," and not depth:
            items.append(text[begun : token.start])
            begun = token.start + 1
    return [each.strip() for each in (*items, text[begun:]) if each.strip()]


def _usual_name(table: str, text: str) -> str:
    """Return what PostgreSQL calls the index of a partition, as long as that is free.

    https://github.com/postgres/postgres/blob/master/src/backend/commands/indexcmds.c,
    ChooseIndexName
    """
    if text.startswith("PRIMARY KEY"):
        return f"{plain(table)}_pkey"
    kind = "idx" if text.startswith("CREATE ") else "key"
    kind = "excl" if text.startswith("EXCLUDE") else kind
    lists = filter(None, (each.search(text) for each in (_COLUMNS, _INCLUDED)))
    names: list[str] = []
    for each in _items(", ".join(found["columns"] for found in lists)):
        name = _column_name(each)
        numbered = (f"{name}{number}" for number in count(1))
        names.append(name if name not in names else next(n for n in numbered if n not in names))
    return "_".join([plain(table), *names, kind])[:LONGEST_NAME]


_BARE = re.compile(r'(?P<name>"(?:[^"]|"")+"|\w+)(?P<called>\()?')
_CAST = re.compile(r'\(+(?P<name>"(?:[^"]|"")+"|\w+)\)*::')


def _column_name(item: str) -> str:
    """Return what PostgreSQL calls a column of an index: an expression after what it calls."""
    found = _BARE.match(item) or _CAST.match(item)
    return plain(found["name"]) if found else "expr"
