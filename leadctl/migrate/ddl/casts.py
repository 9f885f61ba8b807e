"""How values become those of another type, and whether they may be rounded or cut on the way."""

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


def using(name: str, before: str, after: str, *, into: str | None = None) -> str:
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


def loses(before: str, after: str) -> bool:
    """Whether values may be rounded or cut by a change of type, instead of refused."""
    is_limited = "(" in after
    if after.endswith("[]"):
        return is_limited or loses(before.removesuffix("[]"), after.removesuffix("[]"))
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


def _same(before: str, after: str) -> bool:
    families = (_NUMBERS, _TIMES)
    return "[]" not in before + after and any(
        before.startswith(family) and after.startswith(family) for family in families
    )


def _base(kind: str) -> str:
    return kind.partition("(")[0].strip()
