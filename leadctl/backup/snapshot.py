"""The snapshot that is dumped, and what the manifest says of it."""

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import psycopg
from psycopg import sql
from psycopg.pq import TransactionStatus

from leadctl.backup.cluster import Moment, one_moment
from leadctl.backup.manifest import DatabaseFacts, Distributed, DumpedTable, ExtensionFacts
from leadctl.backup.storage import DatabaseId
from leadctl.catalog.citus import distribution, has_citus
from leadctl.catalog.relations import read_tables
from leadctl.crypto import Keyring
from leadctl.errors import (
    BackupFailed,
    InsufficientPrivilege,
    LeadctlError,
    NeededTable,
    TooManyConnections,
    UnknownTable,
)
from leadctl.journal import records, state
from leadctl.journal.records import VERSION_TABLE, VersionTable
from leadctl.keys.encrypted_values import EncryptedTable, count_values
from leadctl.postgres.connect import Connection, connect, set_session
from leadctl.postgres.exact import as_owner
from leadctl.postgres.queries import (
    identifier,
    parts_of,
    queries_of,
    version_of,
    written_by_server,
)
from leadctl.postgres.target import Target
from leadctl.progress import Narrate
from leadctl.redact import Secret

_QUERIES = queries_of(__file__, "backup.sql")
_SHOWN = 5
_CONNECTIONS_A_NODE = "citus.max_adaptive_executor_pool_size"


@dataclass(frozen=True)
class LeftOutTables:
    """Tables that are not in a backup, and those of whose rows are not; as the server quotes them.

    Partitions are among them.
    """

    tables: tuple[str, ...] = ()
    data: tuple[str, ...] = ()

    @property
    def options(self) -> list[str]:
        """The options of pg_dump that leave them out."""
        tables = [
            f"--exclude-table={sql.Identifier(*parts_of(n)).as_string()}" for n in self.tables
        ]
        rows = [
            f"--exclude-table-data={sql.Identifier(*parts_of(n)).as_string()}" for n in self.data
        ]
        return [*tables, *rows]


def id_of(target: Target) -> DatabaseId:
    """Return a database as its backups name it; without an identity where that cannot be read."""
    identity = None
    with suppress(LeadctlError, psycopg.Error), connect(target, "restore", read_only=True) as found:
        identity = state.read_identity(found)
    return DatabaseId(target.database, str(identity.id) if identity else None)


