"""A scratch schema in which models and histories are tried, too: by SQLAlchemy and Alembic."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from inspect import signature
from typing import Any, TypeVar

import psycopg
from psycopg import sql
from sqlalchemy import Connection as SqlConnection
from sqlalchemy import ForeignKey, ForeignKeyConstraint, MetaData, UniqueConstraint, event
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.schema import AddConstraint, CreateIndex
from sqlalchemy.types import SchemaType

from leadctl.apps.metadata import keys_in_circles_apart, load_metadata
from leadctl.apps.registry import App
from leadctl.catalog.definitions import Catalog, split_name
from leadctl.errors import LeadctlError, OperationFailed, RevisionFailed, UndeclaredSchema
from leadctl.migrate.alembic_runner import AlembicRunner
from leadctl.migrate.ddl.autodetector import changes
from leadctl.migrate.ddl.steps import identifier, plain
from leadctl.migrate.fence import NamesTarget
from leadctl.migrate.revisions import History
from leadctl.migrate.scratch import Scratch, in_transaction
from leadctl.migrate.trial import empty_database
from leadctl.migrate.trial_database import NotTried, create_extensions
from leadctl.postgres import exact
from leadctl.postgres.connect import connect
from leadctl.postgres.engine import driver_connection, run_engine
from leadctl.postgres.queries import parts_of
from leadctl.postgres.target import Target
from leadctl.postgres.translate import translate
from leadctl.sql.lexer import tokens, words_of

_LENT = ("collation ", "type ", "domain ", "function ")
"""What tables use and models seldom say."""
LENT_KEY = "leadctl_lent_key_"
"""How a unique key's name begins that a foreign key of the models lacks."""
_NOT_UNIQUE = "42830"
_SAYS_MORE = {"ASC", "COLLATE", "DESC", "INCLUDE", "NULLS", "UNIQUE", "WHERE", "WITH"}
"""Words of an index's definition that are no operator class."""


