"""The statements that create and change tables and their columns."""

import re
from collections.abc import Iterator, Mapping, Sequence

from leadctl.catalog.definitions import (
    Attributes,
    Catalog,
    definition,
    foreign_options,
    split_name,
)
from leadctl.errors import OperationFailed
from leadctl.migrate.ddl.objects import LARGEST, cannot_go_on
from leadctl.migrate.ddl.steps import Phase, Step, literal, mentions, plain

Columns = Sequence[tuple[str, Attributes]]
_TEXT = ("text", "character varying", "character", "citext", "name")
_NUMBERS = ("smallint", "integer", "bigint", "numeric", "real", "double precision")
_TIMES = ("date", "timestamp", "time", "interval")
_WIDER = {
    "smallint": ("integer", "bigint", "numeric", "real", "double precision"),
    "integer": ("bigint", "numeric", "double precision", "smallint"),
    "bigint": ("numeric", "integer", "smallint"),
    "real": ("double precision",),
    "date": ("timestamp without time zone", "timestamp with time zone"),
    "timestamp without time zone": ("timestamp with time zone",),
    "timestamp with time zone": ("timestamp without time zone",),
}
"""What a type's values survive: in the other type they are the same, or refused."""
_SERIALS = {"smallint": "smallserial", "integer": "serial", "bigint": "bigserial"}
_START = re.compile(r"START WITH (-?\d+)")


def create_table(
    name: str, attributes: Attributes, columns: Columns, constraints: Columns = ()
) -> str:
    """Return the statement that creates a table with its columns and some of its constraints.

    Of a partition, `columns` are those with a NOT NULL of its own.
    """
    kind = {"unlogged": "UNLOGGED "}.get(attributes.get("persistence", ""), "")
    kind = "FOREIGN " if "foreign" in attributes else kind
    ordered = sorted(columns, key=lambda column: column[1].get("position", 0))
    parts = [column(own, each) for own, each in ordered]
    parts += [f"CONSTRAINT {own} {each['definition']}" for own, each in constraints]
    lines = ",\n".join(f"    {part}" for part in parts)
    parts = [f"CREATE {kind}TABLE {name}"]
    if "partition_of" in attributes:
        required = ", ".join(f"{own} NOT NULL" for own, _ in ordered)
        parts.append(f"PARTITION OF {attributes['partition_of']}")
        parts += [f"({required})"] if required else []
        parts.append(attributes["partition_bound"])
    else:
        parts.append(f"(\n{lines}\n)" if lines else "()")
    if "inherits" in attributes:
        parts.append(f"INHERITS ({', '.join(attributes['inherits'])})")
    if "partition_key" in attributes:
        parts.append(f"PARTITION BY {attributes['partition_key']}")
    if "options" in attributes:
        parts.append(f"WITH ({', '.join(attributes['options'])})")
    if "foreign" in attributes:
        parts.append(attributes["foreign"])
    return " ".join(parts)


def parents(catalog: Catalog, table: str) -> list[str]:
    """Return what a table is a partition of, or inherits from."""
    attributes = catalog.objects.get(f"table {table}", {})
    return [*filter(None, [attributes.get("partition_of")]), *attributes.get("inherits", ())]


def ancestors(catalog: Catalog, table: str) -> Iterator[str]:
    """Yield the parents of a table, and theirs."""
    for parent in parents(catalog, table):
        yield parent
        yield from ancestors(catalog, parent)


def inherited_column(catalog: Catalog, table: str, column: str) -> Attributes | None:
    """Return a column that a table has from its parent: a partition's, or one of inheritance."""
    for parent in parents(catalog, table):
        found = catalog.objects.get(f"column {parent}.{column}")
        found = found or inherited_column(catalog, parent, column)
        if found is not None:
            return found
    return None