@dataclass(frozen=True)
class Snapshot:
    """An exported snapshot, open as long as its connection's transaction."""

    connection: Connection
    name: str
    taken_at: datetime
    lsn: str | None
    standby: bool
    clustered: bool = False
    """Whether rows are on other nodes of a Citus cluster, which have snapshots of their own."""
    moment: Moment | None = None
    """What lets these be of one moment; None where all rows are on one node."""
    options: str = ""
    """With which the server begins the session of pg_dump."""

    @property
    def server_major(self) -> int:
        """The server's major version."""
        return version_of(self.connection) // 10000

    def dumped_by(self, target: Target) -> Target:
        """Return the target of pg_dump, in whose session a node has one snapshot."""
        if not self.options:
            return target
        named = {"application_name": self.moment.session} if self.moment else {}
        found = _with_options(target, self.options)
        return replace(found, url=found.url._replace(params={**found.url.params, **named}))

    def facts(
        self,
        schema: str,
        version_table: VersionTable,
        left_out: LeftOutTables,
        tenant: str | None,
        counted: Callable[[], Mapping[tuple[str, ...], int]],
    ) -> dict[str, Any]:
        """Return what the manifest says of the database, by the manifest's names.

        `schema` is the one whose migrations and keys are looked at; of a `tenant` there is no more.
        `counted` waits for the rows of each table as they were dumped.  TRUNCATE, and what rewrites
        a table, is seen by the snapshot, too: no other count would be that of the backup.
        """
        connection = self.connection
        excluded = {*left_out.tables, *left_out.data}
        applied = records.applied_revisions(connection, schema)
        identity = state.read_identity(connection)
        app = applied[-1].app if applied else None
        return {
            "app": app,
            "schema": schema,
            "version_table": str(version_table),
            "version_schema": version_table.schema,
            "revision": revision(connection, schema, version_table),
            "database": connection.info.dbname,
            "identity": str(identity.id) if identity else None,
            "environment": identity.environment if identity else None,
            "system_identifier": _system_identifier(connection),
            "server_version": connection.info.parameter_status("server_version") or "",
            "snapshot_at": self.taken_at,
            "one_moment": self.moment.reached if self.moment else None,
            "lsn": self.lsn,
            "tenant": tenant,
            "excluded": left_out.tables,
            "excluded_data": left_out.data,
            "materialized_views": self._column("materialized_views", tenant=tenant),
            "not_valid": not_valid(connection, tenant),
            "extensions": tuple(_QUERIES.rows(connection, "extensions", ExtensionFacts)),
            "keys": _keys(connection, app, schema, excluded) if app else (),
            "settings": _read_database(connection),
            **(self._of_tenant(tenant) if tenant else self._of_database()),
            "tables": self._tables(excluded, tenant, counted),
            "extension_tables": self._extension_tables(counted),
        }

    def _tables(
        self,
        excluded: Collection[str],
        tenant: str | None,
        counted: Callable[[], Mapping[tuple[str, ...], int]],
    ) -> tuple[DumpedTable, ...]:
        found = _QUERIES.rows(self.connection, "tables", tenant=tenant)
        sizes = {name: size for name, size, *_ in found if name not in excluded}
        rows = counted()
        missing = [name for name in sizes if parts_of(name) not in rows]
        if missing and not self.clustered:
            raise BackupFailed(f"pg_dump did not write {', '.join(missing[:_SHOWN])}.")
        return tuple(DumpedTable(n, rows.get(parts_of(n), 0), size) for n, size in sizes.items())

    def _extension_tables(
        self, counted: Callable[[], Mapping[tuple[str, ...], int]]
    ) -> tuple[DumpedTable, ...]:
        """Return what extensions keep in tables of theirs; a restore makes that of Citus itself."""
        rows = {} if self.clustered else counted()
        found = _QUERIES.rows(self.connection, "extension_tables")
        return tuple(
            DumpedTable(name, rows[parts], size)
            for name, size, _ in found
            if (parts := parts_of(name)) in rows
        )

    def _of_database(self) -> dict[str, Any]:
        """Return what is asked of the whole database where the whole is in the backup."""
        return {
            "database_bytes": _QUERIES.value(self.connection, "database_bytes"),
            "large_objects": _QUERIES.value(self.connection, "large_objects"),
            "roles": self._column("roles"),
            "event_triggers": self._column("event_triggers"),
            "subscriptions": self._column("subscriptions"),
            "tablespaces": self._column("tablespaces"),
            "distribution": distribution(self.connection, Distributed),
        }

    def _of_tenant(self, tenant: str) -> dict[str, Any]:
        """Return what is otherwise where only a tenant's schema is in the backup."""
        return {
            "database_bytes": _QUERIES.value(self.connection, "tenant_bytes", tenant=tenant),
            "large_objects": 0,
            "roles": tenant_roles(self.connection, tenant),
            "event_triggers": (),
            "subscriptions": (),
            "tablespaces": (),
            "distribution": tuple(
                part
                for part in distribution(self.connection, Distributed) or ()
                if parts_of(part.name)[0] == tenant
            )
            or None,
        }

    def records(self, tenant: str) -> bytes:
        """Return what leadctl has recorded of a tenant, as lines of JSON."""
        found: list[dict[str, Any]] = []
        blocks = ("migrations_of", "seed_files_of")
        (there,) = _QUERIES.rows(self.connection, "has_records")
        for name, is_there in zip(blocks, there, strict=True):
            if is_there:
                rows = _QUERIES.column(self.connection, name, tenant=tenant)
                found += ({"of": name.removesuffix("_of"), **row} for row in rows)
        return "".join(f"{json.dumps(row)}\n" for row in found).encode()

    @property
    def encoding(self) -> str:
        """The database's encoding."""
        return self.connection.info.parameter_status("server_encoding") or "UTF8"

    def require_connections(self) -> int:
        """Return how many more connections may be opened.  Raises TooManyConnections for none."""
        free = int(_QUERIES.value(self.connection, "free_connections"))
        if free < 1:
            raise TooManyConnections(
                f"A backup of {self.connection.info.dbname} needs two connections at once, and the "
                f"limit of the database or of the role {self.connection.info.user} allows one.",
                hint="Let its owner run: ALTER ROLE … CONNECTION LIMIT 3 (or ALTER DATABASE), or "
                "end other sessions.",
            )
        return free

    def _column(self, name: str, **values: str | None) -> tuple[str, ...]:
        return tuple(_QUERIES.column(self.connection, name, **values))