_EXTENSIONS = (
    "SELECT e.extname, n.nspname, e.extversion FROM pg_extension e"
    " JOIN pg_namespace n ON n.oid = e.extnamespace WHERE n.nspname <> 'pg_catalog' ORDER BY e.oid"
)
_LOOKED_FOR = ("has_table", "has_type", "has_sequence", "get_table_names", "get_view_names")
"""What a revision asks before it makes something: whether the schema has it."""


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

    @property
    def connection(self) -> SqlConnection:
        """What it is seen by: to reflect it."""
        return self._connection

    def lend(self, catalog: Catalog, metadata: MetaData) -> set[str]:
        """Create what tables may use and models do not make: types, collations, functions.

        What cannot be made without a table is left out: the server says so where it is needed.
        Enums, of which types may be made, get other names: models make their own.  Returned are the
        keys of all in a catalog.
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
        enums = {key: each for key, each in catalog.objects.items() if key.startswith("enum ")}
        named = {plain(key.partition(" ")[2]) for key in enums}
        made = {  # a function of enums would be another's
            key: each for key, each in lent.items() if not named & words_of(key.partition("(")[2])
        }
        self._driver.execute("SET LOCAL check_function_bodies = off")
        for step in changes(Catalog({}), Catalog(made | enums)):
            with suppress(psycopg.Error), self._driver.transaction():
                self._driver.execute(in_transaction(step.sql).encode())
        renamed = set()
        for number, key in enumerate(enums):
            name = key.partition(" ")[2]
            *path, _ = split_name(name)
            other_name = f"leadctl_lent_{number}"
            rename = sql.SQL("ALTER TYPE {} RENAME TO {}").format(
                sql.Identifier(*parts_of(name)), sql.Identifier(other_name)
            )
            with suppress(psycopg.Error), self._driver.transaction():
                self._driver.execute(rename)
                renamed.add(f"enum {'.'.join([*path, other_name])}")
        return {*lent, *renamed}

    def create_models(self, app: App, found: Catalog) -> dict[str, str]:
        """Create what an app's models describe, and return what is left out as in `create_tables`.

        Raises as that does.
        """
        return self.create_tables(load_metadata(app), app.name, found)

    def create_tables(self, metadata: MetaData, owner: str, found: Catalog) -> dict[str, str]:
        """Create what some models describe; `owner` is the name of their app.

        An index that the server rejects, and that `found` has with an operator class that the
        models do not say, is left out: Alembic never compares those.  A foreign key to columns that
        are not unique is there, with a unique key called LENT_KEY.  Returned is the server's reason
        by the index's key, or what describes the foreign key.

        Raises UndeclaredSchema for a schema that they name and the app does not, and
        OperationFailed for what cannot be created.
        """
        named = {table.schema for table in metadata.tables.values() if table.schema}
        for schema in sorted(named - {self._stands_for, *self._also}):
            raise UndeclaredSchema(
                f"The models of {owner} use the schema {schema}, which the app does not declare.",
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
                    return _create_apart(here, metadata, found)
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
        extensions = exact.execute(source, _EXTENSIONS).fetchall()
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


def _create_apart(connection: SqlConnection, metadata: MetaData, found: Catalog) -> dict[str, str]:
    """Create tables, then each foreign key and index, so that what the server rejects has a name.

    Returned is why, by what is left out: an index that `found` has more fully.  A foreign key to
    columns that are not unique is made with what it lacks, and returned, too.
    """
    tables = sorted(metadata.tables.values(), key=lambda each: each.key)
    indexes = {table: set(table.indexes) for table in tables}
    constraints = {table: set(table.constraints) for table in tables}
    references = {table: set(table.foreign_keys) for table in tables}
    keys = [key for table in tables for key in _by_columns(table.foreign_key_constraints)]
    try:
        for table in tables:
            table.constraints -= table.foreign_key_constraints
            table.indexes.clear()
            table.foreign_keys.clear()
        metadata.create_all(connection, checkfirst=False)
    finally:
        for table in tables:
            table.indexes.update(indexes[table])
            table.constraints.update(constraints[table])
            table.foreign_keys.update(references[table])
    rejected = {}
    for number, key in enumerate(keys):
        if reason := _create_key(connection, key, f"{LENT_KEY}{number}"):
            rejected[_described(key)] = reason
    for index in sorted(set().union(*indexes.values()), key=lambda each: str(each.name)):
        named = f"index {identifier(str(index.name))}"
        try:
            with connection.begin_nested():
                index.create(connection)
        except DBAPIError as error:
            definition = str(found.objects.get(named, {}).get("definition", ""))
            if not _adds_names_only(definition, str(CreateIndex(index).compile(connection))):
                raise _rejected(named, error) from error
            rejected[named] = _reason(error)
    return rejected


def _create_key(connection: SqlConnection, key: ForeignKeyConstraint, lent: str) -> str:
    """Create a foreign key; return why the server rejects it without a unique key of that name."""
    add = AddConstraint(key, isolate_from_table=False)
    try:
        with connection.begin_nested():
            connection.execute(add)
        return ""
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) != _NOT_UNIQUE:
            raise _rejected(_described(key), error) from error
        referred = key.referred_table.to_metadata(MetaData())
        columns = [referred.columns[each.column.key] for each in key.elements]
        unique = UniqueConstraint(*columns, name=lent)
        referred.append_constraint(unique)
        try:
            with connection.begin_nested():
                connection.execute(AddConstraint(unique, isolate_from_table=False))
                connection.execute(add)
        except DBAPIError:
            raise _rejected(_described(key), error) from error
        return _reason(error)


def _by_columns(keys: Iterable[ForeignKeyConstraint]) -> list[ForeignKeyConstraint]:
    return sorted(keys, key=lambda each: (each.column_keys, str(each.name)))


def _described(key: ForeignKeyConstraint) -> str:
    columns, referred = (", ".join(each) for each in zip(*map(_ends, key.elements), strict=True))
    named = f"foreign key {key.name}" if key.name else "foreign key"
    return f"{named} of {key.table.name} ({columns}) to {key.referred_table.name} ({referred})"


def _ends(element: ForeignKey) -> tuple[str, str]:
    return element.parent.name, element.column.name


def _reason(error: DBAPIError) -> str:
    translated = translate(error)
    return translated.message if translated else str(error.orig)


def _rejected(what: str, error: DBAPIError) -> OperationFailed:
    return OperationFailed(
        f"The {what} of the models cannot be made: {_reason(error)}",
        hint="Nothing was changed; it was tried in a scratch schema.",
    )


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


def _without_concurrently(
    _connection: Any, _cursor: Any, statement: str, parameters: Any, *_others: Any
) -> tuple[str, Any]:
    return in_transaction(statement), parameters
