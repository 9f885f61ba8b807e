"""Reports: what the owner of a product wants to see, each one SQL statement."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Report:
    """One statement; its columns are the report's columns.

    Where `per_user` says so it uses `%(user)s`: the id of a user, or NULL for all of them.
    """

    name: str
    title: str
    sql: str
    per_user: bool = False


@dataclass(frozen=True)
class AppReports:
    """An app's reports, and how `--user` finds a user's id from what was given as `%(user)s`."""

    reports: tuple[Report, ...]
    find_user: str | None = None
