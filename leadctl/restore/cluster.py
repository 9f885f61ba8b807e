"""A restored database of a Citus cluster: each node has one of its name, which others work with.

Each is made and kept as that of the coordinator is.  All get their names at once: the other nodes
prepare their transactions before the coordinator commits its own, and one that a killed run has
prepared is ended by the next run as the coordinator's ended.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace

import psycopg
from psycopg import sql

from leadctl.backup.manifest import Distributed
from leadctl.catalog.citus import Node, has_citus, nodes
from leadctl.errors import ConnectionFailed, NotOnCitus, RestoreFailed, UnknownDatabase
from leadctl.postgres.connect import Connection, connect, set_session
from leadctl.postgres.queries import queries_of
from leadctl.postgres.target import Target
from leadctl.postgres.translate import told
from leadctl.progress import Narrate
from leadctl.restore.database import (
    drop_database,
    maintenance,
    rename,
    scratch_database,
)
from leadctl.restore.properties import DatabaseProperties, configure_database

_QUERIES = queries_of(__file__, "restore.sql")
_LOADED_WITH = {
    # What is made is distributed when it is whole; its triggers were allowed before.
    "citus.enable_schema_based_sharding": "off",
    "citus.enable_unsafe_triggers": "on",
}
_KINDS = frozenset({"schema", "reference", "table", "local", "function"})
_METHODS = {"method a": "append", "method r": "range"}


@dataclass(frozen=True)
class Cluster:
    """The nodes of a cluster, which is that of the target's database."""

    target: Target
    coordinator: Node | None
    workers: tuple[Node, ...]

    @classmethod
    def of(cls, target: Target) -> "Cluster | None":
        """Read the nodes of a database, and see that each can be reached from here.

        None for a database without Citus, or that is not there.  Raises NotOnCitus.
        """
        try:
            with connect(target, "restore", read_only=True) as connection:
                if not has_citus(connection):
                    return None
                found = nodes(connection)
                logins = _QUERIES.value(connection, "has_logins_of_nodes")
        except UnknownDatabase:
            return None
        if logins:
            raise NotOnCitus(
                "The cluster has logins of its own for its nodes (pg_dist_authinfo or "
                "pg_dist_poolinfo), which leadctl does not copy. Nothing was changed.",
                hint="Restore each tenant: leadctl restore --tenant NAME",
            )
        coordinator = next((node for node in found if node.coordinates), None)
        cluster = cls(target, coordinator, tuple(n for n in found if not n.coordinates))
        for node in cluster.workers:
            with cluster.maintenance(node):
                pass
        return cluster

    @contextmanager
    def databases(
        self,
        scratch: str,
        properties: DatabaseProperties,
        narrate: Narrate,
        settings: Mapping[str, str],
    ) -> Iterator[Callable[[], None]]:
        """Make the scratch database of each node, and of all of them a cluster.

        That of the coordinator is there.  They are dropped if the block fails.  Yields what gives
        each the settings, owner and grants of the original.
        """
        made = list[tuple[Target, Connection]]()

        def configure() -> None:
            for place, connection in made:
                configure_database(place, connection, properties, narrate)

        with ExitStack() as stack:
            for node in self.workers:
                place = self.on(node)
                connection = stack.enter_context(self.maintenance(node))
                stack.enter_context(
                    scratch_database(place, connection, scratch, properties, narrate, settings)
                )
                self._make_extension(place.on(scratch))
                made.append((place.on(scratch), connection))
            self._join(scratch)
            yield configure

    def _join(self, scratch: str) -> None:
        place = self.target.on(scratch)
        with connect(place, "restore", like_pg_dump=True) as connection:
            for name, value in _LOADED_WITH.items():
                setting = sql.SQL("ALTER DATABASE {} SET {} = {}")
                connection.execute(
                    setting.format(sql.Identifier(scratch), sql.Identifier(name), value)
                )
        self._make_extension(place)
        with connect(place, "restore", like_pg_dump=True) as connection:
            if self.coordinator:
                _QUERIES.run(connection, "set_coordinator", **self.coordinator._asdict())
            for node in self.workers:
                _QUERIES.run(connection, "add_node", **node._asdict())
            for each in filter(None, (self.coordinator, *self.workers)):
                _QUERIES.run(connection, "let_hold", **each._asdict())

    def _make_extension(self, place: Target) -> None:
        with connect(place, "restore", like_pg_dump=True) as connection:
            connection.execute("CREATE EXTENSION IF NOT EXISTS citus")

    @contextmanager
    def renaming(
        self, scratch: str, database: str, previous: str | None
    ) -> Iterator[Callable[[], None]]:
        """Yield what prepares on each node what the block commits on the coordinator: the names.

        Where the block fails it is rolled back; else all have their names at its end.
        """
        name, prepared = _prefix(scratch) + (previous or database), list[Connection]()

        def prepare() -> None:
            for connection in connections:
                connection.execute("BEGIN")
                rename(connection, scratch, database, previous)
                connection.execute(sql.SQL("PREPARE TRANSACTION {}").format(name))
                prepared.append(connection)

        with ExitStack() as stack:
            connections = [stack.enter_context(self.maintenance(node)) for node in self.workers]
            try:
                yield prepare
            except BaseException:
                if prepared:  # a coordinator that was lost while it committed may have done so
                    with maintenance(self.target) as coordinator:
                        self.settle(coordinator, scratch)
                raise
            try:
                for connection in prepared:
                    connection.execute(sql.SQL("COMMIT PREPARED {}").format(name))
            except psycopg.Error as error:
                raise RestoreFailed(
                    f"A node was lost before its database got its name: {told(error)}.",
                    hint=f"When it is back, run on each node that has it in pg_prepared_xacts: "
                    f"COMMIT PREPARED '{name}'",
                ) from None

    def settle(self, connection: Connection, scratch: str) -> None:
        """End what a killed run has prepared on the nodes; `connection` is to the coordinator."""
        for node in self.workers:
            with self.maintenance(node) as other:
                prefix = _prefix(scratch)
                for name in _QUERIES.column(other, "prepared", prefix=prefix):
                    done = _QUERIES.value(
                        connection, "databases", names=[name.removeprefix(prefix)]
                    )
                    end = sql.SQL("COMMIT PREPARED {}" if done else "ROLLBACK PREPARED {}")
                    other.execute(end.format(name))

    def on(self, node: Node) -> Target:
        """Return the target on another node, with the same login."""
        target = self.target.fresh()
        others = {k: v for k, v in target.url.params.items() if k != "hostaddr"}
        params = {**others, "host": node.host, "port": str(node.port)}
        return replace(target, url=target.url._replace(params=params), url_command=None)

    @contextmanager
    def maintenance(self, node: Node) -> Iterator[Connection]:
        """Connect to a node.  Raises NotOnCitus where that cannot be."""
        try:
            connection = maintenance(self.on(node))
        except ConnectionFailed as error:
            raise NotOnCitus(
                f"The node {node.host}:{node.port} cannot be reached from here: {error.message}",
                hint="leadctl makes and renames a database on each node: run it where they can "
                "be reached as the coordinator reaches them, with the same login. Or restore each "
                "tenant: leadctl restore --tenant NAME",
            ) from None
        with connection:
            yield connection


