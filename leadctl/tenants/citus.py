"""Moving a tenant within a Citus cluster, by Citus' own function: its writers go on meanwhile.

https://docs.citusdata.com/en/stable/develop/api_udf.html#citus-schema-move
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import psycopg

from leadctl.apps.registry import App
from leadctl.backup.manifest import Distributed
from leadctl.catalog.citus import clean_up, distribution, has_citus, nodes
from leadctl.errors import MoveFailed, NotOnCitus, UsageError
from leadctl.journal.lock import schema_lock
from leadctl.journal.runs import journaled
from leadctl.postgres.connect import Connection, Timeouts, connect
from leadctl.postgres.queries import parts_of
from leadctl.postgres.target import Target
from leadctl.postgres.translate import told
from leadctl.progress import Narrate
from leadctl.tenants.schemas import QUERIES, find_tenant


@dataclass(frozen=True)
class NodeMove:
    """A tenant that is on another node now."""

    name: str
    database: str
    node: str
    previous: str


def move_to_node(
    target: Target, app: App, name: str, node: str, *, timeouts: Timeouts, narrate: Narrate
) -> NodeMove:
    """Move a tenant's schema to a node of the cluster, HOST:PORT.

    Raises UsageError where there is no such node, or no cluster, UnknownTenant, LockHeld, and
    MoveFailed where Citus refuses; then it is where it was.
    """
    tenant = replace(target, schema=name)
    with connect(tenant, "tenants", like_pg_dump=True) as connection:
        host, port = _known_node(connection, node)
        find_tenant(connection, app, name)
        previous = QUERIES.column(connection, "nodes_of", name=name)
        if len(previous) != 1:
            raise UsageError(
                f"{name} is not a schema that Citus distributes as one.",
                hint=f"Distribute it: SELECT citus_schema_distribute('{name}')",
            )
        with (
            schema_lock(tenant, "tenants move", timeouts.lock_wait, narrate),
            journaled(tenant, "tenants move", app.name) as entry,
        ):
            entry.note(node=node, previous=previous[0])
            try:
                if previous != [node]:
                    QUERIES.run(connection, "move_schema", name=name, host=host, port=port)
            except psycopg.Error as error:
                raise MoveFailed(
                    f"Citus did not move {name} to {node}: {told(error)}.",
                    hint="It is where it was. See: leadctl inspect nodes",
                ) from None
            if QUERIES.column(connection, "nodes_of", name=name) != [node]:
                raise MoveFailed(
                    f"{name} is not on {node} alone after its move.",
                    hint="Look with: SELECT * FROM citus_shards",
                )
            clean_up(connection)
    return NodeMove(name, target.database, node, previous[0])


def refuse_database(connection: Connection) -> None:
    """Refuse to move, rename or drop a whole database of a cluster.  Raises NotOnCitus."""
    if has_citus(connection):
        raise NotOnCitus(
            f"{connection.info.dbname} is a database of a Citus cluster: each node has one of its "
            "name. Nothing was changed.",
            hint="Move, rename or drop its tenants one by one: leadctl tenants list",
        )


def refuse_spread(
    connection: Connection, name: str, recorded: Sequence[Distributed] | None
) -> None:
    """Refuse to restore a tenant whose tables are, or were, distributed one by one.

    All of them would be on one node.  Raises NotOnCitus.
    """
    if not has_citus(connection):
        return
    for part in (*(recorded or ()), *(distribution(connection, Distributed) or ())):
        is_table = part.kind not in {"schema", "local", "function"}
        if is_table and parts_of(part.name)[0] == name:
            raise NotOnCitus(
                f"{part.name} is a table that Citus distributes by itself, not with its schema: a "
                f"restore of the tenant {name} would put all on one node. Nothing was changed.",
                hint="Restore the whole cluster into another database: leadctl restore --into NAME",
            )


def _known_node(connection: Connection, node: str) -> tuple[str, int]:
    """Return host and port of a node that may hold tables.  Raises UsageError."""
    if not has_citus(connection):
        raise UsageError(
            f"{connection.info.dbname} is not a database of a Citus cluster.",
            hint="To move the tenant to another database: --to",
        )
    holding = {
        f"{each.host}:{each.port}": (each.host, each.port)
        for each in nodes(connection)
        if each.holds
    }
    if node not in holding:
        raise UsageError(
            f"The cluster has no node {node} that may hold tables.",
            hint=f"Available: {', '.join(holding) or 'none'}.",
        )
    return holding[node]
