"""Named SQL blocks: catalog queries live in `.sql` files next to the module that runs them.

A block begins with `-- name: NAME`, then `-- what: …`, what question it answers, and
`-- versions: 15-` or `-- versions: 15-16`, the major versions of the server that it is for.
`-- needs: NAME` may follow: the extension without which the block cannot run, with what the block
names of it where that is more than its own name: `-- needs: NAME for ONE, ANOTHER`.  The same name
may stand several times with different versions.

Names that come as text, such as those of a manifest or a catalog, become identifiers here, too:
nowhere else does text become SQL, and a test looks for every other place.
"""

import re
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, overload

from psycopg import sql

_PART = r'(?:"(?:[^"\0]|"")+"|[^\W\d][\w$]*)'
_NAME = re.compile(rf"{_PART}(?:\.{_PART})*")
_PARTS = re.compile(_PART)
OPEN_END = 999
"""The last version of a block that has none."""


def parts_of(quoted: str) -> tuple[str, ...]:
    """Return the parts of a name as quote_ident writes it, `schema.table`, without quotes.

    Raises ValueError where the text is anything else.
    """
    if not _NAME.fullmatch(quoted):
        raise ValueError(f"{quoted!r} is not a name.")
    found = _PARTS.findall(quoted)
    return tuple(part[1:-1].replace('""', '"') if part[0] == '"' else part for part in found)


def identifier(quoted: str) -> sql.Identifier:
    """Return the identifier that a name as quote_ident writes it stands for.

    Raises ValueError where the text is anything else.
    """
    return sql.Identifier(*parts_of(quoted))


def escaped(*parts: str) -> sql.Identifier:
    """Return an identifier for a statement that has parameters, in which a % is doubled."""
    return sql.Identifier(*(part.replace("%", "%%") for part in parts))


def written_by_server(definition: str) -> sql.SQL:
    """Return SQL that the connected server wrote itself, such as pg_get_indexdef does.

    Nothing else may be passed: no text of a file, a dump or a row.
    """
    return sql.SQL(definition)


def written_by_user(text: str) -> sql.SQL:
    """Return SQL that the app's own author wrote: of a revision, or a rule of its leadctl.toml."""
    return sql.SQL(text)


def written_by_pg_dump(text: str) -> sql.SQL:
    """Return SQL of an archive, which pg_restore itself would run in any restore of it."""
    return sql.SQL(text)


if TYPE_CHECKING:
    import psycopg
    from psycopg import sql

    from leadctl.postgres.connect import Connection

_T = TypeVar("_T")

_HEADER = re.compile(
    r"^-- name: (?P<name>\w+)\n"
    r"^-- what: (?P<what>(?:.+\n)(?:^-- {2,}.+\n)*)"
    r"^-- versions: (?P<since>\d+)-(?P<until>\d*)\n"
    r"(?:^-- needs: (?P<needs>\w+)(?: for (?P<uses>\w+(?:, \w+)*))?\n)?",
    re.MULTILINE,
)


class Query(NamedTuple):
    """One named block."""

    name: str
    what: str
    since: int
    until: int
    sql: str
    needs: str | None = None
    uses: tuple[str, ...] = ()
    """What it names of the extension that it needs."""


class Queries:
    """The blocks of one `.sql` file, read when one is first asked for."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @cached_property
    def blocks(self) -> tuple[Query, ...]:
        """All blocks, in the order of the file."""
        text = self._path.read_text(encoding="utf-8")
        headers = list(_HEADER.finditer(text))
        ends = [header.start() for header in headers[1:]] + [len(text)]
        return tuple(
            Query(
                name=header["name"],
                what=re.sub(r"\s*\n(-- +)?", " ", header["what"]).strip(),
                since=int(header["since"]),
                until=int(header["until"] or OPEN_END),
                sql=text[header.end() : end].strip().rstrip(";"),
                needs=header["needs"],
                uses=tuple((header["uses"] or header["needs"] or "").split(", ")),
            )
            for header, end in zip(headers, ends, strict=True)
        )

    def run(
        self, connection: "Connection", name: str, /, **values: Any
    ) -> "psycopg.Cursor[tuple[Any, ...]]":
        """Run a block on a connection, the values by the names that it has them under."""
        from leadctl.postgres import exact

        return exact.execute(connection, self.get(name, version_of(connection)), values)

    @overload
    def rows(
        self, connection: "Connection", name: str, /, **values: Any
    ) -> list[tuple[Any, ...]]: ...

    @overload
    def rows(
        self, connection: "Connection", name: str, kind: type[_T], /, **values: Any
    ) -> list[_T]: ...

    def rows(
        self, connection: "Connection", name: str, kind: type[Any] | None = None, /, **values: Any
    ) -> list[Any]:
        """Return a block's rows: as tuples, or as objects of a class, such as a dataclass or dict.

        The class is given the columns by their names.
        """
        if kind is None:
            return self.run(connection, name, **values).fetchall()
        from psycopg.rows import class_row

        from leadctl.postgres import exact

        statement = self.get(name, version_of(connection))
        return exact.execute(connection, statement, values, class_row(kind)).fetchall()

    @overload
    def one(
        self, connection: "Connection", name: str, /, **values: Any
    ) -> tuple[Any, ...] | None: ...

    @overload
    def one(
        self, connection: "Connection", name: str, kind: type[_T], /, **values: Any
    ) -> _T | None: ...

    def one(
        self, connection: "Connection", name: str, kind: type[Any] | None = None, /, **values: Any
    ) -> Any:
        """Return a block's first row, as `rows` has it; None where there is none."""
        found = self.rows(connection, name, *(() if kind is None else (kind,)), **values)
        return found[0] if found else None

    def column(self, connection: "Connection", name: str, /, **values: Any) -> list[Any]:
        """Return the first column of a block's rows."""
        return [row[0] for row in self.run(connection, name, **values)]

    def value(self, connection: "Connection", name: str, /, **values: Any) -> Any:
        """Return the first column of a block's first row; None where there is no row."""
        row = self.run(connection, name, **values).fetchone()
        return row[0] if row else None

    def get(self, name: str, server_version: int) -> str:
        """Return the SQL of a block for a server; `server_version` is libpq's, such as 180006."""
        return self.block(name, server_version).sql

    def statement(self, name: str, server_version: int, **parts: str) -> "sql.SQL":
        """Return the SQL of a block, to be a part of a statement; `parts` replace placeholders."""
        from psycopg import sql

        text = self.get(name, server_version)
        for placeholder, part in parts.items():
            text = text.replace(f"%({placeholder})s", part)
        return sql.SQL(text)

    def block(self, name: str, server_version: int) -> Query:
        """Return a block for a server, with what is said of it."""
        major = server_version // 10000
        for block in self.blocks:
            if block.name == name and block.since <= major <= block.until:
                return block
        raise KeyError(f"{self._path.name} has no block {name} for PostgreSQL {major}")


def version_of(connection: "Connection") -> int:
    """Return the server's version as libpq has it, such as 180006.

    Raises psycopg.OperationalError where the session was ended: libpq says 0 then.
    """
    version = connection.info.server_version
    if not version:
        import psycopg

        raise psycopg.OperationalError("the connection was lost: the session has ended")
    return version


_file = cache(Queries)


def queries_of(module: str, name: str) -> Queries:
    """Return the blocks of the file `name` in the folder of a module, which passes `__file__`."""
    return _file(Path(module).with_name(name))
