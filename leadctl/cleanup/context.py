"""What the rules of a run share: the session, the run's bounds, the server's load, the journal."""

import threading
import time
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from leadctl.cleanup import QUERIES
from leadctl.cleanup.preview import Due
from leadctl.cleanup.results import PastRuns, Reason, Refusal
from leadctl.cleanup.rules import RuleTable
from leadctl.files import ObjectUrl
from leadctl.journal.runs import Entry
from leadctl.postgres.connect import Connection, cut_after
from leadctl.postgres.target import Target
from leadctl.progress import Narrate, Progress

_NOTE_EVERY = 5.0
"""Seconds between two notes in the journal, so that a killed run shows what it did."""
_LOOK_EVERY = 1.0
"""Seconds between two looks at the server's load."""
_REPLICA_LAG = 10.0
"""Seconds."""
_UNARCHIVED = 42
"""WAL segments; check_postgres warns from there."""
_CANCEL_AFTER, _CUT_AFTER = 10.0, 40.0
"""Seconds past a run's time: then its statement is cancelled, and then its connection is cut."""
_NAMED = 20
"""So many refused rows are named; all are counted."""
_PATIENCE = 120.0
"""Seconds that a rule waits for the server in all, before it is left to the next run."""


class Bounds:
    """The bounds of a whole run: time, rows, and a request to stop, from a signal handler or so."""

    def __init__(self, max_seconds: float | None = None, max_rows: int | None = None) -> None:
        self.began = time.monotonic()
        self._deadline = None if max_seconds is None else self.began + max_seconds
        self._rows_left = max_rows
        self._requested: Reason | None = None
        self._running: Connection | None = None

    def request(self, reason: Reason) -> None:
        """Ask the run to stop; a long statement that may be cancelled is."""
        self._requested = reason
        self._cancel_running()

    @property
    def requested(self) -> Reason | None:
        """The reason for which the run was asked to stop."""
        return self._requested

    @property
    def reached(self) -> Reason | None:
        """The bound that was reached; None while the run may go on."""
        if self._requested is not None:
            return self._requested
        if self._deadline is not None and time.monotonic() >= self._deadline:
            return Reason.MAX_SECONDS
        return Reason.MAX_ROWS if self._rows_left == 0 else None

    @property
    def counts_rows(self) -> bool:
        """Whether the run may take so many rows and no more."""
        return self._rows_left is not None

    @property
    def seconds_left(self) -> float | None:
        """How long the run may go on; None where nothing says."""
        if self._deadline is None:
            return None
        return max(0.0, self._deadline - time.monotonic())

    def share_of(self, share: float, longest: float) -> float:
        """Return so many seconds, but no more than a share of the run's time."""
        if self._deadline is None:
            return longest
        return min(longest, share * (self._deadline - self.began))

    def at_most(self, rows: int) -> int:
        """Return how many of `rows` the run may still take."""
        return rows if self._rows_left is None else min(rows, self._rows_left)

    def took(self, rows: int) -> None:
        """Count rows that were taken."""
        if self._rows_left is not None:
            self._rows_left -= rows

    @contextmanager
    def enforcing(self, connection: Connection) -> Iterator[None]:
        """Hold the run's time also where a batch, or the server, does not come to an end.

        What only reads is cancelled at once, anything ten seconds past it, and half a minute later
        the connection is cut.  The first row of a run may take that long: one that is cancelled
        never gets on.
        """
        left = self.seconds_left
        with ExitStack() as stack:
            if left is not None:
                stack.enter_context(cut_after(connection, left + _CUT_AFTER))
                for seconds, cancel in (
                    (left, self._cancel_running),
                    (left + _CANCEL_AFTER, connection.cancel_safe),
                ):
                    timer = threading.Timer(seconds, cancel)
                    timer.daemon = True
                    timer.start()
                    stack.callback(timer.cancel)
            yield

    def _cancel_running(self) -> None:
        if self._running is not None:
            self._running.cancel_safe()

    @contextmanager
    def cancelling(self, connection: Connection) -> Iterator[None]:
        """Let a request to stop cancel what runs on the connection meanwhile."""
        self._running = connection
        try:
            yield
        finally:
            self._running = None


@dataclass(frozen=True)
class ArchiveDestination:
    """Where rows are archived, and for whom."""

    folder: Path | ObjectUrl
    recipients: tuple[Any, ...]


