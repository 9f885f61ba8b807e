"""What defines a schema, as the server writes it, read in two round trips; and how two differ.

This alone decides what differs, whoever asks: check, drift, diff, new, push and the tests.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, NamedTuple

from psycopg import sql

from leadctl.journal.records import VERSION_TABLE
from leadctl.postgres import exact
from leadctl.postgres.connect import Connection
from leadctl.postgres.queries import queries_of, version_of

_QUERIES = queries_of(__file__, "definitions.sql")
_DEPENDENCIES = queries_of(__file__, "dependencies.sql")
OWN_KINDS = (
    "schema", "table", "view", "enum", "domain", "type", "collation", "sequence", "function"
)  # fmt: skip
"""Kinds that stand for themselves; indexes, constraints and the like go with their table."""

READS = 7
"""How much is read: what a schema was recorded with says which of it can be compared."""
_NEWER_KINDS = ("property", "namespace")
"""Kinds that 0.1, whose records are of 1, did not read."""
_ATTRIBUTES_SINCE = (
    (2, ("domain", "collation")), (2, ("constraint", "invalid")),
    (2, ("function", "aggregate_options")), (3, ("other", "comment")),
    (6, ("other", "details")), (6, ("other", "encodings")),
)  # fmt: skip
"""Attributes by kind, each with the records that have it first."""
OWN_NOT_NULL = "own NOT NULL of "
"""How a property begins that says of a column's NOT NULL that it is there beside a parent's."""
_BEGINNINGS_SINCE = (
    (4, "property inherited "), (5, "property own "), (7, "property unvalidated NOT NULL of ")
)  # fmt: skip
"""How keys begin, each with the records that have them first."""
_LATEST_KEYS = re.compile(
    r"property (?:rights of the owner|expression|identity|dependence|comment of trigger) "
    r"|grant sequence of |namespace .*(?: with grant option|rights of the owner)$"
)
"""What records of 5 do not have."""

USES, DEFAULT_USES = "uses", "default_uses"
"""Attributes that say which objects one uses, and which a column's default does, by their keys."""

NOT_COMPARED = (
    "other schemas", "owners", "tablespaces", "extensions", "languages", "foreign servers",
    "user mappings", "publications", "subscriptions", "event triggers", "access methods",
    "transforms", "text search parsers and templates", "default privileges of no schema",
    "large objects", "settings of the database", "security labels", "who granted a privilege",
    "privileges on base types",
    "names of NOT NULL constraints and of identity sequences", "order of columns",
)  # fmt: skip
"""What is no part of a definition or of the schema."""

_PART = re.compile(r'"(?:[^"]|"")*"|[^."]+')

Attributes = Mapping[str, Any]