def within_tables(before: Catalog, after: Catalog) -> list[str]:
    """Return the keys of the constraints that can be written within CREATE TABLE.

    Not foreign keys, which may go in a circle, nor what calls functions, which may need the table,
    nor a second key of the same columns, which CREATE TABLE drops without a word.
    """
    functions = {plain(name) for name in after.names("function")}
    found: dict[tuple[str, str], str] = {}
    by_kind = sorted(after.names("constraint"), key=lambda name: _rank(after, name))
    for name in by_kind:
        text = after.objects[f"constraint {name}"]["definition"]
        table = split_name(name)[0]
        if (
            f"table {table}" not in before.objects
            and "partition_of" not in after.objects[f"table {table}"]
            and not text.startswith("FOREIGN KEY")
            and not text.endswith("NOT VALID")
            and "invalid" not in after.objects[f"constraint {name}"]
            and not mentions(text) & functions
        ):
            same = text.removeprefix("PRIMARY KEY").removeprefix("UNIQUE")
            found.setdefault((table, same), f"constraint {name}")
    return list(found.values())


def _rank(catalog: Catalog, constraint: str) -> int:
    """Return where a constraint stands among those of its table."""
    text = catalog.objects[f"constraint {constraint}"]["definition"]
    kinds = ("PRIMARY KEY", "UNIQUE", "CHECK")
    return next((index for index, kind in enumerate(kinds) if text.startswith(kind)), len(kinds))


def row_security(name: str, before: Attributes, after: Attributes) -> Iterator[str]:
    """Yield what turns row security on or off."""
    old, new = before.get("row_security"), after.get("row_security")
    if old == new:
        return
    if bool(old) != bool(new):
        yield f"ALTER TABLE {name} {'ENABLE' if new else 'DISABLE'} ROW LEVEL SECURITY"
    if (old == "forced") != (new == "forced"):
        yield f"ALTER TABLE {name} {'' if new == 'forced' else 'NO '}FORCE ROW LEVEL SECURITY"


def alter_table(name: str, before: Attributes, after: Attributes) -> Iterator[str]:
    """Yield what changes a table as such, its columns and row security left out.

    Raises OperationFailed for what PostgreSQL cannot change in place.
    """
    if before.get("partition_key") != after.get("partition_key"):
        raise OperationFailed(
            f"The table {name} cannot be changed between partitioned and plain in place.",
            hint="This writes SQL that copies the rows: leadctl migrate diff database TO -o sql",
        )
    yield from _foreign(name, str(before.get("foreign", "")), str(after.get("foreign", "")))
    if before.get("persistence") != after.get("persistence"):
        yield f"ALTER TABLE {name} SET {'UNLOGGED' if after.get('persistence') else 'LOGGED'}"
    yield from _options(name, before.get("options", []), after.get("options", []))


def is_elsewhere(before: Attributes, after: Attributes) -> bool:
    """Whether a foreign table is on another server: it is created again, and has no rows."""
    servers = [str(each.get("foreign", "")).partition(" OPTIONS (")[0] for each in (before, after)]
    return all(servers) and servers[0] != servers[1]


def _foreign(name: str, before: str, after: str) -> Iterator[str]:
    """Yield what gives a foreign table other options, which have no order.

    Raises OperationFailed for one that becomes a plain one, or the other way round.
    """
    if bool(before) != bool(after):
        raise OperationFailed(
            f"{name} is a foreign table on one side alone, and leadctl moves no rows to another "
            f"server, or from there.",
            hint="By hand: rename it, create the other one, INSERT INTO it SELECT from the former, "
            "then drop that: leadctl migrate new --empty -m NAME",
        )
    old, new = foreign_options(before), foreign_options(after)
    changes = [f"DROP {key}" for key in old if key not in new]
    changes += [f"SET {key} {new[key]}" for key in old if new.get(key, old[key]) != old[key]]
    changes += [f"ADD {key} {value}" for key, value in new.items() if key not in old]
    if changes:
        yield f"ALTER FOREIGN TABLE {name} OPTIONS ({', '.join(changes)})"


def parents_change_places(before: Attributes, after: Attributes) -> bool:
    """Whether a table is to have its parents in another order: in place a new one is the last."""
    old, new = before.get("inherits", []), after.get("inherits", [])
    stay, come = [each for each in old if each in new], [each for each in new if each not in old]
    return bool([*stay, *come] != new)


