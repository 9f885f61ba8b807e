"""How many rows a batch takes: as many as the server works on for a short time."""

from dataclasses import dataclass

_FIRST, _FEWEST, _MOST = 200, 50, 50_000
"""Rows of a batch."""
_CHANGE = 2.0
"""How many times as large as the one before a batch may be."""
_QUIET = 0.5
"""Seconds after which nobody is taken to write any more."""


@dataclass(frozen=True)
class WorkSeconds:
    """How many seconds of work a batch is to be."""

    beside_others: float
    """While other sessions write."""
    alone: float
    """While none does."""
    longest: float
    """Where the way to the server takes long."""


WORK = WorkSeconds(beside_others=0.003, alone=0.02, longest=0.1)
"""What a batch locks is locked that long, and a commit beside it waits for the WAL of that time."""
ARCHIVE_WORK = WorkSeconds(beside_others=0.5, alone=0.5, longest=0.5)


class BatchSize:
    """Aims at batches that are shorter while other sessions write than while none does.

    Others are seen by the ids that the server gives to transactions that write, one after another:
    what is missing between two batches was theirs.

    Where the way to the server and the commit take longer than what is aimed at, the work is to
    take as long as they do, so that they are half of a run at most.
    """

    def __init__(self, aim: WorkSeconds) -> None:
        self._aim = aim
        # The shortest that was seen: a large batch's commit takes long because the batch is large.
        self._way = aim.longest
        self._transaction: int | None = None
        self._quiet = _QUIET  # others are seen while batches grow from the first, which is small
        self.rows = _FIRST
        """What the next batch takes."""

    def took(self, rows: int, elapsed: float, worked: float, transaction: int | None) -> None:
        """Learn from a batch: its rows, its seconds in all and of work, and its transaction's id.

        A transaction that has written nothing has no id.
        """
        self._way = min(self._way, elapsed - worked)
        was_alone = self.is_alone
        self._quiet = 0.0 if self._others_until(transaction) else self._quiet + elapsed
        aimed = max(self._aim.alone if self.is_alone else self._aim.beside_others, self._way)
        wanted = round(rows * aimed / max(worked, 0.0001))
        # One batch that was slow by chance does not make the next ones small.
        fewest = 0 if was_alone and not self.is_alone else round(self.rows / _CHANGE)
        wanted = max(fewest, min(round(self.rows * _CHANGE), wanted))
        self.rows = max(_FEWEST, min(_MOST, wanted))

    @property
    def is_alone(self) -> bool:
        """Whether no other session has written for a while."""
        return self._quiet >= _QUIET

    def _others_until(self, transaction: int | None) -> bool:
        if transaction is None:
            return False
        last, self._transaction = self._transaction, transaction
        return last is not None and transaction > last + 1
