"""The statements that create, change and drop objects: all kinds but tables and columns."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from leadctl.catalog.definitions import Attributes, Catalog, definition, owner, split_name
from leadctl.errors import OperationFailed
from leadctl.migrate.ddl.steps import literal, plain

_COMMANDS = {"r": "SELECT", "a": "INSERT", "w": "UPDATE", "d": "DELETE", "*": "ALL"}
_ENABLED = {"disabled": "DISABLE", "replica": "ENABLE REPLICA", "always": "ENABLE ALWAYS"}
_SIGNATURE = {"kind", "arguments", "returns", "aggregate", "aggregate_options"}
"""What CREATE OR REPLACE cannot change."""
_GRANTABLE = " WITH GRANT OPTION"
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
    """Return the statement that creates an object, comments and the like left out."""
    match kind:
        case "schema":
            return f"CREATE SCHEMA IF NOT EXISTS {name}"
        case "trigger" | "statistics" | "rule":
            return str(attributes["definition"]).rstrip(";")
        case "index":
            # A partitioned table's index is read as ON ONLY, which would leave the parts out.
            text = str(attributes["definition"])
            text = text if "invalid" in attributes else text.replace(" ON ONLY ", " ON ", 1)
            return text.replace(" USING btree ", " ", 1)
        case "other":
            return others(name, attributes)[0]
        case "constraint":
            table, constraint = split_name(name)
            text = attributes["definition"]
            space = "\n    " if text.startswith("FOREIGN KEY") else " "
            only = "ONLY " if "invalid" in attributes else ""  # it holds on no partition
            return f"ALTER TABLE {only}{table} ADD CONSTRAINT {constraint}{space}{text}"
    return _CREATE[kind](name, attributes)


def others(name: str, attributes: Attributes) -> Sequence[str]:
    """Return the statements that make an operator, a text search object or the like.

    Raises OperationFailed for one that cannot be written.
    """
    if "written" not in attributes:
        raise OperationFailed(f"{name} cannot be written as SQL.")
    return tuple(attributes["written"])


def drop(kind: str, name: str, attributes: Attributes) -> str:
    """Return the statement that drops an object.

    Raises OperationFailed for a kind that cannot be written.
    """
    match kind:
        case "constraint":
            table, constraint = split_name(name)
            return f"ALTER TABLE {table} DROP CONSTRAINT {constraint}"
        case "sequence":
            return f"DROP SEQUENCE IF EXISTS {name}"  # a column may have taken it along
    return f"DROP {_reference(kind, name, attributes)}"


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


def unique_keys(catalog: Catalog) -> Mapping[str, list[tuple[str, Attributes]]]:
    """Return what foreign keys may rest on, by table: primary keys, unique constraints, indexes."""
    found: dict[str, list[tuple[str, Attributes]]] = {}
    for key, each in catalog.objects.items():
        if key.startswith(("constraint ", "index ")) and each["definition"].startswith(
            ("PRIMARY", "UNIQUE", "CREATE UNIQUE")
        ):
            found.setdefault(plain(owner(key, each) or ""), []).append((key, each))
    return found


def comment(kind: str, name: str, attributes: Attributes) -> str:
    """Return the statement that sets or removes an object's comment."""
    text = attributes.get("comment")
    value = "NULL" if text is None else literal(text)
    return f"COMMENT ON {_reference(kind, name, attributes)} IS {value}"


def _reference(kind: str, name: str, attributes: Attributes) -> str:
    if kind in {"constraint", "trigger", "policy", "rule"}:
        table, own = split_name(name)
        return f"{kind.upper()} {own} ON {table}"
    if kind == "other":
        others(name, attributes)
        return str(attributes["reference"])
    return f"{word(kind, attributes)} {name}"


