"""New databases for a restore: made as the original was, and dropped again."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
from psycopg import sql

from leadctl.db.connect import Connection, connect
from leadctl.db.target import Target
from leadctl.errors import ConnectionFailed, InsufficientPrivilege
from leadctl.operations.backup.manifest import DatabaseFacts

_MAINTENANCE = ("postgres", "template1")

Narrate = Callable[[str], None]


@contextmanager
def maintenance(target: Target) -> Iterator[Connection]:
    """Connect to a database of the server that is not the target's.  Raises ConnectionFailed."""
    failure: ConnectionFailed | None = None
    for name in _MAINTENANCE:
        try:
            connection = connect(target.on(name), "restore")
            break
        except ConnectionFailed as error:
            failure = failure or error
    else:
        assert failure is not None
        raise failure
    with connection:
        yield connection


def create_database(
    connection: Connection, name: str, facts: DatabaseFacts, narrate: Narrate
) -> None:
    """Create an empty database with the encoding and locale of the original.

    Where the server does not have that locale, the server's own is taken, and said.  Raises
    InsufficientPrivilege.
    """
    identifier = sql.Identifier(name)
    try:
        connection.execute(_creation(name, facts))
    except psycopg.errors.InsufficientPrivilege:
        raise InsufficientPrivilege(
            f"The role {connection.info.user} may not create the database {name}.",
            hint=f'Let an owner run: ALTER ROLE "{connection.info.user}" CREATEDB',
        ) from None
    except (
        psycopg.errors.InvalidParameterValue,
        psycopg.errors.WrongObjectType,
        psycopg.errors.FeatureNotSupported,
    ) as error:
        narrate(
            f"This server does not have the locale {facts.locale or facts.collate} "
            f"({error.diag.message_primary}); its own is taken."
        )
        plain = sql.SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING {}")
        connection.execute(plain.format(identifier, sql.Literal(facts.encoding)))


def drop_database(connection: Connection, name: str) -> None:
    """Drop a database, whoever is connected; nothing where it does not exist."""
    connection.execute(
        sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
    )


def _creation(name: str, facts: DatabaseFacts) -> sql.Composed:
    options = {
        "TEMPLATE": sql.Identifier("template0"),
        "ENCODING": sql.Literal(facts.encoding),
        "LOCALE_PROVIDER": sql.Identifier(facts.locale_provider),
        "LC_COLLATE": sql.Literal(facts.collate),
        "LC_CTYPE": sql.Literal(facts.ctype),
    }
    if facts.locale is not None:
        kind = "ICU_LOCALE" if facts.locale_provider == "icu" else "BUILTIN_LOCALE"
        options[kind] = sql.Literal(facts.locale)
    return sql.SQL("CREATE DATABASE {} {}").format(
        sql.Identifier(name),
        sql.SQL(" ").join(
            sql.SQL("{} {}").format(sql.SQL(key), value) for key, value in options.items()
        ),
    )
