"""The statements that create, change and drop what stands for itself, but tables."""

from collections.abc import Iterator
from typing import Any

from leadctl.catalog.definitions import Attributes, split_name
from leadctl.errors import OperationFailed
from leadctl.migrate.ddl import types
from leadctl.migrate.ddl.grants import privileges
from leadctl.migrate.ddl.literals import literal

_COMMANDS = {"r": "SELECT", "a": "INSERT", "w": "UPDATE", "d": "DELETE", "*": "ALL"}
_ENABLED = {"disabled": "DISABLE", "replica": "ENABLE REPLICA", "always": "ENABLE ALWAYS"}
LARGEST = {"smallint": 2**15 - 1, "integer": 2**31 - 1, "bigint": 2**63 - 1}
"""The largest value of each type that a sequence may be of."""
_SEQUENCE = {
    "start": "START WITH",
    "increment": "INCREMENT BY",
    "min": "MINVALUE",
    "max": "MAXVALUE",
    "cache": "CACHE",
}


def create(kind: str, name: str, attributes: Attributes) -> str:
    """Return the statement that creates an object, comments and the like left out.

    Raises OperationFailed for a kind that cannot be written.
    """
    match kind:
        case "schema":
            return f"CREATE SCHEMA IF NOT EXISTS {name}"
        case "enum" | "domain" | "type" | "collation":
            return types.create(kind, name, attributes)
        case "sequence":
            return _new_sequence(name, attributes)
        case "view":
            return _view(name, attributes, replace=False)
        case "function":
            return _function(name, attributes)
        case "trigger" | "statistics" | "index" | "rule":
            # A partitioned table's index is read as ON ONLY, which would leave the parts out.
            text = str(attributes["definition"]).replace(" ON ONLY ", " ON ", 1).rstrip(";")
            return text.replace(" USING btree ", " ", 1) if kind == "index" else text
        case "policy":
            return _policy(name, attributes)
        case "constraint":
            table, constraint = split_name(name)
            text = attributes["definition"]
            space = "\n    " if text.startswith("FOREIGN KEY") else " "
            return f"ALTER TABLE {table} ADD CONSTRAINT {constraint}{space}{text}"
    raise OperationFailed(f"{kind} {name} cannot be written as SQL.")


def drop(kind: str, name: str, attributes: Attributes) -> str:
    """Return the statement that drops an object."""
    match kind:
        case "constraint":
            table, constraint = split_name(name)
            return f"ALTER TABLE {table} DROP CONSTRAINT {constraint}"
        case "trigger" | "policy" | "rule":
            table, own = split_name(name)
            return f"DROP {kind.upper()} {own} ON {table}"
        case "sequence":
            return f"DROP SEQUENCE IF EXISTS {name}"  # a column may have taken it along
        case _:
            return f"DROP {word(kind, attributes)} {name}"


def word(kind: str, attributes: Attributes) -> str:
    """Return what PostgreSQL's statements call a kind."""
    match kind:
        case "enum":
            return "TYPE"
        case "view":
            return "MATERIALIZED VIEW" if attributes.get("materialized") else "VIEW"
        case "table":
            return "FOREIGN TABLE" if "foreign" in attributes else "TABLE"
        case "function":
            return str(attributes.get("kind", "function")).upper().replace("WINDOW", "FUNCTION")
    return kind.upper()


def comment(kind: str, name: str, attributes: Attributes) -> str:
    """Return the statement that sets or removes an object's comment."""
    text = attributes.get("comment")
    value = "NULL" if text is None else literal(text)
    if kind in {"constraint", "trigger", "policy", "rule"}:
        table, own = split_name(name)
        return f"COMMENT ON {kind.upper()} {own} ON {table} IS {value}"
    return f"COMMENT ON {word(kind, attributes)} {name} IS {value}"


def alter(kind: str, name: str, before: Attributes, after: Attributes) -> list[str] | None:
    """Return the statements that change an object in place; None where it must be made anew."""
    changed = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
    changed -= {"comment", "column_comments"}
    match kind:
        case "rule" if changed == {"enabled"}:
            return [enabled(kind, name, after)]
        case "function" if not changed & {"kind", "arguments", "returns", "aggregate"}:
            return [_function(name, after)] if changed else []
        case "view" if _replaceable(before, after):
            return [_view(name, after, replace=True)] if changed else []
        case "sequence":
            changes = changed - {"owned_by"}
            return [f"ALTER SEQUENCE {name} {_sequence(after)}"] if changes else []
        case "domain":
            return list(types.alter_domain(name, before, after))
        case "type" if not changed & {"range", "multirange"}:
            return types.alter_type(name, before.get("attributes", []), after.get("attributes", []))
        case "grant":
            return list(privileges(before, after))
        case "constraint" if f"{after['definition']} NOT VALID" == before["definition"]:
            table, constraint = split_name(name)
            return [f"ALTER TABLE {table} VALIDATE CONSTRAINT {constraint}"]
    return None if changed else []


