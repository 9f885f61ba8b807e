"""Privileges: what a role is given on an object, and what is taken from it."""

from collections.abc import Iterator

from leadctl.catalog.definitions import Attributes

_GRANTABLE = " WITH GRANT OPTION"


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
