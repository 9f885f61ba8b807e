"""How two definitions of a schema differ.

This alone decides what differs, whoever asks: check, drift, diff, new, push and the tests.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from leadctl.catalog.definitions import Attributes, Catalog, owner

_PLACE = "position"
"""Where a column stands: what a table is written by, but nothing that tables differ in."""


@dataclass(frozen=True)
class Difference:
    """One difference between two catalogs: an object that is missing, extra or defined otherwise.

    `change` is "missing" (only the first has it), "extra" (only the second has it) or "changed".
    """

    object: str
    change: str
    before: Attributes | None = None
    after: Attributes | None = None

    @property
    def attributes(self) -> list[str]:
        """What a changed object differs in."""
        old, new = definition(self.before) or {}, definition(self.after) or {}
        if self.change != "changed":
            return []
        return sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))


def compare(before: Catalog, after: Catalog) -> list[Difference]:
    """Return what differs, by object, in a stable order; empty where the catalogs are equal.

    The parts of a table that is missing or extra as a whole are not listed one by one.
    """
    differences = []
    for key in sorted(before.objects.keys() | after.objects.keys()):
        old, new = before.objects.get(key), after.objects.get(key)
        if definition(old) != definition(new):
            change = "missing" if new is None else "extra" if old is None else "changed"
            differences.append(Difference(key, change, old, new))
    whole = {each.object.removeprefix("table ") for each in differences if _is_whole_table(each)}
    return [
        each
        for each in differences
        if _is_whole_table(each) or owner(each.object, each.before or each.after or {}) not in whole
    ]


def without_grants(differences: Iterable[Difference]) -> list[Difference]:
    """Return differences without those of privileges.

    The server may grant some by itself on what is new (ALTER DEFAULT PRIVILEGES), so that between
    something that was just made and what it was made of they tell nothing.
    """
    return [each for each in differences if not each.object.startswith("grant ")]


def definition(attributes: Attributes | None) -> Attributes | None:
    """Return what defines an object, without what two equal ones may differ in."""
    if attributes is None:
        return None
    return {name: value for name, value in attributes.items() if name != _PLACE}


def _is_whole_table(difference: Difference) -> bool:
    return difference.object.startswith("table ") and difference.change != "changed"