def enabled(kind: str, name: str, attributes: Attributes) -> str:
    """Return the statement that makes a trigger or a rule fire, or not, as it should."""
    table, own = split_name(name)
    verb = _ENABLED.get(attributes.get("enabled", ""), "ENABLE")
    return f"ALTER TABLE {table} {verb} {kind.upper()} {own}"


def column_comments(name: str, before: Attributes, after: Attributes) -> Iterator[str]:
    """Yield what sets the comments of a view's columns."""
    old, new = before.get("column_comments") or {}, after.get("column_comments") or {}
    for column in sorted(old.keys() | new.keys()):
        if old.get(column) != new.get(column):
            text = literal(new[column]) if column in new else "NULL"
            yield f"COMMENT ON COLUMN {name}.{column} IS {text}"


def owned_by(name: str, attributes: Attributes) -> str:
    """Return the statement that ties a sequence to its column."""
    return f"ALTER SEQUENCE {name} OWNED BY {attributes.get('owned_by', 'NONE')}"


def _sequence(attributes: Attributes) -> str:
    parts = [f"AS {attributes['type']}"]
    parts += [f"{words} {attributes[key]}" for key, words in _SEQUENCE.items()]
    return " ".join([*parts, "CYCLE" if attributes["cycle"] else "NO CYCLE"])


def _new_sequence(name: str, attributes: Attributes) -> str:
    most, least = LARGEST[attributes["type"]], attributes["min"]
    usual = {"start": least, "increment": 1, "min": 1, "max": most, "cache": 1}
    parts = [f"CREATE SEQUENCE {name}"]
    if attributes["type"] != "bigint":
        parts.append(f"AS {attributes['type']}")
    upwards = attributes["increment"] > 0
    parts += [
        f"{words} {attributes[key]}"
        for key, words in _SEQUENCE.items()
        if not upwards or attributes[key] != usual[key]
    ]
    return " ".join([*parts, *(["CYCLE"] if attributes["cycle"] else [])])


def _view(name: str, attributes: Attributes, *, replace: bool) -> str:
    verb = "CREATE OR REPLACE" if replace else "CREATE"
    options = f" WITH ({', '.join(attributes['options'])})" if "options" in attributes else ""
    query = attributes["definition"].strip().rstrip(";")
    return f"{verb} {word('view', attributes)} {name}{options} AS\n{query}"


def _replaceable(before: Attributes, after: Attributes) -> bool:
    """Whether CREATE OR REPLACE will do: columns may only be added at the end."""
    if before.get("materialized") or after.get("materialized"):
        return before.get("definition") == after.get("definition") and (
            before.get("options") == after.get("options")
        )
    old, new = before.get("columns", []), after.get("columns", [])
    return "columns" in before and new[: len(old)] == old


def _function(name: str, attributes: Attributes) -> str:
    if attributes.get("kind") != "aggregate":
        return str(attributes["definition"]).strip()
    aggregate: dict[str, Any] = attributes["aggregate"]
    parts = [f"SFUNC = {aggregate['transition']}", f"STYPE = {aggregate['state']}"]
    if aggregate.get("final"):
        parts.append(f"FINALFUNC = {aggregate['final']}")
    if aggregate.get("initial") is not None:
        parts.append(f"INITCOND = {literal(aggregate['initial'])}")
    return f"CREATE AGGREGATE {name} ({', '.join(parts)})"


def _policy(name: str, attributes: Attributes) -> str:
    table, own = split_name(name)
    parts = [f"CREATE POLICY {own} ON {table}"]
    if attributes.get("restrictive"):
        parts.append("AS RESTRICTIVE")
    parts.append(f"FOR {_COMMANDS[attributes['command']]}")
    parts.append(f"TO {', '.join(attributes['roles'])}")
    if "using" in attributes:
        parts.append(f"USING ({attributes['using']})")
    if "check" in attributes:
        parts.append(f"WITH CHECK ({attributes['check']})")
    return " ".join(parts)