def left_out(
    connection: Connection, schema: str, tables: Sequence[str], data: Sequence[str]
) -> LeftOutTables:
    """Find the tables that are named, and see that nothing in the backup needs them.

    `data` are those whose rows alone are left out; without a schema a name is of `schema`.
    Raises UnknownTable and NeededTable.
    """
    oids: dict[str, dict[int, str]] = {"tables": {}, "data": {}}
    for kind, names in (("tables", tables), ("data", data)):
        for name in names:
            found = _with_descendants(connection, schema, name)
            if not found:
                raise UnknownTable(
                    f"There is no table {name} in {connection.info.dbname} to exclude.",
                    hint="Name it as SQL does, with its schema: leadctl stats lists the tables.",
                )
            oids[kind] |= found
    needs = _QUERIES.rows(connection, "needs", oids=list(oids["tables"]), data=list(oids["data"]))
    if needs:
        name, why = needs[0]
        raise NeededTable(
            f"{name} depends on a table that is excluded ({why}), so the backup could not be "
            f"restored.",
            hint=f"Leave {name} out, too, or back up both.",
        )
    return LeftOutTables(*(tuple(sorted(oids[kind].values())) for kind in ("tables", "data")))


def _with_descendants(connection: Connection, schema: str, name: str) -> dict[int, str]:
    """Return a table by the name that somebody gave, and those below it; none where it is not.

    The schema may be closed to this role, so the server is not asked to look the name up.
    """
    with suppress(ValueError):
        *given, bare = parts_of(name)
        rows = _QUERIES.rows(
            connection, "with_descendants", schema=given[-1] if given else schema, name=bare
        )
        return dict(rows)
    return dict(_QUERIES.rows(connection, "with_descendants", schema=schema, name=name))


def require_readable(
    connection: Connection, excluded: LeftOutTables, tenant: str | None = None
) -> None:
    """Look for what this role may not read, in a tenant or in all, before anything is dumped.

    Raises InsufficientPrivilege, which names all of it.
    """
    found = [
        (name, hidden)
        for name, hidden in _QUERIES.rows(connection, "unreadable", tenant=tenant)
        if name not in excluded.tables and not (hidden and name in excluded.data)
    ]
    if not found:
        return
    role, names = connection.info.user, [name for name, _ in found]
    hidden = found[0][1]
    why = "row-level security hides rows of it" if hidden else "it may not be read"
    leave = " ".join(f"--exclude{'-data' if hidden else ''} {name}" for name in names[:_SHOWN])
    grant = f"ALTER ROLE {role} BYPASSRLS" if hidden else f"GRANT pg_read_all_data TO {role}"
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    raise InsufficientPrivilege(
        f"The role {role} cannot back up {', '.join(names[:_SHOWN])}{more}: {why}.",
        hint=f"Let a superuser run: {grant}; or leave it out: leadctl backup {leave}",
    )


