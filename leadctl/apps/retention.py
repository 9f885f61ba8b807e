"""Retention rules: which rows of an app may go, and when, as data."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Rule:
    """Rows of `table` that are older than `older_than`, by `age_column`, and meet `condition`.

    A row whose age column is NULL is never due.
    """

    name: str
    table: str
    age_column: str
    older_than: str
    """How old, as "90d"."""
    condition: str | None = None
    """An SQL condition on the table's own columns."""
    archive: bool = False
    """Whether rows are written to an archive before they are deleted."""
    description: str = ""
