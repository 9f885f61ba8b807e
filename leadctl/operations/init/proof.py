"""Proof of a baseline and of models: both are made, compared with the database, and undone.

They are made in a schema of their own within a transaction that is rolled back: nobody else sees
it, and nothing but the right to create a schema is needed.
"""

import json
import warnings
from collections.abc import Callable, Sequence
from uuid import uuid4

import psycopg
from psycopg import sql
from sqlalchemy import Connection as SqlConnection
from sqlalchemy import MetaData
from sqlalchemy.exc import SAWarning

from leadctl.db.catalog import Catalog, Difference, compare, read_catalog
from leadctl.db.connect import Connection
from leadctl.db.engine import run_engine
from leadctl.db.target import Target
from leadctl.errors import OperationFailed
from leadctl.operations.init.ddl import Definition


def baseline_differs(
    target: Target, definition: Definition, statements: Sequence[str]
) -> list[Difference]:
    """Return how what the statements make differs from the database.

    Raises OperationFailed where one of them fails.
    """

    def make(connection: SqlConnection) -> None:
        driver = _driver(connection)
        for statement in statements:
            try:
                driver.execute(statement.encode())
            except psycopg.Error as error:
                raise OperationFailed(
                    f"What the baseline would do fails: {error.diag.message_primary}: "
                    f"{statement.splitlines()[0]}",
                    hint="This object is beyond what init reads; leave it out with a schema of "
                    "its own, and please report it.",
                ) from None

    return _differences(target, definition, make)


def models_differ(target: Target, definition: Definition, metadata: MetaData) -> list[Difference]:
    """Return how what the models make differs from the database."""

    def make(connection: SqlConnection) -> None:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Cannot correctly sort tables", SAWarning)
            metadata.create_all(connection, checkfirst=False)

    return _differences(target, definition, make)


def _differences(
    target: Target, definition: Definition, make: Callable[[SqlConnection], None]
) -> list[Difference]:
    scratch = f"leadctl_init_{uuid4().hex[:12]}"
    # Types of extensions are looked for where the extensions are, after the schema itself.
    behind = sorted(set(definition.extensions.values()) - {"pg_catalog"})
    with run_engine(target, "init").connect() as connection:
        driver = _driver(connection)
        driver.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(scratch)))
        _search(driver, scratch, *behind)
        driver.execute("SET LOCAL lock_timeout = '1s'")
        try:
            make(connection)
            _search(driver, scratch)
            made = read_catalog(driver, scratch)
        finally:
            connection.rollback()
    schemas = (definition.schema, scratch)
    return compare(_unqualified(definition.catalog, schemas), _unqualified(made, schemas))


def _search(driver: Connection, *schemas: str) -> None:
    names = sql.SQL(", ").join(map(sql.Identifier, schemas))
    driver.execute(sql.SQL("SET LOCAL search_path = {}").format(names))


def _unqualified(catalog: Catalog, schemas: Sequence[str]) -> Catalog:
    """Return a catalog without the names of the two schemas.

    What lives in the database's own (types of extensions) is qualified when it is seen from the
    scratch schema, and some definitions always are.
    """
    text = json.dumps(dict(catalog.objects))
    for schema in schemas:
        text = text.replace(f"{schema}.", "")
    return Catalog(json.loads(text))


def _driver(connection: SqlConnection) -> Connection:
    driver: Connection | None = connection.connection.driver_connection
    assert driver is not None
    return driver