@contextmanager
def exported(
    target: Target, lock_wait: float, tenant: str | None, narrate: Narrate
) -> Iterator[Snapshot]:
    """Export a snapshot for pg_dump of a tenant or of all, and keep it open within the block.

    `lock_wait`, in seconds, is how long to wait for a table that is locked.  Raises what
    connecting raises.
    """
    with connect(target, "backup", read_only=True, like_pg_dump=True) as connection:
        set_session(connection, {"lock_timeout": f"{round(lock_wait * 1000)}ms"})
        clustered = has_citus(connection)
        if clustered:
            set_session(connection, {_CONNECTIONS_A_NODE: "1"})
        options = _options(connection, target, clustered=clustered)
        held = one_moment(target, tenant, lock_wait, narrate) if clustered else nullcontext()
        with held as moment, _names_are_text(connection):
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            connection.read_only = True
            with connection.transaction():
                (found,) = _QUERIES.rows(connection, "snapshot", dict[str, Any])
                if moment:
                    moment.see(connection)
                try:
                    yield Snapshot(
                        connection,
                        **found,
                        clustered=clustered,
                        moment=moment,
                        options=options,
                    )
                except BackupFailed:
                    # A pg_dump that finds no snapshot any more: it went with this connection.
                    connection.execute("SELECT 1")
                    raise


def _options(connection: Connection, target: Target, *, clustered: bool) -> str:
    """Return the options of the session of pg_dump.

    Its query on materialized views joins each view with all that depends on something, where the
    server merges: minutes with thousands of schemas.  A pooler may take no options.
    """
    given = f"-c {_CONNECTIONS_A_NODE}=1" if clustered else ""
    if not _QUERIES.value(connection, "has_large_catalog"):
        return given
    more = f"{given} -c enable_mergejoin=off".lstrip()
    try:
        with connect(_with_options(target, more), "backup"):
            return more
    except LeadctlError:
        return given


def _with_options(target: Target, options: str) -> Target:
    """Return the target with more options for its sessions, and a URL that is taken as it is."""
    url = target.fresh().url
    given = url.hidden["options"].reveal() if "options" in url.hidden else ""
    hidden = {**url.hidden, "options": Secret(f"{given} {options}".lstrip())}
    return replace(target, url=url._replace(hidden=hidden), url_command=None)


@contextmanager
def _names_are_text(connection: Connection) -> Iterator[None]:
    """Say what the server means where a name is not UTF-8, as it may be in SQL_ASCII."""
    try:
        yield
    except psycopg.errors.CharacterNotInRepertoire:
        raise BackupFailed(
            f"A name in {connection.info.dbname} is not valid UTF-8, so leadctl cannot back it up.",
            hint="Find it: SELECT oid, encode(convert_to(relname, 'SQL_ASCII'), 'escape') FROM "
            "pg_class WHERE relname ~ '[^ -~]'; rename it, or back up with pg_dump alone.",
        ) from None


def tenant_roles(connection: Connection, tenant: str) -> tuple[str, ...]:
    """Return the roles that own something in a schema, or were granted something on it."""
    return tuple(_QUERIES.column(connection, "tenant_roles", tenant=tenant))


def revision(
    connection: Connection, schema: str, version_table: VersionTable = VERSION_TABLE
) -> str | None:
    """Return the revision that a schema is at, as Alembic's table has it."""
    revisions = records.current_revisions(connection, schema, version_table)
    return ", ".join(revisions) if revisions else None


def count_tables(connection: Connection) -> tuple[DumpedTable, ...]:
    """Count the rows of every table that a dump would hold."""
    return tuple(
        DumpedTable(name, count_rows(connection, name, may_fail=may_fail, owner=owner), size)
        for name, size, may_fail, owner in _QUERIES.rows(connection, "tables", tenant=None)
    )