@dataclass(frozen=True)
class Catalog:
    """The objects of a schema: `objects["table users"]` is the definition of the table users."""

    objects: Mapping[str, Attributes]

    def names(self, kind: str) -> list[str]:
        """Return the names of the objects of one kind, e.g. "table" or "other index", in order."""
        return list(self._names.get(kind, ()))

    @cached_property
    def _names(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for key in sorted(self.objects):
            kind, _, name = key.partition(" ")
            found.setdefault(kind, []).append(name)
            if kind == "other":
                kind_of_it, _, own = name.partition(" ")
                found.setdefault(f"other {kind_of_it}", []).append(own)
        return found

    def columns(self, table: str) -> dict[str, Attributes]:
        """Return the columns of a table or view by their names, as the server quotes both."""
        return self._columns.get(table, {})

    @cached_property
    def _columns(self) -> dict[str, dict[str, Attributes]]:
        found: dict[str, dict[str, Attributes]] = {}
        for key, attributes in self.objects.items():
            if key.startswith("column "):
                table, own = split_name(key.removeprefix("column "))
                found.setdefault(table, {})[own] = attributes
        return found

    def without(self, kind: str) -> "Catalog":
        """Return the catalog without the objects of one kind."""
        prefix = f"{kind} "
        return Catalog({k: v for k, v in self.objects.items() if not k.startswith(prefix)})

    def written(self) -> "Catalog":
        """Return what leadctl writes: all but base types."""
        return Catalog({k: v for k, v in self.objects.items() if not is_unwritten(k, v)})

    def as_of(self, reads: int) -> "Catalog":
        """Return what a record has that was made when less was read: see `READS`."""
        if reads >= READS:
            return self
        first = reads < 2
        newer = {each for since, each in _ATTRIBUTES_SINCE if reads < since}
        later = tuple(each for since, each in _BEGINNINGS_SINCE if reads < since)
        return Catalog(
            {
                key: {name: value for name, value in each.items() if (kind, name) not in newer}
                for key, each in self.objects.items()
                if (kind := key.partition(" ")[0]) not in _NEWER_KINDS * first
                and not (first and "part_of" in each)
                and not key.startswith(later)
                and not (reads < 6 and _LATEST_KEYS.match(key))
            }
        )

    def only(self, kind: str) -> "Catalog":
        """Return the objects of one kind."""
        prefix = f"{kind} "
        return Catalog({k: v for k, v in self.objects.items() if k.startswith(prefix)})


def is_unwritten(key: str, attributes: Attributes | None) -> bool:
    """Whether an object is one that leadctl finds, and does not write.

    It is a base type, or an operator or the like in a record that does not say how it is made.
    """
    return key.startswith("other ") and not {"part_of", "written"} & (attributes or {}).keys()


def read_names(
    connection: Connection,
    schema: str,
    ignore: Sequence[str] = (VERSION_TABLE,),
    also: Sequence[str] = (),
) -> set[str]:
    """Return what stands for itself in a schema, as `kind name`: cheap at any size.

    `also` are further schemas, as `read_catalog` has them.
    """
    query = _union(connection, OWN_KINDS, sql.SQL("q.name"))
    return {
        f"{kind} {name}"
        for parameters in _parameters(connection, schema, ignore, also)
        for kind, name in exact.execute(connection, query, parameters)
    }


def read_catalog(
    connection: Connection,
    schema: str,
    ignore: Sequence[str] = (VERSION_TABLE,),
    also: Sequence[str] = (),
    kinds: Iterable[str] | None = None,
) -> Catalog:
    """Read everything that defines a schema, or objects of some kinds, in two round trips.

    The connection's search path must be exactly the schema: definitions are read unqualified.
    Of further schemas, those in `also` that exist, the names are qualified.
    """
    wanted = tuple(kinds or _kinds())
    return Catalog(
        {
            f"{kind} {name}": attributes
            for parameters in _parameters(connection, schema, ignore, also)
            for kind, name, attributes in _read_present(connection, wanted, parameters)
        }
    )


def _read_present(
    connection: Connection, kinds: Iterable[str], parameters: Mapping[str, Any]
) -> Iterable[tuple[Any, ...]]:
    """Read objects of some kinds in a schema; the server plans no reading of what it lacks."""
    absent = _DEPENDENCIES.column(connection, "absent", schema=parameters["schema"])
    present = [kind for kind in kinds if kind not in absent]
    if not present:
        return ()
    query = _union(connection, present, sql.SQL("q.name, q.attributes"))
    return exact.execute(connection, query, parameters)


def each_of(connection: Connection, ignore: Sequence[str]) -> tuple[str, Mapping[str, Any]]:
    """Return what `exact.fetch_each` reads definitions by, and its values; see `catalog_of`."""
    query = _union(connection, _kinds(), sql.SQL("q.name, q.attributes"), "leadctl_of.place")
    named = sql.SQL("SELECT * FROM ({}) AS q (kind, name, attributes)").format(query)
    return named.as_string(connection), {"ignore": list(ignore), "prefix": ""}


def catalog_of(rows: Iterable[Mapping[str, Any]]) -> Catalog:
    """Return the catalog that rows of `each_of` are."""
    return Catalog({f"{row['kind']} {row['name']}": row["attributes"] for row in rows})


def _kinds() -> Iterable[str]:
    return dict.fromkeys(block.name for block in _QUERIES.blocks)


def with_uses(
    connection: Connection, catalog: Catalog, schema: str, also: Sequence[str] = ()
) -> Catalog:
    """Return what was read of these schemas, each object with what it uses, as `USES` has it."""
    home = sql.Identifier(schema).as_string(connection)
    objects = {key: {USES: [], **each} for key, each in catalog.objects.items()}
    for key, used in _DEPENDENCIES.rows(connection, "uses", home=home, schemas=[schema, *also]):
        name, what = key, USES
        if key.startswith("default "):
            name, what = f"column {key.removeprefix('default ')}", DEFAULT_USES
        if name in objects:
            objects[name] = {**objects[name], what: used}
    return Catalog(objects)


def published(connection: Connection, schema: str, also: Sequence[str]) -> list[tuple[str, str]]:
    """Return what makes publications like those that name columns, each with its table."""
    schemas = [schema, *also]
    return _DEPENDENCIES.rows(connection, "published", home=schema, schemas=schemas)


def _union(
    connection: Connection, kinds: Iterable[str], columns: sql.SQL, schema: str = "%(schema)s"
) -> sql.Composed:
    version = version_of(connection)
    return sql.SQL(" UNION ALL ").join(
        sql.SQL("SELECT {}, {} FROM ({}) AS q (name, attributes)").format(
            kind, columns, _QUERIES.statement(kind, version, schema=schema)
        )
        for kind in kinds
    )


def _parameters(
    connection: Connection, schema: str, ignore: Sequence[str], also: Sequence[str]
) -> Iterator[dict[str, Any]]:
    quoted = sql.Identifier(schema).as_string(connection)
    yield {"schema": quoted, "ignore": list(ignore), "prefix": ""}
    if also:
        existing = exact.execute(
            connection,
            "SELECT quote_ident(nspname) FROM pg_namespace WHERE nspname = ANY (%s) ORDER BY 1",
            (list(also),),
        ).fetchall()
        for (name,) in existing:
            theirs = [each for each in ignore if getattr(each, "schema", None) == name]
            yield {"schema": name, "ignore": theirs, "prefix": f"{name}."}


def owner(key: str, attributes: Attributes) -> str | None:
    """Return the table or view that an object is a part of, as the server quotes its name."""
    kind, _, name = key.partition(" ")
    if kind in {"grant", "property"}:
        kind, _, name = str(attributes["of"]).partition(" ")
        if kind in {"table", "view"}:
            return name
    if kind in {"column", "constraint", "trigger", "policy", "rule"}:
        return split_name(name)[0]
    return str(attributes["table"]) if "table" in attributes else None


def containing_table(key: str, attributes: Attributes) -> str | None:
    """Return the table or view that an object comes and goes with: its owner, or a sequence's."""
    column = attributes.get("owned_by")
    return split_name(str(column))[0] if column else owner(key, attributes)


def split_name(name: str) -> list[str]:
    """Return the parts of `table.column`, each quoted as it was; a table's may be qualified."""
    *path, own = _PART.findall(name)
    return [".".join(path), own] if path else [own]


class KeyReference(NamedTuple):
    """The parts of a foreign key's definition, as the server writes it."""

    columns: str
    """Its own, with commas between them."""
    table: str
    """The one that it refers to; empty for another constraint."""
    referred: str
    """That one's columns."""


def key_reference(definition: str) -> KeyReference:
    """Read the definition of a constraint as a foreign key's."""
    own, _, rest = definition.partition(" REFERENCES ")
    table, _, referred = rest.partition("(")
    return KeyReference(own.partition("(")[2], table.strip(), referred.partition(")")[0])


_BESIDE = (
    "position", "not_null", "required_by", "written", "reference", "extensions", USES, DEFAULT_USES
)  # fmt: skip
"""What objects are written by, and in what order, but nothing that they differ in."""
_BESIDE_PROPERTY = (*_BESIDE, "of")


class Difference(NamedTuple):
    """One difference between two catalogs: an object that is missing, extra or defined otherwise.

    `change` is "missing" (only the first has it), "extra" (only the second has it) or "changed".
    """

    object: str
    change: str
    before: Attributes | None = None
    after: Attributes | None = None

    @property
    def attributes(self) -> list[str]:
        """The attributes that differ in a changed object."""
        old, new = definition(self.before) or {}, definition(self.after) or {}
        if self.change != "changed":
            return []
        return sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))


