"""What a restored database takes over from the one that it replaces: who it is, and its journal."""

from psycopg import sql

from leadctl.journal import state
from leadctl.postgres.connect import Connection, connect
from leadctl.postgres.queries import beside
from leadctl.postgres.target import Target

_QUERIES = beside(__file__, "restore.sql")


def carry_over(target: Target, loaded: Target) -> None:
    """Give a restored database the identity, protection and journal of the target's.

    The journal of the backup is the older part of the target's, where it is of the same database.
    Nothing where the target has none.  Raises InsufficientPrivilege and NewerState.
    """
    with (
        connect(target, "restore", read_only=True) as old,
        connect(loaded, "restore") as new,
    ):
        identity = state.read_identity(old)
        if identity is None:
            return
        state.ensure(new, loaded)
        with new.transaction():
            new.execute(
                _sql(new, "become"),
                {
                    "state_version": state.STATE_VERSION,
                    "identity": identity.id,
                    "environment": identity.environment,
                    "protected": identity.protected,
                    "created_at": identity.created_at,
                },
            )
            _copy_journal(old, new)


def _copy_journal(old: Connection, new: Connection) -> None:
    """Copy the runs, by the columns that the old journal has."""
    names = [name for (name,) in old.execute(_sql(old, "columns_of_runs"))]
    columns = sql.SQL(", ").join(map(sql.Identifier, names))
    new.execute("DELETE FROM leadctl.run")
    take = sql.SQL("COPY leadctl.run ({}) TO STDOUT").format(columns)
    give = sql.SQL("COPY leadctl.run ({}) FROM STDIN").format(columns)
    with old.cursor().copy(take) as source, new.cursor().copy(give) as sink:
        for chunk in source:
            sink.write(chunk)
    new.execute(_sql(new, "number_on_after_runs"))


def _sql(connection: Connection, name: str) -> str:
    return _QUERIES.get(name, connection.info.server_version)
