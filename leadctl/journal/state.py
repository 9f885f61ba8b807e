"""The schema `leadctl` in a target: identity, recorded migrations and the journal of runs.

It is read and written through named SQL blocks, not SQLAlchemy: `health-check` and a `migrate`
with nothing to do read it, and may import no SQLAlchemy.  Reading never creates it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Self
from uuid import UUID

import psycopg
from psycopg.types.json import Jsonb

from leadctl.errors import InsufficientPrivilege, NewerState, NoIdentity, PreparedSchema
from leadctl.postgres import exact
from leadctl.postgres.connect import Connection, acts_as, whoami
from leadctl.postgres.queries import beside, version_of
from leadctl.postgres.target import Target


class VersionTable(str):
    """The name of Alembic's table, the truth of what is applied: it is a text that says its schema.

    `schema` is None where the table is in the schema that the app is in.
    """

    DEFAULT = "alembic_version"
    schema: str | None
    __slots__ = ("schema",)

    def __new__(cls, name: str = DEFAULT, schema: str | None = None) -> Self:
        """Name the table."""
        made = super().__new__(cls, name)
        made.schema = schema
        return made

    def within(self, schema: str) -> psycopg.sql.Identifier:
        """Return it as SQL names it, for an app in this schema."""
        return psycopg.sql.Identifier(self.schema or schema, self)


VERSION_TABLE = VersionTable()
"""What Alembic calls it where nothing else is said."""
ROOM_FOR_IDS = 32
"""The characters of a revision's id for which Alembic makes its table."""
STATE_VERSION = 1
_QUERIES = beside(__file__, "state.sql")
_CREATE_LOCK = "leadctl: creating the schema leadctl"
_OWN = ("r", True)
"""What the identity is where leadctl made it: a table with its columns."""
_NONE = "it has tables, but no recorded environment"


@dataclass(frozen=True)
class Identity:
    """What a database says about itself."""

    id: UUID
    environment: str | None
    protected: bool
    created_at: datetime


@dataclass(frozen=True)
class AppliedRevision:
    """A revision as it was recorded when it was applied."""

    app: str
    revision: str
    checksum: str
    applied_at: datetime
    applied_by: str
    duration_ms: int


def ensure(connection: Connection, target: Target, *, adopts: bool = False) -> None:
    """Create what is missing of the schema `leadctl`, in a transaction of its own.

    A new identity takes over the environment and the protection that leadctl.toml gives the
    target.  Where there was one that was lost, the new one is protected: nobody knows whether that
    was.  So it is where there are tables already, but for what `adopts` them: migrations.  Else a
    run that loses nothing would let the next one drop what nobody has said may be dropped.

    Raises InsufficientPrivilege where that is not allowed, NewerState where a newer leadctl
    made it, and NoIdentity where something else has its place.
    """
    if find_fault(connection) is None:
        check_version(connection)
        return
    with _creating(connection):
        fault = find_fault(connection)  # another run may have been faster
        if fault is None:
            return
        if fault.in_the_way:
            raise fault.refusal(connection.info.dbname, "Writing to the journal")
        unknown = fault.was_there or (not adopts and has_tables(connection))
        protected = target.protected or unknown
        identity = {"environment": target.environment, "protected": protected}
        _execute_all(connection, "create", identity)


def repair(connection: Connection, environment: str | None, *, protected: bool) -> None:
    """Write an identity where there is none, or none that can be read, in a transaction.

    What has its place and is not leadctl's own table is renamed, and kept.  Raises
    InsufficientPrivilege.
    """
    with _creating(connection):
        relation = _identity_relation(connection)
        if relation == _OWN:
            _QUERIES.run(connection, "forget_identity")
        elif relation is not None:
            kept = psycopg.sql.Identifier(f"identity_before_{datetime.now(UTC):%Y%m%dt%H%M%Sz}")
            rename = psycopg.sql.SQL("ALTER TABLE leadctl.identity RENAME TO {}")
            connection.execute(rename.format(kept))
        identity = {"environment": environment, "protected": protected}
        _execute_all(connection, "create", identity)


@contextmanager
def _creating(connection: Connection) -> Iterator[None]:
    """Let one run at a time write the identity, in one transaction."""
    try:
        with connection.transaction():
            exact.execute(connection, "SELECT pg_advisory_xact_lock(hashtext(%s))", (_CREATE_LOCK,))
            _QUERIES.run(connection, "make_local")
            yield
    except psycopg.errors.InsufficientPrivilege:
        role = acts_as(connection)
        raise InsufficientPrivilege(
            f"The role {role} may not create the schema leadctl in the database "
            f"{connection.info.dbname}, where leadctl records what it does.",
            hint=f'Let an owner run: GRANT CREATE ON DATABASE "{connection.info.dbname}" '
            f'TO "{role}"',
        ) from None


