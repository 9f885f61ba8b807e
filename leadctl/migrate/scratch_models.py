"""A scratch schema in which models and histories are tried, too: by SQLAlchemy and Alembic."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from inspect import signature
from typing import Any, TypeVar

import psycopg
from psycopg import sql
from sqlalchemy import ARRAY, Dialect, MetaData, Table, event
from sqlalchemy import Connection as SqlConnection
from sqlalchemy.dialects.postgresql import DOMAIN, ENUM
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.types import TypeDecorator, TypeEngine

from leadctl.apps.metadata import keys_in_circles_apart, load_metadata
from leadctl.apps.registry import App
from leadctl.catalog.definitions import Attributes, Catalog, owner
from leadctl.errors import LeadctlError, OperationFailed, RevisionFailed, UndeclaredSchema
from leadctl.migrate.alembic_runner import AlembicRunner
from leadctl.migrate.ddl.autodetector import changes
from leadctl.migrate.ddl.dependencies import all_used, uses_of
from leadctl.migrate.ddl.steps import Step, identifier
from leadctl.migrate.fence import NamesTarget
from leadctl.migrate.model_parts import create_in_parts
from leadctl.migrate.revisions import History
from leadctl.migrate.scratch import QUERIES, Scratch, in_transaction
from leadctl.migrate.trial import empty_database
from leadctl.migrate.trial_database import NotTried, create_extensions
from leadctl.postgres.connect import connect
from leadctl.postgres.engine import driver_connection, run_engine
from leadctl.postgres.target import Target
from leadctl.postgres.translate import translate

_LENT = ("collation ", "type ", "domain ", "function ")
"""What tables use and models seldom say."""
_NEEDED = ("enum ", "table ", "view ")
"""What is lent where that, or a table, is made of it."""


_LOOKED_FOR = ("has_table", "has_type", "has_sequence", "get_table_names", "get_view_names")
"""What a revision asks before it makes something: whether the schema has it."""
_SEVERAL = "has_multi_table"
"""What `create_all` asks of all tables at once; SQLAlchemy 2.0 asks `has_table` of each."""


Result = TypeVar("Result")


class ModelScratch(Scratch):
    """An empty schema that SQLAlchemy and Alembic can work in."""

    def __init__(
        self,
        connection: SqlConnection,
        target: Target,
        also: Sequence[str],
        *,
        apart: bool = False,
    ) -> None:
        super().__init__(driver_connection(connection), target, also, apart=apart)
        self._connection = connection
        for name in _LOOKED_FOR:
            found = getattr(connection.dialect, name)
            setattr(connection.dialect, name, _within(self._name, found))
        if found := getattr(connection.dialect, _SEVERAL, None):
            setattr(connection.dialect, _SEVERAL, _each_within(self._name, found))
        self._here = connection.execution_options(
            schema_translate_map={self._stands_for: self._name}
        )
        self._lent: Mapping[str, Attributes] = {}
        self._waiting: list[Step] = []

    @property
    def connection(self) -> SqlConnection:
        """What it is seen by: to reflect it."""
        return self._connection

    def read_models(self) -> Catalog:
        """Read what the models made, without what was lent."""
        return Catalog(
            {
                key: each
                for key, each in self.read().objects.items()
                if not {key, f"table {owner(key, each)}"} & self._lent.keys()
            }
        )

    def create_models(self, app: App, lender: Catalog) -> dict[str, str]:
        """Create what an app's models describe, and return what is left out as in `create_tables`.

        What the app leaves unmanaged may be.  Raises as that does.
        """
        unmanaged = frozenset(app.unmanaged)
        return self.create_tables(load_metadata(app), app.name, lender, unmanaged.__contains__)

    def create_tables(
        self,
        metadata: MetaData,
        app: str,
        lender: Catalog,
        may_lack: Callable[[str], bool] = frozenset[str]().__contains__,
    ) -> dict[str, str]:
        """Create what some models of an app describe.

        What they use and do not make comes from the `lender`.  An index that the server rejects,
        and that the lender has with an operator class that the models do not say, is left out:
        Alembic never compares those.  A foreign key to columns that are not unique is there, with a
        unique key called LENT_KEY.  What else is rejected is left out where the models `may_lack`
        it.  Returned is the server's reason by the key of what is left out, or what describes the
        foreign key.

        Raises UndeclaredSchema for a schema that they name and the app does not, and
        OperationFailed for what cannot be created.
        """
        named = {table.schema for table in metadata.tables.values() if table.schema}
        for schema in sorted(named - {self._stands_for, *self._also}):
            raise UndeclaredSchema(
                f"The models of {app} use the schema {schema}, which the app does not declare.",
                hint=f'Add schemas = ["{schema}"] to [apps.{app}] in leadctl.toml, and give no '
                "other --schema than theirs.",
            )
        for schema in self._also:
            self._driver.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
        try:
            with keys_in_circles_apart(metadata):
                self._lend(metadata, lender)
                try:
                    with self._here.begin_nested():
                        metadata.create_all(self._here)
                except DBAPIError:
                    return create_in_parts(self._here, metadata, lender, self._lend_more, may_lack)
        except SQLAlchemyError as error:
            translated = translate(error)
            raise translated or OperationFailed(
                f"The models of {app} cannot be created: {error}"
            ) from error
        return {}

    def _lend(self, metadata: MetaData, lender: Catalog) -> None:
        """Create what tables may use and models do not make: types, collations, functions.

        The models' own enums, which those may be made of, come first.  What needs a table waits
        for it.
        """
        own = {self._name_of(table) for table in metadata.tables.values()}
        for kind in _named_types(metadata, self._connection.dialect):
            own.add(self._name_of(kind))
            with suppress(DBAPIError), self._connection.begin_nested():
                kind.create(self._here, checkfirst=True)
        self._driver.execute("SET LOCAL check_function_bodies = off")
        self._lent = _lent(lender, own)
        self._waiting = changes(Catalog({}), Catalog(self._lent))
        self._lend_more()

    def _lend_more(self) -> bool:
        """Create what is still to be lent and can be by now; return whether there was any."""
        waiting, self._waiting = self._waiting, []
        for step in waiting:
            try:
                with self._driver.transaction():
                    self._driver.execute(in_transaction(step.sql).encode())
            except psycopg.Error:
                self._waiting.append(step)
        return len(self._waiting) < len(waiting)

    def _name_of(self, named: Table | ENUM | DOMAIN) -> str:
        """Return what a catalog calls a table or type of models."""
        schema = named.schema
        own = identifier(str(named.name))
        return own if schema in {None, self._stands_for} else f"{identifier(schema)}.{own}"

    def run(
        self, app: App, history: History, revision: str | Sequence[str], *, down: bool = False
    ) -> None:
        """Run a history up to a revision, or several; `down` undoes one, which must be the last.

        Raises RevisionFailed.
        """
        goal = (revision,) if isinstance(revision, str) else tuple(revision)
        event.listen(self._connection, "before_cursor_execute", _without_concurrently, retval=True)
        try:
            AlembicRunner(app, history).try_out(self._connection, goal, self.fenced, down=down)
        except Exception as error:
            if isinstance(error, LeadctlError):
                raise
            translated = translate(error)
            reason = translated.message if translated else f"{type(error).__name__}: {error}"
            raise RevisionFailed(
                f"The history of {app.name} cannot be run {'down from' if down else 'up to'} "
                f"{', '.join(goal)} in a scratch schema: {reason}",
                hint="It was tried without rows, and rolled back: nothing was changed. "
                f"{translated.hint if translated else ''}".rstrip(),
            ) from error
        finally:
            event.remove(self._connection, "before_cursor_execute", _without_concurrently)


@contextmanager
def model_scratch(
    target: Target, purpose: str, also: Sequence[str] = (), *, apart: bool = False
) -> Iterator[ModelScratch]:
    """Make a scratch schema as `scratch` does, which it raises as, for models and histories.

    In a database of its own (`apart`) it is the target's schema, which is empty there.
    """
    with run_engine(target, purpose).connect() as connection, connection.begin() as transaction:
        try:
            yield ModelScratch(connection, target, also, apart=apart)
        finally:
            transaction.rollback()


def in_scratch(
    target: Target, purpose: str, also: Sequence[str], work: Callable[[ModelScratch], Result]
) -> Result:
    """Return what `work` makes of a scratch schema.

    Where that names the target's schema, it is done once more in a scratch database, where the
    schema has its name and is nobody's.  Raises what `work` and `scratch` raise.
    """
    try:
        with model_scratch(target, purpose, also) as made:
            return work(made)
    except NamesTarget as error:
        named = error
    with connect(target, purpose, read_only=True) as source:
        extensions = QUERIES.rows(source, "extensions")
        try:
            with empty_database(target, source, [name for name, _, _ in extensions]) as elsewhere:
                _prepare(elsewhere, extensions)
                with model_scratch(elsewhere, purpose, also, apart=True) as made:
                    return work(made)
        except NotTried as error:
            if not named.is_certain:
                with suppress(NamesTarget), model_scratch(target, purpose, also) as made:
                    made.asks_words = False
                    return work(made)
            raise OperationFailed(
                f"{named.message} There is no database to try it in, either: {error}.",
                hint="Let the role make databases (CREATEDB), or install leadctl[embedded].",
            ) from None


def _prepare(scratch: Target, extensions: Sequence[tuple[str, str, str]]) -> None:
    with connect(scratch, "prepare", rows=True) as connection:
        for schema in sorted({scratch.schema, *(each for _, each, _ in extensions)}):
            connection.execute(
                sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(schema))
            )
        create_extensions(connection, extensions)


def _within(schema: str, asked: Callable[..., Any]) -> Callable[..., Any]:
    """Return what SQLAlchemy asks the server, asked of one schema where none is named.

    It takes what is visible, and the live schema is, where an extension is in it.
    """
    takes = signature(asked)

    def answer(*given: Any, **options: Any) -> Any:
        named = takes.bind(*given, **options)
        if named.arguments.get("schema") is None:
            named.arguments["schema"] = schema
        return asked(*named.args, **named.kwargs)

    return answer


def _each_within(schema: str, asked: Callable[..., Any]) -> Callable[..., Any]:
    """Return the same for what is asked of several tables, and answered by schema and name."""
    takes, asked_there = signature(asked), _within(schema, asked)

    def answer(*given: Any, **options: Any) -> Any:
        named = takes.bind(*given, **options).arguments.get("schema")
        return [((named, name), there) for (_, name), there in asked_there(*given, **options)]

    return answer


def _named_types(metadata: MetaData, dialect: Dialect) -> Iterator[ENUM | DOMAIN]:
    """Yield the enums and domains that models make by themselves, as the dialect has them."""
    for table in metadata.tables.values():
        for column in table.columns:
            kind = _of_dialect(column.type, dialect)
            if isinstance(kind, ARRAY):
                kind = _of_dialect(kind.item_type, dialect)
            if isinstance(kind, ENUM | DOMAIN) and kind.create_type:
                yield kind


def _of_dialect(kind: TypeEngine[Any], dialect: Dialect) -> TypeEngine[Any]:
    """Return the dialect's own type that a type is."""
    kind = kind.dialect_impl(dialect)
    while isinstance(kind, TypeDecorator):
        kind = kind.impl_instance
    return kind


def _lent(catalog: Catalog, own: Collection[str]) -> dict[str, Attributes]:
    """Return what models may use of a catalog and do not make, `own` being the names they take.

    That is what is said to be lent, and the enums, tables and views that it and the tables need,
    of which a column may be.
    """
    uses = uses_of(catalog)
    lent = {key for key in catalog.objects if key.startswith(_LENT) and not _is_of(key, own)}
    tables = {
        key for key, each in catalog.objects.items() if _is_of(f"table {owner(key, each)}", own)
    }
    needed = all_used(lent | tables, uses)
    more = {key for key in needed if key.startswith(_NEEDED) and not _is_of(key, own)}
    within = {key.partition(" ")[2] for key in more if key.startswith("table ")}
    return {
        key: each
        for key, each in catalog.objects.items()
        if key in lent | more or (key.startswith("column ") and owner(key, each) in within)
    }


def _is_of(key: str, names: Collection[str]) -> bool:
    return key.partition(" ")[2] in names


def _without_concurrently(
    _connection: Any, _cursor: Any, statement: str, parameters: Any, *_others: Any
) -> tuple[str, Any]:
    return in_transaction(statement), parameters
