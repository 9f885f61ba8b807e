"""Planning, linting and writing out revision after revision, knowing what those before make."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace

import psycopg
from psycopg import sql

from leadctl.apps.registry import App
from leadctl.errors import ConnectionFailed, RevisionUnplannable, UnknownDatabase
from leadctl.journal import state
from leadctl.migrate.integrity import read_verified
from leadctl.migrate.lint import OF_BIG_TABLES, REQUIRED_FIELD, UNPLANNABLE, find_squawk, findings
from leadctl.migrate.live_tables import Holder, LiveTables, ProvenNotNull
from leadctl.migrate.plan import (
    KINDS,
    LintedRevision,
    LintFinding,
    LintResult,
    Loss,
    MigrationPlan,
    PlannedRevision,
    PlannedStatement,
    TableEffect,
)
from leadctl.migrate.revisions import History, Revision, read_history
from leadctl.migrate.script import Scripts, Statement
from leadctl.migrate.transaction_rules import control_of_transactions
from leadctl.migrate.trial import Seen, Touched, Trial, Unseen, trial
from leadctl.migrate.trial_database import NotTried
from leadctl.postgres.connect import Connection, Timeouts, connect
from leadctl.postgres.target import Target
from leadctl.progress import Narrate
from leadctl.sql.effects import effects, made_by
from leadctl.sql.lexer import Reader, parts_of_name
from leadctl.sql.lock_modes import CatalogFacts, Effect, Lock
from leadctl.sql.reach import unread

_PLAIN = "written for small tables; how big they are, a database tells"
NOT_ASKED = "it was asked for what reading alone tells"
LOOK_SECONDS = 5.0
"""How long a look at the catalog, or a count of what is lost, may take."""


def plan(
    target: Target,
    app: App,
    *,
    to: str | None = None,
    steps: int | None = None,
    allow: Collection[str] = (),
    tried: bool = True,
) -> MigrationPlan:
    """Say what `up` with the same arguments would do; changes nothing.

    The statements are tried in a scratch database, unless `tried` is false: then they are read.
    `allow` are rules whose findings do not count.  A database that does not exist is an empty
    one.  Raises UnknownRevision, and what connecting raises.
    """
    history = read_history(app.versions)
    goal = history.goal(to)
    connection = None
    with suppress(UnknownDatabase):
        connection = connect(
            target, "plan", rows=True, read_only=True, statement_timeout=LOOK_SECONDS
        )
    with connection or nullcontext():
        current = read_verified(connection, target, app, history) if connection else []
        planner = Planner(app, history, connection, target.schema, allow)
        pending = history.pending(current, goal)[:steps]
        with planner.trying(target, pending) if tried else nullcontext(NOT_ASKED) as not_tried:
            revisions = tuple(planner.revision(each) for each in pending)
        return MigrationPlan(
            app.name,
            target.database,
            target.schema,
            ", ".join(current) or None,
            not_tried,
            revisions,
        )


@dataclass(frozen=True)
class MigrationScript:
    """The SQL that applies what is pending, for psql."""

    app: str
    database: str
    schema: str
    revisions: tuple[str, ...]
    sql: str


def script(
    target: Target, app: App, *, to: str | None = None, steps: int | None = None, timeouts: Timeouts
) -> MigrationScript:
    """Return the SQL of what `up` with the same arguments would apply; changes nothing.

    Applied by psql, it leaves Alembic's table as `up` does.  Raises RevisionUnplannable where a
    revision's SQL is not available without running it.
    """
    history = read_history(app.versions)
    goal = history.goal(to)
    current: list[str] = []
    with suppress(UnknownDatabase), connect(target, "plan", read_only=True) as connection:
        current = read_verified(connection, target, app, history)
    pending = history.pending(current, goal)[:steps]
    scripts = Scripts(app, history)
    head = [
        r"\set ON_ERROR_STOP on",
        f"SET search_path TO {sql.Identifier(target.schema).as_string()};",
        f"SET lock_timeout TO '{round(timeouts.lock_timeout * 1000)}ms';",
    ]
    texts = [f"\n-- {each.id}: {each.message}\n{scripts.text(each)}" for each in pending]
    return MigrationScript(
        app.name,
        target.database,
        target.schema,
        tuple(revision.id for revision in pending),
        "\n".join([*head, *texts]) if pending else "-- Nothing is pending.\n",
    )


def lint(
    target: Target | None,
    app: App,
    names: Sequence[str],
    *,
    everything: bool,
    allow: Collection[str] = (),
    narrate: Narrate,
) -> LintResult:
    """Say what is dangerous in revisions: the named ones, all, or else what is pending.

    Without a database that can be reached it is all of them, and every table that a revision does
    not make itself counts as a big one.  Raises UnknownRevision.
    """
    history = read_history(app.versions)
    squawk = find_squawk() is not None
    if not squawk:
        narrate("squawk's rules are left out; install them with: pip install squawk-cli")
    named = {history.get(name).id for name in names}
    chosen = [each for each in history.revisions if everything or each.id in named]
    schema, database = "public", None
    connection = _connect(target, narrate) if target else None
    with connection or nullcontext():
        if connection and target:
            schema, database = target.schema, target.database
            current = state.current_revisions(connection, schema, app.version_table) or []
            chosen = chosen or history.pending(current)
        else:
            chosen = chosen or history.revisions
        planner = Planner(app, history, connection, schema, allow)
        linted = []
        from_the_start = connection is None or bool(everything or named)
        tried = nullcontext() if from_the_start or not target else planner.trying(target, chosen)
        with tried:
            for each in history.revisions:
                if each in chosen:
                    found = planner.revision(each).findings
                    linted.append(LintedRevision(each.id, each.path, found))
                    if connection is None:
                        planner.forget()
                elif from_the_start:
                    planner.learn(each)
    return LintResult(app.name, database, squawk, tuple(linted))


def _connect(target: Target, narrate: Narrate) -> Connection | None:
    try:
        return connect(target, "lint", rows=True, read_only=True, statement_timeout=LOOK_SECONDS)
    except ConnectionFailed as error:
        narrate(f"{error.message} Assuming that all tables are large.")
        return None


class Planner:
    """Plans the revisions of a history, in order.

    Without a connection every table that was not made counts as one that exists and big.
    """

    def __init__(
        self,
        app: App,
        history: History,
        connection: Connection | None,
        schema: str,
        allow: Collection[str] = (),
    ) -> None:
        self._scripts = Scripts(app, history)
        self._connection = connection
        self._tables = LiveTables(connection, schema) if connection else None
        self._proven = ProvenNotNull()
        live = self._tables.facts if self._tables else CatalogFacts()
        self._facts = replace(
            live,
            has_not_null_check=lambda table, column: (
                self._proven.has(table, column) or live.has_not_null_check(table, column)
            ),
        )
        self._allow = allow
        self._made: dict[str, str | None] = {}
        """What the plan makes, and what it was before: the name of a live table, or None."""

        self._trial: Trial | None = None
        self._changed = False
        """Whether the plan has changed rows or definitions of the target's before."""
        self._looks_elsewhere = False
        """Whether names without a schema may be any schema's: the plan has set the search path."""

    @contextmanager
    def trying(self, target: Target, revisions: Sequence[Revision]) -> Iterator[str | None]:
        """Let the block's statements be tried in a scratch database, next to being read.

        Yields why that cannot be; None where it can.
        """
        if self._connection is None or self._tables is None:
            yield "there is no database to be like"
            return
        statements: list[str] = []
        for revision in revisions:
            with suppress(RevisionUnplannable):
                statements += [each.sql for each in self._scripts.statements(revision)]
        with ExitStack() as stack:
            why = None
            try:
                self._trial = stack.enter_context(trial(target, self._connection, statements))
                self._tables.prepare(self._trial.live)
            except NotTried as error:
                why = str(error) or None
            except psycopg.Error as error:
                why = f"the server refused it: {error.diag.message_primary or error}"
            yield why
            self._trial = None

    def learn(self, revision: Revision) -> None:
        """Take what a revision proves of the rows for known, without planning it."""
        with suppress(RevisionUnplannable):
            for statement in self._scripts.statements(revision):
                self._proven.read(statement.sql)

    def forget(self) -> None:
        """Forget what was made until now: it is there when the next revision is applied."""
        self._made.clear()

    def revision(self, revision: Revision, *, down: bool = False) -> PlannedRevision:
        """Return what applying a revision would do, or undoing it."""
        reason = None
        statements: tuple[PlannedStatement, ...] = ()
        try:
            script = self._scripts.statements(revision, down=down)
        except RevisionUnplannable as error:
            reason = error.message
            found = [LintFinding(UNPLANNABLE, error.message, error.hint)]
        else:
            statements = tuple(self.statement(statement) for statement in script)
            version = self._connection.info.server_version if self._connection else None
            both = (
                *control_of_transactions(revision.text),
                *findings(statements, version, self._has_policies),
            )
            found = sorted(both, key=lambda each: each.statement or 0)
        allowed = revision.allowed_rules | dict.fromkeys(self._allow, "--allow")
        if revision.is_plain:
            rules = OF_BIG_TABLES if self._connection is None else ()
            allowed |= dict.fromkeys([*rules, REQUIRED_FIELD], _PLAIN)
        return PlannedRevision(
            revision.id,
            revision.message,
            revision.is_reversible,
            reason,
            statements,
            tuple(
                replace(
                    each,
                    allowed=allowed.get(each.rule),
                    line=_line(revision.text, statements, each.statement),
                )
                for each in found
            ),
        )

    def _has_policies(self, table: str) -> bool:
        return bool(self._tables and self._tables.has_policies(table))

    def statement(self, statement: Statement) -> PlannedStatement:
        """Return what a statement would do, behind those that were planned before it."""
        seen = self._trial.run(statement) if self._trial else None
        read = self._read(statement)
        if seen is None:
            return read
        if isinstance(seen, Unseen):
            known = seen.may_be_read and read.unplannable is None
            return read if known else replace(read, unplannable=seen.reason)
        planned = PlannedStatement(
            statement.sql,
            statement.transactional,
            True,
            seen.unknown,
            tuple(self._seen(statement, each, seen) for each in _with_parts(seen.touched)),
        )
        self._changed |= any(each.live and each.lock >= Lock.ROW_EXCLUSIVE for each in seen.touched)
        return planned

    def _read(self, statement: Statement) -> PlannedStatement:
        found = effects(statement.sql, self._facts)
        if self._tables and Reader(statement.sql).has("IF", "EXISTS"):
            found = [each for each in found if self._may_exist(each.table)]
        planned = PlannedStatement(
            statement.sql,
            statement.transactional,
            False,
            unread(statement.sql),
            tuple(self._effect(statement, each) for each in found),
        )
        self._proven.read(statement.sql)
        self._looks_elsewhere |= "search_path" in statement.sql.lower()
        made = made_by(statement.sql)
        if made:
            table, before = made
            if before:
                self._made[table] = self._made.get(before, before)
            elif table in self._made or not self._is_found(table):
                self._made[table] = None  # else IF NOT EXISTS, or it fails: what exists is not new
        return planned

    def _may_exist(self, table: str) -> bool:
        return table in self._made or self._looks_elsewhere or self._is_found(table)

    def _is_found(self, table: str) -> bool:
        elsewhere = self._looks_elsewhere and len(parts_of_name(table)) == 1
        return bool(self._tables and not elsewhere and self._tables.exists(table))

    def _seen(self, statement: Statement, touched: Touched, seen: Seen) -> TableEffect:
        """Return what the trial saw, with what the target has of the relation."""
        assert self._tables is not None
        live = touched.live
        exists = live is not None and self._tables.exists(live)
        effect = Effect(touched.name, touched.lock, touched.rewrites, touched.scans, touched.drops)
        reads = "reads and writes" if touched.blocks_reads else touched.lock.blocks
        if touched.kind == "m" and touched.lock < Lock.ACCESS_EXCLUSIVE:
            reads = ""  # nobody writes to a materialized view
        return TableEffect(
            table=".".join(parts_of_name(touched.name)),
            kind=KINDS[touched.kind],
            lock=touched.lock.words,
            blocks=reads,
            rewrites=touched.rewrites,
            scans=touched.scans,
            duration=_duration(effect),
            is_new=live is None,
            part_of=".".join(parts_of_name(touched.part_of)) if touched.part_of else None,
            bytes=self._tables.bytes(live) if exists and live else None,
            rows=self._tables.rows(live) if exists and live else None,
            waits_for=tuple(self._holders(statement, effect, live)) if exists and live else (),
            loss=self._lost(statement, touched, seen) if live and touched.drops else None,
        )

    def _lost(self, statement: Statement, touched: Touched, seen: Seen) -> Loss | None:
        """Return what of a relation that exists is lost, counted where that can be."""
        assert self._tables is not None
        assert touched.live is not None
        whole = self._tables.loss(touched.live, touched.drops)
        if whole is None or not {"rows"}.intersection(touched.drops):
            return whole
        if touched.by_key is not None:
            return replace(whole, rows=None, exact=False)
        reader = Reader(statement.sql)
        if reader.accept("TRUNCATE"):
            return whole
        if not reader.accept("DELETE", "FROM") or len(seen.touched) == 0:
            return replace(whole, rows=None, exact=False)
        if not (reader.has("WHERE") or reader.has("USING")):
            return whole
        if self._changed:
            return replace(whole, rows=None, exact=False)
        return self._tables.rows_where(touched.live, statement.sql)

    def _effect(self, statement: Statement, effect: Effect) -> TableEffect:
        table = self._made.get(effect.table, effect.table)
        live = self._tables if table and self._is_found(table) else None
        return TableEffect(
            table=".".join(parts_of_name(effect.table)),
            kind="table",
            lock=effect.lock.words,
            blocks=effect.lock.blocks,
            rewrites=effect.rewrites,
            scans=effect.scans,
            duration=_duration(effect),
            is_new=table is None,
            part_of=None,
            bytes=live.bytes(table) if live and table else None,
            rows=live.rows(table) if live and table else None,
            waits_for=tuple(self._holders(statement, effect, table)) if live and table else (),
            loss=self._loss(statement, effect, table) if table and effect.drops else None,
        )

    def _holders(self, statement: Statement, effect: Effect, table: str) -> Iterator[str]:
        assert self._tables is not None
        concurrently = "CONCURRENTLY" in statement.sql.upper()
        for holder in self._tables.holders(table):
            # What works concurrently takes a weak lock, and waits for the writers all the same.
            if effect.lock.conflicts(holder.lock) or (
                concurrently and Lock.SHARE.conflicts(holder.lock)
            ):
                yield _describe(holder)

    def _loss(self, statement: Statement, effect: Effect, table: str) -> Loss | None:
        reader = Reader(statement.sql)
        unknown = self._tables is None or not self._is_found(table)
        if unknown or reader.has("WHERE") or reader.accept("MERGE"):
            return Loss(", ".join(effect.drops), None, exact=False)
        assert self._tables is not None
        return self._tables.loss(table, effect.drops)


