"""What belongs to a database itself, and comes back by the statements that pg_dump writes of it.

Encoding, locale, tablespace, owner, grants, settings, comment, limits, and whatever a newer
PostgreSQL adds: the statements are run as they are, but for the name of the database.
"""

import re
from dataclasses import dataclass

import psycopg
from psycopg import sql

from leadctl.backup.contents import ENCODING, codec_of
from leadctl.errors import ConnectionFailed, InsufficientPrivilege, RestoreFailed
from leadctl.postgres.binaries import dump_programs
from leadctl.postgres.client import running
from leadctl.postgres.connect import Connection, connect
from leadctl.postgres.queries import version_of, written_by_pg_dump
from leadctl.postgres.target import Target
from leadctl.postgres.translate import told
from leadctl.progress import Narrate

IDENTIFIER = r'(?:"(?:[^"]|"")+"|[a-z_][a-z0-9_]*)'
"""As pg_dump writes one."""
NO_OWNERS = ("--no-owner", "--no-privileges")
"""Options of pg_dump and pg_restore that leave owners and grants out."""
_NAMES_IT = re.compile(
    rf"(?:(?:CREATE|ALTER|COMMENT ON) DATABASE|ALTER ROLE {IDENTIFIER} IN DATABASE"
    rf"|(?:GRANT|REVOKE) [A-Z, ]+ ON DATABASE|SECURITY LABEL FOR {IDENTIFIER} ON DATABASE)"
    rf" (?P<name>{IDENTIFIER})"
)
"""How pg_dump begins the statements of a database."""
_CREATES = "CREATE DATABASE "
_AS_GRANTOR = re.compile(rf"SET SESSION AUTHORIZATION {IDENTIFIER}|RESET SESSION AUTHORIZATION")
_TABLESPACE = re.compile(rf" TABLESPACE = {IDENTIFIER}$")
_PRELOADS = ("session_preload_libraries", "local_preload_libraries")
_LOADS_MODULES = re.compile(rf"ALTER DATABASE {IDENTIFIER} SET (?:{'|'.join(_PRELOADS)}) TO ")
_GIVES_AWAY = re.compile(rf"ALTER DATABASE {IDENTIFIER} OWNER TO {IDENTIFIER}")
_IN_ENCODING = re.compile(r" ENCODING = '(\w+)'")


def text_of(script: bytes) -> str:
    """Return a script of pg_dump's or pg_restore's as text, by the encoding that it names."""
    found = ENCODING.search(script)
    return script.decode(codec_of(found[1].decode() if found else "UTF8"), errors="replace")


@dataclass(frozen=True)
class DatabaseProperties:
    """How a database is made and what is set for it: the statements of its dump, in their order."""

    statements: tuple[str, ...] = ()

    @classmethod
    def parse(cls, script: str) -> "DatabaseProperties":
        """Take the statements of the database itself out of a script by `pg_dump --create`."""
        from leadctl.sql.lexer import split  # a health check loads this module, and reads no SQL

        found = [statement[_begin(statement) :] for statement in split(script)]
        wanted = [each for each in found if _NAMES_IT.match(each) or _AS_GRANTOR.fullmatch(each)]
        return cls(tuple(wanted))

    def creations(self, name: str) -> list[sql.Composed]:
        """Return the CREATE DATABASE, for another name; then ones that ask less of the server.

        One is without the tablespace, the last has the server's own locale.
        """
        made = next((each for each in self.statements if each.startswith(_CREATES)), "")
        encoding = _IN_ENCODING.search(made)
        last = sql.SQL("CREATE DATABASE {} WITH TEMPLATE = template0 ENCODING = {}").format(
            sql.Identifier(name), sql.Literal(encoding[1] if encoding else "UTF8")
        )
        asked = dict.fromkeys([made, _TABLESPACE.sub("", made)]) if made else ()
        return [*(_renamed(each, name) for each in asked), last]

    def settings(self, name: str) -> list[sql.Composed]:
        """Return the statements that follow, for a database of another name."""
        return [_renamed(s, name) for s in self.statements if not s.startswith(_CREATES)]

    def owner(self, name: str) -> list[sql.Composed]:
        """Return the statement that gives the database to its owner, if there is one."""
        return [_renamed(s, name) for s in self.statements if _GIVES_AWAY.fullmatch(s)]

    def modules(self, name: str) -> list[sql.Composed]:
        """Return the statements by which sessions load modules, as those that have labels do."""
        return [_renamed(s, name) for s in self.statements if _LOADS_MODULES.match(s)]


