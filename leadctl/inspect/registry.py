"""The registry of reports: every block of four `.sql` files beside this module is one."""

from dataclasses import dataclass
from functools import cache

from leadctl.errors import UnknownReport
from leadctl.postgres.queries import Queries, Query, beside
from leadctl.text import did_you_mean

_FILES: tuple[tuple[str, Queries], ...] = tuple(
    (group, beside(__file__, f"{group}.sql"))
    for group in ("tables", "indexes", "activity", "server")
)

COUNTERS = frozenset({"cache-hit", "index-usage", "indexes", "unused-indexes", "vacuum"})
"""Reports of the counters of a database, which mean little without the counters' age."""
OF_SESSIONS = frozenset({"blocking", "locks", "long-queries", "idle-in-transaction", "connections"})
"""Reports that show little of other roles' sessions to a role that may not see them."""
READS_TABLES = frozenset({"bloat-exact"})
"""Reports that read whole tables: they are asked by name only."""


@dataclass(frozen=True)
class Diagnostic:
    """One report: a named question, and the server's major versions that it is for.

    `needs` is the extension without which there is no answer.
    """

    name: str
    group: str
    """Where it belongs: tables, indexes, activity or server."""
    description: str
    versions: str
    needs: str | None


@dataclass(frozen=True)
class ReportList:
    """Every report that there is."""

    reports: tuple[Diagnostic, ...]


@cache
def reports() -> dict[str, Diagnostic]:
    """Return every report by name, in the order in which they are shown."""
    found: dict[str, Diagnostic] = {}
    for group, queries in _FILES:
        for name in dict.fromkeys(block.name for block in queries.blocks):
            blocks = [block for block in queries.blocks if block.name == name]
            report = Diagnostic(
                name=name.replace("_", "-"),
                group=group,
                description=blocks[0].what,
                versions=", ".join(_versions(block) for block in blocks),
                needs=blocks[0].needs,
            )
            found[report.name] = report
    return found


def listing() -> ReportList:
    """Return every report, to be listed."""
    return ReportList(tuple(reports().values()))


def in_all() -> tuple[Diagnostic, ...]:
    """Return the reports that "all" stands for."""
    return tuple(report for name, report in reports().items() if name not in READS_TABLES)


def block_of(report: Diagnostic, server_version: int) -> Query:
    """Return a report's SQL for a server; `server_version` is libpq's, such as 180006."""
    return dict(_FILES)[report.group].block(report.name.replace("-", "_"), server_version)


def find(name: str) -> Diagnostic:
    """Return a report by its name.  Raises UnknownReport with what was probably meant."""
    known = reports()
    if name not in known:
        raise UnknownReport(
            f"There is no report {name!r}.", hint=did_you_mean(name, [*known, "all"])
        )
    return known[name]


def _versions(block: Query) -> str:
    return f"{block.since}-" + (str(block.until) if block.until < _OPEN_END else "")


_OPEN_END = 999
"""The last version of a block that has none, as `db.queries` reads it."""
