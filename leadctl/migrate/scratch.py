"""A scratch schema, in a transaction that is rolled back, to try SQL in.

Nothing of it is ever seen by others, and no second database is needed.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from os import getpid

import psycopg
from psycopg import generators, sql
from psycopg.pq import ExecStatus, TransactionStatus
from psycopg.pq.abc import PGresult

from leadctl.catalog.definitions import (
    Catalog,
    compare,
    named,
    published,
    read_catalog,
    with_uses,
    without_grants,
)
from leadctl.errors import OperationFailed
from leadctl.migrate.ddl.autodetector import changes
from leadctl.migrate.fence import fenced
from leadctl.postgres import exact
from leadctl.postgres.connect import Connection, connect
from leadctl.postgres.queries import queries_of
from leadctl.postgres.target import Target
from leadctl.postgres.translate import MORE_LOCKS, told, translate
from leadctl.sql.lexer import words_of

QUERIES = queries_of(__file__, "scratch.sql")
_CONCURRENTLY = re.compile(r"\bCONCURRENTLY\b", re.IGNORECASE)
_LOCK_TIMEOUT = "3s"
"""What is named with another schema is the real thing: it is waited for no longer."""
OF_THE_SERVER = ("08", "40", "53", "55", "57", "58")
"""How the codes of errors begin that say nothing of the statement: locks, memory, shutdown."""
_AT_ONCE = 100
_BETWEEN = "\n;\n"


class Scratch:
    """An empty schema to try things in."""

    def __init__(
        self, driver: Connection, target: Target, also: Sequence[str], *, apart: bool = False
    ) -> None:
        """Make it on a connection that is in a transaction; `also` as `scratch` has it.

        In a database of its own (`apart`) it is the target's empty schema.
        """
        self._driver = driver
        self._name = target.schema if apart else f"leadctl_scratch_{getpid()}"
        self._stands_for = target.schema
        self._also = also
        self._shares_path = False
        self.asks_words = True
        self._published = [] if apart else published(driver, target.schema, also)
        if apart:
            return
        exact.execute(driver, "SELECT set_config('lock_timeout', %s, true)", (_LOCK_TIMEOUT,))
        path: sql.Composable = sql.Identifier(self._name)
        if QUERIES.value(driver, "holds_unwritten", schema=target.schema):
            self._shares_path = True
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

    @contextmanager
    def fenced(self, env_py: Callable[[], bool] | None = None) -> Iterator[None]:
        """Let no statement of the block reach the schema that this one stands for.

        `env_py` tells whether a statement is an env.py's own.  Raises NamesTarget.
        """
        if self._name == self._stands_for:
            yield
            return
        with fenced(
            self._driver,
            self._name,
            self._stands_for,
            shares_path=self._shares_path,
            asks_words=self.asks_words,
            env_py=env_py,
        ):
            yield

    def execute(self, statements: Iterable[str]) -> None:
        """Execute statements; what says CONCURRENTLY does so without.

        Raises OperationFailed with the statement that the server rejects.
        """
        begun = self._driver.info.transaction_status == TransactionStatus.INTRANS
        together = begun and self._driver.cursor_factory is psycopg.Cursor  # nothing looks at each
        for batch in _batches(map(in_transaction, statements), _AT_ONCE if together else 1):
            self._run(batch)

    def _run(self, batch: Sequence[str]) -> None:
        """Execute statements in one round trip."""
        done: list[PGresult] = []
        try:
            if len(batch) == 1:
                self._driver.execute(batch[0].encode())
                return
            self._driver.pgconn.send_query(_BETWEEN.join(batch).encode())
            *done, last = self._driver.wait(generators.execute(self._driver.pgconn))
            if last.status == ExecStatus.FATAL_ERROR:
                raise psycopg.errors.error_from_result(last)
        except psycopg.Error as error:
            statement = " ".join(batch[_rejected(batch, len(done), error)].split())
            reason = told(error, known=words_of(statement))
            detail = f" ({error.diag.message_detail})" if error.diag.message_detail else ""
            raise OperationFailed(
                f"The server rejects it: {reason}{detail}: {statement}",
                hint=f"Nothing was changed. {MORE_LOCKS}"
                if error.sqlstate == "53200"
                else "Nothing was changed; it was tried in a scratch schema.",
            ) from None

    def rejection(self, statement: str) -> str:
        """Execute a statement, and return why the server rejects it; "" if it does not.

        What was done before stays.  Raises OperationFailed if the statement is not the reason.
        """
        try:
            with self._driver.transaction():
                self._driver.execute(in_transaction(statement).encode())
        except psycopg.Error as error:
            if self._driver.closed or (error.sqlstate or "").startswith(OF_THE_SERVER):
                raise translate(error) or OperationFailed(str(error)) from error
            return told(error, known=words_of(statement))
        return ""

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
        """Create what a catalog has; what leadctl does not write is used where it is.

        Publications like the target's hold the columns that they name.
        """
        steps = changes(Catalog({}), catalog.written())
        # A function may be there whose text names what is there no longer.
        self._driver.execute("SET LOCAL check_function_bodies = off")
        self.execute(step.sql for step in steps)
        self._driver.execute("SET LOCAL check_function_bodies TO DEFAULT")
        for table, statement in self._published:
            if f"table {table}" in catalog.objects:
                self.rejection(statement)  # another schema than the target's may lack a column


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
    existing = QUERIES.column(connection, "existing", schemas=list(schemas))
    for number, schema in enumerate(existing):
        aside = sql.Identifier(f"leadctl_aside_{getpid()}_{number}")
        connection.execute(
            sql.SQL("ALTER SCHEMA {} RENAME TO {}").format(sql.Identifier(schema), aside)
        )


def _batches(statements: Iterable[str], length: int) -> Iterator[list[str]]:
    """Yield statements by as many as may go in one round trip; what may be several goes alone."""
    batch: list[str] = []
    for statement in statements:
        is_alone = ";" in statement
        if batch and (is_alone or len(batch) == length):
            yield batch
            batch = []
        if is_alone:
            yield [statement]
        else:
            batch.append(statement)
    if batch:
        yield batch


def _rejected(batch: Sequence[str], done: int, error: psycopg.Error) -> int:
    """Return which statement of a batch the server rejects: it reads all before it runs the first.

    Where it runs one, the position that it tells may be in a text of its own, such as an index's.
    """
    position = int(error.diag.statement_position or 0) - 1
    if done or position < 0 or not isinstance(error, psycopg.errors.SyntaxError):
        return done
    ends = accumulate(len(statement) + len(_BETWEEN) for statement in batch)
    return next((number for number, end in enumerate(ends) if position < end), done)


def in_transaction(statement: str) -> str:
    """Return a statement as it may run in a transaction."""
    return _CONCURRENTLY.sub("", statement) if _CONCURRENTLY.search(statement) else statement
