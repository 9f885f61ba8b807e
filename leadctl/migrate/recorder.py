"""What is recorded of revisions while they are executed, and what CONCURRENTLY needs.

The same code runs under `leadctl migrate` and under plain Alembic with leadctl's env.py.
"""

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import psycopg
from psycopg import sql
from psycopg.pq import TransactionStatus
from sqlalchemy import Connection as SqlConnection
from sqlalchemy import Enum, MetaData, event
from sqlalchemy.exc import DBAPIError

from leadctl.apps.fixtures import Fixture, key_as_json
from leadctl.apps.metadata import known_metadata
from leadctl.apps.registry import App, load_object
from leadctl.catalog.definitions import READS, read_catalog, read_names
from leadctl.errors import ConnectionFailed, RevisionFailed, RevisionMixed
from leadctl.journal import records
from leadctl.migrate.concurrently import ConcurrentBuild, is_concurrent
from leadctl.migrate.revision import Revision
from leadctl.migrate.revisions import History
from leadctl.postgres.connect import (
    Connection,
    Timeouts,
    connect,
    lift_timeouts,
    set_session,
    set_timeouts,
)
from leadctl.postgres.engine import driver_connection
from leadctl.postgres.target import Target
from leadctl.sql.lexer import Reader, parts_of_name, split
from leadctl.sql.reach import begins_transaction

_SESSION = (
    "session_authorization", "role", "search_path", "DateStyle", "IntervalStyle", "TimeZone",
    "statement_timeout", "lock_timeout", "quote_all_identifiers", "session_replication_role",
    "extra_float_digits", "client_min_messages", "default_transaction_read_only",
    "default_transaction_isolation", "default_transaction_deferrable", "row_security",
    "check_function_bodies", "standard_conforming_strings", "default_tablespace",
    "default_table_access_method", "idle_in_transaction_session_timeout",
)  # fmt: skip
"""What a revision may set, and its record and the next one must not depend on."""
_READ_SESSION = "SELECT " + ", ".join(f"pg_catalog.current_setting('{name}')" for name in _SESSION)
_TRANSACTION = "SELECT pg_catalog.pg_current_xact_id()::pg_catalog.text"
_STATUS = "SELECT pg_catalog.pg_xact_status(%s::pg_catalog.xid8)"
_NOTHING = "SELECT"
_PURE = frozenset(
    {"array_agg", "coalesce", "count", "current_setting", "max", "min", "to_regclass"}
)
_MAY_END = re.compile(r"\b(?:COMMIT|END|ROLLBACK|ABORT|PREPARE)\b", re.IGNORECASE)


