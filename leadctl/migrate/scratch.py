"""A scratch schema, in a transaction that is rolled back, to try models, histories and SQL in.

Nothing of it is ever seen by others, and no second database is needed.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from os import getpid
from typing import Any

import psycopg
from psycopg import sql
from sqlalchemy import Connection as SqlConnection
from sqlalchemy import MetaData, event
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.schema import CreateIndex
from sqlalchemy.types import SchemaType

from leadctl.apps.metadata import keys_in_circles_apart, load_metadata
from leadctl.apps.registry import App
from leadctl.catalog.definitions import (
    Catalog,
    compare,
    named,
    read_catalog,
    with_uses,
    without_grants,
)
from leadctl.errors import LeadctlError, OperationFailed, RevisionFailed, UndeclaredSchema
from leadctl.migrate.alembic_runner import AlembicRunner
from leadctl.migrate.ddl.autodetector import changes
from leadctl.migrate.ddl.steps import identifier, plain
from leadctl.migrate.revisions import History
from leadctl.postgres import exact
from leadctl.postgres.connect import Connection
from leadctl.postgres.engine import driver_connection, run_engine
from leadctl.postgres.target import Target
from leadctl.postgres.translate import translate
from leadctl.sql.lexer import tokens

_LENT = ("collation ", "type ", "domain ", "function ")
"""What tables use and models seldom say."""
_CONCURRENTLY = re.compile(r"\bCONCURRENTLY\b", re.IGNORECASE)
_LOCK_TIMEOUT = "3s"
"""What a revision names with its schema is the real thing: it is waited for no longer."""


_SAYS_MORE = {"ASC", "COLLATE", "DESC", "INCLUDE", "NULLS", "UNIQUE", "WHERE", "WITH"}
"""Words of an index's definition that are no operator class."""


