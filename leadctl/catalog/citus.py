"""What is distributed over a Citus cluster: its sizes and rows are those of all nodes together.

The coordinator has an empty table of the same name, whose size says nothing.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

import psycopg
from psycopg.types.json import Jsonb

from leadctl.postgres.connect import SESSION_SETTINGS, Connection
from leadctl.postgres.queries import queries_of

_T = TypeVar("_T")
_QUERIES = queries_of(__file__, "citus.sql")
_MOMENTS = frozenset({"last_vacuum", "last_analyze", "last_used"})
"""What a node tells as JSON, in which a time is a text."""
_GLOBAL = re.compile(r"gpid=(\d+)")
"""How a session that Citus has opened on another node says for which session."""
_SESSIONS_A_NODE = 10_000_000_000
"""https://docs.citusdata.com/en/stable/develop/api_metadata.html#distributed-query-activity"""


def has_citus(connection: Connection) -> bool:
    """Whether the database is one of a Citus cluster."""
    return bool(_QUERIES.value(connection, "has_citus"))


def distributes(connection: Connection, schemas: Sequence[str]) -> bool:
    """Whether a schema of a database with Citus has tables whose rows are on other nodes."""
    return bool(_QUERIES.value(connection, "distributes", schemas=list(schemas)))


class Node(NamedTuple):
    """A node of a Citus cluster."""

    host: str
    port: int
    holds: bool
    """Whether it may hold tables."""
    coordinates: bool


def nodes(connection: Connection) -> list[Node]:
    """Return the nodes of the cluster that the database is one of."""
    return _QUERIES.rows(connection, "nodes", Node)


def distribution(connection: Connection, kind: type[_T]) -> tuple[_T, ...] | None:
    """Return what the cluster distributes, in the order in which that can be made again.

    Each is a `kind`, which is given the columns by name.  None without Citus, and of one older
    than 12.
    """
    if not (has_citus(connection) and _QUERIES.value(connection, "records_schemas")):
        return None
    return tuple(_QUERIES.rows(connection, "distribution", kind))


def clean_up(connection: Connection) -> None:
    """Let Citus remove leftovers of moves on the nodes; they would block dropping types."""
    if has_citus(connection):
        connection.execute("CALL pg_catalog.citus_cleanup_orphaned_resources()")


def schema_bytes(connection: Connection) -> dict[str, int | None]:
    """Return how large the distributed schemas are on all nodes; none where there is no Citus.

    None is for one of which a node does not answer.
    """
    return dict(_QUERIES.rows(connection, "schema_bytes")) if has_citus(connection) else {}


def with_shards(connection: Connection, rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return rows of sizes in which those of distributed tables are the cluster's.

    Each row says whether the database has Citus, and no longer does in what is returned.
    """
    found, clustered = [dict(row) for row in rows], False
    for row in found:
        clustered = row.pop("citus")
    if not clustered:
        return found
    oids = [row["oid"] for row in found]
    sizes = {
        row["oid"]: row for row in _QUERIES.rows(connection, "distributed_sizes", dict, oids=oids)
    }
    for row in found:
        if size := sizes.get(row["oid"]):
            rows_known = size["whole"] and not size["unknown"]
            row |= {name: size[name] or 0 for name in ("heap_bytes", "table_bytes", "index_bytes")}
            row |= {"known_rows": size["rows"] if rows_known else None, "unknown": not rows_known}
            row |= {"partly": not size["whole"]}
            row |= {"dense_rows": max(size["rows"] or 0, 0), "dead_rows": None, "last_vacuum": None}
    return found


def ask_workers(
    connection: Connection, query: str, values: Mapping[str, Any]
) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the rows that a query has on the other nodes of the cluster, and who did not answer.

    Each row says on which `node` it is.  A process id is the cluster's, by which a session can be
    ended from any node: of one that Citus has opened there it is that of the session it works for.
    """
    text = psycopg.ClientCursor(connection).mogrify(query, values)
    settings, found, silent = Jsonb(SESSION_SETTINGS), list[dict[str, Any]](), list[str]()
    for node, number, answered, result in _QUERIES.rows(
        connection, "on_workers", query=text, settings=settings
    ):
        if not answered or result is None:
            silent.append(node)
            continue
        rows = json.loads(result)
        pids = {
            pid: _global_pid(number, pid, row.get("application") or "")
            for row in rows
            if (pid := _pid(row.get("pid") or row.get("session")))
        }
        for row in rows:
            for name in ("pid", "session", "blocked_by"):
                if (pid := _pid(row.get(name))) in pids:
                    # A session is a text, indented below the one that it waits for.
                    row[name] = type(row[name])(str(row[name]).replace(str(pid), str(pids[pid])))
            found.append({"node": node, **row})
    return found, silent


class _Shard(NamedTuple):
    """A shard of a table: its names on its node, and those of the table there and here."""

    shard: str
    number: int
    here: str | None
    named: str
    table: str
    indexes: dict[str, str]

    def index_of(self, name: str) -> str | None:
        """Return the index of the table that one of the shard's is; None where it is of another."""
        before, number, after = name.rpartition(f"_{self.number}")
        if not number or after not in {"", '"'}:
            return None
        found = before + after
        return self.indexes.get(found, found if found in self.indexes.values() else None)


@contextmanager
def seen_shards(connection: Connection) -> Iterator[None]:
    """Let the catalogs show shards that are on this node, too; Citus hides them."""
    connection.execute("SET citus.override_table_visibility = off")
    try:
        yield
    finally:
        connection.execute("RESET citus.override_table_visibility")


def of_tables(
    connection: Connection, schemas: Sequence[str], rows: Iterable[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Return rows on tables and indexes of all nodes, in which shards have the names of those.

    A table that is distributed has no rows itself, so those on it are left out.
    """
    shards = _QUERIES.rows(connection, "shards", _Shard, schemas=list(schemas))
    known = {name: each for each in shards for name in (each.shard, each.here) if name}
    shells = {name for each in shards for name in (each.named, each.table)}
    shells |= {name for each in shards for names in each.indexes.items() for name in names}
    found = []
    for row in map(dict, rows):
        name = "table" if "table" in row else "name"
        if row[name] in shells and row[name] not in known:
            continue
        if shard := known.get(row[name]):
            row[name] = shard.table
            if index := shard.index_of(row.get("index") or ""):
                row["index"] = index
        else:
            indexes = filter(None, (each.index_of(row[name]) for each in shards))
            row[name] = next(indexes, row[name])
        for moment in _MOMENTS & row.keys():
            if isinstance(row[moment], str):
                row[moment] = datetime.fromisoformat(row[moment])
        found.append(row)
    return found


def _pid(session: Any) -> int | None:
    """Return the process of a session; None for what has none, as a prepared transaction."""
    text = str(session).strip()
    return int(text) if text.isdigit() else None


def _global_pid(node: int, pid: int, application: str) -> int:
    works_for = _GLOBAL.search(application)
    return int(works_for[1]) if works_for else node * _SESSIONS_A_NODE + pid
