"""The SQL of a revision, had offline: what `upgrade()` or `downgrade()` would send, and how."""

from collections.abc import Iterable
from dataclasses import dataclass
from io import StringIO
from typing import Any

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationStep
from alembic.script import ScriptDirectory

from leadctl.apps.output import to_stderr
from leadctl.apps.registry import builtin_migrations
from leadctl.errors import RevisionUnplannable
from leadctl.migrate.revisions import History, Revision
from leadctl.sql.lexer import split

_BEGIN, _COMMIT = "BEGIN", "COMMIT"


@dataclass(frozen=True)
class Statement:
    """One statement of a revision."""

    sql: str
    transactional: bool
    """Whether it runs in the revision's transaction; else it commits by itself."""


def script_directory(history: History) -> tuple[Config, ScriptDirectory]:
    """Return Alembic's view of a folder of revisions, with leadctl's env.py and template."""
    config = Config()
    config.set_main_option("script_location", str(builtin_migrations()).replace("%", "%%"))
    script = ScriptDirectory(
        str(builtin_migrations()),
        version_locations=[str(history.folder)],
        messaging_opts={"quiet": True},  # standard output is for results
    )
    return config, script


def downgrade_step(script: ScriptDirectory, revision: str) -> MigrationStep:
    """Return the step that undoes one revision, whatever else follows what it follows."""
    found = script.get_revision(revision)
    assert found is not None
    return MigrationStep.downgrade_from_script(script.revision_map, found)


class Scripts:
    """The SQL of a history's revisions."""

    def __init__(self, history: History, version_table: str) -> None:
        self._version_table = version_table
        self._config, self._script = script_directory(history)

    def statements(self, revision: Revision, *, down: bool = False) -> list[Statement]:
        """Return the statements of a revision in order, without those on Alembic's own table.

        `down` reads its `downgrade()` instead of its `upgrade()`.

        Raises RevisionUnplannable where the revision reads from the database to know what to do.
        """
        return [
            statement
            for statement in _statements(self._offline(revision, down=down))
            if self._version_table not in statement.sql
        ]

    def text(self, revision: Revision) -> str:
        """Return what psql may be given to apply a revision, Alembic's own records included.

        Raises RevisionUnplannable as `statements` does.
        """
        return "".join(f"{text.strip()}\n" for text in self._offline(revision))

    def _offline(self, revision: Revision, *, down: bool = False) -> list[str]:
        collector = _Collector()
        start: Any = revision.id if down else revision.down or None

        def steps(_heads: Any, _context: Any) -> Iterable[Any]:
            if down:
                return [downgrade_step(self._script, revision.id)]
            # As Alembic's own commands do.
            return self._script._upgrade_revs(revision.id, start)  # noqa: SLF001

        try:
            with EnvironmentContext(
                self._config,
                self._script,
                fn=steps,
                as_sql=True,
                starting_rev=start,
            ) as environment:
                environment.configure(
                    dialect_name="postgresql",
                    dialect_opts={"paramstyle": "named"},  # a percent sign is not doubled
                    literal_binds=True,
                    transaction_per_migration=True,
                    output_buffer=collector,
                    version_table=self._version_table,
                )
                with environment.begin_transaction(), to_stderr():
                    environment.run_migrations()
        except Exception as error:
            # A revision is code, which may raise anything where there is no connection to ask.
            raise RevisionUnplannable(
                f"The SQL of {revision.id} cannot be had without running it: "
                f"{type(error).__name__}: {error}",
                hint=f"It asks the database, or it is wrong. Read it: {revision.path.name}",
            ) from error
        return collector.texts


class _Collector(StringIO):
    """An output buffer that keeps what Alembic writes apart: one text a call of the revision."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def write(self, text: str, /) -> int:
        self.texts.append(text)
        return len(text)


def _statements(texts: list[str]) -> Iterable[Statement]:
    transactional = False
    for text in texts:
        for sql in split(text):
            word = sql.strip().upper()
            if word in {_BEGIN, _COMMIT}:
                transactional = word == _BEGIN
            else:
                yield Statement(sql.strip(), transactional)