def left_parents(name: str, before: Attributes, after: Attributes) -> Iterator[tuple[str, str]]:
    """Yield the parents that a table leaves, each with the statement for it.

    Raises OperationFailed for an order of parents that PostgreSQL cannot make in place.
    """
    if _partition_of(before) != _partition_of(after) and "partition_of" in before:
        parent = before["partition_of"]
        yield parent, f"ALTER TABLE {parent} DETACH PARTITION {name}"
    old, new = before.get("inherits", []), after.get("inherits", [])
    if parents_change_places(before, after):
        raise OperationFailed(
            f"The order of the parents of {name} cannot be changed in place.",
            hint="A new parent is the last one. Recreate the table if their order matters.",
        )
    for parent in old:
        if parent not in new:
            yield parent, f"ALTER TABLE {name} NO INHERIT {parent}"


def new_parents(name: str, before: Attributes, after: Attributes) -> Iterator[tuple[str, str]]:
    """Yield the parents that a table gets, each with the statement for it."""
    if _partition_of(before) != _partition_of(after) and "partition_of" in after:
        parent = after["partition_of"]
        yield parent, f"ALTER TABLE {parent} ATTACH PARTITION {name} {after['partition_bound']}"
    for parent in after.get("inherits", []):
        if parent not in before.get("inherits", []):
            yield parent, f"ALTER TABLE {name} INHERIT {parent}"


def _partition_of(table: Attributes) -> list[str | None]:
    return [table.get(each) for each in ("partition_of", "partition_bound")]


def _options(name: str, old: list[str], new: list[str]) -> Iterator[str]:
    names = {option.partition("=")[0] for option in new}
    gone = [own for option in old if (own := option.partition("=")[0]) not in names]
    added = [option for option in new if option not in old]
    if gone:
        yield f"ALTER TABLE {name} RESET ({', '.join(gone)})"
    if added:
        yield f"ALTER TABLE {name} SET ({', '.join(added)})"


def column(name: str, attributes: Attributes) -> str:
    """Return a column as CREATE TABLE and ADD COLUMN have it."""
    parts = [name, attributes["type"]]
    if "collation" in attributes:
        parts.append(f"COLLATE {attributes['collation']}")
    if "generated" in attributes:
        kind = "VIRTUAL" if attributes.get("virtual") else "STORED"
        parts.append(f"GENERATED ALWAYS AS ({attributes['generated']}) {kind}")
    if "identity" in attributes:
        parts.append(_identity(attributes))
    if "default" in attributes:
        parts.append(f"DEFAULT {attributes['default']}")
    if is_required(attributes) and ("identity" not in attributes or "not_null" in attributes):
        named = attributes.get("not_null")
        parts.append(f"CONSTRAINT {named} NOT NULL" if named else "NOT NULL")
    return " ".join(parts)


def without_default(column: Attributes) -> Attributes:
    """Return a column without its default."""
    return {key: value for key, value in column.items() if key != "default"}


def is_required(attributes: Attributes) -> bool:
    """Whether no row has a NULL: what is not validated (PostgreSQL 18) refers to new ones only."""
    return not attributes["nullable"] and "unvalidated" not in attributes


def required(column: str) -> str:
    """Return the key of the NOT NULL of `table.column`."""
    return f"required {column}"


def require(table: str, own: str, attributes: Attributes) -> str:
    """Return what keeps NULL out of all rows, by a name where that has one."""
    name = attributes.get("not_null")
    if name is None:
        return f"ALTER TABLE {table} ALTER COLUMN {own} SET NOT NULL"
    return f"ALTER TABLE {table} ADD CONSTRAINT {name} NOT NULL {own}"


def require_of_new_rows(table: str, name: str, attributes: Attributes) -> str:
    """Return what keeps NULL out of new rows, and says nothing of those that exist."""
    constraint = attributes["unvalidated"]
    return f"ALTER TABLE {table} ADD CONSTRAINT {constraint} NOT NULL {name} NOT VALID"


