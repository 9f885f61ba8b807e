"""A scratch schema, in a transaction that is rolled back, to try SQL in.

Nothing of it is ever seen by others, and no second database is needed.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from os import getpid
from typing import Any, ClassVar, Self

import psycopg
from psycopg import generators, sql
from psycopg.pq import ExecStatus, TransactionStatus
from psycopg.pq.abc import PGresult
from psycopg.rows import tuple_row

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
from leadctl.postgres.translate import MORE_LOCKS, told, translate
from leadctl.sql.lexer import Kind, Reader, split, tokens, words_of

_CONCURRENTLY = re.compile(r"\bCONCURRENTLY\b", re.IGNORECASE)
_LOCK_TIMEOUT = "3s"
"""What is named with another schema is the real thing: it is waited for no longer."""
_AT_ONCE = 100
_BETWEEN = "\n;\n"
_RELATIONS = {"table", "view", "sequence", "index"}
_BEFORE_NAME = {"if", "not", "exists", "concurrently"}
_LOCKED = """
SELECT c.oid FROM pg_catalog.pg_locks l
JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) l.relation
WHERE l.locktype OPERATOR(pg_catalog.=) 'relation'
  AND l.pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid()
  AND c.relnamespace OPERATOR(pg_catalog.=) (
      SELECT n.oid FROM pg_catalog.pg_namespace n WHERE n.nspname OPERATOR(pg_catalog.=) %s)
  AND NOT EXISTS (
      SELECT FROM pg_catalog.pg_depend d
      WHERE d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass
        AND d.objid OPERATOR(pg_catalog.=) c.oid AND d.deptype OPERATOR(pg_catalog.=) 'e')
"""
_FOUND_THERE = """
SELECT c.relname FROM pg_catalog.pg_class c
WHERE c.relnamespace OPERATOR(pg_catalog.=) (
      SELECT n.oid FROM pg_catalog.pg_namespace n WHERE n.nspname OPERATOR(pg_catalog.=) %s)
  AND NOT EXISTS (
      SELECT FROM pg_catalog.pg_depend d
      WHERE d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass
        AND d.objid OPERATOR(pg_catalog.=) c.oid AND d.deptype OPERATOR(pg_catalog.=) 'e')
  AND c.relname::text OPERATOR(pg_catalog.=) ANY (%s::text[])
