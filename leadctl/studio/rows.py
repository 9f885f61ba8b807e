"""The rows of a table: a page of them for people, or a stream of any number for programs."""

from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

from leadctl.postgres import exact
from leadctl.studio import keyset
from leadctl.studio.conditions import where
from leadctl.studio.labels import Labels, read_labels
from leadctl.studio.parser import parse, split_list
from leadctl.studio.paths import role_of
from leadctl.studio.projection import Secrets, as_json, as_text
from leadctl.studio.session import Access, Session, read_session
from leadctl.studio.shape import ColumnShape, Fragment, TableShape, build, join, value

Row = tuple[str | None, ...]

_CELL = 1000
"""Characters of a value that a page shows at most."""
_BATCH = 200
"""Rows that the server is asked for at a time; each arrives alone, so memory holds one."""


@dataclass(frozen=True)
class RowSelection:
    """Which rows and columns are wanted, in the user's words."""

    columns: str | None = None
    where: tuple[str, ...] = ()
    sort: str | None = None
    limit: int | None = None
    page: int = 1
    after: str | None = None
    count: bool = False


@dataclass(frozen=True)
class ColumnHead:
    """A column of what is shown; `category` is that of PostgreSQL's type.

    `key` is whether it is part of what tells rows apart.
    """

    name: str
    type: str
    category: str
    key: bool
    masked: bool


@dataclass(frozen=True)
class RowPage:
    """A page of rows, every value as text; None is NULL.

    `after` is where the next page begins, None where there is none or no key to tell.  `total` is
    how many rows fit the filter, counted where that was asked for; `estimate` is the server's, of
    the whole table.
    """

    database: str
    schema: str
    table: str
    columns: tuple[ColumnHead, ...]
    rows: tuple[Row, ...]
    more: bool
    after: str | None
    total: int | None
    estimate: int | None
    asked: frozenset[str]
    """The columns that the filter and the order name."""
    labels: Labels


class Stream:
    """Rows that come as they are read; `more`, `after` and `total` are known when all have come."""

    def __init__(self, reading: "_Reading", total: int | None) -> None:
        self.database = reading.session.connection.info.dbname
        self.schema, self.table = reading.shape.schema, reading.shape.name
        self.columns = reading.heads
        self.total = total
        self.more = False
        self.after: str | None = None
        self._reading = reading
        self._rows = reading.rows()

    def close(self) -> None:
        """Stop reading, wherever it is."""
        self._rows.close()

    def __iter__(self) -> Iterator[Row]:
        last: Row = ()
        for number, row in enumerate(self._rows):
            if number == self._reading.selection.limit:
                self.more = True
                self.after = self._reading.cursor(last)
            else:
                last = row
                yield self._reading.shown(row)


def read_page(access: Access, table: str, selection: RowSelection) -> RowPage:
    """Read a page.  Raises UsageError for what cannot be asked, StatementFailed for a timeout."""
    with read_session(access, **facts(table, selection)) as session:
        shape = session.shape(table)
        return page_of(session, shape, selection)


def page_of(
    session: Session, shape: TableShape, selection: RowSelection, *also: Fragment
) -> RowPage:
    """Read a page in an open session; `also` are more conditions."""
    reading = _Reading(session, shape, selection, also, as_json_text=False, cell=_CELL)
    rows = list(reading.rows())
    more = selection.limit is not None and len(rows) > selection.limit
    kept = rows[: selection.limit]
    return RowPage(
        database=session.connection.info.dbname,
        schema=shape.schema,
        table=shape.name,
        columns=reading.heads,
        rows=tuple(reading.shown(row) for row in kept),
        more=more,
        after=reading.cursor(kept[-1]) if more and kept else None,
        total=reading.total() if selection.count else None,
        estimate=None if selection.where or also else reading.estimate(),
        asked=reading.asked,
        labels=read_labels(session, shape, reading.columns, kept),
    )


@contextmanager
def streamed(
    access: Access, table: str, selection: RowSelection, *, as_json_text: bool
) -> Iterator[Stream]:
    """Open a stream of rows, each value as text or as JSON.  Raises as `read_page` does."""
    with read_session(access, **facts(table, selection)) as session:
        shape = session.shape(table)
        with closing(stream_of(session, shape, selection, as_json_text=as_json_text)) as stream:
            yield stream


def stream_of(
    session: Session,
    shape: TableShape,
    selection: RowSelection,
    *also: Fragment,
    as_json_text: bool,
) -> Stream:
    """Stream rows in an open session; `also` are more conditions."""
    reading = _Reading(session, shape, selection, also, as_json_text=as_json_text, cell=None)
    reading.check()
    return Stream(reading, reading.total() if selection.count else None)


def facts(table: str, selection: RowSelection) -> dict[str, object]:
    """Return what the journal says of a revealing look: filters hold data, so only their number."""
    return {"table": table, "columns": selection.columns, "filters": len(selection.where) or None}


