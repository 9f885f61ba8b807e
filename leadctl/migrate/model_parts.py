"""Models that cannot be created at once: table by table, and each of those part by part.

So a function that takes a table's rows may be lent between the table and its check, and what the
server rejects has a name.
"""

from collections.abc import Callable, Iterable
from functools import partial

from alembic.ddl.base import AddColumn, ColumnDefault
from sqlalchemy import (
    Column,
    Connection,
    Constraint,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    UniqueConstraint,
    text,
)
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import AddConstraint, CreateIndex, DDLElement

from leadctl.apps.metadata import naming_convention
from leadctl.catalog.definitions import Catalog
from leadctl.errors import OperationFailed
from leadctl.migrate.ddl.steps import identifier
from leadctl.migrate.scratch import OF_THE_SERVER
from leadctl.postgres.translate import translate
from leadctl.sql.lexer import tokens

LENT_KEY = "leadctl_lent_key_"
"""How a unique key's name begins that a foreign key of the models lacks."""
_NOT_UNIQUE = "42830"
_SAYS_MORE = {"ASC", "COLLATE", "DESC", "INCLUDE", "NULLS", "UNIQUE", "WHERE", "WITH"}
"""Words of an index's definition that are no operator class."""


def create_in_parts(
    connection: Connection,
    metadata: MetaData,
    found: Catalog,
    lend_more: Callable[[], bool],
    may_lack: Callable[[str], bool],
) -> dict[str, str]:
    """Create what models describe; `lend_more` lends what the tables made so far make possible.

    Returned is the server's reason by the key of what is left out: what they `may_lack`, an index
    that `found` has with an operator class.  A foreign key to columns that are not unique is made
    with what it lacks, and returned, too.  Raises OperationFailed for the first other one.
    """
    parts = _Parts(connection, found, may_lack)
    tables = sorted(metadata.tables.values(), key=lambda each: each.key)
    metadata.dispatch.before_create(metadata, connection, tables=tables, checkfirst=True)
    for _, sequence in sorted(metadata._sequences.items()):  # noqa: SLF001  # no other way to them
        sequence.create(connection, checkfirst=True)
    waiting = tables
    for create in (parts.create_whole, parts.create_bare, parts.create_lacking):
        while waiting:
            before, waiting = waiting, [table for table in waiting if not create(table)]
            if not lend_more() and len(waiting) == len(before):
                break
    for table in waiting:
        parts.leave_out(table)
    for table in parts.lacking:
        parts.complete(table)
    while lend_more():
        pass
    parts.create_references(tables)
    metadata.dispatch.after_create(metadata, connection, tables=tables, checkfirst=True)
    return parts.rejected


