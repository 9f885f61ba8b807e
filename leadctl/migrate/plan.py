"""What `migrate` would do: the plan of pending revisions, and what lint found in them."""

from dataclasses import dataclass
from pathlib import Path

KINDS = {
    "r": "table",
    "p": "partitioned table",
    "f": "foreign table",
    "v": "view",
    "m": "materialized view",
    "S": "sequence",
    "c": "composite type",
}
"""What pg_class.relkind stands for."""


@dataclass(frozen=True)
class Loss:
    """What a statement would lose of a table."""

    what: str
    """ "table", "rows", "column NAME", "values of column NAME" or "values"; several with commas."""
    rows: int | None
    """How many rows lose it; None where that is not known: any number."""
    exact: bool


@dataclass(frozen=True)
class LintFinding:
    """Something dangerous in a revision."""

    rule: str
    message: str
    hint: str
    statement: int | None = None
    """Which statement of the revision, counted from 1; None for the revision as a whole."""
    line: int | None = None
    """The line of the revision's file that it is about."""
    allowed: str | None = None
    """The reason why it is allowed, where it is."""


@dataclass(frozen=True)
class TableEffect:
    """What a statement does to one table that exists or will."""

    table: str
    kind: str
    """ "table", "view", "sequence" and so on."""
    lock: str
    """The lock that it takes, in PostgreSQL's words."""
    blocks: str
    """What others cannot do meanwhile: "reads and writes", "writes" or nothing."""
    rewrites: bool
    scans: bool
    duration: str
    """How long it takes: "instant", or as long as a "scan" or a "rewrite" of `bytes` takes."""
    is_new: bool
    """Whether the plan itself makes the table: nobody waits for it."""
    part_of: str | None
    """The table that it is a partition of, where that is touched, too."""
    bytes: int | None
    rows: int | None
    """As the statistics know it."""
    waits_for: tuple[str, ...]
    """Who holds a lock now that it would have to wait for."""
    loss: Loss | None
    """The table, rows, columns or values that are gone behind it."""
    overwrites: Loss | None = None
    """The values that others take the place of, and that cannot be restored from those."""


@dataclass(frozen=True)
class PlannedStatement:
    """One statement of a revision, and what it does to each table."""

    sql: str
    transactional: bool
    tried: bool
    """Whether the server was asked, by a trial; else it was read."""
    unplannable: str | None
    """Why it is not known what it does."""
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
    not_tried: str | None
    """Why nothing was tried on the server; None where it was."""
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
