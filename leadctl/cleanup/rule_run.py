"""One rule at work."""

from collections.abc import Callable

from leadctl.cleanup import partitions
from leadctl.cleanup.archive import Archive
from leadctl.cleanup.batches import Deleted
from leadctl.cleanup.fuse import Due
from leadctl.cleanup.statements import Statements
from leadctl.postgres.connect import Connection


class Job:
    """What is known of a rule so far."""

    def __init__(
        self,
        connection: Connection,
        plan: Statements,
        done: Deleted,
        noting: Callable[["Job"], None],
    ) -> None:
        self._connection = connection
        self.plan = plan
        self.done = done
        self.due: Due | None = None
        self.archive: Archive | None = None
        self.partitions: list[str] = []
        self.warnings: tuple[str, ...] = ()
        self._noting = noting

    def on_batch(self, _done: Deleted) -> None:
        """Say how far it is."""
        self._noting(self)

    def all_are_gone(self) -> bool:
        """Whether everything that was due at the beginning is gone."""
        return self.due is not None and self.due.exact and self.done.rows >= self.due.rows

    @property
    def backlog(self) -> int | None:
        """How many rows are still due, as far as what was found at the beginning says."""
        if self.due is None:
            return None
        if self.done.stopped is None and not self.due.blown:
            return 0
        return max(0, self.due.rows - self.done.rows)

    def maintenance(self, schema: str, narrate: Callable[[str], None]) -> partitions.Maintenance:
        """Return what the work on partitions needs."""
        return partitions.Maintenance(
            self._connection,
            schema,
            self.plan.subject,
            self.plan.cutoff,
            self.archive,
            self.done,
            self.partitions,
            narrate,
        )
