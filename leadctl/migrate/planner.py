"""Planning, linting and writing out revision after revision, knowing what those before make."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace

import psycopg

from leadctl.apps.registry import App
from leadctl.errors import RevisionUnplannable
from leadctl.migrate.alembic_runner import RevisionStatement, Scripts
from leadctl.migrate.lint import OF_BIG_TABLES, REQUIRED_FIELD, UNPLANNABLE, findings
from leadctl.migrate.live_tables import Holder, LiveTables, ProvenNotNull
from leadctl.migrate.lost_values import (
    Retyped,
    ValuesLost,
    any_values,
    by_conversion,
    by_update,
    together,
)
from leadctl.migrate.observation import RelationEffect
from leadctl.migrate.plan import (
    KINDS,
    LintFinding,
    Loss,
    PlannedRevision,
    PlannedStatement,
    TableEffect,
)
from leadctl.migrate.revision import Revision
from leadctl.migrate.revisions import History
from leadctl.migrate.transaction_rules import control_of_transactions
from leadctl.migrate.trial import Observed, Trial, Unobserved, trial
from leadctl.migrate.trial_database import NotTried
from leadctl.postgres.connect import Connection, connect, set_session
from leadctl.postgres.queries import version_of
from leadctl.postgres.target import Target
from leadctl.postgres.translate import told
from leadctl.sql.assignments import conversions, overwritings
from leadctl.sql.effects import created_by, effects
from leadctl.sql.lexer import Reader, as_name, parts_of_name, schema_and_name
from leadctl.sql.lock_modes import CatalogFacts, Lock, StatementEffect
from leadctl.sql.reach import leaves_rows, redefines, unread

_PLAIN = "written for small tables; only a database tells how big they are"

_COPY_TIMEOUT = "60s"
"""How long reading may take what a trial copies: half a thousand tables, on a busy server."""
_LOOK_SECONDS = 5.0
"""How long a look at the catalog, or a count of what is lost, may take."""


def planning_connection(target: Target) -> Connection:
    """Open the session that a plan looks at the target with; it can change nothing.

    Conditions and expressions of revisions are asked of the rows, and may call what writes.  Raises
    what connecting raises.
    """
    return connect(target, "plan", rows=True, read_only=True, statement_timeout=_LOOK_SECONDS)


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
        self._schema = schema
        self._made: dict[str, str | None] = {}
        """What the plan makes, and what it was before: the name of a live table, or None."""

        self._trial: Trial | None = None
        self._changed = False
        """Whether the plan may have changed before which rows of the target a condition names."""
        self._looks_elsewhere = False
        """Whether names without a schema may be any schema's: the plan has set the search path."""

    @contextmanager
    def trying(self, target: Target, revisions: Sequence[Revision]) -> Iterator[str | None]:
        """Let the block's statements be tried in a scratch database, next to being read.

        Yields why that cannot be; None where it can.
        """
        if self._connection is None or self._tables is None:
            yield "there is no database to try it on"
            return
        statements: list[str] = []
        for revision in revisions:
            with suppress(RevisionUnplannable):
                statements += [each.sql for each in self._scripts.statements(revision)]
        with ExitStack() as stack:
            why = None
            try:
                set_session(self._connection, {"statement_timeout": _COPY_TIMEOUT})
                self._trial = stack.enter_context(trial(target, self._connection, statements))
                self._tables.prepare(self._trial.live)
            except NotTried as error:
                why = str(error) or None
            except psycopg.Error as error:
                why = f"the server refused it: {told(error)}"
            finally:
                with suppress(psycopg.Error):  # it is lost, which the next statement says
                    set_session(self._connection, {"statement_timeout": f"{_LOOK_SECONDS}s"})
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
        found = list(control_of_transactions(revision.text))
        try:
            script = self._scripts.statements(revision, down=down)
        except RevisionUnplannable as error:
            reason = error.message
            found.append(LintFinding(UNPLANNABLE, error.message, error.hint))
        else:
            statements = tuple(self.statement(statement) for statement in script)
            version = version_of(self._connection) if self._connection else None
            found += findings(statements, version, self._has_policies)
            found.sort(key=lambda each: each.statement or 0)
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

    def statement(self, statement: RevisionStatement) -> PlannedStatement:
        """Return what a statement would do, behind those that were planned before it."""
        seen = self._trial.run(statement) if self._trial else None
        read = self._read(statement)
        if seen is None:
            return read
        if isinstance(seen, Unobserved):
            self._changed = True
            known = seen.may_be_read and read.unplannable is None
            return read if known else replace(read, unplannable=seen.reason)
        planned = PlannedStatement(
            statement.sql,
            statement.transactional,
            True,
            seen.unknown,
            tuple(self._seen(statement, each, seen) for each in _with_parts(seen.touched)),
        )
        locked = any(each.live and each.lock >= Lock.ROW_EXCLUSIVE for each in seen.touched)
        self._changed |= redefines(statement.sql) or (locked and not leaves_rows(statement.sql))
        return planned

    def _read(self, statement: RevisionStatement) -> PlannedStatement:
        found = effects(statement.sql, self._facts)
        lost = self._read_values(statement.sql)
        if self._tables and Reader(statement.sql).has("IF", "EXISTS"):
            found = [each for each in found if self._may_exist(each.table)]
        planned = PlannedStatement(
            statement.sql,
            statement.transactional,
            False,
            unread(statement.sql),
            tuple(self._effect(statement, each, lost.get(each.table)) for each in found),
        )
        self._proven.read(statement.sql)
        self._looks_elsewhere |= "search_path" in statement.sql.lower()
        made = created_by(statement.sql)
        if made:
            table, before = made
            if before:
                self._made[table] = self._made.get(before, before)
            elif table in self._made or not self._is_found(table):
                self._made[table] = None  # else IF NOT EXISTS, or it fails: what exists is not new
        return planned

    def _own_name(self, table: str) -> str:
        """Return a name as the trial has it: without its schema where that is the target's."""
        schema, own = schema_and_name(table, self._schema)
        return as_name(*(() if schema == self._schema else (schema,)), own)

    def _may_exist(self, table: str) -> bool:
        return table in self._made or self._looks_elsewhere or self._is_found(table)

    def _is_found(self, table: str) -> bool:
        elsewhere = self._looks_elsewhere and len(parts_of_name(table)) == 1
        return bool(self._tables and not elsewhere and self._tables.exists(table))

    def _seen(
        self, statement: RevisionStatement, touched: RelationEffect, seen: Observed
    ) -> TableEffect:
        """Return what the trial saw, with what the target has of the relation."""
        assert self._tables is not None
        live = touched.live
        exists = live is not None and self._tables.exists(live)
        effect = StatementEffect(
            touched.name, touched.lock, touched.rewrites, touched.scans, touched.drops
        )
        rows = self._lost(statement, touched, seen) if live and touched.drops else None
        values = self._lost_values(statement, touched, seen, live) if live else ValuesLost()
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
            loss=together(rows, values.emptied),
            overwrites=values.overwritten,
        )

    def _lost(
        self, statement: RevisionStatement, touched: RelationEffect, seen: Observed
    ) -> Loss | None:
        """Return what of a relation that exists is lost, counted where that can be."""
        assert self._tables is not None
        assert touched.live is not None
        loss = self._tables.loss(touched.live, touched.drops)
        if loss is None or not {"rows"}.intersection(touched.drops):
            return loss
        if touched.by_key is not None:
            return replace(loss, rows=None, exact=False)
        reader = Reader(statement.sql)
        if reader.accept("TRUNCATE"):
            return loss
        if not reader.accept("DELETE", "FROM") or len(seen.touched) == 0:
            return replace(loss, rows=None, exact=False)
        if not (reader.has("WHERE") or reader.has("USING")):
            return loss
        if self._changed:
            return replace(loss, rows=None, exact=False)
        return self._tables.rows_where(touched.live, statement.sql)

    def _lost_values(
        self, statement: RevisionStatement, touched: RelationEffect, seen: Observed, live: str
    ) -> ValuesLost:
        """Return what of the values of a relation that exists is lost, while its rows stay."""
        assert self._tables is not None
        found, countable = ValuesLost(), not self._changed
        if touched.rewrites:
            using = {
                touched.columns[name]: by
                for name, (_, by) in conversions(statement.sql).items()
                if by and name in touched.columns
            }
            known = {each.column for each in touched.retyped}
            kinds = {name: self._tables.type_of(live, name) for name in using.keys() - known}
            same = [Retyped(name, kind, is_enum=False) for name, kind in kinds.items() if kind]
            retyped = [*touched.retyped, *same]
            found = by_conversion(self._tables, live, retyped, using, countable=countable)
        if not touched.updates:
            return found
        updates = overwritings(statement.sql)
        views = {each.name for each in seen.touched if each.kind == "v"}
        own = [each for each in updates if self._own_name(each.table) == touched.name]
        through = [each for each in updates if self._own_name(each.table) in views]
        for each in own:
            found = found.plus(
                by_update(self._tables, live, each, touched.columns, countable=countable)
            )
        for each in through:
            found = found.plus(by_update(self._tables, each.table, each, None, countable=countable))
        return found if own or through else found.plus(any_values(self._tables, live))

    def _read_values(self, sql: str) -> dict[str, ValuesLost]:
        """Return the values that a statement takes of tables, as far as its text tells."""
        found: dict[str, ValuesLost] = {}
        for each in overwritings(sql):
            table = self._made.get(each.table, each.table)
            if table is None:
                continue
            lost = ValuesLost()
            if self._tables is not None and self._is_found(table):
                lost = by_update(self._tables, table, each, None, countable=False)
            elif emptied := each.emptied:
                what = ", ".join(f"values of column {column}" for column in emptied)
                lost = ValuesLost(Loss(what, None, exact=False))
            found[each.table] = found.get(each.table, ValuesLost()).plus(lost)
        return found

    def _effect(
        self, statement: RevisionStatement, effect: StatementEffect, values: ValuesLost | None
    ) -> TableEffect:
        table = self._made.get(effect.table, effect.table)
        live = self._tables if table and self._is_found(table) else None
        rows = self._loss(statement, effect, table) if table and effect.drops else None
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
            loss=together(rows, values.emptied if values else None),
            overwrites=values.overwritten if values else None,
        )

    def _holders(
        self, statement: RevisionStatement, effect: StatementEffect, table: str
    ) -> Iterator[str]:
        assert self._tables is not None
        concurrently = "CONCURRENTLY" in statement.sql.upper()
        for holder in self._tables.holders(table):
            # What works concurrently takes a weak lock, and waits for the writers all the same.
            if effect.lock.conflicts(holder.lock) or (
                concurrently and Lock.SHARE.conflicts(holder.lock)
            ):
                yield _describe(holder)

    def _loss(
        self, statement: RevisionStatement, effect: StatementEffect, table: str
    ) -> Loss | None:
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


def _with_parts(touched: Sequence[RelationEffect]) -> Iterator[RelationEffect]:
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


def _duration(effect: StatementEffect) -> str:
    return "rewrite" if effect.rewrites else "scan" if effect.scans else "instant"


def _describe(holder: Holder) -> str:
    since = "" if holder.seconds is None else f" for {holder.seconds:,.0f} s"
    return f"{holder.who} (pid {holder.pid}), {holder.state}{since}, holds {holder.lock.words}"