def differing(before: Catalog, after: Catalog) -> set[str]:
    """Return the keys of what two catalogs differ in."""
    return {
        key
        for key in before.objects.keys() | after.objects.keys()
        if (old := before.objects.get(key)) != (new := after.objects.get(key))
        and (old is None or new is None or definition(old) != definition(new))
    }


def compare(before: Catalog, after: Catalog) -> list[Difference]:
    """Return what differs, by object, in a stable order; empty where the catalogs are equal.

    The parts of a table that is missing or extra as a whole are not listed one by one.
    """
    differences = []
    for key in sorted(differing(before, after)):
        old, new = before.objects.get(key), after.objects.get(key)
        change = "missing" if new is None else "extra" if old is None else "changed"
        differences.append(Difference(key, change, _without_uses(old), _without_uses(new)))
    tables = {each.object.removeprefix("table ") for each in differences if _is_whole_table(each)}
    return [
        each
        for each in differences
        if _is_whole_table(each)
        or owner(each.object, each.before or each.after or {}) not in tables
    ]


def dropped_tables(differences: Iterable[Difference]) -> list[str]:
    """Return the tables that are missing as a whole, as the server quotes their names."""
    return [
        each.object.removeprefix("table ")
        for each in differences
        if each.change == "missing" and each.object.startswith("table ")
    ]