@dataclass(frozen=True)
class IdentityFault:
    """Why a database has no identity that can be read."""

    reason: str
    was_there: bool
    """Whether it had one once, as far as can be seen."""
    in_the_way: bool = False
    """Whether something else has the identity's place."""

    def refusal(self, database: str, verb: str) -> NoIdentity:
        """Return the error that refuses a verb, with the way to fix it."""
        return NoIdentity(
            f"{verb} is refused on {database}: {self.reason}, so it is not known whether it is "
            "protected. Nothing was changed.",
            hint="Record its environment: leadctl db environment NAME. This also protects it, "
            "unless you add --unprotect.",
        )


def find_fault(connection: Connection) -> IdentityFault | None:
    """Say what is wrong with the database's identity; None where it can be read."""
    found = _identity(connection)
    return found if isinstance(found, IdentityFault) else None


def _identity(connection: Connection) -> "Identity | IdentityFault":
    relation = _identity_relation(connection)
    if relation is None:
        moved = _QUERIES.value(connection, "moved_identity")
        if moved:
            return IdentityFault(
                f"its environment is recorded in {moved}, not in leadctl.identity", True
            )
        was_there = has_journal(connection)
        return IdentityFault(
            "its recorded environment is missing" if was_there else _NONE, was_there
        )
    if relation != _OWN:
        return IdentityFault("leadctl.identity is not the table that leadctl creates", True, True)
    rows = _QUERIES.rows(connection, "identity", Identity)
    if not rows:
        return IdentityFault("leadctl.identity has no row", True)
    if len(rows) > 1 or not isinstance(rows[0].protected, bool):
        return IdentityFault("leadctl.identity does not have exactly one valid row", True, True)
    return rows[0]


def has_tables(connection: Connection) -> bool:
    """Whether there is anything to lose: a table that is not the server's or an extension's."""
    return bool(_QUERIES.value(connection, "any_table"))


def has_journal(connection: Connection) -> bool:
    """Whether leadctl recorded runs or migrations in the database."""
    return bool(_QUERIES.value(connection, "any_journal"))


def is_there(connection: Connection) -> bool:
    """Whether the database has the schema `leadctl`.  Raises PreparedSchema."""
    return _identity_relation(connection) is not None


@contextmanager
def asked_once(connection: Connection, answers: dict[str, Any] | None = None) -> Iterator[None]:
    """Let what reads the schema in the block ask once whose it is, and which version it has.

    For what only looks, and takes seconds: who may make a schema can do so after any question.
    `answers` are those of another connection to the database, of the same role; they are added to.
    """
    _answers[connection] = {} if answers is None else answers
    try:
        yield
    finally:
        del _answers[connection]


_answers: dict[Connection, dict[str, Any]] = {}
"""The connections that ask once, and the answers that they have."""


def _identity_relation(connection: Connection) -> tuple[str, bool] | None:
    """Return what has the identity's name: its kind, and whether leadctl makes such a table.

    Whatever reads the schema asks here first.  Raises PreparedSchema where somebody made it, or a
    part of it, who is not trusted: neither this role, nor a superuser, nor the database's owner,
    nor a role that this one was made a member of.  What such a table does when it is read or
    written would be done with this role's privileges.
    """
    answers = _answers.get(connection, {})
    found: tuple[str, bool] | None
    if "relation" in answers:
        found = answers["relation"]
        return found
    kind, is_own, stranger, owner = _QUERIES.one(connection, "owned") or (None, False, None, None)
    if stranger is not None:
        raise PreparedSchema(
            f"In {connection.info.dbname}, {stranger} is not as leadctl creates it: it belongs "
            f"to the role {owner}. It was not read.",
            hint="Inspect it; then let a superuser rename or drop it, or give it to "
            "the database's owner.",
        )
    found = None if kind is None else (kind, bool(is_own))
    answers["relation"] = found
    return found


def check_version(connection: Connection) -> None:
    """Refuse a schema `leadctl` that a newer leadctl made.  Raises NewerState."""
    answers = _answers.get(connection, {})
    if "version" not in answers:
        answers["version"] = _QUERIES.value(connection, "state_version")
    version = answers["version"]
    if version is not None and version > STATE_VERSION:
        raise NewerState(
            f"The schema leadctl in {connection.info.dbname} was written by a newer leadctl "
            f"(state version {version}; this one knows {STATE_VERSION}).",
            hint="Install the version of leadctl that wrote it, or a newer one.",
        )