class Recorder:
    """Watches the statements of revisions on a connection, and records each applied revision.

    The record (checksum, SQL, duration, what it made) is written in the revision's transaction;
    the last one of a run has the fingerprint with it.
    """

    def __init__(
        self,
        connection: SqlConnection,
        app: App,
        history: History,
        schema: str,
        timeouts: Timeouts,
    ) -> None:
        self._connection = connection
        self._app = app
        self._history = history
        self._schema = schema
        self._timeouts = timeouts
        self._statements: list[str] = []
        self._started = time.perf_counter()
        self._names: set[str] = set()
        self._build: ConcurrentBuild | None = None
        self._committed: list[str] = []
        """What the revision has done outside a transaction."""
        self._skipped: list[str] = []
        """What of that comes first when the revision is run again."""
        self.may_resume = True
        """Whether what the revision has done outside a transaction can be passed over."""
        self._own: bool | None = None
        """Whether what is executed is a revision's; None where its text must tell."""
        self._guarded: Revision | None = None
        """What is being executed, where it may not end its transaction."""
        self._rolled_back = False
        self._transaction = ""
        """The id of the transaction that the revision began in."""
        self._session: dict[str, str] = {}
        """What was set before the revision: its record is written under that."""
        self._role: str | None = None
        """Whose a revision and Alembic's own table are: env.py may have set another role."""
        self._facts = recorded_facts(app)  # now: an env.py cannot be run within a revision
        self.is_last = True
        """Whether the revision is the run's last, which the fingerprint is recorded with."""
        event.listen(connection, "before_cursor_execute", self._before, retval=True)
        event.listen(connection, "after_cursor_execute", self._after)
        event.listen(connection.engine, "handle_error", self._failed)
        event.listen(connection.engine, "commit", lambda _: self._refuse("COMMIT"))
        driver: Any = self.driver  # beneath SQLAlchemy's events, whoever calls it
        driver.commit = partial(self._ends, driver.commit, "COMMIT")
        driver.rollback = partial(self._ends, driver.rollback, "ROLLBACK")

    @property
    def driver(self) -> Connection:
        """The driver's connection."""
        return driver_connection(self._connection)

    def start(self) -> None:
        """Begin a revision that was not run before."""
        self._committed.clear()
        self._skipped.clear()
        self._transaction = ""
        self.may_resume = True

    def watch(self, step: Any) -> Any:
        """Return Alembic's step of a revision, which tells what is the revision's own."""
        migrate = step.migration_fn

        def migrate_watched(**given: Any) -> None:
            self._own = True
            self._transaction = self._own_transaction()
            try:
                migrate(**given)
            finally:
                self._own = False
            if self._rolled_back:
                self._refuse("ROLLBACK")

        step.migration_fn = migrate_watched
        return step

    def guard(self, context: Any, revision: Revision) -> None:
        """Let a revision not end its transaction, but by Alembic's `autocommit_block()`.

        What stands before that would be committed without a record, or be recorded and rolled back.
        """
        context.autocommit_block = partial(self._outside, context)
        self._guarded, self._rolled_back = revision, False

    @contextmanager
    def _outside(self, context: Any) -> Iterator[None]:
        guarded, self._guarded, self._transaction = self._guarded, None, ""
        with type(context).autocommit_block(context):
            yield
        self._guarded, self._transaction = guarded, self._own_transaction()

    def _own_transaction(self) -> str:
        (found,) = self.driver.execute(_TRANSACTION).fetchone() or ("",)
        return str(found)

    def stays(self, target: Target) -> bool:
        """Whether a part of the revision is committed, which has failed and was rolled back.

        Where it ended its own transaction, it cannot be resumed.  The target is asked once more
        where the session is gone.
        """
        if self._transaction and self._status(target) == ("committed",):
            self.may_resume = False
            return True
        return any(not Reader(each).accept("SET") for each in self._committed)

    def _status(self, target: Target) -> Any:
        """Return the status of the revision's first transaction, as a row; None if nobody tells."""
        if not self.driver.closed:
            found = self.driver.execute(_STATUS, (self._transaction,)).fetchone()
            self.driver.rollback()
            return found
        with suppress(ConnectionFailed), connect(target, "migrate", read_only=True) as asked:
            return asked.execute(_STATUS, (self._transaction,)).fetchone()
        return None

    def resume(self) -> None:
        """Begin the same revision again: what it did outside a transaction is done."""
        self._skipped = list(self._committed)

    def begin(self) -> None:
        """Forget what was executed until now: a revision begins."""
        self._guarded = self._own = None
        set_timeouts(self.driver, self._timeouts)
        ours = self._session.get("role")
        self._session = self._read_session()
        if ours is not None:
            self._session["role"] = ours
        self._names = self._read_names()
        self._statements.clear()
        self._started = time.perf_counter()
        self._settle(self._role)

    def take_role(self) -> None:
        """Run what follows as the role that env.py has set; records are ours."""
        self._role = self._read_session()["role"]

    def on_version_apply(self, ctx: Any, step: Any, heads: Any, run_args: Any) -> None:  # noqa: ARG002
        """Record a revision; Alembic calls this after each, within its transaction."""
        self._settle()
        if self._guarded and self._own_transaction() != self._transaction:
            self._refuse("a statement that it sends itself")
        self._guarded = None
        self._refuse_hidden_record()
        key = {"app": self._app.name, "schema": self._schema}
        if step.is_upgrade:
            revision = self._history.get(step.up_revision_id)
            record = records.RevisionRecord(
                revision=revision.id,
                checksum=revision.checksum,
                sql=";\n".join(self._statements),
                duration_ms=round((time.perf_counter() - self._started) * 1000),
                made=sorted(self._read_names() - self._names),
            )
            records.record_migration(self.driver, **key, record=record)
        else:
            records.forget_migration(self.driver, **key, revision=step.up_revision_id)
        if self.is_last:
            self.record_fingerprint(step.destination_revision_ids)
        self.begin()

    def _refuse_hidden_record(self) -> None:
        """Refuse a temporary table of the version table's name: Alembic's record went into it."""
        hides = sql.Identifier("pg_temp", str(self._app.version_table)).as_string()
        row = self.driver.execute("SELECT pg_catalog.to_regclass(%s) IS NULL", (hides,)).fetchone()
        if row == (False,):
            raise RevisionFailed(
                f"It leaves a temporary table {self._app.version_table}, which hides Alembic's.",
                hint="Drop it in the revision, or give it another name.",
            )

    def record_fingerprint(self, revisions: Iterable[str]) -> None:
        """Record what the schema consists of now, at these revisions."""
        record_fingerprint(self.driver, self._app, self._schema, revisions, self._facts)

    def record_where_it_stopped(self) -> None:
        """Record the fingerprint of where a run stopped: its last revision did not come to it."""
        self._guarded = None
        with suppress(DBAPIError, psycopg.Error):
            self._settle()
            current = records.current_revisions(self.driver, self._schema, self._app.version_table)
            self.record_fingerprint(current or [])
            self.driver.commit()

    def _read_names(self) -> set[str]:
        return read_names(self.driver, self._schema, [self._app.version_table], self._app.schemas)

    def _read_session(self) -> dict[str, str]:
        return dict(zip(_SESSION, self.driver.execute(_READ_SESSION).fetchone() or (), strict=True))

    def _settle(self, role: str | None = None) -> None:
        """Set again what the revision has set: its record does not depend on it."""
        wanted = self._session | ({"role": role} if role else {})
        changed = dict(wanted.items() - self._read_session().items())
        if changed:
            set_session(self.driver, changed)

    def _before(
        self, _connection: Any, _cursor: Any, statement: str, parameters: Any, *_others: Any
    ) -> tuple[str, Any]:
        own = self._own
        if own is None:
            own = not _keeps_record(statement, self._app.version_table)
        if not own:
            if not Reader(statement).accept("SELECT"):
                self._settle(self._role)
            return statement, parameters
        self._statements.append(statement.strip())
        for each in split(statement) if _MAY_END.search(statement) else ():
            if begins_transaction(each) is False:
                self._refuse(each)
        if self._skipped and statement == self._skipped[0]:
            self._skipped.pop(0)
            return _NOTHING, {}
        if is_concurrent(statement):
            lift_timeouts(self.driver)
            self._build = ConcurrentBuild(self.driver, statement)
            statement = self._build.prepare(statement)
        return statement, parameters

    def _ends(self, end: Callable[[], None], how: str) -> None:
        """End the driver's transaction, if the revision does not."""
        if how == "COMMIT":
            self._refuse(how)
        self._rolled_back |= self._guarded is not None
        end()

    def _refuse(self, ended: str) -> None:
        if self._guarded is not None:
            raise RevisionMixed(
                f"The revision {self._guarded.id} is refused: it ends its transaction itself, "
                f"with {ended}: if it stopped after that, it could be neither rerun nor rolled "
                f"back.",
                hint="Leave transactions to leadctl: put what must run outside one into "
                "autocommit_block(), in a separate revision. If this is intended: "
                "--allow mixed-transaction",
            )

    def _after(self, _connection: Any, cursor: Any, statement: str, *_others: Any) -> None:
        alone = self.driver.info.transaction_status == TransactionStatus.IDLE
        if alone and cursor.description is None:
            self._committed.append(statement)
        elif alone and not _only_reads(statement):
            self.may_resume = False  # only doing it again gives its result
        build, self._build = self._build, None
        if build is not None:
            set_timeouts(self.driver, self._timeouts)
            build.check()

    def _failed(self, context: Any) -> None:
        may_commit = any(map(Reader(context.statement or "").accept, ("CALL", "DO")))
        if may_commit and self.driver.info.transaction_status != TransactionStatus.INERROR:
            self._committed.append(context.statement)
            self.may_resume = False  # it is not known how far it came
        build, self._build = self._build, None
        if build is not None:
            with suppress(psycopg.Error):  # the next run does it
                build.clean_up()


