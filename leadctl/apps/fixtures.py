"""Fixtures: the rows that seeding makes sure of, as data.

A fixture says which table, by which natural key the row is found, and what it has when it must be
made.  A row that exists is left as it is.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Ref:
    """A column of another fixture's row, most often its id."""

    table: str
    key: Mapping[str, Any]
    column: str = "id"


@dataclass(frozen=True)
class Fixture:
    """One row: found by `key`, made of `key` and `values`.

    A value is a plain one, a `Ref`, or a function without arguments that makes it when the row is
    inserted (a password's hash, a time from now).
    """

    table: str
    key: Mapping[str, Any]
    values: Mapping[str, Any | Ref | Callable[[], Any]] = field(default_factory=dict)

    def ref(self, column: str = "id") -> Ref:
        """Return a reference to this fixture's row."""
        return Ref(self.table, self.key, column)


def key_as_json(fixture: "Fixture | Ref") -> dict[str, Any]:
    """Return what finds a fixture's row, as JSON.

    It is recorded, so that the row can be looked for without the app's code.
    """
    key = {
        name: {"ref": key_as_json(value), "column": value.column}
        if isinstance(value, Ref)
        else value
        for name, value in fixture.key.items()
    }
    return {"table": fixture.table, "key": key}
