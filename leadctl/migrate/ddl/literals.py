"""Texts as SQL literals."""

from psycopg import sql


def literal(value: str) -> str:
    """Return a text as an SQL literal."""
    return sql.Literal(value).as_string(None).strip()
