"""The plan of pending revisions: their statements, what each does to which table, the findings."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Loss:
    """What a statement would lose of a table."""

    what: str
    """ "table", "rows" or "column NAME"."""
    rows: int | None
    """How many rows lose it; None where the statement's condition decides."""
    exact: bool


@dataclass(frozen=True)
class LintFinding:
    """Something dangerous in a revision."""

    rule: str
    message: str
    hint: str
    statement: int | None = None
    """Which statement of the revision, counted from 1; None for the revision as a whole."""
    allowed: str | None = None
    """The reason why it is allowed, where it is."""


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
    findings: tuple[LintFinding, ...]

    @property
    def blocking(self) -> tuple[LintFinding, ...]:
        """What was found and is not allowed."""
        return tuple(finding for finding in self.findings if finding.allowed is None)


@dataclass(frozen=True)
class MigrationPlan:
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


@dataclass(frozen=True)
class LintedRevision:
    """A revision and what was found in it."""

    revision: str
    path: Path
    findings: tuple[LintFinding, ...]


@dataclass(frozen=True)
class LintResult:
    """What lint found."""

    app: str
    database: str | None
    """Whose tables were asked for their sizes; None where there was none to ask."""
    squawk: bool
    """Whether squawk's rules were looked at, too."""
    revisions: tuple[LintedRevision, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing was found but what is allowed."""
        return all(
            finding.allowed is not None
            for revision in self.revisions
            for finding in revision.findings
        )
