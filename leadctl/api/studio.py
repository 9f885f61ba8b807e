"""`Studio`: a database's tables and rows as people look at them, read-only."""

from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

from leadctl.api.project import names
from leadctl.studio.record import Found, finding
from leadctl.studio.rows import RowPage, RowSelection, Stream, read_page, streamed
from leadctl.studio.session import Access, TableList, list_tables


@dataclass(frozen=True)
class Studio:
    """A look at a database; made by `Database.studio`."""

    access: Access

    def tables(self) -> TableList:
        """Return the tables and views, as `leadctl studio`."""
        return list_tables(self.access)

    def page(self, table: str, selection: RowSelection | None = None) -> RowPage:
        """Return rows of a table: `leadctl studio TABLE`.  Raises UnknownTable."""
        return read_page(self.access, table, _normalised(selection))

    def stream(
        self, table: str, selection: RowSelection | None = None, *, as_json_text: bool = False
    ) -> AbstractContextManager[Stream]:
        """Open the rows of a table one after another, in memory that does not grow."""
        return streamed(self.access, table, _normalised(selection), as_json_text=as_json_text)

    def find(
        self,
        table: str,
        row: str,
        *,
        follow: str | None = None,
        selection: RowSelection | None = None,
    ) -> AbstractContextManager[Found]:
        """Open a record by its key, or what `follow` leads to from it."""
        return finding(self.access, table, row, follow, _normalised(selection))


def _normalised(selection: RowSelection | None) -> RowSelection:
    found = selection or RowSelection()
    return replace(found, where=names(found.where))