def _identity(attributes: Attributes) -> str:
    options = attributes.get("identity_options")
    text = f"GENERATED {attributes['identity'].upper()} AS IDENTITY"
    return f"{text} ({options})" if options else text


def must_be_added_again(before: Attributes, after: Attributes) -> bool:
    """Whether a column can only be dropped and added: it becomes generated, or by other rules."""
    if "generated" not in after:
        return bool(before.get("virtual"))
    keys = ("generated", "virtual", "type", "collation")
    return any(before.get(key) != after.get(key) for key in keys)


def is_retyped(before: Attributes, after: Attributes) -> bool:
    """Whether a column gets another type or collation."""
    return any(before.get(key) != after.get(key) for key in ("type", "collation"))


def alter_column(
    before: Attributes, after: Attributes, name: str, on: tuple[str, str]
) -> list[str]:
    """Return the actions of ALTER TABLE that change a column, NOT NULL and comment left out.

    `on` are its types, or those that its domains are on.
    """
    head = f"ALTER COLUMN {name}"
    actions: list[str] = []
    typed = [before.get(key) != after.get(key) for key in ("type", "collation")]
    old_default, new_default = before.get("default"), after.get("default")
    if old_default is not None and (any(typed) or new_default is None):
        actions.append(f"{head} DROP DEFAULT")
        old_default = None
    if any(typed):
        collation = f" COLLATE {after['collation']}" if "collation" in after else ""
        cast = using_clause(name, *on, into=after["type"]) if typed[0] else ""
        actions.append(f"{head} TYPE {after['type']}{collation}{cast}")
    if new_default != old_default and new_default is not None:
        actions.append(f"{head} SET DEFAULT {new_default}")
    if "identity" in after:
        actions += _alter_identity(head, before, after)
    return actions


def _alter_identity(head: str, before: Attributes, after: Attributes) -> list[str]:
    if "identity" not in before:
        return [f"{head} ADD {_identity(after)}"]
    actions = []
    if before["identity"] != after["identity"]:
        actions.append(f"{head} SET GENERATED {after['identity'].upper()}")
    if before.get("identity_options") != after.get("identity_options"):
        options = {
            "START": "START WITH 1",
            "INCREMENT": "INCREMENT BY 1",
            "MINVALUE": "NO MINVALUE",
            "MAXVALUE": "NO MAXVALUE",
            "CACHE": "CACHE 1",
        }
        given = after.get("identity_options") or ""
        wanted = [text for key, text in options.items() if key not in given]
        wanted += [f"{key} {value}" for key, value in _pairs(given)]
        wanted.append("CYCLE" if given.endswith("CYCLE") else "NO CYCLE")
        restart = " RESTART" if cannot_go_on(_bounds(before), _bounds(after)) else ""
        actions.append(f"{head} {' '.join(f'SET {each}' for each in wanted)}{restart}")
    return actions


def _bounds(column: Attributes) -> Attributes:
    """Return how an identity counts, as a sequence has it."""
    given = dict(_pairs(column.get("identity_options") or ""))
    numbers = {
        key.partition(" ")[0].removesuffix("VALUE").lower(): value for key, value in given.items()
    }
    increment = int(numbers.get("increment", 1))
    largest = LARGEST.get(column["type"], LARGEST["bigint"])
    least, most = (1, largest) if increment > 0 else (-largest - 1, -1)
    bounds = {"increment": increment, "min": int(numbers.get("min", least))}
    bounds["max"] = int(numbers.get("max", most))
    first = bounds["min"] if increment > 0 else bounds["max"]
    return {**bounds, "start": int(numbers.get("start", first))}


def _pairs(options: str) -> Iterator[tuple[str, str]]:
    words = options.replace("CYCLE", "").split()
    for index, word in enumerate(words):
        if word in {"WITH", "BY"}:
            yield f"{words[index - 1]} {word}", words[index + 1]
        elif word in {"CACHE", "MINVALUE", "MAXVALUE"}:
            yield word, words[index + 1]