def alter(kind: str, name: str, before: Attributes, after: Attributes) -> list[str] | None:
    """Return the statements that change an object in place; None where it must be recreated."""
    old, new = definition(before) or {}, definition(after) or {}
    changed = {key for key in old.keys() | new.keys() if old.get(key) != new.get(key)}
    changed -= {"comment", "column_comments"}
    match kind:
        case "rule" | "trigger" if changed == {"enabled"}:
            return [enabled(kind, name, after)]
        case "function" if not changed & _SIGNATURE:
            return [_function(name, after)] if changed else []
        case "view" if _replaceable(before, after):
            return [_view(name, after, replace=True)] if changed else []
        case "sequence":
            restart = " RESTART" if cannot_go_on(before, after) else ""
            changes = changed - {"owned_by"}
            return [f"ALTER SEQUENCE {name} {_sequence(after)}{restart}"] if changes else []
        case "enum":
            return added_values(name, before["values"], after["values"])
        case "domain":
            return list(_alter_domain(name, before, after))
        case "type" if not changed & {"range", "multirange"}:
            return _alter_type(name, before.get("attributes", []), after.get("attributes", []))
        case "index" | "constraint" if changed == {"invalid"} and _is_whole(kind, before):
            return []
        case "constraint" if f"{after['definition']} NOT VALID" == before["definition"]:
            table, constraint = split_name(name)
            return [f"ALTER TABLE {table} VALIDATE CONSTRAINT {constraint}"]
    return None if changed else []


def _is_whole(kind: str, before: Attributes) -> bool:
    """Whether an invalid index or key is a partitioned one, and valid with its last part."""
    without_parts = kind == "constraint" or " ON ONLY " in before["definition"]
    return without_parts and "invalid" in before


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
            yield comment("column", f"{name}.{column}", {"comment": new.get(column)})


def owned_by(name: str, attributes: Attributes) -> str:
    """Return the statement that ties a sequence to its column."""
    return f"ALTER SEQUENCE {name} OWNED BY {attributes.get('owned_by', 'NONE')}"


def cannot_go_on(before: Attributes, after: Attributes) -> bool:
    """Whether a sequence must begin again: it counts the other way, or began outside its bounds.

    PostgreSQL refuses bounds that its last number is not within.
    """
    turned = (before["increment"] > 0) != (after["increment"] > 0)
    return turned or not after["min"] <= before["start"] <= after["max"]


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


def _view(name: str, attributes: Attributes, *, replace: bool = False) -> str:
    verb = "CREATE OR REPLACE" if replace else "CREATE"
    options = f" WITH ({', '.join(attributes['options'])})" if "options" in attributes else ""
    query = attributes["definition"].strip().rstrip(";")
    return f"{verb} {word('view', attributes)} {name}{options} AS\n{query}"


def _replaceable(before: Attributes, after: Attributes) -> bool:
    """Whether CREATE OR REPLACE will do: columns may only be added at the end."""
    if before.get("materialized") != after.get("materialized"):
        return False
    if before.get("materialized"):
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
    parts += _aggregate_options(attributes.get("aggregate_options") or {})
    arguments = attributes["arguments"] or "*"
    return f"CREATE AGGREGATE {name.partition('(')[0]} ({arguments}) ({', '.join(parts)})"


def _aggregate_options(options: Attributes) -> Iterator[str]:
    modifies = {"r": "READ_ONLY", "s": "SHAREABLE", "w": "READ_WRITE"}
    for name, value in options.items():
        if name == "KIND":
            if value == "h":
                yield "HYPOTHETICAL"
        elif value is True:
            yield name
        elif name == "FINALFUNC_MODIFY":
            yield f"{name} = {modifies[value]}"
        elif name == "PARALLEL":
            yield f"{name} = {'SAFE' if value == 's' else 'RESTRICTED'}"
        elif name == "SORTOP":
            yield f"{name} = OPERATOR({value})"
        else:
            yield f"{name} = {literal(value) if name == 'MINITCOND' else value}"


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


def _type(name: str, attributes: Attributes) -> str:
    made_of = f"({', '.join(attributes.get('attributes', ()))})"
    if "values" in attributes:
        made_of = f"ENUM ({', '.join(map(literal, attributes['values']))})"
    elif "range" in attributes:
        made_of = f"RANGE ({attributes['range']})"
    return f"CREATE TYPE {name} AS {made_of}"


def _domain(name: str, attributes: Attributes) -> str:
    parts = [f"CREATE DOMAIN {name} AS {attributes['type']}"]
    if "collation" in attributes:
        parts.append(f"COLLATE {attributes['collation']}")
    if "default" in attributes:
        parts.append(f"DEFAULT {attributes['default']}")
    if not attributes["nullable"]:
        parts.append("NOT NULL")
    checks = attributes.get("checks") or {}
    parts += [
        f"CONSTRAINT {own} {check}"
        for own, check in sorted(checks.items())
        if not check.endswith(_LATER)
    ]
    return " ".join(parts)


