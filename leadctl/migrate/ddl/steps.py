"""One statement of a change: when it comes, what it loses, and which revision it belongs in."""

from dataclasses import dataclass
from enum import IntEnum


class Phase(IntEnum):
    """The order within a revision; inside a phase, what is named comes before what names it."""

    RENAME = 0
    DROP_DEPENDENT = 1
    """Views, policies, triggers, foreign keys: what rests on keys."""
    DROP_KEY = 2
    """Keys, checks, indexes, and functions that are made anew."""
    DEFINE = 3
    """Types, functions, sequences, tables, columns."""
    DROP = 4
    """Columns and tables."""
    KEY = 5
    """Primary keys, uniques, exclusions: what foreign keys and views rest on."""
    INDEX = 6
    CONSTRAINT = 7
    """Foreign keys and checks."""
    DEPENDENT = 8
    """Views, policies, triggers, statistics."""
    DROP_DEFINITION = 9
    """Sequences, functions, types."""
    COMMENT = 10


class Stage(IntEnum):
    """The revision that a statement belongs in, where one transaction would not do."""

    VALUES = 0
    """Enum values that the next stage uses: PostgreSQL refuses both in one transaction."""
    MAIN = 1
    FILL = 2
    """Rows, in batches that commit by themselves."""
    INDEX = 3
    """Indexes, built CONCURRENTLY, outside a transaction."""
    CONSTRAINT = 4
    """Constraints that rest on those indexes or those rows."""
    VALIDATE = 5
    """What was added NOT VALID is held against the rows, while others write."""
    NOT_NULL = 6
    """NOT NULL, which a validated CHECK spares the scan."""

    @property
    def transactional(self) -> bool:
        """Whether it runs in the revision's transaction."""
        return self not in {Stage.FILL, Stage.INDEX}


@dataclass(frozen=True)
class Fill:
    """Rows to be filled in batches: `assignment` is set where `where` holds."""

    table: str
    assignment: str
    where: str


@dataclass(frozen=True)
class Step:
    """One statement."""

    sql: str
    phase: Phase
    provides: str = ""
    """The name that it defines."""
    provides_too: str = ""
    """A second one: that of the multirange that comes with a range."""
    about: str = ""
    """The definition that it drops, which names what it rests on."""
    loses: str = ""
    """What of the rows goes, in words."""
    why: str = ""
    """Why it is written like that, or what to look at first."""
    stage: Stage = Stage.MAIN
    fill: Fill | None = None
    """Instead of a statement: rows to be filled by the helper for that."""
    back: "Step | None" = None
    """The way back of a rename, which no comparison could tell."""