def using_clause(name: str, before: str, after: str, *, into: str | None = None) -> str:
    """Return how values become the other type: as an assignment would where that is possible.

    `into` is the domain on the other type that they are for, if any.

    An explicit cast would cut a text to the length of its new type; an assignment refuses to.
    """
    if _base(after) in _TEXT or _same(before, after):
        return ""
    if after.endswith("[]") and not before.endswith("[]"):  # a value becomes an array of it
        element = after.removesuffix("[]")
        return f" USING CASE WHEN {name} IS NOT NULL THEN ARRAY[{name}::text::{element}] END"
    return f" USING {name}::text::{into or after}"


def cast_loses(before: str, after: str) -> bool:
    """Whether values may be rounded or cut by a change of type, instead of refused."""
    is_limited = "(" in after
    if after.endswith("[]"):
        return is_limited or cast_loses(before.removesuffix("[]"), after.removesuffix("[]"))
    old, new = _base(before), _base(after)
    if new in _TEXT or before == after:
        return False
    if old in _NUMBERS or old.startswith(_TIMES):
        return is_limited if old == new else new not in _WIDER.get(old, ())
    if old in _TEXT:  # leading zeros go, and so does whatever else is more than the number
        return is_limited or new in (*_NUMBERS, "boolean") or new.startswith(_TIMES)
    if old in {"json", "jsonb"}:
        return new != "jsonb"
    return is_limited or old.startswith("bit") or before.endswith("[]")


def alike(before: str, after: str) -> bool:
    """Whether values of two types can be compared: numbers, texts, or the same."""
    return (
        before == after
        or (_base(before) in _NUMBERS and _base(after) in _NUMBERS)
        or (_base(before) in _TEXT and _base(after) in _TEXT)
    )


def _same(before: str, after: str) -> bool:
    families = (_NUMBERS, _TIMES)
    return "[]" not in before + after and any(
        before.startswith(family) and after.startswith(family) for family in families
    )


def _base(kind: str) -> str:
    return kind.partition("(")[0].strip()


def serials(before: Catalog, after: Catalog) -> Mapping[str, str]:
    """Return the columns that are new together with a sequence of their own, and its name."""
    found = {}
    for name in after.names("sequence"):
        attributes = after.objects[f"sequence {name}"]
        key = f"column {attributes.get('owned_by')}"
        column = after.objects.get(key)
        if column is None or key in before.objects or f"sequence {name}" in before.objects:
            continue
        if _is_plain(name, attributes, column, key.removeprefix("column ")):
            found[key] = name
    return found


def as_serial(column: Attributes) -> Attributes:
    """Return a column as it is written: of a type that brings sequence, default and NOT NULL."""
    return {
        **without_default(column),
        "type": _SERIALS[column["type"]],
        "nullable": "not_null" not in column,
    }


def _is_plain(name: str, sequence: Attributes, column: Attributes, column_name: str) -> bool:
    """Whether it is what `serial` would make."""
    table, own = split_name(column_name)
    wanted = {
        "type": column["type"],
        "start": 1,
        "increment": 1,
        "min": 1,
        "max": LARGEST.get(column["type"]),
        "cache": 1,
        "cycle": False,
        "owned_by": column_name,
    }
    return (
        column["type"] in _SERIALS
        and not column["nullable"]
        and plain(name) == f"{plain(table)}_{plain(own)}_seq"
        and column.get("default") == f"nextval('{name}'::regclass)"
        and definition(sequence) == wanted
    )


def count_on(table: str, own: str, attributes: Attributes, sequence: str | None = None) -> Step:
    """Return the step that lets a column's sequence go on behind the values that exist.

    `attributes` are those of the sequence, or of the identity column where none is named.
    """
    start = _START.search(attributes.get("identity_options", ""))
    first = attributes.get("start", start[1] if start else 1)
    found = f"pg_get_serial_sequence({literal(table)}, {literal(plain(own))})"
    which = literal(sequence) if sequence else found
    rows = f"{table} HAVING max({own}) >= {first}"
    return Step(
        f"SELECT setval({which}, max({own})) FROM {rows}",  # noqa: S608 - names as the server quotes them
        Phase.DEPENDENT,
        why="New rows continue the existing numbers.",
    )