EXCEPT
SELECT c.relname FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
WHERE n.nspname OPERATOR(pg_catalog.=) %s
"""
"""What a name without a schema leads to in the target, since the scratch has it not."""
_PATH = "SELECT pg_catalog.current_setting('search_path')"
_BACK_TO = "SELECT pg_catalog.set_config('search_path', %s, true)"


class NamesTarget(OperationFailed):
    """What is tried names the very schema that a scratch stands for: it has another name there."""

    is_certain = True
    """Else a word of it is the name of something there, and may mean something else."""


class _Fence:
    """Keeps statements of a scratch from the schema that it stands for."""

    def __init__(
        self,
        driver: Connection,
        scratch: str,
        target: str,
        *,
        shares_path: bool,
        asks_words: bool,
        env_py: Callable[[], bool] | None,
    ) -> None:
        self.reached = False
        self._by_word = False
        self._env_py = env_py
        self._driver = driver
        self._scratch = scratch
        self._target = target
        self._shares_path = shares_path
        self._asks_words = asks_words
        self._locked = self._locks()
        self._path = self._ask(_PATH, ())

    def before(self, statement: object, values: Any) -> None:
        """Refuse a statement that names the target; and all that follow one."""
        if self._is_passed():
            return
        text = _text(statement, self._driver)
        if self._env_py and _prepares_only(text):
            return
        given = values.values() if isinstance(values, dict) else values
        texts = [each for each in given if isinstance(each, str)] if given else []
        self.reached |= _names_schema(text, self._target)
        self.reached |= any(_says(each, self._target) for each in texts)
        if not self.reached:
            is_value = self._has_value(text, texts)
            self.reached = is_value and _asks_catalog(text)
            if not self.reached and self._asks_words:
                self.reached = self._by_word = is_value or self._leads_there(text)
        self.refuse()

    def _has_value(self, text: str, texts: Sequence[str]) -> bool:
        """Whether a value is the schema's name."""
        strings = [each.text for each in tokens(text) if each.kind is Kind.STRING]
        alone = re.compile(rf"""(?:^|['"]){re.escape(self._target)}(?:['"]|$)""")
        return any(alone.search(each) for each in (*strings, *texts))

    def _leads_there(self, text: str) -> bool:
        """Whether a word may lead to the target by a path that is shared."""
        if not self._shares_path:
            return False
        words = words_of(text) - _made(text)
        return bool(self._ask(_FOUND_THERE, (self._target, sorted(words), self._scratch)))

    def after(self) -> None:
        """Refuse what found something of the target by a name without a schema."""
        if self._is_passed():
            return
        if self._env_py:  # whatever path it set, what it says next must not lead there
            self._ask(_BACK_TO, self._path[0])
        self.reached |= not self._locks() <= self._locked
        self.refuse()

    def refuse(self) -> None:
        """Raise NamesTarget where something named it."""
        if self.reached:
            refused = NamesTarget(
                f"It names the schema {self._target} itself, so it cannot be tried in a schema of "
                "another name."
            )
            refused.is_certain = not self._by_word
            raise refused

    def _is_passed(self) -> bool:
        return self._env_py is not None and not self._env_py()

    def _locks(self) -> set[tuple[int]]:
        return set(self._ask(_LOCKED, (self._target,))) if self._shares_path else set()

    def _ask(self, query: str, values: tuple[Any, ...]) -> list[Any]:
        if self._driver.info.transaction_status != TransactionStatus.INTRANS:
            return []
        cursor = psycopg.Cursor(self._driver, row_factory=tuple_row)  # the path is anybody's here
        return cursor.execute(query, values).fetchall()


class _FencedCursor(psycopg.Cursor[Any]):
    """A cursor that a fence stands before."""

    fence: ClassVar[_Fence]

    def execute(self, query: Any, params: Any = None, **options: Any) -> Self:
        """Execute what the fence lets through."""
        self.fence.before(query, params)
        done = super().execute(query, params, **options)
        self.fence.after()
        return done

    def executemany(self, query: Any, params_seq: Iterable[Any], **options: Any) -> None:
        """Execute what the fence lets through."""
        every = list(params_seq)
        for params in every or [None]:
            self.fence.before(query, params)
        super().executemany(query, every, **options)
        self.fence.after()

    def copy(self, statement: Any, params: Any = None, **options: Any) -> Any:
        """Copy what the fence lets through."""
        self.fence.before(statement, params)
        return super().copy(statement, params, **options)


def _names_schema(statement: str, schema: str) -> bool:
    """Whether a statement names a schema: before a dot, as a schema, or in a text."""
    found = list(tokens(statement))
    is_about_path = any(each.name == "search_path" for each in found)
    runs_text = Reader(statement).peek().word == "DO"
    for place, each in enumerate(found):
        if each.kind is Kind.STRING:
            if _says(each.text, schema) or (runs_text and schema in words_of(each.text)):
                return True
        elif each.name == schema:
            behind = found[place + 1].text if place + 1 < len(found) else ""
            near = {token.word for token in found[max(place - 4, 0) : place]}
            if behind == "." or is_about_path or "SCHEMA" in near:
                return True
    return False


def _asks_catalog(statement: str) -> bool:
    """Whether a statement asks what there is: a value in it that is a schema's name means that."""
    return any(
        word == "information_schema" or word.startswith(("pg_", "to_reg"))
        for word in words_of(statement)
    )


def _says(text: str, schema: str) -> bool:
    """Whether a text in a statement names a schema: before a dot, or where schemas are meant."""
    name = re.escape(schema)
    if re.search(rf'(?<![\w$.])"?{name}"?\.(?=["\w%])', text, re.IGNORECASE):
        return True
    about = "search_path" in text or "SCHEMA" in text.upper()
    return about and re.search(rf"(?<![\w$]){name}(?![\w$])", text, re.IGNORECASE) is not None