def _begin(statement: str) -> int:
    """Return where the first word of a statement is, behind comments."""
    from leadctl.sql.lexer import tokens

    return next((token.start for token in tokens(statement)), 0)


def _renamed(statement: str, name: str) -> sql.Composed:
    """Put another name in the place of the database's."""
    found = _NAMES_IT.match(statement)
    if found is None:
        return sql.Composed([written_by_pg_dump(statement)])
    before, after = statement[: found.start("name")], statement[found.end() :]
    return sql.Composed(
        [written_by_pg_dump(before), sql.Identifier(name), written_by_pg_dump(after)]
    )


def properties_of(target: Target, *, owners: bool) -> DatabaseProperties:
    """Return the properties of the target's database, by pg_dump.

    Raises MissingClient, RestoreFailed and what connecting raises.
    """
    with connect(target, "restore", read_only=True) as connection:
        major = version_of(connection) // 10000
    program = dump_programs(major, major).path("pg_dump")
    # No table, so no lock.
    arguments = ["--create", "--schema-only", "--exclude-schema=*", *([] if owners else NO_OWNERS)]
    with running(target, program, arguments, stdout=True) as dump:
        script = text_of(dump.stdout.read())
        if dump.wait() != 0:
            raise dump.failure(target, RestoreFailed)
    return DatabaseProperties.parse(script)


def create_database(
    connection: Connection, name: str, properties: DatabaseProperties, narrate: Narrate
) -> None:
    """Create an empty database with the encoding, locale and tablespace of the original.

    Where nothing is known of them, or the server does not have the locale or the tablespace, the
    server's own is taken; the latter is said.  Raises InsufficientPrivilege.
    """
    creations = properties.creations(name)
    for creation, another in zip(creations, [*creations[1:], None], strict=True):
        try:
            connection.execute(creation)
        except psycopg.errors.InsufficientPrivilege:
            raise InsufficientPrivilege(
                f"The role {connection.info.user} may not create the database {name}.",
                hint=f'Let an owner run: ALTER ROLE "{connection.info.user}" CREATEDB',
            ) from None
        except (
            psycopg.errors.InvalidParameterValue,
            psycopg.errors.WrongObjectType,
            psycopg.errors.FeatureNotSupported,
            psycopg.errors.UndefinedObject,
        ) as error:
            if another is None:
                raise
            narrate(
                "This server cannot make the database as it was "
                f"({told(error)}); its default is used."
            )
        else:
            return


def let_load_modules(
    database: Target, connection: Connection, properties: DatabaseProperties, narrate: Narrate
) -> None:
    """Let sessions of a new database load the modules of the original, as far as they are there.

    Without those that have its security labels, none of these can be made; where this server does
    not have a module, nobody could connect to the database, so it is left out, and said.
    """
    if not (statements := properties.modules(database.database)):
        return
    try:
        for statement in statements:
            connection.execute(statement)
        connect(database, "restore").close()
    except (psycopg.Error, ConnectionFailed) as error:
        reason = error.message if isinstance(error, ConnectionFailed) else told(error)
        for setting in _PRELOADS:
            reset = sql.SQL("ALTER DATABASE {} RESET {}")
            connection.execute(
                reset.format(sql.Identifier(database.database), sql.Identifier(setting))
            )
        narrate(f"Left out: the modules that sessions of the database load ({reason})")


def configure_database(
    database: Target, connection: Connection, properties: DatabaseProperties, narrate: Narrate
) -> None:
    """Give a database the owner, settings, grants, comment and limits of the original.

    What was set for loading is reset.  What this role may not do, or names a role that is missing,
    is left out, and said.
    """
    name = database.database
    connection.execute(sql.SQL("ALTER DATABASE {} RESET ALL").format(sql.Identifier(name)))
    try:
        for statement in properties.settings(name):
            try:
                connection.execute(statement)
            except psycopg.errors.Error as error:
                text = statement.as_string(connection)
                narrate(f"Left out: {text} ({told(error)})")
    finally:
        connection.execute("RESET SESSION AUTHORIZATION")
    let_load_modules(database, connection, properties, narrate)
