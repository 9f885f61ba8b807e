"""A tenant as PostgreSQL has it: a schema that an app was migrated into; its name and its state."""

import re
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any

import psycopg

from leadctl.apps.registry import App
from leadctl.catalog.citus import schema_bytes
from leadctl.errors import InvalidTenantName, UnknownTenant
from leadctl.journal import records, state
from leadctl.journal.guard import Consent
from leadctl.journal.kept_names import kept_schemas, kept_since
from leadctl.journal.records import SchemaRevisions
from leadctl.migrate.integrity import missing_revisions
from leadctl.migrate.revisions import read_history
from leadctl.postgres import LONGEST_NAME
from leadctl.postgres.connect import Connection, Timeouts, connect
from leadctl.postgres.provision import has_schema
from leadctl.postgres.queries import queries_of
from leadctl.postgres.target import DEFAULT_SCHEMA, Target, is_reserved
from leadctl.progress import Narrate
from leadctl.text import did_you_mean, plain

QUERIES, MOVES = queries_of(__file__, "tenants.sql"), queries_of(__file__, "move.sql")
_PAUSE_SECONDS = 0.1
_OTHER_DATABASES = re.compile("(postgres|template[01])$|leadctl_")
_NO_ANSWER = (psycopg.errors.ConnectionException, psycopg.errors.ConnectionFailure)
"""What Citus says of another node that does not answer."""
_AT_ONCE = 200
"""Version tables that one statement reads."""


@dataclass(frozen=True)
class Tenant:
    """A schema that holds an app's tables."""

    name: str
    owner: str
    state: str
    """ "open"; "kept", where a move or a restore left it under another name; "closed" or "arriving"
    while a move goes on, or where one was ended."""
    revision: str | None
    """What it is at; None where nothing is applied, or nobody may or can read it."""
    pending: int | None
    """Revisions that are not applied; None where that is not known."""
    tables: int
    bytes: int | None
    """On disk, with indexes; None where a node of Citus that has some of it does not answer."""
    rows: int | None
    """As the last VACUUM or ANALYZE counted them; None for a schema that Citus distributes."""


@dataclass(frozen=True)
class TenantList:
    """The tenants of a database, by name."""

    app: str
    database: str
    pattern: str | None
    tenants: tuple[Tenant, ...]


@dataclass(frozen=True)
class TenantRun:
    """A verb that changes a tenant: where it is, what it may do, and who is told."""

    target: Target
    """The database that has the tenant's schema, or that is on the server of the tenant's."""
    app: App
    name: str
    consent: Consent
    timeouts: Timeouts
    narrate: Narrate


def tenant_target(target: Target, name: str, *, database: bool) -> Target:
    """Return a tenant's schema in the target's database, or the `database` of its name."""
    return target.on(name) if database else replace(target, schema=name)


def check_name(name: str, *, database: bool = False, kept: bool = False) -> None:
    """Refuse a name that a tenant cannot have, a schema or a `database`, or a `kept` one.

    Raises InvalidTenantName.
    """
    shown, kind = plain(name), "database" if database else "schema"
    others = name == DEFAULT_SCHEMA or is_reserved(name)
    if not name or len(name.encode(errors="surrogateescape")) > LONGEST_NAME:
        why = f"a {kind}'s name has 1 to {LONGEST_NAME} bytes"
    elif _OTHER_DATABASES.match(name) if database else others:
        why = f"that {kind} is the server's, leadctl's or shared"
    elif shown != name or "\n" in name or "\t" in name:
        why = "it has control characters"
    elif kept_since(name) and not kept:
        why = f"such names are those of kept {kind}s"
    else:
        return
    raise InvalidTenantName(
        f"{shown!r} cannot be a tenant's name: {why}.", hint="Choose another name."
    )


def kept_name(connection: Connection, name: str, why: str) -> str:
    """Return a free name for a schema that is not open: NAME_before_TIME, _moved_ or _arriving_.

    Letters are small, so that SQL needs no quotes for their sake.  If one was kept in this second,
    it waits for the next.
    """
    while True:
        suffix = f"_{why}_{datetime.now(UTC):%Y%m%dt%H%M%Sz}"
        kept = name.encode()[: LONGEST_NAME - len(suffix)].decode(errors="ignore") + suffix
        if not has_schema(connection, kept):
            return kept
        time.sleep(_PAUSE_SECONDS)


def list_tenants(target: Target, app: App, pattern: str | None = None) -> TenantList:
    """Return the tenants whose names fit a pattern, as the shell has it, or all.

    Raises what connecting raises.
    """
    with connect(target, "tenants", read_only=True) as connection:
        found = read_tenants(connection, app)
    wanted = [each for each in found if pattern is None or fnmatchcase(each.name, pattern)]
    return TenantList(app.name, target.database, pattern, tuple(wanted))