def named(differences: Iterable[Difference]) -> str:
    """Return how each object differs, in a line."""
    return ", ".join(f"{each.change} {each.object}" for each in differences)


def without_grants(differences: Iterable[Difference]) -> list[Difference]:
    """Return differences without those of privileges.

    The server may grant some by itself on what is new (ALTER DEFAULT PRIVILEGES), so that between
    something that was just made and what it was made of they tell nothing.
    """
    granted = ("grant ", "namespace ", "property rights of the owner ")
    return [each for each in differences if not each.object.startswith(granted)]


def definition(attributes: Attributes | None) -> Attributes | None:
    """Return what defines an object, without what two equal ones may differ in."""
    if attributes is None:
        return None
    ignored = _BESIDE_PROPERTY if "undo" in attributes else _BESIDE
    return {
        # Options have an order by which they were set, and nothing else by it.
        name: sorted(value) if name == "options" else _settled(value)
        for name, value in attributes.items()
        if name not in ignored
    }


def _without_uses(attributes: Attributes | None) -> Attributes | None:
    if attributes is None or not attributes.keys() & {USES, DEFAULT_USES}:
        return attributes
    return {key: value for key, value in attributes.items() if key not in {USES, DEFAULT_USES}}


_OPTION = re.compile(r"""("(?:[^"]|"")+"|[\w$]+) (E?'(?:[^']|'')*')""")


def foreign_options(foreign: str) -> dict[str, str]:
    """Return the options of a foreign table, as `foreign` of its definition has them."""
    return dict(_OPTION.findall(foreign.partition(" OPTIONS (")[2]))


_NAME = r'(?:"(?:[^"]|"")+"|[\w$]+)'
_ON_COLUMNS = re.compile(rf"(?<= ON ){_NAME}(?:, {_NAME})*(?=, \(| FROM )")
_ITEM = r"'(?:[^']|'')*'::character varying"
_LISTS = (
    (re.compile(rf"\(ARRAY\[({_ITEM}(?:, {_ITEM})*)\]\)::text\[\]"), r"(\g<0>)::text"),
    (re.compile(rf"ARRAY\[({_ITEM}(?:, {_ITEM})*)\]::text\[\]"), r"\g<0>::text"),
)


def _settled(value: Any) -> Any:
    """Return a definition as the server writes it when it has read its own text again.

    `c IN ('a', 'b')` of a varchar is an array that is cast, and then one whose items are.  The
    columns of a statistics object stand in the order of the table's, which tables do not differ in.
    """
    if isinstance(value, Mapping):
        return {name: _settled(each) for name, each in value.items()}
    if not isinstance(value, str):
        return value
    if value.startswith("SERVER "):
        return [value.partition(" OPTIONS (")[0], foreign_options(value)]
    if value.startswith("CREATE STATISTICS "):
        return _ON_COLUMNS.sub(lambda found: ", ".join(sorted(found[0].split(", "))), value, 1)
    if "::text[]" not in value:
        return value
    for pattern, item in _LISTS:
        value = pattern.sub(partial(_with_items, item), value)
    return value


def _with_items(item: str, found: re.Match[str]) -> str:
    return f"ARRAY[{re.sub(_ITEM, item, found[1])}]"


def _is_whole_table(difference: Difference) -> bool:
    return difference.object.startswith("table ") and difference.change != "changed"
