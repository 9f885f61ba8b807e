"""The schema `leadctl` in a target: whose it is, its version, and the database's identity.

It is read and written through named SQL blocks, not SQLAlchemy: `health-check` and a `migrate`
with nothing to do read it, and may import no SQLAlchemy.  Reading never creates it.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

import psycopg

from leadctl.errors import InsufficientPrivilege, NewerState, NoIdentity, PreparedSchema
from leadctl.postgres import exact
from leadctl.postgres.connect import Connection, acts_as
from leadctl.postgres.queries import Queries, queries_of, version_of
from leadctl.postgres.target import Target

STATE_VERSION = 1
_QUERIES = queries_of(__file__, "state.sql")
_CREATE_LOCK = "leadctl: creating the schema leadctl"
_OWN = ("r", True)
"""What the identity is where leadctl made it: a table with its columns."""
_NONE = "it has tables, but no recorded environment"


class Identity(NamedTuple):
    """What a database says about itself."""

    id: UUID
    environment: str | None
    protected: bool
    created_at: datetime


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
            _lock_creation(connection)
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


def make_table(connection: Connection, queries: Queries, block: str) -> None:
    """Make one of leadctl's tables where it is missing, in a transaction.

    IF NOT EXISTS is not enough: two at once both find it missing, and one fails.
    """
    with connection.transaction():
        _lock_creation(connection)
        queries.run(connection, block)


def _lock_creation(connection: Connection) -> None:
    exact.execute(connection, "SELECT pg_advisory_xact_lock(hashtext(%s))", (_CREATE_LOCK,))


class IdentityFault(NamedTuple):
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


def _execute_all(connection: Connection, name: str, params: Mapping[str, Any]) -> None:
    """Execute a block of several statements: the server takes parameters for one at a time."""
    for statement in _QUERIES.get(name, version_of(connection)).split(";\n"):
        connection.execute(statement, params)
