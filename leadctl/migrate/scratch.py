"""A scratch schema, in a transaction that is rolled back, to try SQL in.

Nothing of it is ever seen by others, and no second database is needed.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from os import getpid

import psycopg
from psycopg import sql

from leadctl.catalog.definitions import (
    Catalog,
    compare,
    named,
    read_catalog,
    with_uses,
    without_grants,
)
from leadctl.errors import OperationFailed
from leadctl.migrate.ddl.autodetector import changes
from leadctl.postgres import exact
from leadctl.postgres.connect import Connection, connect
from leadctl.postgres.target import Target
from leadctl.postgres.translate import told, translate

_CONCURRENTLY = re.compile(r"\bCONCURRENTLY\b", re.IGNORECASE)
_LOCK_TIMEOUT = "3s"
"""What a revision names with its schema is the real thing: it is waited for no longer."""


class Scratch:
    """An empty schema to try things in."""

    def __init__(self, driver: Connection, target: Target, also: Sequence[str]) -> None:
        """Make it on a connection that is in a transaction; `also` as `scratch` has it."""
        self._driver = driver
        self._name = f"leadctl_scratch_{getpid()}"
        self._stands_for = target.schema
        self._also = also
        exact.execute(driver, "SELECT set_config('lock_timeout', %s, true)", (_LOCK_TIMEOUT,))
        path: sql.Composable = sql.Identifier(self._name)
        if _holds_what_is_not_written(driver, target.schema):
            path = sql.SQL(", ").join([path, sql.Identifier(target.schema)])
        try:
            driver.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(self._name)))
            _set_aside(driver, also)
        except psycopg.Error as error:
            raise translate(error) or OperationFailed(str(error)) from error
        driver.execute(sql.SQL("SET LOCAL search_path TO {}").format(path))

    def read(self, ignore: Sequence[str] = ()) -> Catalog:
        """Read what is in it."""
        found = self._definitions(ignore)
        return with_uses(self._driver, found, self._name, self._also)

    def _definitions(self, ignore: Sequence[str] = ()) -> Catalog:
        return read_catalog(self._driver, self._name, ignore, self._also)

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
                reason = told(error)
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
        left = without_grants(compare(self._definitions().written(), after.written()))
        return f"these differences would remain: {named(left)}" if left else ""

    def create(self, catalog: Catalog) -> None:
        """Create what a catalog has; what leadctl does not write is used where it is."""
        steps = changes(Catalog({}), catalog.written())
        # A function may be there whose text names what is there no longer.
        self._driver.execute("SET LOCAL check_function_bodies = off")
        self.execute(step.sql for step in steps)
        self._driver.execute("SET LOCAL check_function_bodies TO DEFAULT")


@contextmanager
def scratch(target: Target, purpose: str, also: Sequence[str] = ()) -> Iterator[Scratch]:
    """Make a scratch schema; everything done with it is rolled back.

    `also` are schemas that the app has besides the target's: they are renamed for as long, which
    nobody else sees, so that what names them finds none.  Types and functions of extensions, and
    operators and the like that leadctl does not write, are found where the target's schema holds
    some.  Raises InsufficientPrivilege where the role may create no schema, or owns one of `also`
    not.
    """
    with connect(target, purpose, autocommit=False, rows=True) as driver:
        try:
            yield Scratch(driver, target, also)
        finally:
            if not driver.closed:
                driver.rollback()


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
