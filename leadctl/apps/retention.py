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
    """How old: "90d", "6 months" or ISO 8601."""
    condition: str | None = None
    """An SQL condition on the table's own columns.  A subquery in it may name the table itself:
    cleanup gives the table no other name."""
    archive: bool = False
    """Whether rows are written to an archive before they are deleted."""
    description: str = ""
    expiry: bool = False
    """Whether the age column says when a row ends, so that an `older_than` of zero is meant."""
    max_rows: int | None = None
    """How many rows a run takes at most."""
    fuse_share: float = 0.5
    """The share of the table that a run may take without consent."""
    fuse_rows: int = 1000
    """So many rows may go without consent, whatever share they are."""
    enabled: bool = True
