"""Reports: what the owner of a product wants to see, each one SQL statement."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from leadctl.postgres.queries import queries_of

_FIND_USER = "SELECT id FROM users WHERE id = %(user)s OR email = %(user)s"


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

    It may use `%(user)s`, the id of a user or NULL for all of them, and `%(since)s`, a time from
    which on rows count or NULL for its own.  What has a chart is on the first screen of
    `leadctl stats`, too.
    """

    name: str
    title: str
    sql: str
    per_user: bool = False
    """Whether the statement uses `%(user)s`; it is read from there."""
    per_time: bool = False
    """Whether the statement uses `%(since)s`; it is read from there."""
    chart: Chart | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "per_user", "%(user)s" in self.sql)
        object.__setattr__(self, "per_time", "%(since)s" in self.sql)


@dataclass(frozen=True)
class AppReports:
    """An app's reports, and how `--user` finds a user's id from what was given as `%(user)s`."""

    reports: tuple[Report, ...]
    find_user: str | None = None


def reports_beside(
    module: str, charts: Mapping[str, Chart], *, find_user: str = _FIND_USER
) -> AppReports:
    """Return the reports of the `reports.sql` beside a module, which passes `__file__`.

    Each is a block; `what` is its title.
    """
    blocks = queries_of(module, "reports.sql").blocks
    named = [(block.name.replace("_", "-"), block) for block in blocks]
    return AppReports(
        tuple(Report(name, each.what, each.sql, chart=charts.get(name)) for name, each in named),
        find_user,
    )
