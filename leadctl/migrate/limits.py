"""How long a run may wait, and its statements."""

from dataclasses import dataclass

from leadctl.postgres.connect import Connection


@dataclass(frozen=True)
class Limits:
    """Times in seconds."""

    lock_wait: float
    """For another run that holds the lock on the target."""
    lock_timeout: float
    """For a lock on a table, each statement."""
    statement_timeout: float | None = None
    """For a statement in all; None for no limit."""


def limit_statements(connection: Connection, limits: Limits) -> None:
    """Bound how long each statement of the session waits for a table's lock, and takes in all."""
    _set(connection, limits.lock_timeout, limits.statement_timeout or 0)


def lift_limits(connection: Connection) -> None:
    """Let statements take as long as they take.

    What works CONCURRENTLY waits for older transactions without blocking anybody: no timeout is
    due, and one would leave an invalid index behind.
    """
    _set(connection, 0, 0)


def _set(connection: Connection, lock_timeout: float, statement_timeout: float) -> None:
    connection.execute(
        "SELECT set_config('lock_timeout', %s, false), set_config('statement_timeout', %s, false)",
        (f"{round(lock_timeout * 1000)}ms", f"{round(statement_timeout * 1000)}ms"),
    )