def read_identity(connection: Connection) -> Identity | None:
    """Return the database's identity; None where there is none that can be read.

    For what only looks: the guard asks `find_fault`.
    """
    found = _identity(connection)
    if isinstance(found, IdentityFault):
        return None
    check_version(connection)
    return found


def write_identity(
    connection: Connection, found: Identity, environment: str | None, *, protected: bool
) -> bool:
    """Set the environment and the protection; False where they are not as `found` any more."""
    changed = _QUERIES.run(
        connection,
        "set_identity",
        environment=environment,
        protected=protected,
        read_environment=found.environment,
        read_protected=found.protected,
    )
    return changed.rowcount > 0


def current_revisions(
    connection: Connection, schema: str, version_table: VersionTable = VERSION_TABLE
) -> list[str] | None:
    """Return what Alembic's table says is applied; None where the table does not exist."""
    found = revisions_of_schemas(connection, [schema], version_table).get(schema)
    return list(found.revisions) if found else None


@dataclass(frozen=True)
class SchemaRevisions:
    """What Alembic's table in a schema says is applied."""

    revisions: tuple[str, ...]
    reader: str | None
    """The role with whose rights it is read; None for those of the session."""


def revisions_of_schemas(
    connection: Connection, schemas: Sequence[str], version_table: VersionTable
) -> dict[str, SchemaRevisions]:
    """Return what is applied to each of some schemas, of those that have Alembic's table.

    All tables are read at once: each is a lock, and a part of one statement.
    """
    tables = [version_table.within(schema) for schema in schemas]
    names = [table.as_string(connection) for table in tables]
    readers: dict[int, str | None] = dict(_QUERIES.rows(connection, "version_tables", names=names))
    found: dict[int, list[str]] = {number: [] for number in readers}
    for role in dict.fromkeys(readers.values()):
        query = psycopg.sql.SQL(" UNION ALL ").join(
            psycopg.sql.SQL("SELECT {}, version_num FROM {}").format(number, tables[number])
            for number, reader in readers.items()
            if reader == role
        )
        with exact.as_owner(connection, role):
            for number, revision in connection.execute(query):
                found[number].append(revision)
    return {
        schemas[number]: SchemaRevisions(tuple(sorted(revisions)), readers[number])
        for number, revisions in found.items()
    }


def write_current(
    connection: Connection, schema: str, revisions: Sequence[str], version_table: VersionTable
) -> None:
    """Make Alembic's table say what is applied, within the caller's transaction.

    The table is made as Alembic makes it, where it is missing.
    """
    table = version_table.within(schema)
    room = psycopg.sql.Literal(max([ROOM_FOR_IDS, *map(len, revisions)]))
    connection.execute(
        psycopg.sql.SQL(
            "CREATE TABLE IF NOT EXISTS {} (version_num varchar({}) NOT NULL,"
            " CONSTRAINT {} PRIMARY KEY (version_num))"
        ).format(table, room, psycopg.sql.Identifier(f"{version_table}_pkc"))
    )
    make_room_for_ids(connection, table, revisions)
    names = [table.as_string(connection)]
    ((_, role),) = _QUERIES.rows(connection, "version_tables", names=names)
    with exact.as_owner(connection, role), connection.cursor() as cursor:
        cursor.execute(psycopg.sql.SQL("DELETE FROM {}").format(table))
        cursor.executemany(
            psycopg.sql.SQL("INSERT INTO {} VALUES (%s)").format(table),
            [(revision,) for revision in revisions],
        )


def make_room_for_ids(
    connection: Connection, version_table: psycopg.sql.Identifier, revisions: Iterable[str]
) -> None:
    """Let Alembic's table hold ids longer than the 32 characters for which Alembic makes it.

    That changes no row.  Raises what psycopg does.
    """
    longest = max(map(len, revisions), default=0)
    if longest <= ROOM_FOR_IDS:
        return
    room = _QUERIES.value(connection, "room_for_ids", name=version_table.as_string(connection))
    if room is not None and room < longest:
        connection.execute(
            psycopg.sql.SQL("ALTER TABLE {} ALTER COLUMN version_num TYPE varchar({})").format(
                version_table, psycopg.sql.Literal(longest)
            )
        )


def applied_revisions(connection: Connection, schema: str) -> list[AppliedRevision]:
    """Return what was recorded as applied to a schema, by any app, in the order of applying."""
    if not is_there(connection):
        return []
    check_version(connection)
    return _QUERIES.rows(connection, "migrations", AppliedRevision, schema=schema)