_LATER = "NOT VALID"


def unvalidated_checks(name: str, attributes: Attributes) -> Iterator[str]:
    """Yield what adds a domain's checks that its values were never held against."""
    for own, check in sorted((attributes.get("checks") or {}).items()):
        if check.endswith(_LATER):
            yield f"ALTER DOMAIN {name} ADD CONSTRAINT {own} {check}"


def _alter_domain(name: str, before: Attributes, after: Attributes) -> Iterator[str]:
    head = f"ALTER DOMAIN {name}"
    if before.get("default") != after.get("default"):
        default = f"SET DEFAULT {after['default']}" if "default" in after else "DROP DEFAULT"
        yield f"{head} {default}"
    if before["nullable"] != after["nullable"]:
        yield f"{head} {'DROP' if after['nullable'] else 'SET'} NOT NULL"
    old, new = before.get("checks") or {}, after.get("checks") or {}
    for own in sorted(old):
        if old[own] != new.get(own):
            yield f"{head} DROP CONSTRAINT {own}"
    for own in sorted(new):
        if new[own] != old.get(own):
            yield f"{head} ADD CONSTRAINT {own} {new[own]}"


def _alter_type(name: str, before: list[str], after: list[str]) -> list[str] | None:
    old, new = (dict(map(attribute, side)) for side in (before, after))
    kept = [own for own in old if own in new]
    if list(new)[: len(kept)] != kept:
        return None  # another order
    changes = [f"DROP ATTRIBUTE {own}" for own in old if own not in new]
    changes += [
        f"ALTER ATTRIBUTE {own} TYPE {kind}"
        for own, kind in new.items()
        if own in old and old[own] != kind
    ]
    changes += [f"ADD ATTRIBUTE {own} {kind}" for own, kind in new.items() if own not in old]
    return [f"ALTER TYPE {name} {', '.join(changes)}"] if changes else []


def attribute(text: str) -> tuple[str, str]:
    """Return the name and the type of `name type`, where the name may be quoted."""
    end = text.index('" ', 1) + 1 if text.startswith('"') else text.index(" ")
    return text[:end], text[end + 1 :]


def _collation(name: str, attributes: Attributes) -> str:
    parts = [f"PROVIDER = {attributes['provider']}"]
    parts += [
        f"{key.upper()} = {literal(attributes[key])}"
        for key in ("locale", "lc_collate", "lc_ctype", "rules")
        if key in attributes
    ]
    if "deterministic" in attributes:
        parts.append("DETERMINISTIC = false")
    return f"CREATE COLLATION {name} ({', '.join(parts)})"


def added_values(name: str, before: Sequence[str], after: Sequence[str]) -> list[str] | None:
    """Return the statements that add an enum's new values; None if others go or move."""
    if [value for value in after if value in before] != list(before):
        return None
    statements = []
    for index, value in enumerate(after):
        if value not in before:
            following = [each for each in after[index:] if each in before]
            before_value = f" BEFORE {literal(following[0])}" if following else ""
            statements.append(f"ALTER TYPE {name} ADD VALUE {literal(value)}{before_value}")
    return statements


def privileges(before: Attributes, after: Attributes) -> Iterator[str]:
    """Yield what takes from a role what it had on an object, and gives it what it should have.

    PostgreSQL's own default is what it has where nothing is recorded.
    """
    known = after or before
    old = set(before.get("privileges", known["default"]))
    new = set(after.get("privileges", known["default"]))
    if old - new:
        taken = sorted(each.removesuffix(_GRANTABLE) for each in old - new)
        yield f"REVOKE {', '.join(taken)} ON {known['on']} FROM {known['to']}"
    plainly = sorted(each for each in new - old if not each.endswith(_GRANTABLE))
    further = sorted(each for each in new - old if each.endswith(_GRANTABLE))
    if plainly:
        yield f"GRANT {', '.join(plainly)} ON {known['on']} TO {known['to']}"
    if further:
        names = ", ".join(each.removesuffix(_GRANTABLE) for each in further)
        yield f"GRANT {names} ON {known['on']} TO {known['to']}{_GRANTABLE}"


_CREATE: Mapping[str, Callable[[str, Attributes], str]] = {
    "collation": _collation,
    "domain": _domain,
    "enum": _type,
    "function": _function,
    "policy": _policy,
    "sequence": _new_sequence,
    "type": _type,
    "view": _view,
}