def _only_reads(statement: str) -> bool:
    """Whether a statement that gives a result changes nothing for certain."""
    reader = Reader(statement)
    reads = any(map(reader.accept, ("SELECT", "SHOW", "TABLE", "VALUES"))) and not reader.has(
        "INTO"
    )
    return reads and _PURE.issuperset(reader.called())


def _keeps_record(statement: str, version_table: str) -> bool:
    """Whether a statement is Alembic's own, about its version table and nothing else."""
    reader = Reader(statement)
    if reader.accept("SELECT"):
        column, of = parts_of_name(reader.name()), reader.accept("FROM")
        table = parts_of_name(reader.name()) if of else ()
        return column[-2:] == (version_table, "version_num") and table[-1:] == (version_table,)
    begins = (("CREATE", "TABLE"), ("DROP", "TABLE"), ("INSERT", "INTO"), ("UPDATE",))
    known = any(reader.accept(*words) for words in (*begins, ("DELETE", "FROM")))
    if not known or parts_of_name(reader.name())[-1:] != (version_table,):
        return False
    # What it drops is it alone; what it writes is a revision's id.
    return reader.done or reader.has("VERSION_NUM")


def record_fingerprint(
    connection: Connection,
    app: App,
    schema: str,
    revisions: Iterable[str],
    facts: Mapping[str, Any],
) -> None:
    """Record what a schema consists of now as what it should be at these revisions.

    `facts` are those of `recorded_facts`.
    """
    objects = read_catalog(connection, schema, [app.version_table], app.schemas).objects
    own = own_objects(connection, app, schema)
    content = {"reads": READS, "objects": objects, "own": own, **facts}
    for revision in revisions:
        records.record_fingerprint(
            connection, app=app.name, schema=schema, revision=revision, content=content
        )


