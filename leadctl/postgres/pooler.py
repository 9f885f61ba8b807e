"""Finding out that a pooler stands between leadctl and the server, and in which mode.

A pooler hands out process ids of its own, so the one of the connection and the server's differ.
In transaction mode a session is not one: what it sets stays behind for another client, and what
it locks is let go by another one.  https://www.pgbouncer.org/features.html
"""

from typing import TYPE_CHECKING, Any

import psycopg

from leadctl.errors import PoolerInTransactionMode

if TYPE_CHECKING:
    from leadctl.postgres.target import Target

_LOOKS = 5
"""In a busy pool one look is not enough."""


def refuse_transaction_mode(
    connection: psycopg.Connection[Any], target: "Target", parameters: dict[str, Any]
) -> None:
    """Return where a connection is a session of its own; it is in autocommit mode.

    `parameters` open another connection like it.  Raises PoolerInTransactionMode.
    """
    backend = _backend(connection)
    if backend == connection.info.backend_pid:
        return
    with psycopg.connect(**parameters, prepare_threshold=None) as other:
        for _ in range(_LOOKS):
            held = _backend(other)  # in a transaction, so that nobody else gets this one
            if held == backend or _backend(connection) != backend:
                raise PoolerInTransactionMode(
                    f"Between leadctl and {target.describe()} stands a pooler in transaction "
                    "mode, where no lock and no setting holds.",
                    hint="Set DIRECT_URL to the server itself, or to a pooler in session mode.",
                )
            other.rollback()


def _backend(connection: psycopg.Connection[Any]) -> int:
    row = connection.execute("SELECT pg_catalog.pg_backend_pid()").fetchone()
    assert row is not None
    return int(row[0])