def count_extension_tables(connection: Connection) -> dict[tuple[str, ...], int]:
    """Count the rows that a dump would hold of each table of an extension, by schema and name."""
    found = _QUERIES.rows(connection, "extension_tables")
    count = sql.SQL("SELECT pg_catalog.count(*) FROM ONLY {} {}")
    rows = dict[tuple[str, ...], int]()
    for name, _, condition in found:
        where = written_by_server(condition or "")
        ((number,),) = connection.execute(count.format(identifier(name), where))
        rows[parts_of(name)] = number
    return rows


def count_rows(
    connection: Connection, table: str, *, may_fail: bool = False, owner: str | None = None
) -> int:
    """Count the rows of a table; its name is as the server quoted it.

    Planning evaluates constant parts of the expressions of indexes and statistics, which are the
    owner's code: it runs as `owner`, and where it fails, the rows that COPY sends are counted,
    which has no plan.  In a transaction that needs to be known before: `may_fail`.
    """
    name = identifier(table)
    query = sql.SQL("SELECT pg_catalog.count(*) FROM ONLY {}").format(name)
    owner = owner if may_fail else None
    try:
        with connection.transaction() if may_fail else nullcontext(), as_owner(connection, owner):
            ((count,),) = connection.execute(query)
    except psycopg.Error as error:
        known = (error.sqlstate or "08").startswith(_NOT_OF_EXPRESSIONS)
        if connection.info.transaction_status == TransactionStatus.INERROR or (
            owner is None and known
        ):
            raise
        return _copied_rows(connection, name)
    return int(count)


_NOT_OF_EXPRESSIONS = ("08", "25", "40", "53", "55", "57", "58")
"""Classes of SQLSTATE that no expression is the cause of.  That a relation is not there, or may not
be read, COPY says again where it is the table."""


def _copied_rows(connection: Connection, table: sql.Identifier) -> int:
    """Count the rows that the server sends of a table: that needs no plan, and takes longer."""
    with connection.cursor() as cursor:
        with cursor.copy(sql.SQL("COPY {} TO STDOUT").format(table)) as copy:
            for _ in copy:
                pass
        return cursor.rowcount


def _read_database(connection: Connection) -> DatabaseFacts:
    """Read what a dump does not hold of the database itself."""
    (row,) = _QUERIES.rows(connection, "database", dict[str, Any])
    lists = {name: tuple(value) for name, value in row.items() if isinstance(value, list)}
    return DatabaseFacts(**{**row, **lists})


def not_valid(connection: Connection, tenant: str | None = None) -> tuple[str, ...]:
    """Return the constraints that are not validated and the indexes that are not valid."""
    return tuple(_QUERIES.column(connection, "not_valid", tenant=tenant))


def _system_identifier(connection: Connection) -> str | None:
    """Return the cluster's identifier; None where this role may not read it."""
    try:
        with connection.transaction():
            return str(_QUERIES.value(connection, "system_identifier"))
    except psycopg.errors.InsufficientPrivilege:
        return None


def _keys(
    connection: Connection, app: str, schema: str, excluded: Collection[str]
) -> tuple[str, ...]:
    """Return the fingerprints of the keys that an app's encrypted columns need.

    Tables whose rows are left out need none.
    """
    recorded = records.fingerprint(connection, app, schema) or {}
    contexts: dict[str, dict[str, str]] = {}
    for name, context in recorded.get("encrypted", {}).items():
        table, _, column = name.rpartition(".")
        contexts.setdefault(table, {})[column] = context
    found: set[str] = set()
    without = {sql.Identifier(*parts_of(name)).as_string(connection) for name in excluded}
    for relation in read_tables(connection, schema, contexts).values():
        if relation.identifier.as_string(connection) in without:
            continue
        name, role = relation.name, relation.touched_as
        table = EncryptedTable(schema, name, contexts[name], touched_as=role)
        for column in count_values(connection, table, Keyring([])):
            found.update(column.under)
    return tuple(sorted(found))