def _line(text: str, statements: Sequence[PlannedStatement], number: int | None) -> int:
    """Return the line of a revision's file that a statement begins at, else that of upgrade()."""
    lines = text.splitlines()
    start = next((n for n, each in enumerate(lines) if each.startswith("def upgrade")), 0)
    if number is None:
        return start + 1
    begun = start
    for statement in statements[:number]:
        first = next((each.strip() for each in statement.sql.splitlines() if each.strip()), "")
        found = (n for n in range(begun, len(lines)) if first and first in lines[n])
        begun = next(found, begun)
    return begun + 1


def _with_parts(touched: Sequence[Touched]) -> Iterator[Touched]:
    """Yield what was touched; a partitioned table is rewritten and read where its parts are."""
    for each in touched:
        if each.kind == "p":
            parts = [part for part in touched if part.part_of == each.name]
            each = replace(
                each,
                rewrites=any(part.rewrites for part in parts),
                scans=any(part.scans for part in parts),
            )
        yield each


def _duration(effect: Effect) -> str:
    return "rewrite" if effect.rewrites else "scan" if effect.scans else "instant"


def _describe(holder: Holder) -> str:
    since = "" if holder.seconds is None else f" for {holder.seconds:,.0f} s"
    return f"{holder.who} (pid {holder.pid}), {holder.state}{since}, holds {holder.lock.words}"
