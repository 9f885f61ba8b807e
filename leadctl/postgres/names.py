"""Names that come as text, such as those of a manifest or a catalog, as identifiers.

Text becomes SQL here and in `Queries.statement`, nowhere else: a test looks for every other place.
"""

import re

from psycopg import sql

_PART = r'(?:"(?:[^"\0]|"")+"|[^\W\d][\w$]*)'
_NAME = re.compile(rf"{_PART}(?:\.{_PART})*")
_PARTS = re.compile(_PART)


def parts_of(quoted: str) -> tuple[str, ...]:
    """Return the parts of a name as quote_ident writes it, `schema.table`, without quotes.

    Raises ValueError where the text is anything else.
    """
    if not _NAME.fullmatch(quoted):
        raise ValueError(f"{quoted!r} is no name.")
    found = _PARTS.findall(quoted)
    return tuple(part[1:-1].replace('""', '"') if part[0] == '"' else part for part in found)


def identifier(quoted: str) -> sql.Identifier:
    """Return the identifier that a name as quote_ident writes it stands for.

    Raises ValueError where the text is anything else.
    """
    return sql.Identifier(*parts_of(quoted))


def written_by_server(definition: str) -> sql.SQL:
    """Return SQL that the connected server wrote itself, such as pg_get_indexdef does.

    Nothing else may be passed: no text of a file, a dump or a row.
    """
    return sql.SQL(definition)


def written_by_user(text: str) -> sql.SQL:
    """Return SQL that the app's own author wrote: of a revision, or a rule of its leadctl.toml."""
    return sql.SQL(text)
