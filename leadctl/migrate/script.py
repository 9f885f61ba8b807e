"""The SQL of revisions without running them: what they would send."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from leadctl.apps.registry import App
from leadctl.errors import LeadctlError, RevisionUnplannable
from leadctl.migrate.alembic_runner import AlembicRunner
from leadctl.migrate.revision import Revision
from leadctl.migrate.revisions import History
from leadctl.sql.lexer import Reader, split
from leadctl.sql.reach import begins_transaction


@dataclass(frozen=True)
class RevisionStatement:
    """One statement of a revision."""

    sql: str
    transactional: bool
    """Whether it runs in the revision's transaction; else it commits by itself."""


class Scripts:
    """The SQL of a history's revisions."""

    def __init__(self, app: App, history: History) -> None:
        self._runner = AlembicRunner(app, history)

    def statements(self, revision: Revision, *, down: bool = False) -> list[RevisionStatement]:
        """Return the statements of a revision in order, without those of Alembic's own record.

        `down` reads its `downgrade()` instead of its `upgrade()`.

        Raises RevisionUnplannable where the revision reads from the database to know what to do.
        """
        collector = Collector()
        self._print(revision, collector, down=down)
        return list(_statements(collector))

    def texts(
        self, revisions: Iterable[Revision], path: str, current: Collection[str] | None
    ) -> Iterator[str]:
        """Yield what psql may be given to apply each revision, Alembic's own records included.

        `current` is what Alembic's table says before the first; None where there is no table.
        `path` is the statement that sets the search path: a record is written along that, whatever
        the revision has set.  Raises RevisionUnplannable as `statements` does.
        """
        heads, has_table = current or [], current is not None
        for revision in revisions:
            collector = Collector()
            heads = self._print(revision, collector, heads)
            yield _for_psql(collector, path, makes_table=not has_table)
            has_table = True

    def _print(
        self,
        revision: Revision,
        collector: "Collector",
        heads: Collection[str] | None = None,
        *,
        down: bool = False,
    ) -> list[str]:
        try:
            return self._runner.print_sql(revision, collector, heads, down=down)
        except LeadctlError:
            raise
        except Exception as error:
            # A revision is code, which may raise anything where there is no connection to ask.
            raise RevisionUnplannable(
                f"{revision.id} cannot be rendered as SQL offline: {type(error).__name__}: {error}",
                hint=f"It queries the database, or it has an error. Read it: {revision.path.name}",
            ) from error


def _for_psql(collected: "Collector", path: str, *, makes_table: bool) -> str:
    texts = [
        (text.strip(), own)
        for text, own in collected
        if own or makes_table or not Reader(text).accept("CREATE", "TABLE")
    ]
    again = ""
    if any("search_path" in text.lower() for text, _ in texts):
        again = f"{path}\n"
    if any(Reader(each).accept("SET", "ROLE") for text, _ in texts for each in split(text)):
        again += "RESET ROLE;\n"
    return "".join(
        f"{again if not own and begins_transaction(text.rstrip(';')) is None else ''}{text}\n"
        for text, own in texts
    )


class Collector(list[tuple[str, bool]]):
    """An output buffer of Alembic's, which keeps apart what a revision writes, call by call."""

    in_revision = False
    """Whether what is written now is the revision's, and not Alembic's own record of it."""

    def write(self, text: str) -> None:
        """Keep a text."""
        self.append((text, self.in_revision))

    def flush(self) -> None:
        """There is nothing behind it."""


def _statements(texts: list[tuple[str, bool]]) -> Iterable[RevisionStatement]:
    transactional = False
    for text, own in texts:
        for statement in split(text):
            begins = begins_transaction(statement)  # Alembic's own, or the revision's
            if begins is not None:
                transactional = begins
            elif own:
                yield RevisionStatement(statement, transactional)
