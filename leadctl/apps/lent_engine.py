"""What makes engines, while a project's own code runs: each connects as one of leadctl's does.

Every engine, sync or async, whoever made it, has the connection that is lent, or one to nothing;
a driver that is called directly is refused.
"""

import contextlib
import importlib
import importlib.util
import inspect
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import psycopg
import sqlalchemy
from alembic.operations.base import AbstractOperations
from sqlalchemy import URL, Connection, Engine
from sqlalchemy.exc import ArgumentError, NoSuchModuleError
from sqlalchemy.pool import StaticPool

_DRIVER = "postgresql+psycopg"
_SET = {
    "search_path": "SELECT pg_catalog.set_config('search_path', %s, false)",
    "role": "SELECT pg_catalog.set_config('role', %s, false)",
}
"""What of an engine's options decides where tables are made, and whose they are."""
_OPTION = re.compile(r"(?:-c\s*|--)(search[_-]path|role)=((?:\\.|\S)+)", re.IGNORECASE)
_PATH = re.compile(r"\bsearch_path'?\s*(?:=|,|\bTO\b)\s*(.+)", re.IGNORECASE | re.DOTALL)
_ONE_ROW = re.compile(r"\s*SELECT\s+(\d+|(?:pg_catalog\.)?pg_try_advisory\w+\(.*\))\s*;?\s*", re.I)
_MOST_REPEATS = 8
"""How often nothing is asked the same: what asks more often waits for another answer."""


def shared_engine(driver: Any, dialect: Any, *, fenced: bool) -> Engine:
    """Return an engine whose every connection is one that exists already."""
    info = driver.info
    url = URL.create(
        _DRIVER, username=info.user, host=info.host, port=info.port, database=info.dbname
    )
    return _engine_of(_Borrowed(driver, fenced=fenced), dialect, url)


def engine_to_nothing() -> Engine:
    """Return an engine that connects to nothing: what is asked of it has no rows."""
    dialect: Any = URL.create(_DRIVER).get_dialect()()
    dialect.dbapi = psycopg
    dialect.default_schema_name = "public"
    dialect.default_isolation_level = "READ COMMITTED"
    dialect.server_version_info = (15,)
    return _engine_of(_Nothing(), dialect, URL.create(_DRIVER))


def _engine_of(connection: Any, dialect: Any, url: URL) -> Engine:
    pool = StaticPool(lambda: connection, reset_on_return=None, dialect=dialect)
    return Engine(pool, dialect, url)


class _Borrowed:
    """A driver's connection that somebody else closes, and ends the transactions of (`fenced`)."""

    def __init__(self, driver: Any, *, fenced: bool) -> None:
        self._driver = driver
        self._fenced = fenced

    def __getattr__(self, name: str) -> Any:
        return getattr(self._driver, name)

    def commit(self) -> None:
        """Commit, where that is allowed."""
        if not self._fenced:
            self._driver.commit()

    def rollback(self) -> None:
        """Roll back, where that is allowed."""
        if not self._fenced:
            self._driver.rollback()

    def close(self) -> None:
        """Leave it open."""


class WaitsForever(BaseException):
    """Ends an env.py that asks nothing the same again and again, until the answer is another."""