class _Reading:
    """A selection, resolved against a table's shape."""

    def __init__(
        self,
        session: Session,
        shape: TableShape,
        selection: RowSelection,
        also: tuple[Fragment, ...],
        *,
        as_json_text: bool,
        cell: int | None,
    ) -> None:
        self.session, self.shape, self.selection = session, shape, selection
        self._connection = session.connection
        secrets = session.secrets(shape)
        self.columns = chosen(shape, selection.columns)
        self._projections = [
            as_json(each, secrets) if as_json_text else as_text(each, secrets, cell)
            for each in self.columns
        ]
        self.heads = tuple(head(shape, column, secrets) for column in self.columns)
        sort = split_list(selection.sort) if selection.sort else ()
        self.order = keyset.order_of(shape, sort, secrets.mask)
        given = where(session, shape, [parse(text) for text in selection.where])
        self.asked = given.columns | {key.column.name for key in self.order.keys[: len(sort)]}
        self._role = role_of([shape, *given.others])
        self._where = join(" AND ", [given.sql, *also])
        self._segments = self._parts()

    def rows(self) -> Generator[Row, None, None]:
        """Yield rows, and one more than the limit where there are more; the key's values last."""
        left = None if self.selection.limit is None else self.selection.limit + 1
        for segment in self._segments:
            read = 0
            for row in self._read(self._query(segment, left)):
                read += 1
                yield row
            if left is not None:
                left -= read
                if not left:
                    return

    def check(self) -> None:
        """Let the server plan the statement, so that what it refuses is known before any output."""
        planned = build("EXPLAIN {}", self._query(self._segments[0], 1))
        planned.run(self._connection, self._role)

    def shown(self, row: Row) -> Row:
        """Return what shows of a row that was read."""
        return tuple(
            None if read is None else projection.decode(read)
            for read, projection in zip(row, self._projections, strict=False)
        )

    def cursor(self, row: Row) -> str | None:
        """Return where a row stands in the order; None where that cannot or must not be told."""
        if not (self.order.total and self.order.tellable):
            return None
        return keyset.encode(row[len(self._projections) :])

    def total(self) -> int:
        """Count the rows that fit the filter."""
        query = build(
            "SELECT pg_catalog.count(*) FROM {} WHERE {}", self.shape.identifier, self._where
        )
        row = query.run(self._connection, self._role).fetchone()
        return int(row[0]) if row else 0

    def estimate(self) -> int | None:
        """Return how many rows the server estimates the table to have; None for unknown."""
        return self.shape.relation.size.known_rows

    def _parts(self) -> list[keyset.Segment]:
        if self.selection.after is not None:
            cursor = keyset.decode(self.selection.after, self.shape, self.order)
            return list(keyset.beyond(self._connection, self.order, cursor))
        if self.selection.page > 1:  # what is skipped is counted through all of it
            return [keyset.everything(self.order)]
        return keyset.from_the_start(self.order)

    def _query(self, segment: keyset.Segment, limit: int | None) -> Fragment:
        keys = [build("{}::pg_catalog.text", key.column.identifier) for key in self.order.keys]
        selected = [projection.expression for projection in self._projections]
        query = build(
            "SELECT {} FROM {} WHERE {} AND {} {}",
            join(", ", [*selected, *keys]),
            self.shape.identifier,
            self._where,
            segment.condition,
            segment.order,
        )
        if limit is not None:
            query = build("{} LIMIT {}", query, value(limit))
        if self.selection.page > 1:
            skipped = (self.selection.page - 1) * (self.selection.limit or 0)
            query = build("{} OFFSET {}", query, value(skipped))
        return query

    def _read(self, query: Fragment) -> Generator[Row, None, None]:
        """Read through a cursor: a statement a batch, so that its timeout is not the reader's."""
        declared = build("DECLARE leadctl_studio NO SCROLL CURSOR FOR {}", query)
        with exact.as_owner(self._connection, self._role):
            declared.run(self._connection)
            read = _BATCH
            while read == _BATCH:
                read = 0
                with self._connection.cursor() as cursor:
                    for row in cursor.stream(f"FETCH {_BATCH} FROM leadctl_studio"):
                        read += 1
                        yield row
            self._connection.execute("CLOSE leadctl_studio")


def chosen(shape: TableShape, columns: str | None) -> list[ColumnShape]:
    """Return the columns that `--columns` names, in its order; all where it is not given."""
    if columns is None:
        return list(shape.columns)
    return [shape.column(name) for name in split_list(columns)]


def head(shape: TableShape, column: ColumnShape, secrets: Secrets) -> ColumnHead:
    """Return a column's head."""
    return ColumnHead(
        name=column.name,
        type=column.type,
        category=column.base.category,
        key=column.name in shape.key,
        masked=secrets.masks(column),
    )
