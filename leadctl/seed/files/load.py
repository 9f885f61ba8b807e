"""Seeding from files: what changed since it was last brought in, in one transaction."""

from dataclasses import dataclass
from typing import Any

import psycopg
from sqlalchemy import Connection, MetaData

from leadctl.apps.registry import App
from leadctl.errors import SeedFailed
from leadctl.postgres.connect import Connection as DriverConnection
from leadctl.postgres.queries import beside
from leadctl.postgres.target import Target
from leadctl.progress import Narrate
from leadctl.seed.files.files import SeedFile, seed_files
from leadctl.seed.files.sequences import advance_sequences
from leadctl.seed.files.upsert import Rows

_QUERIES = beside(__file__, "seedfiles.sql")


@dataclass(frozen=True)
class SeededFile:
    """What became of one file."""

    file: str
    state: str
    """ "seeded", or "unchanged": it is what was brought in before."""


@dataclass(frozen=True)
class LoadedFiles:
    """What became of the files, and of the rows that were brought in."""

    files: tuple[SeededFile, ...]
    rows: Rows


def load_files(
    connection: Connection, target: Target, app: App, metadata: MetaData, narrate: Narrate
) -> LoadedFiles:
    """Bring in the seed files that changed, within the caller's transaction.

    Each is recorded with its checksum in the same transaction.  Raises SeedFailed.
    """
    assert app.seed_files is not None
    files = seed_files(app.seed_files, target.environment)
    driver = _driver(connection)
    known = _recorded(driver, target, app)
    changed = [file for file in files if known.get(file.name) != file.checksum]
    rows = Rows(connection, metadata)
    tables = [file for file in changed if not file.is_sql]
    if tables:
        narrate(f"Bringing in {', '.join(file.name for file in tables)}")
        # The others are read, too: the changed ones may refer to names in them.
        others = [file for file in files if not (file.is_sql or file in changed)]
        rows.bring_in(
            [row for file in tables for row in file.rows()],
            [row for file in others for row in file.rows()],
        )
        advance_sequences(connection, [metadata.tables[name] for name in rows.counts])
    for file in changed:
        if file.is_sql:
            narrate(f"Running {file.name}")
            _run(driver, file)
        _record(driver, target, app, file)
    return LoadedFiles(
        tuple(
            SeededFile(file.name, "seeded" if file in changed else "unchanged") for file in files
        ),
        rows,
    )


def forget_files(connection: DriverConnection, target: Target, app: App) -> None:
    """Forget what was brought in: the tables are empty again."""
    row = connection.execute(_sql(connection, "is_recorded")).fetchone()
    if row and row[0]:
        connection.execute(
            _sql(connection, "forget_seed_files"), {"app": app.name, "schema": target.schema}
        )


def _recorded(connection: DriverConnection, target: Target, app: App) -> dict[str, str]:
    connection.execute(_sql(connection, "create_seed_files"))
    place = {"app": app.name, "schema": target.schema}
    return dict(connection.execute(_sql(connection, "seed_files"), place).fetchall())


def _record(connection: DriverConnection, target: Target, app: App, file: SeedFile) -> None:
    place = {"app": app.name, "schema": target.schema}
    record = {**place, "file": file.name, "checksum": file.checksum}
    connection.execute(_sql(connection, "record_seed_file"), record)


def _run(connection: DriverConnection, file: SeedFile) -> None:
    try:
        connection.execute(file.text.encode())
    except psycopg.Error as error:
        position = int(error.diag.statement_position or 1)
        line = file.text.count("\n", 0, position - 1) + 1
        raise SeedFailed(
            f"{file.name}, line {line}: {error.diag.message_primary or error}",
            hint="Nothing was changed. Correct the file.",
        ) from None


def _driver(connection: Connection) -> DriverConnection:
    driver: DriverConnection | None = connection.connection.driver_connection
    assert driver is not None
    return driver


def _sql(connection: DriverConnection, name: str) -> Any:
    return _QUERIES.get(name, connection.info.server_version)