def _prepares_only(statement: str) -> bool:
    """Whether a statement of an env.py only sets a path, or makes a schema if it is missing."""
    said = [token.word for token in tokens(statement)]
    if not said or len(list(split(statement))) != 1:
        return False
    sets = said[0] in {"RESET", "SET"} or (said[0] == "SELECT" and "FROM" not in said)
    return (sets and "search_path" in statement.lower()) or said[:3] == ["CREATE", "SCHEMA", "IF"]


def _made(statement: str) -> set[str]:
    """Return the name of the relation that a statement makes, if it makes one."""
    reader = Reader(statement)
    if not reader.accept("CREATE"):
        return set()
    words = [token.name for token in tokens(statement)]
    place = next((n for n, word in enumerate(words) if word in _RELATIONS), len(words))
    named = [word for word in words[place + 1 :] if word not in _BEFORE_NAME]
    return {word for word in named[:1] if word}


def _text(statement: object, driver: Connection) -> str:
    if isinstance(statement, bytes):
        return statement.decode()
    return statement.as_string(driver) if isinstance(statement, sql.Composable) else str(statement)


class Scratch:
    """An empty schema to try things in."""

    def __init__(
        self, driver: Connection, target: Target, also: Sequence[str], *, apart: bool = False
    ) -> None:
        """Make it on a connection that is in a transaction; `also` as `scratch` has it.

        In a database of its own (`apart`) it is the target's empty schema.
        """
        self._driver = driver
        self._plain = driver.cursor_factory
        self._name = target.schema if apart else f"leadctl_scratch_{getpid()}"
        self._stands_for = target.schema
        self._also = also
        self._shares_path = False
        self.asks_words = True
        if apart:
            return
        exact.execute(driver, "SELECT set_config('lock_timeout', %s, true)", (_LOCK_TIMEOUT,))
        path: sql.Composable = sql.Identifier(self._name)
        if _holds_what_is_not_written(driver, target.schema):
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

        `env_py` tells whether a statement is an env.py's own, and then only those are meant: it may
        set a path, which is set back, and make the schema where it is missing.

        Raises NamesTarget, at once and again at the end, since a revision may hide it.
        """
        if self._name == self._stands_for:
            yield
            return
        fence = _Fence(
            self._driver,
            self._name,
            self._stands_for,
            shares_path=self._shares_path,
            asks_words=self.asks_words,
            env_py=env_py,
        )
        before = self._driver.cursor_factory
        made = type("Fenced", (_FencedCursor, self._plain), {"fence": fence})
        self._driver.cursor_factory = made
        try:
            yield
        finally:
            self._driver.cursor_factory = before
            fence.refuse()

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
            reason = told(error)
            detail = f" ({error.diag.message_detail})" if error.diag.message_detail else ""
            raise OperationFailed(
                f"The server rejects it: {reason}{detail}: {statement}",
                hint=f"Nothing was changed. {MORE_LOCKS}"
                if error.sqlstate == "53200"
                else "Nothing was changed; it was tried in a scratch schema.",
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


def _batches(statements: Iterable[str], length: int) -> Iterator[list[str]]:
    """Yield statements by as many as may go in one round trip; what may be several goes alone."""
    batch: list[str] = []
    for statement in statements:
        if ";" in statement or len(batch) == length:
            if batch:
                yield batch
            batch = []
        batch.append(statement)
        if ";" in statement:
            yield batch
            batch = []
    if batch:
        yield batch


def _rejected(batch: Sequence[str], done: int, error: psycopg.Error) -> int:
    """Return which statement of a batch the server rejects: by its own word, else the next one."""
    place = int(error.diag.statement_position or 0) - 1
    if len(batch) == 1 or place < 0:
        return done
    ends = accumulate(len(statement) + len(_BETWEEN) for statement in batch)
    return next((number for number, end in enumerate(ends) if place < end), done)


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
