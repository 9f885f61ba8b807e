"""What restores left on purpose: replaced databases, and schemas of rows next to live ones."""

from datetime import datetime
from typing import NamedTuple

from leadctl.errors import UnknownKept
from leadctl.journal.guard import Consent, permit
from leadctl.journal.kept_names import kept_prefix, kept_since
from leadctl.journal.runs import journaled
from leadctl.postgres.connect import Connection, connect
from leadctl.postgres.queries import queries_of
from leadctl.postgres.target import Target
from leadctl.text import did_you_mean

_QUERIES = queries_of(__file__, "restore.sql")


class Kept(NamedTuple):
    """A database that a restore replaced, or a schema with rows of a backup."""

    kind: str
    """database or schema."""
    name: str
    since: datetime
    """When it was replaced; of a schema `restored_…` the moment of the backup."""
    bytes: int | None
    """None where this role may not know."""


class KeptList(NamedTuple):
    """The databases and schemas kept by restores of a database, the oldest first."""

    database: str
    kept: tuple[Kept, ...]


class KeptDropped(NamedTuple):
    """What was dropped."""

    database: str
    dropped: tuple[Kept, ...]


def kept(target: Target) -> KeptList:
    """List the databases and schemas that restores of the target left.

    Raises what connecting raises.
    """
    with connect(target, "kept", read_only=True) as connection:
        return KeptList(target.database, tuple(read_kept(connection)))


def read_kept(connection: Connection) -> list[Kept]:
    """Return what restores of the connected database left, the oldest first."""
    prefix = kept_prefix(connection.info.dbname)
    found = [
        Kept(kind, name, since, size)
        for kind, name, size in _QUERIES.rows(connection, "left_behind", prefix=prefix)
        if (since := kept_since(name))
    ]
    return sorted(found, key=lambda each: each.since)


def drop_kept(target: Target, names: tuple[str, ...], consent: Consent, *, app: str) -> KeptDropped:
    """Drop what `kept` lists, by name, and nothing else; it is journaled.

    Raises Protected, NotConfirmed, UnknownKept, DependentObjects, and what connecting raises.
    """
    from leadctl.restore.cluster import drop_everywhere
    from leadctl.restore.database import maintenance

    with connect(target, "kept") as connection:
        permit(connection, target, f"drop of {', '.join(names)}", consent)
        known = {each.name: each for each in read_kept(connection)}
        for name in names:
            if name not in known:
                raise UnknownKept(
                    f"{name} was not kept by a restore of {target.database}. Nothing was dropped.",
                    hint=did_you_mean(name, known, "See what was kept: leadctl db kept"),
                )
        wanted = [known[name] for name in dict.fromkeys(names)]
        with journaled(target, "db kept", app) as entry:
            for each in wanted:
                if each.kind == "schema":
                    _drop_schema(connection, each.name)
                else:
                    with maintenance(target) as other:
                        drop_everywhere(target, other, each.name)
            entry.note(dropped=[each.name for each in wanted])
    return KeptDropped(target.database, tuple(wanted))


def _drop_schema(connection: Connection, name: str) -> None:
    """Drop a schema with what is in it, but nothing that somebody made of that elsewhere."""
    from leadctl.restore.in_place import drop_schema  # a look at what is kept needs none of it

    with connection.transaction():
        drop_schema(
            connection,
            name,
            in_use="is used by objects that leadctl did not make",
            then="Drop or move that first; the schema is as it was.",
            as_whom="Connect as the role that ran the restore.",
        )