class Scratch:
    """An empty schema to try things in."""

    def __init__(
        self, connection: SqlConnection, name: str, stands_for: str, also: Sequence[str]
    ) -> None:
        self._connection = connection
        self._driver = driver_connection(connection)
        self._name = name
        self._stands_for = stands_for
        self._also = also

    @property
    def connection(self) -> SqlConnection:
        """What it is seen by: to reflect it."""
        return self._connection

    def read(self, ignore: Sequence[str] = ()) -> Catalog:
        """Read what is in it."""
        found = read_catalog(self._driver, self._name, ignore, self._also)
        return with_uses(self._driver, found, self._name, self._also)

    def read_target(self) -> Catalog:
        """Read the schema that it stands for, as it is."""
        found = read_catalog(self._driver, self._stands_for)
        return with_uses(self._driver, found, self._stands_for)

    def execute(self, statements: Iterable[str]) -> None:
        """Execute statements; what says CONCURRENTLY does so without.

        Raises OperationFailed with the statement that the server rejects.
        """
        for statement in statements:
            try:
                self._driver.execute(in_transaction(statement).encode())
            except psycopg.Error as error:
                reason = (error.diag.message_primary or str(error)).strip()
                detail = f" ({error.diag.message_detail})" if error.diag.message_detail else ""
                raise OperationFailed(
                    f"The server rejects it: {reason}{detail}: {' '.join(statement.split())}",
                    hint="Nothing was changed; it was tried in a scratch schema.",
                ) from None

    def why_not(self, statements: Iterable[str], after: Catalog | None) -> str:
        """Execute statements, and return why they do not lead to `after`; "" if they do.

        Without `after` it is enough that the server takes them.  Where they do not, the scratch is
        of no more use.  There is no savepoint, since PostgreSQL lets what is below one not use an
        enum's new value.
        """
        try:
            self.execute(statements)
        except OperationFailed as error:
            return error.message
        if after is None:
            return ""
        left = without_grants(compare(self.read().written(), after.written()))
        return f"left would be: {named(left)}" if left else ""

    def create(self, catalog: Catalog) -> None:
        """Create what a catalog has; what leadctl does not write is used where it is."""
        wanted = catalog.written()
        self.execute(step.sql for step in changes(Catalog({}), wanted))

    def lend(self, catalog: Catalog, metadata: MetaData) -> set[str]:
        """Create what tables may use and models do not make: types, collations, functions.

        What cannot be made without a table is left out: the server says so where it is needed.
        Returned are their keys in a catalog.
        """
        own = {
            str(kind.name)
            for table in metadata.tables.values()
            for column in table.columns
            for kind in (column.type, getattr(column.type, "item_type", None))
            if isinstance(kind, SchemaType)
        }
        lent = {
            key: each
            for key, each in catalog.objects.items()
            if key.startswith(_LENT) and plain(key.partition(" ")[2]) not in own
        }
        self._driver.execute("SET LOCAL check_function_bodies = off")
        for step in changes(Catalog({}), Catalog(lent)):
            with suppress(psycopg.Error), self._driver.transaction():
                self._driver.execute(in_transaction(step.sql).encode())
        return set(lent)

    def create_models(self, app: App, found: Catalog) -> dict[str, str]:
        """Create what an app's models describe, and return what is left out as in `create_tables`.

        Raises as that does.
        """
        return self.create_tables(load_metadata(app), app.name, found)

    def create_tables(self, metadata: MetaData, owner: str, found: Catalog) -> dict[str, str]:
        """Create what some models describe; `owner` is the name of their app.

        An index that the server rejects, and that `found` has with an operator class that the
        models do not say, is left out: Alembic never compares those.  Returned is the server's
        reason by the index's key.

        Raises UndeclaredSchema for a schema that they name and the app does not, and
        OperationFailed for what cannot be created.
        """
        named = {table.schema for table in metadata.tables.values() if table.schema}
        for schema in sorted(named - {self._stands_for, *self._also}):
            raise UndeclaredSchema(
                f"The models of {owner} name the schema {schema}, which the app does not.",
                hint=f'Add schemas = ["{schema}"] to [apps.{owner}] in leadctl.toml, and give no '
                "other --schema than theirs.",
            )
        for schema in self._also:
            self._driver.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
        here = self._connection.execution_options(
            schema_translate_map={self._stands_for: self._name}
        )
        try:
            with keys_in_circles_apart(metadata):
                try:
                    with here.begin_nested():
                        metadata.create_all(here, checkfirst=False)
                except DBAPIError:
                    return _create_indexes_apart(here, metadata, found)
        except SQLAlchemyError as error:
            translated = translate(error)
            raise translated or OperationFailed(
                f"The models of {owner} cannot be created: {error}"
            ) from error
        return {}

    def run(
        self, app: App, history: History, revision: str | Sequence[str], *, down: bool = False
    ) -> None:
        """Run a history up to a revision, or several; `down` undoes one, which must be the last.

        Raises RevisionFailed.
        """
        goal = (revision,) if isinstance(revision, str) else tuple(revision)
        event.listen(self._connection, "before_cursor_execute", _without_concurrently, retval=True)
        try:
            AlembicRunner(app, history).try_out(self._connection, goal, down=down)
        except Exception as error:
            if isinstance(error, LeadctlError):
                raise
            translated = translate(error)
            reason = translated.message if translated else f"{type(error).__name__}: {error}"
            raise RevisionFailed(
                f"The history of {app.name} cannot be run {'down from' if down else 'up to'} "
                f"{', '.join(goal)} in a scratch schema: {reason}",
                hint="It was tried without rows, and rolled back: nothing was changed.",
            ) from error
        finally:
            event.remove(self._connection, "before_cursor_execute", _without_concurrently)