class _Nothing:
    """A driver's connection to nothing."""

    autocommit = False
    description = (("column", 25, None, None, None, None, None),)
    rowcount = 0
    search_path: str | None = None
    """What it was told to set."""

    def __init__(self) -> None:
        self._asked: Counter[tuple[str, str]] = Counter()
        self._question = "", ""
        self._rows: list[tuple[Any, ...]] = []

    def cursor(self, *_given: Any, **_options: Any) -> "_Nothing":
        return self

    def execute(self, statement: object = "", values: Any = (), **_options: Any) -> None:
        """Execute nothing; a number is a row all the same, and so is a lock that nobody holds."""
        text = str(statement)
        self._question = " ".join(text.split()), str(values)
        if found := _PATH.search(text):
            given = values.values() if isinstance(values, Mapping) else values or ()
            self.search_path = next((str(each) for each in given), found[1])
        row = _ONE_ROW.fullmatch(text)
        self._rows = [(int(row[1]) if row[1].isdigit() else True,)] if row else []

    def commit(self) -> None:
        """Commit nothing."""

    def executemany(self, *_given: Any) -> None:
        """Execute nothing."""

    rollback = close = commit

    def fetchone(self) -> tuple[Any, ...] | None:
        """Return the row, if there is one."""
        return next(iter(self.fetchall()), None)

    def fetchall(self, *_given: Any) -> list[Any]:
        """Return the rows.  Raises WaitsForever where they were asked for again and again."""
        self._asked[self._question] += 1
        if self._asked[self._question] > _MOST_REPEATS:
            raise WaitsForever(f"it repeats {self._question[0]}, which has no other answer here")
        rows, self._rows = self._rows, []
        return rows

    fetchmany = fetchall


def schema_set(engine: Engine) -> str | None:
    """Return the schema that comes first in the search path that an engine to nothing was given."""
    path = engine.raw_connection().dbapi_connection.search_path  # type: ignore[union-attr]
    found = re.match(r"""[\s'"]*([\w$]+)""", path or "")
    return found[1] if found else None


@contextlib.contextmanager
def replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Let a module or class have something else under a name."""
    before = vars(owner)[name]
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


@contextlib.contextmanager
def connected_to(engine: Engine, is_meant: Callable[[], bool]) -> Iterator[None]:
    """Let every engine connect as this one does, and no driver by itself, while that is meant.

    It is meant in the thread that runs env.py and in those that it starts.
    """
    others = {each.ident for each in threading.enumerate()} - {threading.get_ident()}

    def applies() -> bool:
        return is_meant() and threading.get_ident() not in others

    real_connect, real_raw = Engine.connect, Engine.raw_connection

    def connect(self: Engine) -> Connection:
        if not applies():
            return real_connect(self)
        connection = real_connect(engine)
        _prepare(connection.connection, self)
        return connection

    def raw_connection(self: Engine) -> Any:
        if not applies():
            return real_raw(self)
        connection = real_raw(engine)
        _prepare(connection, self)
        return connection

    with contextlib.ExitStack() as stack:
        stack.enter_context(replaced(Engine, "connect", connect))
        stack.enter_context(replaced(Engine, "raw_connection", raw_connection))
        for module, name in _makers():
            made = _made_anyway(getattr(module, name), applies)
            stack.enter_context(replaced(module, name, made))
        if _has_asyncio():
            stack.enter_context(_waiting_for_nothing())
        for owner, name in _drivers():
            refused = _refused(vars(owner)[name], applies)
            stack.enter_context(replaced(owner, name, refused))
        yield


def _prepare(lent: Any, engine: Engine) -> None:
    """Do on a connection that is lent what an engine does on each that it makes itself.

    A listener that wants another driver, or rows where there are none, is passed over.
    """
    for name, value in _options(engine).items():
        lent.cursor().execute(_SET[name], (value,))
    for listener in engine.pool.dispatch.connect.listeners:
        if not listener.__module__.startswith("sqlalchemy."):
            try:
                listener(lent.dbapi_connection, lent)
            except psycopg.Error:  # the server's own answer
                raise
            except Exception:  # noqa: BLE001, S112
                continue


def _options(engine: Engine) -> Mapping[str, str]:
    """Return what of `_SET` an engine connects with, by its URL or its `connect_args`.

    SQLAlchemy keeps that in what makes its connections, and says it nowhere else.
    """
    make = getattr(engine.pool, "_creator", None)
    if not inspect.isfunction(make):
        return {}
    arguments = inspect.getclosurevars(make).nonlocals.get("cparams", {})
    found = {name: arguments.get("server_settings", {}).get(name) for name in _SET}  # asyncpg's
    for name, value in _OPTION.findall(str(arguments.get("options", ""))):
        found[name.lower().replace("-", "_")] = re.sub(r"\\(.)", r"\1", value)
    return {name: value for name, value in found.items() if value}


def _makers() -> Iterator[tuple[Any, str]]:
    """Yield where what makes engines is taken from."""
    for path in ("sqlalchemy.engine.create", "sqlalchemy.engine", "sqlalchemy"):
        module = importlib.import_module(path)
        yield from ((module, name) for name in ("create_engine", "engine_from_config"))
    if not _has_asyncio():
        return
    for path in ("sqlalchemy.ext.asyncio.engine", "sqlalchemy.ext.asyncio"):
        module = importlib.import_module(path)
        names = ("create_async_engine", "async_engine_from_config")
        yield from ((module, name) for name in names)


def _has_asyncio() -> bool:
    """Whether an engine of asyncio's can be made."""
    return importlib.util.find_spec("greenlet") is not None


