"""Columns whose values look like ciphertext, found by looking at a few rows of each table."""

import re
from collections.abc import Iterator, Sequence

import psycopg
from psycopg import sql
from sqlalchemy import String, Table

from leadctl.crypto.cipher import FORM, NODE_FORM
from leadctl.init.suggestions import EncryptedGuess
from leadctl.postgres.connect import Connection

_ROWS = 20
_FORMS = ((re.compile(FORM), "leadctl's ciphertext"), (re.compile(NODE_FORM), "Node's ciphertext"))


def ciphertext_columns(
    connection: Connection, schema: str, tables: Sequence[Table]
) -> Iterator[EncryptedGuess]:
    """Yield the columns of text all of whose values, in a few rows, are ciphertext.

    A table that may not be read is passed over.
    """
    for table in tables:
        columns = [column.name for column in table.columns if isinstance(column.type, String)]
        if not columns:
            continue
        query = sql.SQL("SELECT {} FROM {} LIMIT {}").format(
            sql.SQL(", ").join(map(sql.Identifier, columns)),
            sql.Identifier(schema, table.name),
            _ROWS,
        )
        try:
            rows = connection.execute(query).fetchall()
        except psycopg.errors.InsufficientPrivilege:
            continue
        for name, values in zip(columns, zip(*rows, strict=True), strict=False):
            found = [value for value in values if value is not None]
            for form, what in _FORMS:
                if found and all(form.match(str(value)) for value in found):
                    yield EncryptedGuess(f"{table.name}.{name}", f"its values: {what}")
