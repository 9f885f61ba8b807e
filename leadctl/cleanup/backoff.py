"""Giving way: replicas that lag, WAL that waits to be archived, a vacuum of the same table."""

import time
from collections.abc import Sequence

from leadctl.cleanup.context import Limits, Reason
from leadctl.cleanup.tables import query
from leadctl.postgres.connect import Connection
from leadctl.progress import Narrate

_LOOK_EVERY = 1.0
"""Seconds between two looks."""
_REPLICA_LAG = 10.0
"""Seconds."""
_UNARCHIVED = 42
"""WAL segments; check_postgres warns from there."""
_PATIENCE = 120.0
"""Seconds that a rule waits in all, before it is left to the next run."""


class Pressure:
    """Looks at the server now and then, and waits while it has more important things to do."""

    def __init__(
        self, connection: Connection, tables: Sequence[int], limits: Limits, narrate: Narrate
    ) -> None:
        self._connection = connection
        self._tables = list(tables)
        self._limits = limits
        self._narrate = narrate
        self._looked = -_LOOK_EVERY
        self._waited = 0.0

    def give_way(self) -> Reason | None:
        """Wait while there is pressure; return the reason where it did not end in time."""
        if time.monotonic() - self._looked < _LOOK_EVERY:
            return None
        told = False
        while True:
            self._looked = time.monotonic()
            reason = self._look()
            if reason is None or self._limits.reached is not None:
                return None
            if not told:
                self._narrate(f"Waiting: {_WORDS[reason]}")
                told = True
            if self._waited >= _PATIENCE:
                return reason
            time.sleep(_LOOK_EVERY)
            self._waited += _LOOK_EVERY

    def _look(self) -> Reason | None:
        ((lag, unarchived, vacuumed),) = query(self._connection, "pressure", oids=self._tables)
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
