"""The statements that create and change types and collations."""

from collections.abc import Iterator

from leadctl.catalog.definitions import Attributes
from leadctl.migrate.ddl.literals import literal


def create(kind: str, name: str, attributes: Attributes) -> str:
    """Return the statement that creates an enum, domain, composite type, range or collation."""
    match kind:
        case "enum":
            return f"CREATE TYPE {name} AS ENUM ({', '.join(map(literal, attributes['values']))})"
        case "domain":
            return _domain(name, attributes)
        case "collation":
            return _collation(name, attributes)
    if "range" in attributes:
        return f"CREATE TYPE {name} AS RANGE ({attributes['range']})"
    return f"CREATE TYPE {name} AS ({', '.join(attributes.get('attributes', ()))})"


def _domain(name: str, attributes: Attributes) -> str:
    parts = [f"CREATE DOMAIN {name} AS {attributes['type']}"]
    if "default" in attributes:
        parts.append(f"DEFAULT {attributes['default']}")
    if not attributes["nullable"]:
        parts.append("NOT NULL")
    checks = attributes.get("checks") or {}
    parts += [f"CONSTRAINT {own} {check}" for own, check in sorted(checks.items())]
    return " ".join(parts)


def alter_domain(name: str, before: Attributes, after: Attributes) -> Iterator[str]:
    """Yield what changes a domain, its type left out."""
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


def alter_type(name: str, before: list[str], after: list[str]) -> list[str]:
    """Return what changes the attributes of a composite type."""
    old, new = (dict(map(attribute, side)) for side in (before, after))
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
