"""Reading a database that init is to take over; nothing is changed."""

import warnings
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import MetaData
from sqlalchemy.exc import SAWarning

from leadctl.apps.leadconnector.from_prisma import is_from_prisma
from leadctl.db import state
from leadctl.db.connect import connect
from leadctl.db.engine import run_engine
from leadctl.db.state import VERSION_TABLE
from leadctl.db.target import Target
from leadctl.errors import AlreadyDeclared, OperationFailed
from leadctl.operations.init.content import ciphertext_columns
from leadctl.operations.init.ddl import Definition, bare, other_schemas, read_definition
from leadctl.operations.init.guesses import EncryptedGuess, secret_columns
from leadctl.operations.init.histories import PRISMA, ForeignHistory, foreign_histories
from leadctl.operations.init.prisma import PrismaMigration, prisma_migrations

Narrate = Callable[[str], None]


@dataclass(frozen=True)
class Read:
    """What was read from a database, and nothing written yet."""

    definition: Definition
    metadata: MetaData
    histories: tuple[ForeignHistory, ...]
    prisma: tuple[PrismaMigration, ...]
    ciphertext: tuple[EncryptedGuess, ...]
    others: tuple[str, ...]
    """Other schemas with tables."""
    is_leadconnector: bool
    """Whether these are the tables that Prisma made for the built-in app's product."""

    @property
    def ignored(self) -> list[str]:
        """The tables that are no part of the app."""
        return [VERSION_TABLE, *self.history_tables]

    @property
    def history_tables(self) -> list[str]:
        """The tables of other tools' histories."""
        return [name for each in self.histories for name in each.tables]

    def guesses(self, encrypted: Collection[str]) -> list[EncryptedGuess]:
        """Return the columns that may hold secrets, without those that are `encrypted`."""
        found = {each.column: each for each in secret_columns(self.metadata)}
        found |= {each.column: each for each in self.ciphertext}
        return [found[name] for name in sorted(found) if name not in encrypted]


def read_database(target: Target, prisma: Path | None, narrate: Narrate) -> Read:
    """Read a schema; changes nothing.

    Raises AlreadyDeclared for a database that Alembic or leadctl migrate already.
    """
    schema = target.schema
    with connect(target, "init", read_only=True) as connection:
        if state.current_revisions(connection, schema) is not None:
            raise AlreadyDeclared(
                f"The schema {schema} of {target.database} has a history of Alembic's: "
                f"{VERSION_TABLE}.",
                hint="Run leadctl init in the project of its env.py: it is used in place.",
            )
        columns = {
            bare(table): [bare(column) for column in names]
            for table, names in read_definition(connection, schema, []).columns.items()
        }
        if not columns:
            raise OperationFailed(
                f"The schema {schema} of {target.database} has no tables.",
                hint="Name the schema with --schema, or the database with --url.",
            )
        histories = tuple(foreign_histories(columns))
        ignored = [name for each in histories for name in each.tables]
        narrate(f"Reading {len(columns) - len(ignored)} tables of {target.database}.")
        definition = read_definition(connection, schema, ignored)
        metadata = _reflect(target, ignored)
        return Read(
            definition=definition,
            metadata=metadata,
            histories=histories,
            prisma=tuple(
                prisma_migrations(connection, schema, prisma) if PRISMA in ignored else ()
            ),
            ciphertext=tuple(
                ciphertext_columns(connection, schema, list(metadata.tables.values()))
            ),
            others=tuple(other_schemas(connection, schema)),
            is_leadconnector=is_from_prisma(columns),
        )


def _reflect(target: Target, ignored: Collection[str]) -> MetaData:
    metadata = MetaData()
    with (
        run_engine(target, "init").connect() as connection,
        warnings.catch_warnings(),
    ):
        # A type that SQLAlchemy does not know is written under the server's name.
        warnings.filterwarnings("ignore", "Did not recognize type", SAWarning)
        metadata.reflect(connection, only=lambda name, _: name not in ignored)
    return metadata
