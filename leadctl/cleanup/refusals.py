"""Rows that may not go: which errors say so, and what such a row is called.

A reference, a trigger, a deferred constraint or row security refuses a row; what the server's own
state refuses (locks, space, memory, a lost connection) has nothing to do with it.
"""

import re
from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg import sql

from leadctl.catalog.relations import read_numbered
from leadctl.cleanup.results import Refusal
from leadctl.cleanup.statements import Statements
from leadctl.postgres.connect import Connection

_CONSTRAINT = "23"
_SERVER_STATE = ("08", "25", "40", "53", "54", "55", "57", "58", "F0", "XX")
"""Classes of SQLSTATE. https://www.postgresql.org/docs/current/errcodes-appendix.html"""
_LENGTH = 200


class RowsKept(Exception):
    """Rows that are due stayed though nothing failed: a trigger or a rule kept them."""

    def __str__(self) -> str:
        return "a trigger or a rule of the table keeps it, or the rule's condition changes"


def is_refusal(error: Exception) -> bool:
    """Whether a row was refused: a constraint is violated, or a function of a trigger failed."""
    if isinstance(error, RowsKept):
        return True
    if not isinstance(error, psycopg.Error) or error.sqlstate is None:
        return False
    if error.sqlstate.startswith(_CONSTRAINT):
        return True
    return error.diag.context is not None and not error.sqlstate.startswith(_SERVER_STATE)


def tids_of(rows: str) -> list[str]:
    """Return the ctids of an array, as the server writes it."""
    return re.findall(r"\(\d+,\d+\)", rows)


def halves(tids: list[str]) -> list[list[str]]:
    """Return the two halves of a batch, the second one first."""
    middle = len(tids) // 2
    return [tids[middle:], tids[:middle]]


class RefusedRows:
    """Names the rows of a table that are refused."""

    def __init__(self, connection: Connection, statements: Statements) -> None:
        self._connection = connection
        (relation,) = read_numbered(connection, [statements.table.oid], "indexes").values()
        self._columns = relation.primary_key
        columns = sql.SQL(", ").join(
            sql.SQL("left({}::text, {})").format(sql.Identifier(column.replace("%", "%%")), _LENGTH)
            for column in self._columns or ("ctid",)
        )
        select = sql.SQL("SELECT {} FROM {} WHERE ctid = %(tid)s::tid")
        self._select = select.format(columns, statements.source)

    def refusal(self, tid: str, error: Exception) -> Refusal | None:
        """Return a row's name and why it stays; None where it is gone meanwhile."""
        values: Mapping[str, Any] = {"tid": tid}
        found = self._connection.execute(self._select, values).fetchone()
        if found is None:
            return None
        names = self._columns or ("ctid",)
        key = ", ".join(f"{name}={value}" for name, value in zip(names, found, strict=True))
        said = error.diag.message_primary if isinstance(error, psycopg.Error) else None
        return Refusal(key, (said or str(error)).partition("\n")[0])