@dataclass
class RuleProgress:
    """How far a rule is: what went of its table and, by cascades, per table's oid."""

    rows: int = 0
    cascaded: Counter[int] = field(default_factory=Counter)
    partitions: list[str] = field(default_factory=list)
    """Those that went as a whole."""
    batches: int = 0
    heap: int | None = None
    """The table that it is at, which may be a partition, by oid."""
    block: int | None = None
    """The block of it that it is at, where it goes through them."""
    due: Due | None = None
    """What was due at the beginning; None before it was measured."""
    stopped: Reason | None = None
    refused: int = 0
    """Rows that may not go, whoever else has."""
    refusals: list[Refusal] = field(default_factory=list)
    """The first of them."""

    @property
    def names_more(self) -> bool:
        """Whether rows that may not go are still named, and not only counted."""
        return len(self.refusals) < _NAMED

    def refuse(self, refusal: Refusal | None) -> None:
        """Count a row that may not go; None where it is not to be named."""
        self.refused += 1
        if refusal is not None:
            self.refusals.append(refusal)

    def forget_refusals(self) -> None:
        """Take no row for refused: what stood in the way may have gone."""
        self.refused = 0
        self.refusals.clear()

    @property
    def stopped_at(self) -> dict[str, int]:
        """Where the next run continues; nothing if the oldest rows are deleted first."""
        if self.heap is None or self.block is None:
            return {}
        return {"heap": self.heap, "block": self.block}

    @property
    def all_are_gone(self) -> bool:
        """Whether everything that was due at the beginning is gone, or may not go."""
        due = self.due
        return due is not None and due.exact and self.rows + self.refused >= due.rows

    def backlog(self, *, is_through: bool) -> int | None:
        """Return how many rows are still due, of those counted at the beginning.

        `is_through` says that the rule went through all that was due.
        """
        if self.due is None:
            return None
        return self.refused if is_through else max(0, self.due.rows - self.rows)


@dataclass
class RunContext:
    """The state that all rules of a run share."""

    connection: Connection
    target: Target
    app: str
    bounds: Bounds
    consented: bool
    """Whether rules may go past their fuse."""
    archive: ArchiveDestination
    past: PastRuns
    entry: Entry
    """The run's entry in the journal."""
    narrate: Narrate
    progress: Progress
    lenient: Collection[str] = ()
    """Rules that take less in this run than they say: it is no success of theirs."""
    notes: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What the journal has of each rule so far."""
    notes_written: int = 0
    """How many transactions that took."""
    _noted: float = field(default_factory=time.monotonic)

    def note(self, rule: str, facts: dict[str, Any]) -> None:
        """Journal what a rule did."""
        self.notes[rule] = facts | ({"lenient": True} if rule in self.lenient else {})
        self.entry.note(rules=self.notes)
        self.notes_written += 1
        self._noted = time.monotonic()

    def show(self, table: RuleTable, done: RuleProgress) -> None:
        """Show how far a rule is, and journal it now and then."""
        total = max(done.due.rows, done.rows) if done.due else 0
        self.progress(done.rows, total, f"rows of {table.name}")
        if time.monotonic() - self._noted > _NOTE_EVERY:
            self.note(table.rule.name, {"status": "running", "rows": done.rows} | done.stopped_at)


class Backoff:
    """Waits while the server is busy: replicas lag, WAL is to be archived, a table is vacuumed."""

    def __init__(self, run: RunContext, tables: Sequence[int]) -> None:
        self._run = run
        self._tables = list(tables)
        self._looked = -_LOOK_EVERY
        self._waited = 0.0

    def wait(self) -> Reason | None:
        """Wait while the server is busy; return the reason where that did not end in time."""
        if time.monotonic() - self._looked < _LOOK_EVERY:
            return None
        told = False
        while True:
            self._looked = time.monotonic()
            reason = self._look()
            if reason is None or self._run.bounds.reached is not None:
                return None
            if not told:
                self._run.narrate(f"Waiting: {_WORDS[reason]}")
                told = True
            if self._waited >= _PATIENCE:
                return reason
            time.sleep(_LOOK_EVERY)
            self._waited += _LOOK_EVERY

    def _look(self) -> Reason | None:
        ((lag, unarchived, vacuumed),) = QUERIES.rows(
            self._run.connection, "server_load", oids=self._tables
        )
        # What the role may not see is NULL, and no reason to wait.
        if lag is not None and lag > _REPLICA_LAG:
            return Reason.REPLICA_LAG
        if unarchived is not None and unarchived > _UNARCHIVED:
            return Reason.WAL_ARCHIVING
        return Reason.VACUUM if vacuumed else None


_WORDS = {
    Reason.REPLICA_LAG: f"a replica is more than {_REPLICA_LAG:g} s behind",
    Reason.WAL_ARCHIVING: f"more than {_UNARCHIVED} WAL segments wait to be archived",
    Reason.VACUUM: "the table is being vacuumed",
}