def read_database(target: Target, app: App) -> TenantList:
    """Return a database that is one customer's whole, as the tenant that it is.

    There is none where nothing of the app is in it.  Raises what connecting raises.
    """
    with connect(target, "tenants", read_only=True) as connection:
        found = read_tenants(connection, app, target.schema, shared=False)
        ((owner, size),) = QUERIES.rows(connection, "database")
    name = target.database
    own = tuple(replace(each, name=name, owner=owner, bytes=size) for each in found)
    return TenantList(app.name, name, None, own)


def read_tenants(
    connection: Connection, app: App, name: str | None = None, *, shared: bool = True
) -> list[Tenant]:
    """Return the tenants of the connected database, or the one of a name.

    `public` is `shared`, and none, unless the whole database is one customer's.
    """
    recorded = []
    if state.is_there(connection):
        state.check_version(connection)
        recorded = QUERIES.column(connection, "recorded", app=app.name)
    rows = QUERIES.rows(
        connection,
        "tenants",
        dict[str, Any],
        recorded=recorded,
        version_table=str(app.version_table),
        name=name,
        shared=["public"] if shared else [],
    )
    readable = [row["name"] for row in rows if row["readable"]]
    current, silent = _revisions(connection, app, readable)
    sizes = schema_bytes(connection)
    history = read_history(app.versions, complete=False)
    states = _moving(connection) if recorded else {}
    kept = kept_schemas(connection)
    tenants = []
    for row in rows:
        known = row["name"] not in silent and (row["readable"] or not row["versioned"])
        applied = current.get(row["name"], [])
        tenants.append(
            Tenant(
                name=row["name"],
                owner=row["owner"],
                state=states.get(row["name"]) or ("kept" if row["name"] in kept else "open"),
                revision=", ".join(applied) or None,
                pending=_pending(history, applied) if known else None,
                tables=row["tables"],
                bytes=sizes.get(row["name"], row["bytes"]),
                rows=None if row["name"] in sizes else row["rows"],
            )
        )
    return tenants


def _moving(connection: Connection) -> dict[str, str]:
    """Return the schemas that are closed by a move, or have come by one that did not end."""
    if not MOVES.value(connection, "has_moves"):
        return {}
    words = {"closed": "closed", "arrived": "arriving"}
    moves = MOVES.rows(connection, "moves")
    return {held_as: words[phase] for _, phase, held_as in moves if phase in words}


def find_tenant(connection: Connection, app: App, name: str, *, shared: bool = True) -> Tenant:
    """Return the tenant of a name, as `read_tenants`.  Raises UnknownTenant."""
    for tenant in read_tenants(connection, app, name, shared=shared):
        return tenant
    if not shared:
        raise UnknownTenant(
            f"{connection.info.dbname} has nothing of the app {app.name} in it.",
            hint="To list the tenants: leadctl tenants list --fleet NAME",
        )
    known = [each.name for each in read_tenants(connection, app)]
    raise UnknownTenant(
        f"{connection.info.dbname} has no tenant {plain(name)} of the app {app.name}.",
        hint=did_you_mean(name, known, "See the existing ones: leadctl tenants list"),
    )


def tenant_exists(target: Target, name: str) -> bool:
    """Whether the target's database has a schema of this name.  Raises what connecting raises."""
    with connect(target, "tenants", read_only=True) as connection:
        return has_schema(connection, name)


def _pending(history: Any, applied: Sequence[str]) -> int | None:
    if missing_revisions(history, applied, ()):
        return None
    return len(history.pending(applied))


def _revisions(
    connection: Connection, app: App, schemas: Sequence[str]
) -> tuple[dict[str, list[str]], set[str]]:
    """Read the version tables of schemas, many in one statement.

    And return the schemas on nodes of Citus that do not answer.
    """
    found, silent = dict[str, SchemaRevisions](), set[str]()
    for start in range(0, len(schemas), _AT_ONCE):
        some = schemas[start : start + _AT_ONCE]
        try:
            found |= records.revisions_of_schemas(connection, some, app.version_table)
        except (psycopg.errors.UndefinedTable, *_NO_ANSWER):
            for name in some:  # one was dropped meanwhile, or is on a node that does not answer
                try:
                    with suppress(psycopg.errors.UndefinedTable):
                        found |= records.revisions_of_schemas(connection, [name], app.version_table)
                except _NO_ANSWER:
                    if connection.broken:
                        raise
                    silent.add(name)
    return {name: list(each.revisions) for name, each in found.items()}, silent


def forget_records(connection: Connection, name: str) -> None:
    """Forget what is recorded of a schema, in the caller's transaction."""
    for table in QUERIES.column(connection, "kept_records"):
        QUERIES.run(connection, f"forget_{table}", name=name)


def move_records(connection: Connection, name: str, new: str) -> None:
    """Let what is recorded of a schema be recorded of it under its new name.

    What a schema of that name left, which was dropped by hand, is forgotten.
    """
    forget_records(connection, new)
    for table in QUERIES.column(connection, "kept_records"):
        QUERIES.run(connection, f"move_{table}", name=name, new=new)
