"""The statements that create, change and drop what stands for itself, but tables."""

from collections.abc import Iterator, Sequence
from typing import Any

from psycopg import sql

from leadctl.db.catalog import Attributes, split_name
from leadctl.errors import OperationFailed

_COMMANDS = {"r": "SELECT", "a": "INSERT", "w": "UPDATE", "d": "DELETE", "*": "ALL"}
_ENABLED = {"disabled": "DISABLE", "replica": "ENABLE REPLICA", "always": "ENABLE ALWAYS"}
_SEQUENCE = {
    "start": "START WITH",
    "increment": "INCREMENT BY",
    "min": "MINVALUE",
    "max": "MAXVALUE",
    "cache": "CACHE",
}


def literal(value: str) -> str:
    """Return a text as an SQL literal."""
    return sql.Literal(value).as_string(None).strip()


def create(kind: str, name: str, attributes: Attributes) -> str:
    """Return the statement that creates an object, comments and the like left out.

    Raises OperationFailed for a kind that cannot be written.
    """
    match kind:
        case "schema":
            return f"CREATE SCHEMA IF NOT EXISTS {name}"
        case "enum":
            return f"CREATE TYPE {name} AS ENUM ({_literals(attributes['values'])})"
        case "type":
            return f"CREATE TYPE {name} AS ({', '.join(attributes.get('attributes', ()))})"
        case "sequence":
            return f"CREATE SEQUENCE {name} {_sequence(attributes)}"
        case "view":
            return _view(name, attributes, replace=False)
        case "domain" | "function" | "policy":
            return _WRITERS[kind](name, attributes)
        case "trigger" | "statistics" | "index":
            # A partitioned table's index is read as ON ONLY, which would leave the parts out.
            return str(attributes["definition"]).replace(" ON ONLY ", " ON ", 1)
        case "constraint":
            table, constraint = split_name(name)
            return f"ALTER TABLE {table} ADD CONSTRAINT {constraint} {attributes['definition']}"
    raise OperationFailed(f"{kind} {name} cannot be written as SQL.")


def drop(kind: str, name: str, attributes: Attributes) -> str:
    """Return the statement that drops an object."""
    match kind:
        case "constraint":
            table, constraint = split_name(name)
            return f"ALTER TABLE {table} DROP CONSTRAINT {constraint}"
        case "trigger" | "policy":
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
        case "function":
            return str(attributes.get("kind", "function")).upper().replace("WINDOW", "FUNCTION")
    return kind.upper()


def comment(kind: str, name: str, attributes: Attributes) -> str:
    """Return the statement that sets or removes an object's comment."""
    text = attributes.get("comment")
    value = "NULL" if text is None else literal(text)
    if kind in {"constraint", "trigger", "policy"}:
        table, own = split_name(name)
        return f"COMMENT ON {kind.upper()} {own} ON {table} IS {value}"
    return f"COMMENT ON {word(kind, attributes)} {name} IS {value}"


def alter(kind: str, name: str, before: Attributes, after: Attributes) -> list[str] | None:
    """Return the statements that change an object in place; None where it must be made anew."""
    changed = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
    changed -= {"comment"}
    match kind:
        case "function" if not changed & {"kind", "arguments", "returns", "aggregate"}:
            return [_function(name, after)] if changed else []
        case "view" if _replaceable(before, after):
            return [_view(name, after, replace=True)] if changed else []
        case "sequence":
            changes = changed - {"owned_by"}
            return [f"ALTER SEQUENCE {name} {_sequence(after)}"] if changes else []
        case "domain" if not changed & {"type"}:
            return list(_alter_domain(name, before, after))
        case "type":
            return _alter_type(name, before.get("attributes", []), after.get("attributes", []))
        case "constraint" if f"{after['definition']} NOT VALID" == before["definition"]:
            table, constraint = split_name(name)
            return [f"ALTER TABLE {table} VALIDATE CONSTRAINT {constraint}"]
    return None if changed else []


def enabled(name: str, attributes: Attributes) -> str:
    """Return the statement that makes a trigger fire, or not, as it should."""
    table, trigger = split_name(name)
    verb = _ENABLED.get(attributes.get("enabled", ""), "ENABLE")
    return f"ALTER TABLE {table} {verb} TRIGGER {trigger}"


def owned_by(name: str, attributes: Attributes) -> str:
    """Return the statement that ties a sequence to its column."""
    return f"ALTER SEQUENCE {name} OWNED BY {attributes.get('owned_by', 'NONE')}"


def _literals(values: Sequence[str]) -> str:
    return ", ".join(literal(value) for value in values)


def _domain(name: str, attributes: Attributes) -> str:
    parts = [f"CREATE DOMAIN {name} AS {attributes['type']}"]
    if "default" in attributes:
        parts.append(f"DEFAULT {attributes['default']}")
    if not attributes["nullable"]:
        parts.append("NOT NULL")
    checks = attributes.get("checks") or {}
    parts += [f"CONSTRAINT {own} {check}" for own, check in sorted(checks.items())]
    return " ".join(parts)


def _alter_domain(name: str, before: Attributes, after: Attributes) -> Iterator[str]:
    head = f"ALTER DOMAIN {name}"
    if before.get("default") != after.get("default"):
        yield (
            f"{head} SET DEFAULT {after['default']}"
            if "default" in after
            else (f"{head} DROP DEFAULT")
        )
    if before["nullable"] != after["nullable"]:
        yield f"{head} {'DROP' if after['nullable'] else 'SET'} NOT NULL"
    old, new = before.get("checks") or {}, after.get("checks") or {}
    for own in sorted(old):
        if old[own] != new.get(own):
            yield f"{head} DROP CONSTRAINT {own}"
    for own in sorted(new):
        if new[own] != old.get(own):
            yield f"{head} ADD CONSTRAINT {own} {new[own]}"


def _alter_type(name: str, before: list[str], after: list[str]) -> list[str]:
    old, new = ({_split(each)[0]: _split(each)[1] for each in side} for side in (before, after))
    changes = [f"DROP ATTRIBUTE {own}" for own in old if own not in new]
    changes += [
        f"ALTER ATTRIBUTE {own} TYPE {kind}"
        for own, kind in new.items()
        if own in old and old[own] != kind
    ]
    changes += [f"ADD ATTRIBUTE {own} {kind}" for own, kind in new.items() if own not in old]
    return [f"ALTER TYPE {name} {', '.join(changes)}"] if changes else []


def _split(attribute: str) -> tuple[str, str]:
    """Return the name and the type of `name type`, where the name may be quoted."""
    end = attribute.index('" ', 1) + 1 if attribute.startswith('"') else attribute.index(" ")
    return attribute[:end], attribute[end + 1 :]


def _sequence(attributes: Attributes) -> str:
    parts = [f"AS {attributes['type']}"]
    parts += [f"{words} {attributes[key]}" for key, words in _SEQUENCE.items()]
    return " ".join([*parts, "CYCLE" if attributes["cycle"] else "NO CYCLE"])


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


_WRITERS = {"domain": _domain, "function": _function, "policy": _policy}