@contextlib.contextmanager
def _waiting_for_nothing() -> Iterator[None]:
    """Let what is awaited, by env.py or in `op.run_async()`, be done by a driver that never waits.

    SQLAlchemy and Alembic take such a driver for a mistake.
    """
    from sqlalchemy.ext import asyncio
    from sqlalchemy.util import await_only

    real, refuse = vars(asyncio.engine)["greenlet_spawn"], AbstractOperations.run_async

    async def spawn(call: Any, *given: Any, **options: Any) -> Any:
        return await real(call, *given, **options | {"_require_await": False})

    def run_async(self: AbstractOperations, work: Any, *given: Any, **options: Any) -> Any:
        if self.migration_context.as_sql:
            return refuse(self, work, *given, **options)
        bind = self.get_bind()
        engine = asyncio.AsyncEngine(sqlalchemy.create_engine(f"{_DRIVER}_async://"))
        return await_only(work(asyncio.AsyncConnection(engine, bind), *given, **options))

    async def read(result: Any, _method: Any) -> Any:
        return result

    with (
        replaced(asyncio.engine, "greenlet_spawn", spawn),
        replaced(asyncio.engine, "_ensure_sync_result", read),
        replaced(asyncio.session, "_ensure_sync_result", read),
        replaced(AbstractOperations, "run_async", run_async),
    ):
        yield


def _made_anyway(make: Callable[..., Any], applies: Callable[[], bool]) -> Callable[..., Any]:
    """Return what makes an engine also where the URL is none, or its driver is not installed."""

    def made(*given: Any, **options: Any) -> Any:
        try:
            return make(*given, **options)
        except (ArgumentError, ImportError, KeyError, NoSuchModuleError):
            if not applies():
                raise
            if "async" in make.__name__:
                from sqlalchemy.ext.asyncio import AsyncEngine

                return AsyncEngine(sqlalchemy.create_engine(f"{_DRIVER}_async://"))
            return sqlalchemy.create_engine(f"{_DRIVER}://")

    return made


_DRIVERS = (
    ("psycopg", "connect"),
    ("psycopg.Connection", "connect"),
    ("psycopg.AsyncConnection", "connect"),
    ("psycopg2", "connect"),
    ("asyncpg", "connect"),
    ("asyncpg", "create_pool"),
    ("pg8000", "connect"),
)


def _drivers() -> Iterator[tuple[Any, str]]:
    """Yield what opens a connection without SQLAlchemy, of the drivers that are installed."""
    for path, name in _DRIVERS:
        module, _, attribute = path.partition(".")
        try:
            found: Any = importlib.import_module(module)
        except ImportError:
            continue
        yield (getattr(found, attribute) if attribute else found), name


def _refused(connect: Any, applies: Callable[[], bool]) -> Any:
    """Return what refuses to connect while that is meant, of a function or a class's method."""
    of_class = isinstance(connect, classmethod)
    real: Callable[..., Any] = connect.__func__ if of_class else connect

    def refused(*given: Any, **options: Any) -> Any:
        if applies():
            raise ConnectionRefusedError(
                "it opens its own connection, which leadctl's lock and timeouts do not cover; "
                "connect by an SQLAlchemy engine, which leadctl connects instead"
            )
        return real(*given, **options)

    return classmethod(refused) if of_class else refused
