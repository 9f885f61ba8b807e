"""The SQL that makes a schema anew, from what the catalog says of it."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import sql

from leadctl.db.catalog import Attributes, Catalog, read_catalog
from leadctl.db.connect import Connection
from leadctl.db.queries import beside

_QUERIES = beside(__file__, "init.sql")
_FIRST_NAME = re.compile(r'(?P<name>"(?:[^"]|"")+"|[^."]+)\.(?P<rest>.+)', re.DOTALL)
_CONSTRAINT_ORDER = ("PRIMARY KEY", "UNIQUE", "CHECK", "EXCLUDE", "FOREIGN KEY")


@dataclass(frozen=True)
class Definition:
    """What defines a schema: its catalog, and what the catalog leaves out."""

    schema: str
    quoted_schema: str
    """As the server writes it in SQL."""
    catalog: Catalog
    columns: Mapping[str, Sequence[str]]
    """The columns of each table in order; names are quoted where SQL needs it."""
    functions: Mapping[str, str]
    """The CREATE of each function."""
    views: Sequence[str]
    """In the order of their making."""
    extensions: Mapping[str, str]
    """The schema of each extension."""


def read_definition(connection: Connection, schema: str, ignore: Sequence[str]) -> Definition:
    """Read a schema; the connection's search path must be exactly it."""
    columns: dict[str, list[str]] = {}
    for table, column in _rows(connection, "columns", schema):
        columns.setdefault(table, []).append(column)
    quoted = _quoted(connection, schema)
    prefix = re.compile(rf"(CREATE OR REPLACE (?:FUNCTION|PROCEDURE) ){re.escape(quoted)}\.")
    objects = read_catalog(connection, schema, ignore).objects
    return Definition(
        schema=schema,
        quoted_schema=quoted,
        catalog=Catalog(
            {key: objects[key] for key in objects if not _belongs(objects[key], ignore)}
        ),
        columns=columns,
        functions={
            name: prefix.sub(r"\1", text, count=1).rstrip()
            for name, text in _rows(connection, "functions", schema)
        },
        views=[name for (name,) in _rows(connection, "views", schema)],
        extensions=dict(_rows(connection, "extensions", schema)),
    )


def _belongs(each: Attributes, tables: Sequence[str]) -> bool:
    """Whether an object is the sequence of one of these tables."""
    owner = each.get("owned_by")
    return owner is not None and bare(split(owner)[0]) in tables


def other_schemas(connection: Connection, schema: str) -> list[str]:
    """Return the other schemas that have tables."""
    return [name for (name,) in _rows(connection, "other_schemas", schema)]


def statements(definition: Definition) -> Iterator[str]:
    """Yield what makes the schema's objects anew, in an order that works; names unqualified."""
    objects = definition.catalog.objects
    early = [name for name in definition.functions if not _needs_tables(definition, name)]
    late = [name for name in definition.functions if name not in early]
    for name, schema in definition.extensions.items():
        if schema == definition.schema:
            yield f'CREATE EXTENSION IF NOT EXISTS "{name}"'
    yield from _types(definition)
    yield from (definition.functions[name] for name in early)
    yield from _tables(definition)
    yield from (definition.functions[name] for name in late)
    yield from _constraints(objects)
    for name in definition.views:
        each = objects[f"view {name}"]
        kind = "MATERIALIZED VIEW" if each.get("materialized") else "VIEW"
        options = f" WITH ({', '.join(each['options'])})" if each.get("options") else ""
        yield f"CREATE {kind} {name}{options} AS\n{each['definition'].rstrip(';')}"
    for _, each in _of(objects, "index"):
        if not each.get("invalid"):
            yield each["definition"].replace(" ON ONLY ", " ON ", 1)
    for _, each in _of(objects, "statistics"):
        # The server always writes the schema here.
        yield each["definition"].replace(f"{definition.quoted_schema}.", "", 1)
    yield from _rules(objects)
    yield from _comments(definition)