def own_objects(connection: Connection, app: App, schema: str) -> list[str]:
    """Return what an app has in a schema: what its revisions made, as it was recorded.

    Where nothing was recorded, by an older history or another tool, it is what the models name.
    """
    existing = read_names(connection, schema, [app.version_table], app.schemas)
    made = records.made_by(connection, app.name, schema)
    if not made and records.current_revisions(connection, schema, app.version_table):
        made = named_by_models(app)
    return sorted(made & existing)


def named_by_models(app: App) -> set[str]:
    """Return the tables and enums that an app's models name, as `kind name`."""
    tables = known_metadata(app).tables.values()
    enums = {
        column.type.name
        for table in tables
        for column in table.columns
        if isinstance(column.type, Enum) and column.type.name
    }
    return {f"table {table.fullname}" for table in tables} | {f"enum {name}" for name in enums}


def recorded_facts(app: App, models: MetaData | None = None) -> Mapping[str, Any]:
    """Return what the fingerprint has next to the schema's objects, read from the app's code.

    `models` are the app's, where they were imported already.  `encrypted` is the context of each
    encrypted column, `fixtures` what finds each fixture's row.
    """
    from leadctl.models.values import encrypted_columns

    metadata = known_metadata(app) if models is None else models
    fixtures = load_object(app, app.seed, "seed") if app.seed else ()
    return {
        "encrypted": {
            f"{column.table.name}.{column.name}": context
            for column, context in encrypted_columns(metadata)
        },
        "fixtures": [
            key_as_json(fixture)
            for fixture in (() if callable(fixtures) else fixtures)
            if isinstance(fixture, Fixture)
        ],
    }