@dataclass(frozen=True)
class Fingerprint:
    """What a schema should look like, and after which revision that was recorded."""

    content: Mapping[str, Any]
    revision: str
    applied_at: datetime


def read_fingerprint(
    connection: Connection, app: str, schema: str, version_table: VersionTable = VERSION_TABLE
) -> Fingerprint | None:
    """Return what was recorded after the revision that the schema is at.

    None where nothing was recorded for that revision: a run was killed before its last one.
    """
    revisions = current_revisions(connection, schema, version_table)
    return fingerprint_after(connection, app, schema, revisions or [])


def fingerprint_after(
    connection: Connection, app: str, schema: str, revisions: Sequence[str]
) -> Fingerprint | None:
    """Return what was recorded after revisions that the schema is at, as `read_fingerprint`."""
    if not revisions or not is_there(connection):
        return None
    row = _QUERIES.one(connection, "fingerprint", app=app, schema=schema, revisions=revisions)
    if not row:
        return None
    content, *rest = row
    return Fingerprint(_without_versions(content), *rest)


def _without_versions(content: Mapping[str, Any]) -> Mapping[str, Any]:
    """Leave out what servers of November 2026 and later write into each column for themselves."""
    if not any(key.startswith(_VERSION) for key in content.get("objects", ())):
        return content
    objects = {k: v for k, v in content["objects"].items() if not k.startswith(_VERSION)}
    own = [key for key in content.get("own", ()) if not key.startswith(_VERSION)]
    return {**content, "objects": objects, "own": own}


_VERSION = "property pg_attver of "


def fingerprint(
    connection: Connection, app: str, schema: str, version_table: VersionTable = VERSION_TABLE
) -> Mapping[str, Any] | None:
    """Return what the schema should look like; None as `read_fingerprint` does."""
    found = read_fingerprint(connection, app, schema, version_table)
    return found.content if found else None


def made_by(connection: Connection, app: str, schema: str) -> set[str]:
    """Return what an app's revisions made in a schema, as `kind name`, there or not."""
    if not is_there(connection):
        return set()
    return set(_QUERIES.column(connection, "made", app=app, schema=schema))


@dataclass(frozen=True)
class RevisionRecord:
    """What is recorded of a revision when it is applied."""

    revision: str
    checksum: str
    sql: str
    duration_ms: int
    made: Sequence[str]


def record_migration(
    connection: Connection, *, app: str, schema: str, record: RevisionRecord
) -> None:
    """Record an applied revision, within the caller's transaction."""
    _QUERIES.run(
        connection, "record_migration", app=app, schema=schema, who=whoami(), **asdict(record)
    )


def forget_migration(connection: Connection, *, app: str, schema: str, revision: str) -> None:
    """Record that a revision is no longer applied, within the caller's transaction."""
    _QUERIES.run(connection, "forget_migration", app=app, schema=schema, revision=revision)


def accept_edit(
    connection: Connection, *, app: str, schema: str, revision: str, checksum: str
) -> None:
    """Record a revision's file as it is now, within the caller's transaction."""
    place = {"app": app, "schema": schema, "revision": revision}
    _QUERIES.run(connection, "accept_edit", **place, checksum=checksum)


def applied_sql(connection: Connection, *, app: str, schema: str, revision: str) -> str:
    """Return what an applied revision executed; empty where that was not recorded."""
    place = {"app": app, "schema": schema, "revision": revision}
    return str(_QUERIES.value(connection, "applied_sql", **place) or "")


def renumber(
    connection: Connection, *, app: str, schema: str, revision: str, now: str, checksum: str
) -> None:
    """Record an applied revision under another id, within the caller's transaction."""
    place = {"app": app, "schema": schema, "revision": revision}
    _QUERIES.run(connection, "renumber", **place, now=now, checksum=checksum)


def forget_app(connection: Connection, *, app: str, schema: str) -> None:
    """Record that nothing of an app is applied to a schema, within the caller's transaction."""
    _QUERIES.run(connection, "forget_app", app=app, schema=schema)


def record_fingerprint(
    connection: Connection, *, app: str, schema: str, revision: str, content: Mapping[str, Any]
) -> None:
    """Record what the schema looks like after a revision, within the caller's transaction."""
    place = {"app": app, "schema": schema, "revision": revision}
    _QUERIES.run(connection, "record_fingerprint", **place, fingerprint=Jsonb(content))


def _execute_all(connection: Connection, name: str, params: Mapping[str, Any]) -> None:
    """Execute a block of several statements: the server takes parameters for one at a time."""
    for statement in _QUERIES.get(name, version_of(connection)).split(";\n"):
        connection.execute(statement, params)
