"""Reports: what the owner of a product wants to see, each one SQL statement."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Chart:
    """How a report is looked at: `columns` are its numbers.

    A line has one number a row, in the rows' order; so have bars, labelled by the first column; a
    funnel has one bar a column, of all rows together.
    """

    kind: Literal["line", "bars", "funnel"]
    columns: tuple[str, ...]


@dataclass(frozen=True)
class Report:
    """One statement; its columns are the report's columns.

    Where `per_user` says so it uses `%(user)s`: the id of a user, or NULL for all of them.  Where
    `per_time` says so it uses `%(since)s`: a time from which on rows count, or NULL for its own.
    What has a chart is on the first screen of `leadctl stats`, too.
    """

    name: str
    title: str
    sql: str
    per_user: bool = False
    per_time: bool = False
    chart: Chart | None = None


@dataclass(frozen=True)
class AppReports:
    """An app's reports, and how `--user` finds a user's id from what was given as `%(user)s`."""

    reports: tuple[Report, ...]
    find_user: str | None = None
