"""One moment of a Citus cluster: who writes waits until each node has the snapshot of pg_dump.

A node takes it when pg_dump locks its tables, which Citus does on all nodes.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

import psycopg
from psycopg import sql

from leadctl.catalog.citus import ask_workers
from leadctl.postgres.connect import Connection, as_timeout, connect, set_session
from leadctl.postgres.queries import identifier, queries_of, version_of
from leadctl.postgres.target import Target
from leadctl.postgres.translate import told
from leadctl.progress import Narrate

_QUERIES = queries_of(__file__, "backup.sql")
_ATTEMPT = 0.8
"""Below deadlock_timeout: nobody who waits for this lock finds a deadlock and fails for it."""
_PAUSE = 0.5
_ATTEMPTS = 10.0
_HELD = 5.0
_LOOK_EVERY = 0.05
_BUSY = (psycopg.errors.QueryCanceled, psycopg.errors.DeadlockDetected)


class Moment:
    """The moment that all nodes are dumped as of, if it comes about."""

    def __init__(self, connection: Connection, nodes: Sequence[str], narrate: Narrate) -> None:
        self._connection, self._nodes, self._narrate = connection, nodes, narrate
        self._held_since: float | None = None
        self._one: sql.Identifier | None = None
        self.reached = False

    @property
    def session(self) -> str:
        """The name of the session of pg_dump."""
        return f"leadctl backup {self._connection.info.backend_pid}"

    def hold(self, tables: Sequence[str], seconds: float) -> None:
        """Let nobody write to the tables, in whose open transactions one can wait so long."""
        names = list(map(identifier, tables))
        lock = sql.SQL("LOCK TABLE {} IN SHARE MODE").format(sql.SQL(", ").join(names))
        try:
            self._lock(lock, time.monotonic() + seconds)
            self._one = names[0]
        except psycopg.Error as error:
            busy = (
                "others wrote to them the whole time" if isinstance(error, _BUSY) else told(error)
            )
            self._missed(f"the tables could not be locked: {busy}")

    def _lock(self, lock: sql.Composed, until: float) -> None:
        limits = {"idle_in_transaction_session_timeout": as_timeout(2 * _HELD)}
        while True:
            set_session(self._connection, {**limits, "statement_timeout": as_timeout(_ATTEMPT)})
            self._connection.execute("BEGIN")
            try:
                self._connection.execute(lock)
            except _BUSY:
                self._connection.execute("ROLLBACK")
                if time.monotonic() >= until:
                    raise
            else:
                self._held_since = time.monotonic()
                set_session(self._connection, {"statement_timeout": as_timeout(_HELD)})
                return
            time.sleep(_PAUSE)  # for those who waited for this lock

    def see(self, connection: Connection) -> None:
        """Let a transaction see what pg_dump will see: whatever it locks, it gets each snapshot."""
        if self._one:
            lock = sql.SQL("LOCK TABLE {} IN ACCESS SHARE MODE")
            connection.execute(lock.format(self._one))

    def await_dump(self, dumped: Callable[[], bool]) -> None:
        """Wait until pg_dump has its snapshot on each node; then others can write again.

        `dumped` says whether it has even ended.
        """
        if self._held_since is None:
            return
        until, missing = self._held_since + _HELD, list(self._nodes)
        try:
            while missing and time.monotonic() < until:
                ended = dumped()
                seen, prepared = self._look()
                if prepared:
                    missing = [f"a transaction on {prepared[0]} is prepared and has not ended"]
                    break
                missing = [] if ended else [node for node in self._nodes if node not in seen]
                time.sleep(_LOOK_EVERY if missing else 0)
            else:
                missing = [f"pg_dump was not seen on {node} in time" for node in missing]
            self._connection.execute("ROLLBACK")
        except psycopg.Error as error:
            missing = [told(error)]
        self._told(missing)

    def _look(self) -> tuple[set[str], list[str]]:
        """Return the nodes on which pg_dump has its snapshot, and those with what is prepared."""
        self._connection.execute("SELECT pg_catalog.pg_stat_clear_snapshot()")
        session = _QUERIES.value(self._connection, "global_pid", name=self.session)
        text = _QUERIES.get("dumps_on_node", version_of(self._connection))
        rows, _ = ask_workers(self._connection, text, {"session": f"citus_internal gpid={session}"})
        seen = {row["node"] for row in rows if row["dumps"]}
        return seen, [row["node"] for row in rows if row["prepared"]]

    def _told(self, missing: Sequence[str]) -> None:
        assert self._held_since is not None
        held, self._held_since = time.monotonic() - self._held_since, None
        if missing:
            self._missed(missing[0])
        else:
            self.reached = True
            self._narrate(f"Writers waited {held:.1f} s: all nodes are dumped as of one moment.")

    def _missed(self, why: str) -> None:
        self._narrate(
            f"WARNING: each node is dumped as of a moment of its own, since {why}. Rows of two "
            "nodes may not fit together."
        )


@contextmanager
def one_moment(
    target: Target, tenant: str | None, seconds: float, narrate: Narrate
) -> Iterator[Moment | None]:
    """Hold those who write to a database or a tenant, until `Moment.await_dump` or the block's end.

    Waits at most so many `seconds` for them.  Yields None where all rows are on one node.
    """
    with connect(target, "backup", like_pg_dump=True) as connection:
        (found,) = _QUERIES.rows(connection, "rows_of_nodes", tenant=tenant)
        tables, nodes, rows_here = found
        if len(nodes) + rows_here < 2:
            yield None
            return
        moment = Moment(connection, nodes, narrate)
        moment.hold(tables, min(seconds, _ATTEMPTS))
        try:
            yield moment
        finally:
            with suppress(psycopg.Error):
                connection.rollback()