class _Parts:
    """The parts of tables, each created by itself."""

    def __init__(
        self, connection: Connection, found: Catalog, may_lack: Callable[[str], bool]
    ) -> None:
        self._connection = connection
        self._found = found
        self._may_lack = may_lack
        self._reasons: dict[Table, DBAPIError] = {}
        self.rejected: dict[str, str] = {}
        self.lacking: dict[Table, set[str]] = {}
        """The columns that the tables lack which are not there as a whole."""

    def create_whole(self, table: Table) -> bool:
        """Create a table without foreign keys and indexes; return whether the server takes it."""
        return self._create(table, _copied(table))

    def create_bare(self, table: Table) -> bool:
        """Create a table's columns with the primary key, if their types are there."""
        return all(map(self._has_type, table.columns)) and self.create_lacking(table)

    def create_lacking(self, table: Table) -> bool:
        """Create those columns whose types are there, with the primary key."""
        copy = _copied(table)
        lacking = set()
        for column in copy.columns:
            if column.computed is not None or not self._has_type(column):
                lacking.add(column.name)
                column.system = True  # SQLAlchemy leaves it out
                column.comment = None
            elif not isinstance(column.server_default, Identity):
                column.server_default = None
        copy.constraints = {each for each in copy.constraints if _is_plain(each)}
        if self._create(table, copy):
            self.lacking[table] = lacking
        return table in self.lacking

    def leave_out(self, table: Table) -> None:
        """Give up a table: there is a reason of the server's."""
        self._reject(f"table {_named(table)}", self._reasons[table])

    def complete(self, table: Table) -> None:
        """Add to a table what it lacks."""
        name, schema = table.name, table.schema
        for column in table.columns:
            key = f"column {_named(table)}.{identifier(column.name)}"
            if column.name in self.lacking[table]:
                self._add(key, AddColumn(name, column, schema=schema))
            elif column.server_default is not None and column.identity is None:
                default = ColumnDefault(name, column.name, column.server_default, schema=schema)
                self._add(key, default)
        keys = table.foreign_key_constraints
        for constraint in sorted(table.constraints - keys, key=lambda each: str(each.name)):
            if not _is_plain(constraint):
                add = AddConstraint(constraint, isolate_from_table=False)
                self._add(_key(constraint), add)

    def create_references(self, tables: Iterable[Table]) -> None:
        """Create the foreign keys and indexes of tables."""
        made = [table for table in tables if f"table {_named(table)}" not in self.rejected]
        keys = [key for table in made for key in _by_columns(table.foreign_key_constraints)]
        for number, key in enumerate(keys):
            self._create_key(key, f"{LENT_KEY}{number}")
        indexes = set().union(*(table.indexes for table in made))
        for index in sorted(indexes, key=lambda each: str(each.name)):
            named = f"index {identifier(str(index.name))}"
            if error := self._rejection(partial(index.create, self._connection)):
                definition = str(self._found.objects.get(named, {}).get("definition", ""))
                said = str(CreateIndex(index).compile(self._connection))
                if _adds_names_only(definition, said):
                    self.rejected[named] = _reason(error)
                else:
                    self._reject(named, error)

    def _create(self, table: Table, copy: Table) -> bool:
        error = self._rejection(partial(copy.create, self._connection, checkfirst=True))
        if error is not None:
            self._reasons[table] = error
        return error is None

    def _has_type(self, column: Column[object]) -> bool:
        """Whether a column's type is there."""
        name = column.type.compile(self._connection.dialect)
        asked = text("SELECT to_regtype(:name)").bindparams(name=name)
        found: list[object] = []
        rejected = self._rejection(lambda: found.append(self._connection.execute(asked).scalar()))
        return rejected is None and found != [None]

    def _add(self, key: str, statement: DDLElement) -> None:
        if error := self._rejection(partial(self._connection.execute, statement)):
            self._reject(key, error)

    def _create_key(self, key: ForeignKeyConstraint, lent: str) -> None:
        """Create a foreign key, by a unique key of that name where it needs one."""
        add = partial(self._connection.execute, AddConstraint(key, isolate_from_table=False))
        error = self._rejection(add)
        if error is None:
            return
        if getattr(error.orig, "sqlstate", None) == _NOT_UNIQUE:
            referred = key.referred_table.to_metadata(MetaData())
            columns = [referred.columns[each.column.key] for each in key.elements]
            unique = UniqueConstraint(*columns, name=lent)
            referred.append_constraint(unique)
            lend = AddConstraint(unique, isolate_from_table=False)
            if not self._rejection(lambda: (self._connection.execute(lend), add())):
                self.rejected[_described(key)] = _reason(error)
                return
        self._reject(_key(key), error, _described(key))

    def _rejection(self, create: Callable[[], object]) -> DBAPIError | None:
        """Create something, and return why the server rejects it."""
        try:
            with self._connection.begin_nested():
                create()
        except DBAPIError as error:
            if str(getattr(error.orig, "sqlstate", "")).startswith(OF_THE_SERVER):
                raise
            return error
        return None

    def _reject(self, key: str, error: DBAPIError, described: str = "") -> None:
        if not self._may_lack(key):
            raise OperationFailed(
                f"The {described or key} of the models cannot be made: {_reason(error)}",
                hint="Nothing was changed; it was tried in a scratch schema.",
            ) from error
        self.rejected[key] = _reason(error)


def _copied(table: Table) -> Table:
    """Return a table without foreign keys and indexes."""
    copy = table.to_metadata(MetaData(naming_convention=naming_convention(table)))
    copy._prefixes = table._prefixes  # noqa: SLF001  # `to_metadata` leaves them out
    copy.constraints -= copy.foreign_key_constraints
    copy.foreign_keys.clear()
    copy.indexes.clear()
    return copy


def _is_plain(constraint: Constraint) -> bool:
    """Whether a constraint calls nothing: a primary key, or what SQLAlchemy checks a type with."""
    of_type = getattr(constraint, "_type_bound", False)
    return isinstance(constraint, PrimaryKeyConstraint) or of_type


def _named(table: Table) -> str:
    return ".".join(identifier(each) for each in (table.schema, table.name) if each)


def _key(constraint: Constraint) -> str:
    """Return a constraint's key in a catalog: where it has no name, PostgreSQL's own."""
    ending = "fkey" if isinstance(constraint, ForeignKeyConstraint) else "key"
    columns = getattr(constraint, "columns", [])
    usual = "_".join([constraint.table.name, *(each.name for each in columns), ending])
    name = constraint.name if isinstance(constraint.name, str) else usual
    return f"constraint {_named(constraint.table)}.{identifier(name)}"


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
