"""What a plan consists of."""

from dataclasses import dataclass

from leadctl.migrate.lint.findings import Finding
from leadctl.migrate.live_tables import Loss


@dataclass(frozen=True)
class TableEffect:
    """What a statement does to one table that exists or will."""

    table: str
    lock: str
    """The lock that it takes, in PostgreSQL's words."""
    blocks: str
    """What others cannot do meanwhile: "reads and writes", "writes" or nothing."""
    rewrites: bool
    scans: bool
    is_new: bool
    """Whether the plan itself makes the table: nobody waits for it."""
    bytes: int | None
    rows: int | None
    """As the statistics know it."""
    waits_for: tuple[str, ...]
    """Who holds a lock now that it would have to wait for."""
    loss: Loss | None


@dataclass(frozen=True)
class PlannedStatement:
    """One statement of a revision, and what it does to each table."""

    sql: str
    transactional: bool
    effects: tuple[TableEffect, ...]


@dataclass(frozen=True)
class PlannedRevision:
    """One pending revision."""

    revision: str
    message: str
    reversible: bool
    cannot_be_planned: str | None
    """Why its statements are not known."""
    statements: tuple[PlannedStatement, ...]
    findings: tuple[Finding, ...]

    @property
    def blocking(self) -> tuple[Finding, ...]:
        """What was found and is not allowed."""
        return tuple(finding for finding in self.findings if finding.allowed is None)


@dataclass(frozen=True)
class Plan:
    """What `migrate` would do."""

    app: str
    database: str
    schema: str
    current: str | None
    revisions: tuple[PlannedRevision, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing was found, or what was found is allowed."""
        return not any(revision.blocking for revision in self.revisions)
