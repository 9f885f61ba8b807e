"""The SQL of revisions without running them: what they would send."""

from collections.abc import Iterable
from dataclasses import dataclass

from leadctl.apps.registry import App
from leadctl.errors import LeadctlError, RevisionUnplannable
from leadctl.migrate.alembic_runner import AlembicRunner
from leadctl.migrate.recorder import keeps_record
from leadctl.migrate.revision import Revision
from leadctl.migrate.revisions import History
from leadctl.sql.lexer import Reader, split

_BEGINS = {"BEGIN", "START"}
_ENDS = {"COMMIT", "END", "ROLLBACK", "ABORT"}
"""What ends a transaction, Alembic's own or one of the revision's: not ROLLBACK TO a savepoint."""


@dataclass(frozen=True)
class Statement:
    """One statement of a revision."""

    sql: str
    transactional: bool
    """Whether it runs in the revision's transaction; else it commits by itself."""


class Scripts:
    """The SQL of a history's revisions."""

    def __init__(self, app: App, history: History) -> None:
        self._version_table = app.version_table
        self._runner = AlembicRunner(app, history)

    def statements(self, revision: Revision, *, down: bool = False) -> list[Statement]:
        """Return the statements of a revision in order, without those on Alembic's own table.

        `down` reads its `downgrade()` instead of its `upgrade()`.

        Raises RevisionUnplannable where the revision reads from the database to know what to do.
        """
        return [
            statement
            for statement in _statements(self._offline(revision, down=down))
            if not keeps_record(statement.sql, self._version_table)
        ]

    def text(self, revision: Revision, path: str) -> str:
        """Return what psql may be given to apply a revision, Alembic's own records included.

        `path` is the statement that sets the search path: a record is written along that, whatever
        the revision has set.  Raises RevisionUnplannable as `statements` does.
        """
        texts = [text.strip() for text in self._offline(revision)]
        again = ""
        if any("search_path" in text.lower() for text in texts):
            again = f"{path}\n"
        if any(Reader(each).accept("SET", "ROLE") for text in texts for each in split(text)):
            again += "RESET ROLE;\n"
        return "".join(
            f"{again if keeps_record(text.rstrip(';'), self._version_table) else ''}{text}\n"
            for text in texts
        )

    def _offline(self, revision: Revision, *, down: bool = False) -> list[str]:
        collector = _Collector()
        try:
            self._runner.print_sql(revision, collector, down=down)
        except LeadctlError:
            raise
        except Exception as error:
            # A revision is code, which may raise anything where there is no connection to ask.
            raise RevisionUnplannable(
                f"{revision.id} cannot be rendered as SQL offline: {type(error).__name__}: {error}",
                hint=f"It asks the database, or it is wrong. Read it: {revision.path.name}",
            ) from error
        return collector


class _Collector(list[str]):
    """An output buffer that keeps what Alembic writes apart: one text a call of the revision."""

    def write(self, text: str) -> None:
        self.append(text)

    def flush(self) -> None:
        """There is nothing behind it."""


def _statements(texts: list[str]) -> Iterable[Statement]:
    transactional = False
    for text in texts:
        for statement in split(text):
            first, second = (Reader(statement).peek(ahead).word for ahead in (0, 1))
            if first in _BEGINS:
                transactional = True
            elif first in _ENDS and "TO" not in Reader(statement).words() and second != "PREPARED":
                transactional = False
            else:
                yield Statement(statement, transactional)
