"""Running revisions through Alembic: on a connection, or offline for the SQL that they send."""

import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationStep
from alembic.script import ScriptDirectory
from psycopg import sql
from sqlalchemy import Connection as SqlConnection
from sqlalchemy import String

from leadctl.apps.alembic_environment import Fence
from leadctl.apps.loading import user_code
from leadctl.apps.metadata import known_metadata
from leadctl.apps.registry import App, builtin_migrations
from leadctl.errors import LeadctlError, RevisionUnplannable
from leadctl.journal.records import make_room_for_ids
from leadctl.migrate.revision import Revision
from leadctl.migrate.revisions import History
from leadctl.postgres.connect import Connection
from leadctl.postgres.engine import driver_connection
from leadctl.sql.lexer import Reader, split
from leadctl.sql.reach import begins_transaction

Memo = dict[str, Any]
"""What SQLAlchemy remembers of a run: the types that it made, so that it makes none twice."""


class AlembicRunner:
    """Runs revisions of an app's history: on a connection, or offline for their SQL.

    What it takes is one Alembic run: what the revisions made in it is known to those that follow,
    as with `alembic upgrade`.
    """

    def __init__(self, app: App, history: History) -> None:
        self._app = app
        self._history = history
        self._printed: Memo = {}

    def run(
        self,
        steps: Callable[[Any, Callable[[str], Any]], Iterable[Any]],
        ours: Mapping[str, Any],
        *,
        connection: SqlConnection | None = None,
        down: bool = False,
        fence: Fence | None = None,
        offline: Mapping[str, Any] | None = None,
        ready: Callable[[], None] = lambda: None,
    ) -> None:
        """Run what `steps` yields; it is handed Alembic's context, and what makes a step.

        Within the app's env.py, where it has one, else alone.  `ours` are options of Alembic's
        `configure`, `offline` those that let it print the SQL instead; a `fence` is for env.py.
        Raises whatever a revision raises, and EnvironmentNotRun.
        """
        options = {"transaction_per_migration": True, **ours}

        def fn(_heads: Any, context: Any) -> Iterable[Any]:
            self._make_room_for_ids(context)
            return steps(context, lambda name: self._step(context.script, name, down=down))

        if self._app.environment is not None:
            if self._app.models is not None:
                options.setdefault("target_metadata", known_metadata(self._app))
            self._app.alembic_environment.run(
                fn, options, connection=connection, fence=fence, offline=offline, ready=ready
            )
            return
        if connection is not None:
            options["connection"] = connection
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            config = Config()
            location = str(builtin_migrations()).replace("%", "%%")
            config.set_main_option("script_location", location)
            script = ScriptDirectory(
                str(builtin_migrations()),
                version_locations=[str(each) for each in self._app.versions.folders],
                messaging_opts={"quiet": True},  # standard output is for results
            )
        with EnvironmentContext(config, script, fn=fn, **(offline or {})) as environment:
            environment.configure(
                version_table=str(self._app.version_table),
                **options,
            )
            with environment.begin_transaction(), user_code():
                environment.run_migrations()

    @property
    def passed_over(self) -> str | None:
        """Why the app's env.py is run as if it were for `--sql`, where it is."""
        if self._app.environment is None:
            return None
        error = self._app.alembic_environment.passed_over
        return error.message if error else None

    def try_out(
        self,
        connection: SqlConnection,
        goal: Collection[str],
        fence: Fence,
        *,
        down: bool = False,
    ) -> None:
        """Run a history up to some revisions, or undo one, in the connection's own transaction.

        Each is run within the `fence`, and env.py is, too.  Nothing of Alembic's records outside of
        the connection's schema is touched.
        """
        driver = driver_connection(connection)
        path = search_path(driver)

        def ready() -> None:
            driver.execute("SELECT pg_catalog.set_config('search_path', %s, true)", (path,))

        def steps(context: Any, step: Callable[[str], Any]) -> Iterator[Any]:
            context.autocommit_block = nullcontext  # everything is the one transaction
            heads = () if down else context.get_current_heads()
            pending = goal if down else [each.id for each in self._history.pending(heads, goal)]
            for each in pending:
                made = step(each)
                made.migration_fn = _within(fence, made.migration_fn)
                yield made

        # By name: the path may lead to the schema that it stands for, and to what is applied there.
        (own,) = driver.execute("SELECT current_schema()")
        ours = {"version_table_schema": own[0]}
        self.run(steps, ours, connection=connection, down=down, fence=fence, ready=ready)

    def print_sql(
        self,
        revision: Revision,
        buffer: Any,
        heads: Collection[str] | None = None,
        *,
        down: bool = False,
    ) -> list[str]:
        """Have Alembic print the SQL of a revision; what those before made is known to it.

        `buffer.in_revision` is set while the revision's own is written.  `heads` are those that
        Alembic's record of it begins with, else as if there were this branch alone; returns those
        that it leaves.
        """
        start = heads if heads is not None else [revision.id] if down else revision.down
        left: list[str] = []

        def steps(context: Any, step: Callable[[str], Any]) -> Iterator[Any]:
            context.impl.memo.update(self._printed)
            printed = step(revision.id)
            migrate = printed.migration_fn

            def print_own(**given: Any) -> None:
                buffer.in_revision = True
                migrate(**given)
                buffer.in_revision = False

            printed.migration_fn = print_own
            yield printed
            self._printed = {} if down else dict(context.impl.memo)

        ours = {
            "dialect_opts": {"paramstyle": "named"},  # a percent sign is not doubled
            "dialect_name": "postgresql",
            "literal_binds": True,
            "output_buffer": buffer,
            "on_version_apply": lambda *, heads, **_: left.extend(heads),
        }
        starting = tuple(start) or None
        self.run(steps, ours, down=down, offline={"as_sql": True, "starting_rev": starting})
        return left

    def _make_room_for_ids(self, context: Any) -> None:
        """Let Alembic's version table hold the ids of this history, which may be long."""
        ids = [each.id for each in self._history.revisions]
        if context.as_sql:
            longest = max(map(len, ids), default=0)
            column = context._version.c.version_num  # noqa: SLF001
            if (column.type.length or longest) < longest:  # it is made by the first revision's SQL
                column.type = String(longest)
            return
        schema = [context.version_table_schema] if context.version_table_schema else []
        table = sql.Identifier(*schema, context.version_table)
        make_room_for_ids(driver_connection(context.connection), table, ids)

    @staticmethod
    def _step(script: ScriptDirectory, name: str, *, down: bool) -> Any:
        """Return Alembic's step of a revision, whatever else follows what it follows."""
        make = MigrationStep.downgrade_from_script if down else MigrationStep.upgrade_from_script
        return make(script.revision_map, script.get_revision(name))


def _within(fence: Fence, migrate: Callable[..., None]) -> Callable[..., None]:
    def fenced(**given: Any) -> None:
        with fence():
            migrate(**given)

    return fenced


def search_path(driver: Connection) -> str:
    """Return where a session looks for names."""
    asked = driver.execute("SELECT pg_catalog.current_setting('search_path')")
    (found,) = asked.fetchone() or ("",)
    return str(found)


# --- What they would send -----------------------------------------------------------------


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