def refuse_unmakeable(parts: Sequence[Distributed]) -> None:
    """Refuse what was distributed as leadctl does not make it.  Raises NotOnCitus."""
    for part in parts:
        if part.kind not in _KINDS:
            how = _METHODS.get(part.kind, part.kind)
            raise NotOnCitus(
                f"{part.name} was distributed by {how}, which leadctl does not make. "
                "Nothing was changed.",
                hint="Restore each tenant: leadctl restore --tenant NAME",
            )


def distribute(target: Target, parts: Sequence[Distributed]) -> None:
    """Distribute what is made and has no rows yet.  Raises RestoreFailed."""
    first: dict[int, str] = {}
    with connect(target, "restore", like_pg_dump=True) as connection:
        for part in parts:
            beside = first.get(part.group, "none")
            values = {**asdict(part), "beside": beside}
            if beside != "none" or part.column is None:
                values["shards"] = None
            if part.kind == "table":
                set_session(connection, {"citus.shard_replication_factor": str(part.copies)})
            try:
                _QUERIES.run(connection, f"distribute_{part.kind}", **values)
            except psycopg.Error as error:
                raise RestoreFailed(
                    f"Citus did not distribute {part.name} again: {told(error)}.",
                    hint="Nothing was changed. See: leadctl inspect nodes",
                ) from None
            first.setdefault(part.group, part.name)


def drop_everywhere(target: Target, connection: Connection, database: str) -> bool:
    """Drop a database of the target's server, and what the other nodes of its cluster have of it.

    As `drop_database`.  Raises NotOnCitus where a node cannot be reached.
    """
    may_be_one = _QUERIES.value(connection, "knows_citus")
    if may_be_one and (cluster := Cluster.of(target.on(database))):
        for node in cluster.workers:
            with cluster.maintenance(node) as other:
                drop_database(cluster.on(node), other, database)
    return drop_database(target, connection, database)


def _prefix(scratch: str) -> str:
    return f"{scratch}: "
