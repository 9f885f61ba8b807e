"""What a restore would do on this server, and what would stop it, before anything is made."""

import shutil
from dataclasses import dataclass, replace
from datetime import datetime

from leadctl.errors import (
    DatabaseInUse,
    InsufficientPrivilege,
    MissingExtension,
    MissingLocale,
    MissingRole,
    NoSpace,
    NotOnCitus,
    OlderServer,
    RestoreFailed,
    UnknownDatabase,
)
from leadctl.journal.guard import protection
from leadctl.postgres.connect import Connection, connect
from leadctl.postgres.queries import queries_of, version_of
from leadctl.postgres.target import Target
from leadctl.restore.cluster import Cluster, refuse_unmakeable
from leadctl.restore.database import maintenance
from leadctl.restore.restorable import Loading, Origin, Restorable, try_all
from leadctl.text import size

_QUERIES = queries_of(__file__, "restore.sql")


@dataclass(frozen=True)
class Obstacle:
    """Something in a database that does not let it be replaced, and what removes it."""

    obstacle: str
    remedy: str


@dataclass(frozen=True)
class RestorePlan:
    """The plan of a restore."""

    backup: str
    """Its id, or the path of a file."""
    made_at: datetime
    source_database: str | None
    revision: str | None
    rows: int | None
    """None where the file does not say it before it is loaded."""
    bytes: int
    """Of the database when it was backed up: about what the restored one will take."""
    database: str
    """The database that is made or replaced."""
    replaces: bool
    """Whether there is one of that name, with tables in it."""
    protected: str | None
    """Why that one is protected, where it is."""
    made_on: int | None
    """The major version of the server that was backed up; None where the file does not say it."""
    server: int
    """The major version of this server."""
    missing_extensions: tuple[str, ...]
    other_versions: tuple[str, ...]
    """Extensions that are made in another version than the backup has."""
    same_versions: tuple[str, ...]
    """Those that are made in the backup's version, which is not this server's default."""
    missing_roles: tuple[str, ...]
    named_roles: tuple[str, ...]
    """Those that policies and user mappings name, so that --no-owner needs them, too."""
    other_owners: tuple[str, ...]
    """Roles that own what is in the backup, and that this role may not give objects to."""
    missing_locales: tuple[str, ...]
    """Collations and dictionaries that this server cannot make, and why."""
    without_rows_of: tuple[str, ...]
    """Tables that the backup does not have, or not the rows of."""
    missing_tablespaces: tuple[str, ...]
    """Their tables go to the default tablespace."""
    missing_privilege: str | None
    """What this role may not do and must."""
    may_replace: bool
    """Whether it may make databases, and rename this one."""
    obstacles: tuple[Obstacle, ...]
    """What keeps the existing database from being replaced."""
    free_bytes: int | None
    """On the disk of the server; None where the server is not on this machine."""


def plan(
    target: Target, source: Restorable, *, member: Target | None = None, rehearsal: bool = False
) -> RestorePlan:
    """Plan a restore over the target's database; changes nothing.

    `member` is on a database of the Citus cluster that a backup of one is restored into; by default
    it is the target.  A rehearsal makes no subscriptions, and no cluster.  Raises BackupDamaged,
    NotOnCitus, and what connecting raises.
    """
    with maintenance(target) as connection:
        origin = source.origin()
        if rehearsal:
            origin = replace(origin, subscriptions=())
        else:
            cluster_of(member or target, origin)
        return plan_on(target, origin, connection)


def cluster_of(member: Target, origin: Origin) -> Cluster | None:
    """Return the cluster that a source of one is restored into; None for what is of none.

    Raises NotOnCitus.
    """
    if "citus" not in origin.extensions or origin.tenant is not None:
        return None
    if origin.distribution is None:
        raise NotOnCitus(
            f"{origin.name} comes from a Citus cluster and does not say what it distributes. "
            "Nothing was changed.",
            hint="Restore each tenant, which distributes it: leadctl restore --tenant NAME "
            f"{origin.name}. A backup by this version can be restored as a whole.",
        )
    refuse_unmakeable(origin.distribution)
    cluster = Cluster.of(member)
    if cluster is None:
        raise NotOnCitus(
            f"{origin.name} comes from a Citus cluster, and {member.database} is in none. "
            "Nothing was changed.",
            hint=f"Make the cluster first, in a database {member.database} that may be empty: "
            "CREATE EXTENSION citus on each node, then citus_set_coordinator_host and "
            "citus_add_node.",
        )
    return cluster


