"""What a run of cleanup did, rule by rule."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any

from leadctl.cleanup.bounds import Reason


class RuleStatus(Enum):
    """How a rule ended."""

    DONE = "done"
    """Everything that was due is gone."""
    STOPPED = "stopped"
    """A bound was reached or it gave way; the next run goes on."""
    OVERLAP = "overlap"
    """Another run is at this rule."""
    REFUSED = "refused"
    """The fuse has blown."""
    FAILED = "failed"


@dataclass(frozen=True)
class RuleResult:
    """What a rule did."""

    rule: str
    table: str
    status: RuleStatus
    cutoff: datetime
    rows: int = 0
    """Rows of the rule's table that went."""
    cascaded: Mapping[str, int] | None = None
    """Rows that went along, by table."""
    partitions: tuple[str, ...] = ()
    """Partitions that went as a whole; their rows are estimates."""
    batches: int = 0
    seconds: float = 0.0
    backlog: int | None = None
    """Rows that are still due, of a large table an estimate; None where nobody looked."""
    reason: Reason | None = None
    message: str = ""
    archive: Path | None = None
    warnings: tuple[str, ...] = ()

    def noted(self) -> dict[str, Any]:
        """Return what the journal keeps of it."""
        facts = {
            "status": self.status.value,
            "rows": self.rows,
            "cascaded": sum((self.cascaded or {}).values()) or None,
            "backlog": self.backlog,
            "reason": self.reason.value if self.reason else None,
            "archive": str(self.archive) if self.archive else None,
        }
        return {name: fact for name, fact in facts.items() if fact is not None}


@dataclass(frozen=True)
class CleanupResult:
    """What a run did."""

    app: str
    database: str
    schema: str
    ok: bool
    """Whether no rule was refused or failed."""
    rows: int
    cascaded: int
    seconds: float
    vacuum_seconds: float
    """How many of these VACUUM took, after the rules."""
    stopped: Reason | None
    rules: tuple[RuleResult, ...]