def _types(definition: Definition) -> Iterator[str]:
    objects = definition.catalog.objects
    if definition.functions:
        yield "SET LOCAL check_function_bodies = off"
    for name, each in _of(objects, "enum"):
        values = ", ".join(_literal(value) for value in each["values"])
        yield f"CREATE TYPE {name} AS ENUM ({values})"
    for name, each in _of(objects, "type"):
        yield f"CREATE TYPE {name} AS ({', '.join(each['attributes'])})"
    for name, each in _of(objects, "domain"):
        yield _domain(name, each)
    for name, each in _of(objects, "sequence"):
        yield _sequence(name, each)


def _tables(definition: Definition) -> Iterator[str]:
    objects = definition.catalog.objects
    tables = dict(_of(objects, "table"))
    partitions = [name for name in tables if tables[name].get("partition_of")]
    for name, each in tables.items():
        if name in partitions or each.get("foreign") or each.get("inherits"):
            continue
        columns = ",\n    ".join(
            _column(column, objects[f"column {name}.{column}"])
            for column in definition.columns[name]
        )
        unlogged = "UNLOGGED " if each.get("persistence") == "unlogged" else ""
        by = f" PARTITION BY {each['partition_key']}" if each.get("partition_key") else ""
        options = f" WITH ({', '.join(each['options'])})" if each.get("options") else ""
        yield f"CREATE {unlogged}TABLE {name} (\n    {columns}\n){by}{options}"
    made = set(tables) - set(partitions)
    while partitions:  # a partition may have partitions
        name = next(each for each in partitions if tables[each]["partition_of"] in made)
        each = tables[name]
        by = f" PARTITION BY {each['partition_key']}" if each.get("partition_key") else ""
        of = f"{each['partition_of']} {each['partition_bound']}"
        yield f"CREATE TABLE {name} PARTITION OF {of}{by}"
        made.add(name)
        partitions.remove(name)
    for name, each in _of(objects, "sequence"):
        if each.get("owned_by"):
            yield f"ALTER SEQUENCE {name} OWNED BY {each['owned_by']}"


def _column(name: str, each: Attributes) -> str:
    words = [name, each["type"]]
    if each.get("collation"):
        words.append(f"COLLATE {_identifier(each['collation'])}")
    if each.get("generated"):
        kind = "VIRTUAL" if each.get("virtual") else "STORED"
        words.append(f"GENERATED ALWAYS AS ({each['generated']}) {kind}")
    if each.get("identity"):
        words.append(f"GENERATED {each['identity'].upper()} AS IDENTITY")
        if each.get("identity_options"):
            words.append(f"({each['identity_options']})")
    if each.get("default"):
        words.append(f"DEFAULT {each['default']}")
    if not each["nullable"]:
        words.append("NOT NULL")
    return " ".join(words)


def _constraints(objects: Mapping[str, Attributes]) -> Iterator[str]:
    def order(item: tuple[str, Attributes]) -> int:
        text = item[1]["definition"]
        return next(i for i, word in enumerate(_CONSTRAINT_ORDER) if text.startswith(word))

    for key, each in sorted(_of(objects, "constraint"), key=order):
        table, name = split(key)
        yield f"ALTER TABLE {table} ADD CONSTRAINT {name} {each['definition']}"


def _rules(objects: Mapping[str, Attributes]) -> Iterator[str]:
    for key, each in _of(objects, "trigger"):
        table, name = split(key)
        yield each["definition"]
        state = {"disabled": "DISABLE", "replica": "ENABLE REPLICA", "always": "ENABLE ALWAYS"}
        if each.get("enabled"):
            yield f"ALTER TABLE {table} {state[each['enabled']]} TRIGGER {name}"
    for key, each in _of(objects, "policy"):
        yield _policy(key, each)
    for name, each in _of(objects, "table"):
        if each.get("row_security"):
            yield f"ALTER TABLE {name} ENABLE ROW LEVEL SECURITY"
        if each.get("row_security") == "forced":
            yield f"ALTER TABLE {name} FORCE ROW LEVEL SECURITY"