def plan_on(target: Target, origin: Origin, connection: Connection) -> RestorePlan:
    """Plan a restore of what is known of a source, on the server of a connection."""
    exists = is_there(connection, target.database)
    protected, replaces = _existing(target) if exists else (None, False)
    if origin.tenant is not None and replaces:
        raise RestoreFailed(
            f"{origin.name} has the tenant {origin.tenant} alone, so it cannot replace all of "
            f"{target.database}. Nothing was changed.",
            hint=f"Restore it into its schema: leadctl restore --tenant {origin.tenant} "
            f"{origin.name}; or all of it into a new database with --into.",
        )
    roles = [*origin.roles, *origin.needs.roles]
    same, other = _versions(connection, origin)
    missing_roles = tuple(_QUERIES.column(connection, "missing_roles", names=roles))
    return RestorePlan(
        backup=origin.name,
        made_at=origin.made_at,
        source_database=origin.database,
        revision=origin.revision,
        rows=origin.rows,
        bytes=origin.bytes,
        database=target.database,
        replaces=replaces,
        protected=protected,
        made_on=origin.server_major,
        server=version_of(connection) // 10000,
        missing_extensions=tuple(
            _QUERIES.column(connection, "missing_extensions", names=list(origin.extensions))
        ),
        other_versions=tuple(other),
        same_versions=tuple(same),
        missing_roles=missing_roles,
        named_roles=tuple(role for role in missing_roles if role in origin.needs.roles),
        other_owners=tuple(
            _QUERIES.column(connection, "other_owners", names=list(origin.needs.owners))
        ),
        missing_locales=_missing_locales(connection, origin),
        without_rows_of=origin.left_out,
        missing_tablespaces=tuple(
            _QUERIES.column(connection, "missing_tablespaces", names=list(origin.tablespaces))
        ),
        missing_privilege=_missing_privilege(connection, target.database, origin),
        may_replace=all(_QUERIES.rows(connection, "privileges", name=target.database)[0]),
        obstacles=tuple(obstacles(connection, target.database)),
        free_bytes=_free_bytes(connection),
    )


def is_there(connection: Connection, database: str) -> bool:
    """Whether the server has a database of a name."""
    return _QUERIES.value(connection, "databases", names=[database]) is not None


def _existing(target: Target) -> tuple[str | None, bool]:
    """Return why the target's database is protected, and whether it has tables."""
    try:
        with connect(target, "restore", read_only=True) as connection:
            return protection(connection, target), _QUERIES.value(connection, "own_tables")
    except UnknownDatabase:
        return None, False


def _versions(connection: Connection, origin: Origin) -> tuple[list[str], list[str]]:
    """Return the extensions of the backup's version, not the default one; those of another.

    As pg_dump has it, another major version of the server makes its own.
    """
    names, versions = list(origin.extensions), list(origin.versions)
    same_server = origin.server_major == version_of(connection) // 10000
    same, other = [], []
    for name, version, available in _QUERIES.rows(
        connection, "other_versions", names=names, versions=versions
    ):
        if available and same_server:
            same.append(name)
        else:
            other.append(f"{name} {version}")
    return same, other


def _missing_locales(connection: Connection, origin: Origin) -> tuple[str, ...]:
    """Return the collations and dictionaries that the server cannot make, and why."""
    found = try_all(connection, origin.needs)
    if names := list(origin.needs.collations):
        for name in _QUERIES.column(connection, "missing_collations", names=names):
            found[f"COLLATION pg_catalog {name}"] = "it does not exist"
    return tuple(f"{label} ({reason})" for label, reason in found.items())


def _missing_privilege(connection: Connection, database: str, origin: Origin) -> str | None:
    """Return what the role may not do, of what restoring a source there needs."""
    ((may_create, may_rename),) = _QUERIES.rows(connection, "privileges", name=database)
    if not may_create:
        return "may not create databases"
    if not may_rename:
        return f"does not own {database}"
    ((extensions, event_triggers, subscriptions),) = _QUERIES.rows(
        connection, "may_make", extensions=list(origin.extensions)
    )
    if extensions:
        return f"may not make the extension {', '.join(sorted(extensions))}"
    if origin.event_triggers and not event_triggers:
        return f"may not make the event trigger {', '.join(origin.event_triggers)}"
    if origin.needs.superuser and not event_triggers:
        return f"may not make {', '.join(origin.needs.superuser)}"
    if origin.subscriptions and not subscriptions:
        return f"may not make the subscription {', '.join(origin.subscriptions)}"
    return None


def _free_bytes(connection: Connection) -> int | None:
    """Return what the server's disk has left, where its folder is on this machine."""
    if not connection.info.host.startswith("/"):  # a socket is of this machine
        return None
    folder = _QUERIES.value(connection, "data_directory")
    try:
        return shutil.disk_usage(folder).free if folder else None
    except OSError:  # not there, or not for us to see
        return None