@contextmanager
def scratch(target: Target, purpose: str, also: Sequence[str] = ()) -> Iterator[Scratch]:
    """Make a scratch schema; everything done with it is rolled back.

    `also` are schemas that the app has besides the target's: they are renamed for as long, which
    nobody else sees, so that what names them finds none.  Types and functions of extensions, and
    operators and the like that leadctl does not write, are found where the target's schema holds
    some.  Raises InsufficientPrivilege where the role may create no schema, or owns one of `also`
    not.
    """
    name = f"leadctl_scratch_{getpid()}"
    with run_engine(target, purpose).connect() as connection, connection.begin() as transaction:
        made = Scratch(connection, name, target.schema, also)
        driver = made._driver  # noqa: SLF001 - it is this module's own
        exact.execute(driver, "SELECT set_config('lock_timeout', %s, true)", (_LOCK_TIMEOUT,))
        path: sql.Composable = sql.Identifier(name)
        if _holds_what_is_not_written(driver, target.schema):
            path = sql.SQL(", ").join([path, sql.Identifier(target.schema)])
        try:
            driver.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(name)))
            _set_aside(driver, also)
        except psycopg.Error as error:
            raise translate(error) or OperationFailed(str(error)) from error
        driver.execute(sql.SQL("SET LOCAL search_path TO {}").format(path))
        try:
            yield made
        finally:
            transaction.rollback()


def _create_indexes_apart(
    connection: SqlConnection, metadata: MetaData, found: Catalog
) -> dict[str, str]:
    """Create tables, then one index after the other, but for those that `found` has more fully."""
    indexes = {table: set(table.indexes) for table in metadata.tables.values()}
    rejected = {}
    try:
        for table in indexes:
            table.indexes.clear()
        metadata.create_all(connection, checkfirst=False)
    finally:
        for table, own in indexes.items():
            table.indexes.update(own)
    for index in sorted(set().union(*indexes.values()), key=lambda each: str(each.name)):
        key = f"index {identifier(str(index.name))}"
        try:
            with connection.begin_nested():
                index.create(connection)
        except DBAPIError as error:
            translated = translate(error)
            reason = translated.message if translated else str(error.orig)
            definition = str(found.objects.get(key, {}).get("definition", ""))
            if not _adds_names_only(definition, str(CreateIndex(index).compile(connection))):
                raise OperationFailed(
                    f"The {key} of the models cannot be made: {reason}",
                    hint="Nothing was changed; it was tried in a scratch schema.",
                ) from error
            rejected[key] = reason
    return rejected


def _adds_names_only(definition: str, said: str) -> bool:
    """Whether an index is what is said of it, and has names of operator classes besides."""
    rest = iter(tokens(said))
    wanted = next(rest, None)
    for token in tokens(definition):
        if wanted is not None and token.text == wanted.text:
            wanted = next(rest, None)
        elif token.text != "." and (token.name is None or token.word in _SAYS_MORE):
            return False
    return wanted is None


def _set_aside(connection: Connection, schemas: Sequence[str]) -> None:
    rows = exact.execute(
        connection, "SELECT nspname FROM pg_namespace WHERE nspname = ANY (%s)", (list(schemas),)
    ).fetchall()
    for number, (schema,) in enumerate(rows):
        aside = sql.Identifier(f"leadctl_aside_{getpid()}_{number}")
        connection.execute(
            sql.SQL("ALTER SCHEMA {} RENAME TO {}").format(sql.Identifier(schema), aside)
        )


def in_transaction(statement: str) -> str:
    """Return a statement as it may run in a transaction."""
    return _CONCURRENTLY.sub("", statement) if _CONCURRENTLY.search(statement) else statement


def _without_concurrently(
    _connection: Any, _cursor: Any, statement: str, parameters: Any, *_others: Any
) -> tuple[str, Any]:
    return in_transaction(statement), parameters


def _holds_what_is_not_written(connection: Connection, schema: str) -> bool:
    row = exact.execute(
        connection,
        "SELECT EXISTS (SELECT FROM pg_namespace n WHERE n.nspname = %s AND n.oid IN ("
        "SELECT extnamespace FROM pg_extension UNION ALL SELECT oprnamespace FROM pg_operator"
        " UNION ALL SELECT opcnamespace FROM pg_opclass"
        " UNION ALL SELECT cfgnamespace FROM pg_ts_config"
        " UNION ALL SELECT dictnamespace FROM pg_ts_dict))",
        (schema,),
    ).fetchone()
    return bool(row and row[0])