def _policy(key: str, each: Attributes) -> str:
    table, name = split(key)
    commands = {"r": "SELECT", "a": "INSERT", "w": "UPDATE", "d": "DELETE", "*": "ALL"}
    kind = "RESTRICTIVE" if each.get("restrictive") else "PERMISSIVE"
    roles = ", ".join(each["roles"])
    text = f"CREATE POLICY {name} ON {table} AS {kind} FOR {commands[each['command']]} TO {roles}"
    text += f" USING ({each['using']})" if each.get("using") else ""
    return text + (f" WITH CHECK ({each['check']})" if each.get("check") else "")


def _comments(definition: Definition) -> Iterator[str]:
    for key, each in definition.catalog.objects.items():
        if not each.get("comment"):
            continue
        kind, _, name = key.partition(" ")
        what = {"enum": "type", "view": "materialized view"}.get(kind, kind)
        if kind == "view" and not each.get("materialized"):
            what = "view"
        if kind == "function" and each.get("kind") == "procedure":
            what = "procedure"
        if kind in {"constraint", "trigger", "policy"}:
            table, own = split(name)
            name = f"{own} ON {table}"
        yield f"COMMENT ON {what.upper()} {name} IS {_literal(each['comment'])}"


def _domain(name: str, each: Attributes) -> str:
    words = [f"CREATE DOMAIN {name} AS {each['type']}"]
    if each.get("default"):
        words.append(f"DEFAULT {each['default']}")
    if not each["nullable"]:
        words.append("NOT NULL")
    for check, definition in (each.get("checks") or {}).items():
        words.append(f"CONSTRAINT {_identifier(check)} {definition}")
    return " ".join(words)


def _sequence(name: str, each: Attributes) -> str:
    cycle = " CYCLE" if each["cycle"] else ""
    return (
        f"CREATE SEQUENCE {name} AS {each['type']} START {each['start']} "
        f"INCREMENT {each['increment']} MINVALUE {each['min']} MAXVALUE {each['max']} "
        f"CACHE {each['cache']}{cycle}"
    )


def _needs_tables(definition: Definition, function: str) -> bool:
    """Whether a function can only be made after the tables: its signature or body names one."""
    text = definition.functions[function]
    if "\nBEGIN ATOMIC" in text or "\nRETURN " in text:  # a body that is parsed at once
        return True
    signature = text.partition("\nAS ")[0]
    tables = [name for name, _ in _of(definition.catalog.objects, "table")]
    tables += definition.views
    return any(re.search(rf"(?<![\w\"]){re.escape(name)}(?![\w\"])", signature) for name in tables)


def _of(objects: Mapping[str, Attributes], kind: str) -> list[tuple[str, Attributes]]:
    prefix = f"{kind} "
    return [
        (key.removeprefix(prefix), objects[key])
        for key in sorted(objects)
        if key.startswith(prefix)
    ]


def split(name: str) -> tuple[str, str]:
    """Split `table.object`, each quoted where it needs it."""
    parts = _FIRST_NAME.fullmatch(name)
    assert parts is not None, name
    return parts["name"], parts["rest"]


def bare(name: str) -> str:
    """Return a name without SQL's quotes."""
    return name[1:-1].replace('""', '"') if name.startswith('"') else name


def _identifier(name: str) -> str:
    return sql.Identifier(bare(name)).as_string(None)


def _literal(text: str) -> str:
    return sql.Literal(text).as_string(None)


def _quoted(connection: Connection, schema: str) -> str:
    row = connection.execute("SELECT quote_ident(%s)", (schema,)).fetchone()
    assert row is not None
    return str(row[0])


def _rows(connection: Connection, name: str, schema: str) -> list[Any]:
    parameters = {"schema": sql.Identifier(schema).as_string(connection)}
    query = _QUERIES.get(name, connection.info.server_version)
    return connection.execute(query, parameters if "%(" in query else None).fetchall()