def obstacles(connection: Connection, database: str) -> list[Obstacle]:
    """Return what keeps a database from being replaced, or from going elsewhere."""
    return _QUERIES.rows(connection, "obstacles", Obstacle, name=database)


def preflight(
    source: Restorable, found: RestorePlan, *, owners: bool, partly: bool = False
) -> None:
    """Raise for what would stop the restore later: before anything is made.

    What a restore that may be `partly` leaves out does not stop it.

    Raises BackupDamaged, InvalidIdentity, MissingClient, OlderServer, MissingExtension,
    MissingLocale, MissingRole, InsufficientPrivilege, DatabaseInUse, NoSpace.
    """
    source.check()
    check_plan(found, owners=owners, partly=partly)


def check_plan(found: RestorePlan, *, owners: bool, partly: bool = False) -> None:
    """Raise for what the server lacks or does not allow.

    Raises OlderServer, MissingExtension, MissingLocale, MissingRole, InsufficientPrivilege,
    DatabaseInUse, NoSpace.
    """
    if found.made_on is not None and found.made_on > found.server:
        raise OlderServer(
            f"{found.backup} was made with PostgreSQL {found.made_on}; this server is "
            f"{found.server}.",
            hint=f"Restore it on PostgreSQL {found.made_on} or newer, with --url.",
        )
    if found.free_bytes is not None and found.free_bytes < found.bytes:
        raise NoSpace(
            f"The restored database takes about {size(found.bytes)}, and the disk of the "
            f"server has {size(found.free_bytes)} left.",
            hint="Drop what earlier restores kept, or restore on another server with --url.",
        )
    if found.missing_privilege and not (partly and found.may_replace):
        ways = ["the app's own schemas with --in-place"] * (found.rows is not None)
        ways += ["all else with --keep-going"] * found.may_replace
        raise InsufficientPrivilege(
            f"This role {found.missing_privilege}, which restoring {found.backup} needs.",
            hint="Connect as a superuser, or as the database's owner with CREATEDB"
            f"{'; or restore ' if ways else ''}{', or '.join(ways)}.",
        )
    if found.obstacles:
        raise DatabaseInUse(
            f"The database {found.database} cannot be replaced: "
            f"{'; '.join(each.obstacle for each in found.obstacles)}. Nothing was changed.",
            hint=f"{found.obstacles[0].remedy[:1].upper()}{found.obstacles[0].remedy[1:]}.",
        )
    if not partly:
        _check_needs(found, owners=owners)


def _check_needs(found: RestorePlan, *, owners: bool) -> None:
    """Raise for what is in the backup and cannot be made on this server."""
    if found.missing_extensions:
        raise MissingExtension(
            f"The server does not have what the backup needs: extension "
            f"{', '.join(found.missing_extensions)}.",
            hint="Install it on the server, restore on another one with --url, or leave it out: "
            "--keep-going, or of a backup "
            f'--skip "EXTENSION - {found.missing_extensions[0]}"',
        )
    if found.missing_locales:
        raise MissingLocale(
            f"This server cannot make what is in {found.backup}: "
            f"{'; '.join(found.missing_locales)}.",
            hint="Restore on a server like the one that was backed up, with --url; --keep-going "
            "leaves out what needs it.",
        )
    if not owners and found.named_roles:
        raise MissingRole(
            f"The server does not have the roles that policies or user mappings of "
            f"{found.backup} name: {', '.join(found.named_roles)}.",
            hint="Make them by CREATE ROLE: --no-owner does not leave them out; --keep-going does.",
        )
    if owners and found.missing_roles:
        raise MissingRole(
            f"The server does not have the roles that own what is in the backup: "
            f"{', '.join(found.missing_roles)}.",
            hint="Make them (the backup's globals.sql does), or restore with --no-owner. A role "
            "that a policy or a user mapping names is needed in any case.",
        )
    if owners and found.other_owners:
        raise InsufficientPrivilege(
            f"This role cannot give objects to the roles that own what is in the backup: "
            f"{', '.join(found.other_owners)}.",
            hint="Restore with --no-owner, connect as a member of these roles, or leave these "
            "owners out with --keep-going.",
        )


def without_missing(loading: Loading, found: RestorePlan) -> Loading:
    """Return how a source is loaded on this server; a tablespace that it lacks is said."""
    loading = replace(loading, older=found.same_versions)
    if not found.missing_tablespaces:
        return loading
    loading.narrate(
        f"This server does not have the tablespace {', '.join(found.missing_tablespaces)}: all "
        "goes to the default one."
    )
    return replace(loading, tablespaces=False)
